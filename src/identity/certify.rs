//! One attempt to obtain a certificate: token and request out, checked certificate in.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use linkerd2_proxy_api::identity::identity_client::IdentityClient;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;

use super::Identity;
use crate::api;
use crate::tls::Rejected;

/// Longer than a request may wait for its connection; an issuer that takes the request and falls silent
/// must not hold up renewal until the certificate has ended.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(45);

/// Why an attempt brought no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the token {path:?}: {error}")]
    Token { path: PathBuf, error: io::Error },
    #[error("the token {0:?} is empty")]
    EmptyToken(PathBuf),
    /// Refused by the service, or the service was not reached: the status says which.
    #[error("Certify failed with {:?}: {:?}", .0.code(), .0.message())]
    Failed(Box<tonic::Status>),
    #[error("the identity service did not answer within {ATTEMPT_LIMIT:?}")]
    Timeout,
    #[error("the identity service gave an unusable answer: {0}")]
    Answer(#[from] api::identity::InvalidIssued),
    #[error("the identity service gave a certificate that is not for us: {0}")]
    Rejected(#[from] Rejected),
}

impl Identity {
    /// Obtains and installs a certificate; returns when it ends.
    pub(super) async fn certify(&self) -> Result<SystemTime, Error> {
        let path = &self.config.token_file;
        let token =
            tokio::fs::read(path).await.map_err(|error| Error::Token { path: path.clone(), error })?;
        if token.is_empty() {
            return Err(Error::EmptyToken(path.clone()));
        }
        let request = api::identity::encode_request(self.store.local(), token, self.documents.csr.clone());
        let mut client = IdentityClient::new(self.controller.fresh());
        let answer = timeout(ATTEMPT_LIMIT, client.certify(request)).await.map_err(|_| Error::Timeout)?;
        let answer = answer.map_err(|status| Error::Failed(status.into()))?.into_inner();
        let issued = api::identity::issued(answer, SystemTime::now())?;
        self.store.install(
            CertificateDer::from(issued.leaf),
            issued.intermediates.into_iter().map(CertificateDer::from).collect(),
            &self.documents.key,
            issued.valid_until,
        )?;
        Ok(issued.valid_until)
    }
}

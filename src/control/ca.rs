//! Which certificate does a workload get, and is it really that workload asking?
//!
//! One cluster's certificate authority: an issuer below the mesh's trust anchors, and the key that
//! its service-account tokens are signed with. [`Certifier::certify`] holds the one property that
//! matters here: no workload can get another's certificate. Everything in a certificate is written
//! from what was checked; nothing is copied from the request but its public key.

pub mod anchor;
pub mod authority;
pub mod csr;
pub mod folder;
pub mod issuing;
pub mod token;

use std::time::SystemTime;

use crate::api::identity::Issued;
use crate::model::WorkloadId;

pub use anchor::Anchor;
pub use authority::{Authority, InvalidAuthority};
pub use csr::SigningRequest;
pub use issuing::Issuing;
pub use token::{InvalidToken, ServiceAccount, TokenKey, TokenVerifier};

/// Decides about requests for certificates (controlplane 4.1).
#[derive(Debug)]
pub struct Certifier {
    pub authority: Issuing,
    pub tokens: TokenVerifier,
    /// Namespace of the control plane, a part of every identity.
    pub control_namespace: String,
    pub trust_domain: String,
}

/// What a workload sends to be certified. None of it is trusted.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub identity: &'a str,
    pub token: &'a [u8],
    /// PKCS#10 in DER.
    pub csr: &'a [u8],
}

/// Why there is no certificate. Messages go to the workload: they say what to correct and hold
/// no part of its token.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the request names no identity")]
    NoIdentity,
    #[error("the request holds no token")]
    NoToken,
    #[error("the request holds no certificate signing request")]
    NoRequest,
    #[error("the certificate signing request is not PKCS#10 in DER")]
    MalformedRequest,
    #[error("the issuer does not verify against the trust anchors: {0}")]
    Issuer(rustls::Error),
    #[error("the signing request holds {0} DNS names: expected exactly one, the requested identity")]
    NameCount(usize),
    #[error("the DNS name of the signing request is not the requested identity")]
    OtherName,
    #[error("the common name of the signing request is neither empty nor the requested identity")]
    CommonName,
    #[error("the signing request holds {0}: expected one DNS name and nothing else")]
    ForeignName(&'static str),
    #[error("token refused: {0}")]
    Token(#[from] InvalidToken),
    #[error("token refused: the service account {0} does not exist")]
    UnknownAccount(ServiceAccount),
    #[error("the token belongs to {0}, which may not be certified as another identity")]
    NotYours(String),
    #[error("the public key is not ECDSA on P-256 or P-384")]
    KeyType,
    #[error("the signing request is not signed by its own key")]
    RequestSignature,
    #[error("signing failed: {0}")]
    Signing(rcgen::Error),
}

impl Certifier {
    /// Runs the checks in the reference's order and signs. `exists` says whether the cluster has
    /// a service account.
    ///
    /// Two checks go beyond the reference: the request must be signed by the key it asks to
    /// certify, and the service account must exist at this moment.
    pub fn certify(
        &self,
        request: Request<'_>,
        exists: impl FnOnce(&ServiceAccount) -> bool,
        now: SystemTime,
    ) -> Result<Issued, Refusal> {
        let Request { identity, token, csr } = request;
        if identity.is_empty() {
            return Err(Refusal::NoIdentity);
        }
        if token.is_empty() {
            return Err(Refusal::NoToken);
        }
        if csr.is_empty() {
            return Err(Refusal::NoRequest);
        }
        let csr = SigningRequest::parse(csr).ok_or(Refusal::MalformedRequest)?;
        let authority = self.authority.now();
        authority.verify(now).map_err(Refusal::Issuer)?;
        csr.check_names(identity)?;
        let account = self.tokens.verify(token, now)?;
        if !exists(&account) {
            return Err(Refusal::UnknownAccount(account));
        }
        let own = self.identity(&account);
        match own.parse::<WorkloadId>() {
            Ok(id @ WorkloadId::Dns(_)) if own == identity => {
                csr.check_key()?;
                authority.sign(&csr, &id, now).map_err(Refusal::Signing)
            }
            _ => Err(Refusal::NotYours(own)),
        }
    }

    /// The one name that a service account of this cluster may have.
    fn identity(&self, account: &ServiceAccount) -> String {
        let ServiceAccount { namespace, name } = account;
        let Self { control_namespace, trust_domain, .. } = self;
        format!("{name}.{namespace}.serviceaccount.identity.{control_namespace}.{trust_domain}")
    }
}

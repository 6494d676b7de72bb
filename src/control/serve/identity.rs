//! `Identity.Certify`, port 8080 (controlplane 4).

use std::sync::Arc;
use std::time::SystemTime;

use linkerd2_proxy_api::identity as pb;
use linkerd2_proxy_api::identity::identity_server::{Identity, IdentityServer};
use tonic::{Code, Response, Status};

use crate::api::identity::encode_issued;
use crate::control::ca::{Certifier, InvalidToken, Refusal, Request, ServiceAccount};

/// Says whether the cluster has a service account at this moment.
pub type AccountExists = Arc<dyn Fn(&ServiceAccount) -> bool + Send + Sync>;

/// Certifies workloads.
pub struct IdentityService {
    certifier: Arc<Certifier>,
    exists: AccountExists,
}

impl IdentityService {
    pub fn server(certifier: Arc<Certifier>, exists: AccountExists) -> IdentityServer<Self> {
        // A token and a request together have a few thousand bytes.
        IdentityServer::new(Self { certifier, exists }).max_decoding_message_size(64 * 1024)
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn certify(
        &self,
        request: tonic::Request<pb::CertifyRequest>,
    ) -> Result<Response<pb::CertifyResponse>, Status> {
        let pb::CertifyRequest { identity, token, certificate_signing_request } = request.into_inner();
        let request = Request { identity: &identity, token: &token, csr: &certificate_signing_request };
        match self.certifier.certify(request, |account| (self.exists)(account), SystemTime::now()) {
            Ok(issued) => {
                tracing::info!(identity, "certificate issued");
                Ok(Response::new(encode_issued(issued)))
            }
            Err(refusal) => {
                // Escaped and cut: nothing about the name has been proven.
                let claimed: String = identity.escape_default().take(300).collect();
                tracing::info!(claimed, %refusal, "certificate refused");
                Err(Status::new(code(&refusal), refusal.to_string()))
            }
        }
    }
}

/// The reference's codes (controlplane 4.1).
fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NoIdentity | Refusal::NoToken | Refusal::NoRequest | Refusal::MalformedRequest => {
            Code::InvalidArgument
        }
        Refusal::Issuer(_) => Code::Unknown,
        Refusal::NameCount(_)
        | Refusal::OtherName
        | Refusal::CommonName
        | Refusal::ForeignName(_)
        | Refusal::UnknownAccount(_)
        | Refusal::NotYours(_) => Code::FailedPrecondition,
        Refusal::Token(InvalidToken::User) | Refusal::RequestSignature => Code::InvalidArgument,
        Refusal::Token(_) => Code::FailedPrecondition,
        Refusal::KeyType | Refusal::Signing(_) => Code::Internal,
    }
}

#[cfg(test)]
mod tests;

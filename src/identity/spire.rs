//! Certificates from a SPIFFE Workload API on a Unix socket, in place of Certify (contract 2.5).
//!
//! It says by itself when there is a new one. Each goes through [`CredentialStore::install`], which refuses what is not
//! ours; the last one stays in use until a better one comes.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::Endpoint;

use super::IdentityState;
use crate::api::spiffe::{self, X509Svid, X509SvidResponse};
use crate::backoff::Backoff;
use crate::model::WorkloadId;
use crate::tls::{CredentialStore, Rejected};

/// A socket that nobody serves must not hold up the next attempt.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Nor one that takes the question and says nothing.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Keeps the certificate in a [`CredentialStore`] as the Workload API says.
#[derive(Debug)]
pub struct Spire {
    socket: PathBuf,
    backoff: Backoff,
    store: Arc<CredentialStore>,
    state: Arc<IdentityState>,
}

/// Why an answer brought no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("none of its {0} identities is {1}")]
    NotOurs(usize, WorkloadId),
    #[error("the identity holds no certificate in DER")]
    Certificate,
    #[error("the identity holds no key")]
    Key,
    #[error("the certificate is not for us: {0}")]
    Rejected(#[from] Rejected),
}

impl Spire {
    pub fn new(socket: PathBuf, backoff: Backoff, store: Arc<CredentialStore>) -> Self {
        Self { socket, backoff, store, state: Arc::default() }
    }

    pub fn state(&self) -> Arc<IdentityState> {
        self.state.clone()
    }

    /// Follows the stream, forever; where the API says that the question itself is wrong, it is not asked again.
    pub async fn run(self) {
        let from = self.socket.display().to_string();
        tokio::join!(self.keep_up(), super::warn_until_ready(&self.store, from));
    }

    async fn keep_up(&self) {
        let mut delays = self.backoff.delays();
        loop {
            let status = match self.follow().await {
                Ok(answered) => {
                    if answered {
                        delays.reset();
                    }
                    tonic::Status::unavailable("the stream has ended")
                }
                Err(status) => status,
            };
            tracing::warn!(socket = ?self.socket, code = ?status.code(), message = ?status.message(),
                "no stream of certificates from the Workload API");
            self.state.refreshes_err.fetch_add(1, Relaxed);
            if status.code() == Code::InvalidArgument {
                tracing::error!("the Workload API does not take the question; it is not asked again");
                return std::future::pending().await;
            }
            sleep(delays.next_delay()).await;
        }
    }

    /// One stream, to its end. Whether it said anything.
    async fn follow(&self) -> Result<bool, tonic::Status> {
        let api = Endpoint::from_static("http://workload-api");
        let connecting = api.connect_with_connector(Unix(self.socket.clone()));
        let channel = timeout(CONNECT_LIMIT, connecting).await;
        let channel = channel.map_err(|_| tonic::Status::deadline_exceeded("the socket does not answer"))?;
        let channel = channel.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let first = async {
            let mut answers = spiffe::fetch(channel).await?;
            Ok((answers.message().await?, answers))
        };
        // It answers at once with what there is, and then only where something has changed.
        let first = timeout(ANSWER_LIMIT, first).await;
        let (mut next, mut answers) = first
            .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("nothing is said on the socket")))?;
        let answered = next.is_some();
        while let Some(answer) = next {
            match self.install(answer) {
                Ok(until) => {
                    tracing::info!(id = %self.store.local(), "certified by the Workload API");
                    self.state.succeeded(until);
                }
                Err(error) => {
                    tracing::warn!(id = %self.store.local(), %error, "an answer of the Workload API cannot be used");
                    self.state.refreshes_err.fetch_add(1, Relaxed);
                }
            }
            next = answers.message().await?;
        }
        Ok(answered)
    }

    /// Takes our identity of those that there are; returns when its certificate ends.
    fn install(&self, answer: X509SvidResponse) -> Result<SystemTime, Unusable> {
        let ours = self.store.local();
        let count = answer.svids.len();
        let found =
            answer.svids.into_iter().find(|svid| svid.spiffe_id.parse::<WorkloadId>().as_ref() == Ok(ours));
        let svid = found.ok_or_else(|| Unusable::NotOurs(count, ours.clone()))?;
        let X509Svid { x509_svid, x509_svid_key, .. } = svid;
        if x509_svid_key.is_empty() {
            return Err(Unusable::Key);
        }
        let mut chain = split(&x509_svid).ok_or(Unusable::Certificate)?;
        let until = not_after(chain.first().ok_or(Unusable::Certificate)?).ok_or(Unusable::Certificate)?;
        let leaf = chain.remove(0);
        self.store.install(leaf, chain, &PrivatePkcs8KeyDer::from(x509_svid_key).into(), until)?;
        Ok(until)
    }
}

/// Certificates that stand one after the other.
fn split(mut der: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut chain = Vec::new();
    while !der.is_empty() {
        let (rest, _) = x509_parser::parse_x509_certificate(der).ok()?;
        let (certificate, rest) = der.split_at(der.len() - rest.len());
        chain.push(CertificateDer::from(certificate.to_vec()));
        der = rest;
    }
    Some(chain)
}

fn not_after(leaf: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let seconds = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Connects to one socket, whatever address it is asked for.
#[derive(Clone, Debug)]
struct Unix(PathBuf);

impl tower_service::Service<Uri> for Unix {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(path).await?)) })
    }
}

#[cfg(test)]
mod tests;

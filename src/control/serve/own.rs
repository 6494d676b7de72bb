//! The control plane's own certificates: issued by its own authority, renewed in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use crate::control::ca::{Authority, Issuing};
use crate::drain::Drain;
use crate::model::WorkloadId;
use crate::tls::{CredentialStore, Rejected};

/// Why the control plane cannot present itself.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    #[error("signing failed: {0}")]
    Signing(#[from] rcgen::Error),
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error("the new trust anchors cannot be used: {0}")]
    Anchors(rustls::Error),
}

/// Wait after a failure, and at least this long between renewals.
const MIN_RENEWAL: Duration = Duration::from_secs(10);

/// A store with a certificate for `id`, kept fresh by a task until drained, also when issuer or trust anchors are replaced.
pub(super) fn keep(
    mut issuing: Issuing,
    id: WorkloadId,
    drain: &Drain,
) -> Result<Arc<CredentialStore>, OwnError> {
    let mut authority = issuing.now();
    let store = CredentialStore::new(id, authority.anchors().clone());
    let mut expiry = renew(&authority, &store)?;
    let (kept, draining) = (store.clone(), drain.clone());
    drain.spawn(async move {
        loop {
            tokio::select! {
                () = draining.signaled() => return,
                () = tokio::time::sleep(until_renewal(expiry)) => {}
                replaced = issuing.replaced() => authority = replaced,
            }
            match renew_under(&authority, &store).await {
                Ok(renewed) => expiry = renewed,
                Err(error) => tracing::warn!(id = %store.local(), %error, "own certificate not renewed"),
            }
        }
    });
    Ok(kept)
}

/// By the authority's own trust anchors, which may be other ones than before.
async fn renew_under(authority: &Authority, store: &CredentialStore) -> Result<SystemTime, OwnError> {
    if !store.anchors().is_same_set(authority.anchors()) {
        store.trust(authority.anchors().clone()).await.map_err(OwnError::Anchors)?;
    }
    renew(authority, store)
}

fn renew(authority: &Authority, store: &CredentialStore) -> Result<SystemTime, OwnError> {
    let (issued, key) = authority.own(store.local(), SystemTime::now())?;
    let intermediates = issued.intermediates.into_iter().map(CertificateDer::from).collect();
    store.install(CertificateDer::from(issued.leaf), intermediates, &key, issued.valid_until)?;
    Ok(issued.valid_until)
}

/// At 70 % of what is left, as workloads do (contract 2.1).
fn until_renewal(expiry: SystemTime) -> Duration {
    let left = expiry.duration_since(SystemTime::now()).unwrap_or_default();
    left.mul_f64(0.7).max(MIN_RENEWAL)
}

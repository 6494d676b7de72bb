//! Keeps this proxy's certificate fresh (contract 2.1).
//!
//! The key and the signing request are made once and used for every renewal; the service-account token is
//! read again each time, since the kubelet replaces it. Every certificate goes through
//! [`CredentialStore::install`], which refuses what is not ours.

pub mod certify;
pub mod key;
pub mod spire;
pub mod trust;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::sleep;

use self::key::Documents;
use crate::controller::Controller;
use crate::tls::CredentialStore;

/// How often to say that the first certificate is still missing (contract 1.1).
const WARN_EVERY: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// The service-account token that proves to the issuer who we are.
    pub token_file: PathBuf,
    /// Bounds of the time between two attempts.
    pub min_refresh: Duration,
    pub max_refresh: Duration,
}

/// Renews the certificate in a [`CredentialStore`] for as long as it runs.
#[derive(Debug)]
pub struct Identity {
    config: IdentityConfig,
    documents: Documents,
    controller: Controller,
    store: Arc<CredentialStore>,
    state: Arc<IdentityState>,
}

/// What has happened so far, for metrics. Times are Unix seconds, 0 for never.
#[derive(Debug, Default)]
pub struct IdentityState {
    pub refreshes_ok: AtomicU64,
    pub refreshes_err: AtomicU64,
    /// When the current certificate ends.
    pub expiry: AtomicU64,
    /// When the current certificate was installed.
    pub last_refresh: AtomicU64,
}

impl Identity {
    /// `controller` is the identity service; each attempt makes a connection of its own to it. `documents`
    /// must have been made for the store's local identity.
    pub fn new(
        config: IdentityConfig,
        documents: Documents,
        controller: Controller,
        store: Arc<CredentialStore>,
    ) -> Self {
        Self { config, documents, controller, store, state: Arc::default() }
    }

    pub fn state(&self) -> Arc<IdentityState> {
        self.state.clone()
    }

    /// Certifies and renews, forever. Dropping the future ends it at any point.
    pub async fn run(self) {
        tokio::join!(self.renew(), warn_until_ready(&self.store, self.controller.authority()));
    }

    async fn renew(&self) {
        let mut expiry = None;
        let mut trust = self.store.trust_changes();
        loop {
            match self.certify().await {
                Ok(until) => {
                    tracing::info!(id = %self.store.local(), "certified");
                    expiry = Some(until);
                    self.state.succeeded(until);
                }
                Err(error) => {
                    tracing::warn!(id = %self.store.local(), %error, "could not obtain a certificate");
                    self.state.refreshes_err.fetch_add(1, Relaxed);
                }
            }
            // Where what is trusted has changed, a certificate that no longer leads there is of no use to anybody.
            let untrusted = !self.store.is_trusted();
            let pause = if untrusted {
                self.config.min_refresh
            } else {
                self.config.refresh_in(expiry, SystemTime::now())
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.no_longer_trusted(&mut trust), if !untrusted => {}
            }
        }
    }

    /// Resolves when trust anchors come by which our own certificate is worth nothing.
    async fn no_longer_trusted(&self, trust: &mut watch::Receiver<u64>) {
        // The sender lives in the store, so waiting cannot end in an error.
        while trust.changed().await.is_ok() && self.store.is_trusted() {}
    }
}

async fn warn_until_ready(store: &CredentialStore, from: impl fmt::Display) {
    while tokio::time::timeout(WARN_EVERY, store.ready()).await.is_err() {
        tracing::warn!(id = %store.local(), %from, "still waiting for the first certificate");
    }
}

impl IdentityConfig {
    /// 70 % of what is left until `expiry`, within the bounds. After a failure the same formula on the same
    /// expiry: attempts come closer together as the end comes nearer.
    fn refresh_in(&self, expiry: Option<SystemTime>, now: SystemTime) -> Duration {
        let left = expiry.and_then(|expiry| expiry.duration_since(now).ok()).unwrap_or_default();
        (left / 10 * 7).min(self.max_refresh).max(self.min_refresh)
    }
}

impl IdentityState {
    fn succeeded(&self, until: SystemTime) {
        self.refreshes_ok.fetch_add(1, Relaxed);
        self.expiry.store(unix_seconds(until), Relaxed);
        self.last_refresh.store(unix_seconds(SystemTime::now()), Relaxed);
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;

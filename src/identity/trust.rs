//! Whom this proxy trusts, while it runs: follows the file of trust anchors, and ends what peers may no longer keep.
//!
//! The file is read every second, whatever replaces it: a mounted volume changes by symbolic links that no watch on the
//! file itself would see. A file that cannot be used changes nothing, and is an alarm until it can.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::{ExpiredPeers, TrustSource};
use crate::tls::{CredentialStore, InvalidAnchors, TrustAnchors};

/// How often the file, and the peers' dates, are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a file that cannot be used is said to be so.
const REMIND: Duration = Duration::from_secs(60);
/// An anchor has one or two thousand bytes.
const LARGEST: u64 = 1 << 20;

/// Why trust anchors are not taken into use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{path:?} cannot be read: {error}")]
    Read { path: PathBuf, error: io::Error },
    #[error("{0:?} is not a file of at most {LARGEST} bytes")]
    Size(PathBuf),
    #[error("{path:?}: {error}")]
    Invalid { path: PathBuf, error: InvalidAnchors },
    #[error("they cannot be used with the certificate of this proxy: {0}")]
    Own(rustls::Error),
}

/// What has happened so far, for metrics.
#[derive(Debug, Default)]
pub struct TrustState {
    /// How many anchors are in force.
    pub anchors: AtomicU64,
    /// Whether the file cannot be used, so that older anchors are in force.
    pub stale: AtomicBool,
    pub reloads_ok: AtomicU64,
    pub reloads_err: AtomicU64,
}

/// Follows trust for as long as it runs.
#[derive(Debug)]
pub struct Trust {
    store: Arc<CredentialStore>,
    expired: ExpiredPeers,
    file: Option<Followed>,
    state: Arc<TrustState>,
}

/// A file, and what of it is in force.
#[derive(Debug)]
struct Followed {
    path: PathBuf,
    in_force: Option<Vec<u8>>,
    /// What is wrong with what it says now, and when that was said last.
    wrong: Option<(String, Instant)>,
}

/// The anchors that a proxy starts with.
///
/// # Errors
/// A file must be good as a whole; of a text it is enough that one of its certificates is (contract 2.1).
pub fn first(source: &TrustSource) -> Result<TrustAnchors, Unusable> {
    match source {
        TrustSource::Text(text) => TrustAnchors::from_pem(text.0.as_bytes())
            .map_err(|error| Unusable::Invalid { path: PathBuf::new(), error }),
        TrustSource::File(path) => parse(path, &read(path)?),
    }
}

impl Trust {
    /// `store` trusts what `source` said when the proxy started.
    pub fn new(source: &TrustSource, expired: ExpiredPeers, store: Arc<CredentialStore>) -> Self {
        let file = match source {
            TrustSource::Text(_) => None,
            TrustSource::File(path) => Some(Followed { path: path.clone(), in_force: None, wrong: None }),
        };
        let state =
            TrustState { anchors: AtomicU64::new(store.anchors().len() as u64), ..TrustState::default() };
        Self { store, expired, file, state: state.into() }
    }

    pub fn state(&self) -> Arc<TrustState> {
        self.state.clone()
    }

    /// Follows, forever. Dropping the future ends it at any point.
    pub async fn run(mut self) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.follow().await;
            self.store.look(self.expired);
        }
    }

    /// Takes what the file says into use, if it is something new.
    async fn follow(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.take_into_use(&self.store).await {
            Ok(None) => {}
            Ok(Some(count)) => {
                info!(path = ?file.path, count, "trust anchors reloaded");
                self.state.anchors.store(count as u64, Relaxed);
                self.state.reloads_ok.fetch_add(1, Relaxed);
            }
            Err(error) => {
                if file.complain(error.to_string()) {
                    self.state.reloads_err.fetch_add(1, Relaxed);
                }
                return self.state.stale.store(true, Relaxed);
            }
        }
        if file.wrong.take().is_some() {
            info!(path = ?file.path, "the file of trust anchors can be used again");
        }
        self.state.stale.store(false, Relaxed);
    }
}

impl Followed {
    /// How many anchors are in force now, if they are others than before.
    async fn take_into_use(&mut self, store: &CredentialStore) -> Result<Option<usize>, Unusable> {
        let bytes = read(&self.path)?;
        if self.in_force.as_ref() == Some(&bytes) {
            return Ok(None);
        }
        let anchors = parse(&self.path, &bytes)?;
        let count = anchors.len();
        let news = !store.anchors().is_same_set(&anchors);
        if news {
            store.trust(anchors).await.map_err(Unusable::Own)?;
        }
        self.in_force = Some(bytes);
        Ok(news.then_some(count))
    }

    /// Says what is wrong, if it has not been said lately. Whether it is something new.
    fn complain(&mut self, text: String) -> bool {
        let known = self.wrong.take().filter(|(known, _)| *known == text);
        let (is_new, said) = match known {
            Some((_, said)) => (false, said),
            None => (true, Instant::now()),
        };
        let said = if is_new || said.elapsed() >= REMIND {
            warn!(error = text, "the file of trust anchors cannot be used; the last good ones stay in force");
            Instant::now()
        } else {
            said
        };
        self.wrong = Some((text, said));
        is_new
    }
}

/// Reads the whole file, never more than it may have.
fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let failed = |error| Unusable::Read { path: path.to_owned(), error };
    // Nobody may ever write into what is no file, and reading it would wait for that.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Unusable::Size(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST { Err(Unusable::Size(path.to_owned())) } else { Ok(bytes) }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<TrustAnchors, Unusable> {
    TrustAnchors::from_whole_pem(bytes).map_err(|error| Unusable::Invalid { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests;

//! How long may a peer keep a connection?
//!
//! A handshake proves who is there at that moment, and a connection may last for weeks. Meanwhile the peer's certificate
//! expires, or whoever issued it is no longer trusted. Each chain that open connections were proven by is kept, once for
//! all of its connections, and looked at again: at every change of the trust anchors, and when one of its certificates
//! ends. A chain that does not hold any more is over: HTTP is drained. Where the connections are to end as well, opaque ones
//! do at once, and HTTP ones that have not finished after [`GRACE`].

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::anchors::{Role, TrustAnchors};
use super::proven::{Fingerprint, fingerprint};
use super::subject;
use crate::config::ExpiredPeers;

/// How long a request may take to finish on a connection whose peer is no longer trusted. With the time that it takes to
/// see that a file has changed, all are gone within a minute.
pub const GRACE: Duration = Duration::from_secs(30);

/// Everybody that this workload is connected to by mutual TLS.
#[derive(Debug, Default)]
pub struct Peers {
    chains: Arc<Mutex<Chains>>,
    /// Peers that lost their right because a trust anchor was removed.
    pub untrusted: AtomicU64,
    /// Peers whose certificate ended before their connections.
    pub expired: AtomicU64,
}

#[derive(Debug, Default)]
struct Chains {
    /// What new connections may be tied to.
    known: HashMap<(Role, Fingerprint), Weak<Chain>>,
    /// What is over and still has connections.
    over: Vec<Weak<Chain>>,
}

/// The right of one peer to a connection. Clones are of the same peer; the last one forgets it.
#[derive(Clone, Debug)]
pub struct Right(Arc<Chain>);

#[derive(Debug)]
struct Chain {
    key: (Role, Fingerprint),
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    /// The next end of one of its certificates, in seconds since the epoch.
    next_expiry: AtomicU64,
    /// Nothing new is to begin.
    over: Signal,
    /// What has no end of its own is to end.
    closed: Signal,
    cut_at: Mutex<Option<Instant>>,
    /// Nothing may be left.
    cut: Signal,
    among: Weak<Mutex<Chains>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Trust,
    Time,
}

/// Something that happens once, and that many wait for at next to no cost.
#[derive(Debug, Default)]
struct Signal {
    given: AtomicBool,
    token: CancellationToken,
}

impl Signal {
    /// Whether it had not been given before.
    fn give(&self) -> bool {
        let first = !self.given.swap(true, Ordering::AcqRel);
        self.token.cancel();
        first
    }

    fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    /// A connection's task is polled for every piece of its traffic: only the first poll takes a place in the queue.
    async fn wait(&self) {
        let mut cancelled = pin!(self.token.cancelled());
        let mut waiting: Option<Waker> = None;
        poll_fn(|cx| {
            if self.is_given() {
                return Poll::Ready(());
            }
            if waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            waiting = Some(cx.waker().clone());
            cancelled.as_mut().poll(cx)
        })
        .await;
    }
}

impl Right {
    /// Whether the peer has lost it: nothing new is begun on the connection then.
    pub fn is_over(&self) -> bool {
        self.0.over.is_given()
    }

    /// Cancelled when the peer has lost it; may be cancelled for another reason, which does not touch the right.
    pub fn over(&self) -> CancellationToken {
        self.0.over.token.child_token()
    }
}

/// Resolves when an opaque connection is to end; never, where its peer has proven nothing.
pub async fn closed(right: Option<&Right>) {
    match right {
        Some(right) => right.0.closed.wait().await,
        None => std::future::pending().await,
    }
}

/// Resolves when one between two such peers is.
pub async fn either_closed([one, other]: [Option<Right>; 2]) {
    tokio::select! {
        () = closed(one.as_ref()) => {}
        () = closed(other.as_ref()) => {}
    }
}

/// Resolves when an HTTP connection may not even finish what it has.
pub async fn cut(right: Option<&Right>) {
    match right {
        Some(right) => right.0.cut.wait().await,
        None => std::future::pending().await,
    }
}

impl Peers {
    /// The right of the peer that has proven this chain just now.
    pub(super) fn tie(
        &self,
        role: Role,
        leaf: &CertificateDer<'static>,
        intermediates: &[CertificateDer<'static>],
    ) -> Right {
        let key = (role, fingerprint(leaf, intermediates));
        let known = self.chains.lock().known.get(&key).and_then(Weak::upgrade);
        // One that is over and has been proven again: its older connections end all the same.
        if let Some(chain) = known.filter(|chain| !chain.over.is_given()) {
            return Right(chain);
        }
        let now = UnixTime::now().as_secs();
        let chain = Arc::new(Chain {
            key,
            leaf: leaf.clone(),
            intermediates: intermediates.to_vec(),
            next_expiry: AtomicU64::new(next_expiry(leaf, intermediates, now)),
            over: Signal::default(),
            closed: Signal::default(),
            cut_at: Mutex::default(),
            cut: Signal::default(),
            among: Arc::downgrade(&self.chains),
        });
        let mut chains = self.chains.lock();
        // Another connection may have proven the same meanwhile: what is looked at again is one chain for both.
        if let Some(first) =
            chains.known.get(&key).and_then(Weak::upgrade).filter(|first| !first.over.is_given())
        {
            drop(chains); // Forgetting a chain asks for them.
            return Right(first);
        }
        chains.known.insert(key, Arc::downgrade(&chain));
        drop(chains);
        Right(chain)
    }

    /// Looks at every chain again, by other trust anchors. Others run in between: each costs two signatures.
    pub(super) async fn review(&self, anchors: &TrustAnchors) {
        for chain in self.all() {
            if !chain.leads_to(anchors) {
                self.end(&chain, Lost::Trust, true);
            }
            yield_now().await;
        }
    }

    /// Ends the chains whose time has come.
    pub(super) fn look(&self, anchors: &TrustAnchors, expired: ExpiredPeers, now: UnixTime) {
        for chain in self.all() {
            if chain.cut_at.lock().is_some_and(|at| at <= Instant::now()) {
                chain.cut.give();
            }
            if chain.over.is_given() || expired == ExpiredPeers::Keep || !chain.ends_before(now) {
                continue;
            }
            if chain.verifies(anchors, now) {
                // What has ended was no part of its path.
                let next = next_expiry(&chain.leaf, &chain.intermediates, now.as_secs());
                chain.next_expiry.store(next, Ordering::Relaxed);
            } else {
                self.end(&chain, Lost::Time, expired == ExpiredPeers::Close);
            }
        }
    }

    fn all(&self) -> Vec<Arc<Chain>> {
        let chains = self.chains.lock();
        chains.known.values().chain(&chains.over).filter_map(Weak::upgrade).collect()
    }

    /// Nothing new begins on the connections of this chain, and with `close` none of them stays.
    fn end(&self, chain: &Arc<Chain>, lost: Lost, close: bool) {
        if close {
            chain.cut_at.lock().get_or_insert_with(|| Instant::now() + GRACE);
            chain.closed.give();
        }
        if !chain.over.give() {
            return;
        }
        {
            let mut chains = self.chains.lock();
            // Another connection may have proven the same meanwhile, which is a right of its own.
            if chains.known.get(&chain.key).is_some_and(|known| known.as_ptr() == Arc::as_ptr(chain)) {
                chains.known.remove(&chain.key);
            }
            chains.over.push(Arc::downgrade(chain));
        }
        let (counter, why) = match lost {
            Lost::Trust => (&self.untrusted, "its certificate no longer leads to a trust anchor"),
            Lost::Time => (&self.expired, "its certificate has expired"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let peer = subject::client(&chain.leaf).map(|id| id.to_string());
        info!(peer, role = ?chain.key.0, close, "the connections of a peer end: {why}");
    }
}

impl Chain {
    /// Whether it ends at a trust anchor, regardless of what has expired since it was proven.
    fn leads_to(&self, anchors: &TrustAnchors) -> bool {
        let now = UnixTime::now();
        let valid = Duration::from_secs(self.next_expiry.load(Ordering::Relaxed));
        let at = if self.ends_before(now) { UnixTime::since_unix_epoch(valid) } else { now };
        self.verifies(anchors, at)
    }

    fn verifies(&self, anchors: &TrustAnchors, at: UnixTime) -> bool {
        anchors.verify_peer(self.key.0, &self.leaf, &self.intermediates, at).is_ok()
    }

    /// Certificates are valid until the end of the second that they name.
    fn ends_before(&self, now: UnixTime) -> bool {
        self.next_expiry.load(Ordering::Relaxed) < now.as_secs()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let Some(among) = self.among.upgrade() else { return };
        let mut chains = among.lock();
        // Another connection may have proven the same meanwhile.
        if chains.known.get(&self.key).is_some_and(|known| known.strong_count() == 0) {
            chains.known.remove(&self.key);
        }
        chains.over.retain(|over| over.strong_count() > 0);
    }
}

/// The first end after `now` of any of the certificates; one that cannot be read ends now, and is looked at then.
fn next_expiry(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: u64) -> u64 {
    let ends = std::iter::once(leaf).chain(intermediates).map(|certificate| {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    });
    ends.map(|end| end.unwrap_or(now)).filter(|end| *end >= now).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

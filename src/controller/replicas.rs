//! The replicas of a controller: where its name leads now, which of them can be used, and one HTTP/2
//! connection to each that is.
//!
//! Requests go to the less loaded of two ready replicas (contract 1.4). One that cannot be reached is tried
//! again in the background. One that is gone from DNS is not chosen again; what runs on its connection ends
//! by itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::connect::{self, Http2};
use super::{Error, Reach};
use crate::balance::{Balancer, Pick};
use crate::model::name::Host;
use crate::model::outbound::Load;
use crate::telemetry::balancers::{Balancing, State};

/// All replicas. Looking for them begins with the first request, and ends with this.
pub(super) struct Replicas {
    shared: Arc<Shared>,
    following: OnceLock<Option<JoinHandle<()>>>,
}

struct Shared {
    reach: Reach,
    balancer: Balancer<Replica>,
    /// A connection was lost: its replica may have moved.
    lost: Notify,
    /// What went wrong last, for whoever waits in vain.
    trouble: Mutex<Option<Arc<Error>>>,
}

/// One address.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// Held while dialling, so that a burst of requests opens one connection.
    link: tokio::sync::Mutex<Link>,
    /// Connections in a row that were not made, or carried no answer.
    failures: AtomicU32,
    /// It is being tried in the background.
    resting: AtomicBool,
}

/// The connection, if there is one, and how many there were.
#[derive(Debug, Default)]
struct Link {
    http: Option<Http2>,
    number: u32,
}

/// A place for one request.
pub(super) struct Lease {
    pub(super) pick: Pick<Replica>,
    pub(super) http: Http2,
    number: u32,
}

impl Replicas {
    pub(super) fn new(reach: Reach) -> Self {
        let balancer = Balancer::new(Load::default());
        let shared = Shared { reach, balancer, lost: Notify::new(), trouble: Mutex::default() };
        let shared = Arc::new(shared);
        shared.reach.counts.balances(&shared);
        Self { shared, following: OnceLock::new() }
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.shared.reach
    }

    /// A replica and a connection to it that takes a request now.
    ///
    /// # Errors
    /// There was none before the deadline.
    pub(super) async fn ready(&self, deadline: Instant) -> Result<Lease, Error> {
        self.following.get_or_init(|| self.shared.start());
        let last = || {
            let controller = self.reach().authority.clone();
            Error::FailFast { controller, last: self.shared.trouble.lock().clone() }
        };
        loop {
            let Some(mut pick) = self.shared.balancer.pick() else {
                if self.shared.balancer.wait_ready(deadline).await {
                    continue;
                }
                return Err(last());
            };
            let addr = pick.addr();
            match tokio::time::timeout_at(deadline, pick.connection(addr, self.reach())).await {
                Ok(Ok((http, number))) => {
                    pick.restart();
                    return Ok(Lease { pick, http, number });
                }
                Ok(Err(error)) => self.shared.failed(pick, error.into()),
                Err(_) => return Err(last()),
            }
        }
    }

    /// The replica answered.
    pub(super) fn answered(&self, lease: &Lease) {
        lease.pick.failures.store(0, Relaxed);
        *self.shared.trouble.lock() = None;
    }

    /// The connection is of no use any more. The next one is made at once if this one has carried an answer.
    pub(super) fn lost(&self, lease: Lease) {
        let Lease { pick, number, .. } = lease;
        if !pick.forget(number) {
            // Whoever noticed first has seen to it.
            return pick.abandon();
        }
        self.shared.lost.notify_one();
        match pick.failures.fetch_add(1, Relaxed) {
            0 => pick.abandon(),
            _ => self.shared.rest(pick),
        }
    }

    #[cfg(test)]
    pub(super) fn addrs(&self) -> Vec<SocketAddr> {
        self.following.get_or_init(|| self.shared.start());
        self.shared.balancer.members().iter().map(|member| member.addr()).collect()
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        if let Some(Some(following)) = self.following.take() {
            following.abort();
        }
    }
}

impl Shared {
    /// An address is its own only replica; a name is followed.
    fn start(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        if let Host::Ip(ip) = &self.reach.config.host {
            self.reset(&[SocketAddr::new(*ip, self.reach.config.port)]);
            return None;
        }
        Some(tokio::spawn(follow(Arc::downgrade(self))))
    }

    /// Replicas that were known keep their connections.
    fn reset(&self, addrs: &[SocketAddr]) {
        let member = |addr: &SocketAddr| {
            self.balancer.get(*addr).unwrap_or_else(|| {
                let member = self.balancer.member(*addr, |_| Replica::default());
                member.set_ready(true);
                member
            })
        };
        self.reach.counts.resets.incr();
        self.balancer.reset(addrs.iter().map(member));
    }

    fn failed(self: &Arc<Self>, pick: Pick<Replica>, error: Error) {
        self.tell(error);
        self.lost.notify_one();
        pick.failures.fetch_add(1, Relaxed);
        self.rest(pick);
    }

    fn tell(&self, error: Error) {
        tracing::warn!(controller = %self.reach.authority, %error, "cannot reach the control plane");
        *self.trouble.lock() = Some(Arc::new(error));
    }

    /// The replica is not chosen until it has been reached again.
    fn rest(self: &Arc<Self>, pick: Pick<Replica>) {
        if let Some(member) = self.balancer.get(pick.addr()) {
            member.set_ready(false);
            if !member.resting.swap(true, Relaxed) {
                tokio::spawn(revive(Arc::downgrade(self), pick.addr()));
            }
        }
        pick.abandon();
    }
}

impl Balancing for Shared {
    fn state(&self) -> State {
        self.balancer.state()
    }
}

impl Replica {
    /// The connection, made if there is none, and its number.
    async fn connection(&self, addr: SocketAddr, reach: &Reach) -> Result<(Http2, u32), connect::Error> {
        let mut link = self.link.lock().await;
        if let Some(http) = link.http.as_ref().filter(|http| !http.is_closed()) {
            return Ok((http.clone(), link.number));
        }
        link.http = None;
        let http = connect::open(addr, &reach.session, &reach.config, &reach.store).await?;
        link.http = Some(http.clone());
        link.number = link.number.wrapping_add(1);
        Ok((http, link.number))
    }

    /// Whether this connection was there to be forgotten.
    fn forget(&self, number: u32) -> bool {
        // While it is locked, another one is being made.
        let Ok(mut link) = self.link.try_lock() else { return false };
        link.number == number && link.http.take().is_some()
    }
}

/// Asks DNS whenever its last answer no longer holds, and when a connection is lost. What cannot be
/// resolved leaves the replicas as they were.
async fn follow(shared: Weak<Shared>) {
    let Some(reach) = shared.upgrade().map(|shared| shared.reach.clone()) else { return };
    let Host::Name(name) = &reach.config.host else { return };
    let (mut retries, mut early) = (reach.config.backoff.delays(), reach.config.backoff.delays());
    loop {
        let resolved = reach.dns.resolve(name, reach.config.port).await;
        let Some(shared) = shared.upgrade() else { return };
        match resolved {
            Ok(found) => {
                retries.reset();
                tracing::debug!(controller = %reach.authority, ?found, "replicas");
                shared.reset(&found.addrs);
                tokio::select! {
                    () = sleep(found.ttl) => early.reset(),
                    () = shared.lost.notified() => sleep(early.next_delay()).await,
                }
            }
            Err(error) => {
                let pause = error.ttl().unwrap_or_else(|| retries.next_delay());
                shared.tell(error.into());
                sleep(pause).await;
            }
        }
    }
}

/// Tries a replica again until it is reached, or gone from DNS.
async fn revive(shared: Weak<Shared>, addr: SocketAddr) {
    let known = || shared.upgrade().and_then(|shared| Some((shared.balancer.get(addr)?, shared)));
    loop {
        let Some((member, of)) = known() else { return };
        let failures = member.failures.load(Relaxed).saturating_sub(1);
        let pause = of.reach.config.backoff.delay(failures, fastrand::f64());
        drop((member, of));
        sleep(pause).await;
        let Some((member, of)) = known() else { return };
        let reach = of.reach.clone();
        drop(of);
        if member.connection(addr, &reach).await.is_ok() {
            member.resting.store(false, Relaxed);
            member.set_ready(true);
            return;
        }
        member.failures.fetch_add(1, Relaxed);
    }
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replicas").field(&self.shared.balancer).finish()
    }
}

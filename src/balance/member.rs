//! One of the endpoints among which a balancer chooses: whether it can be used, and how loaded it is.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::ewma::Ewma;
use super::standing::{self, Standing};
use crate::model::outbound::{Load, Penalty};

/// One address and the way to use it, with its readiness and load.
pub struct Member<T> {
    pub(super) addr: SocketAddr,
    pub(super) value: T,
    pub(super) local: bool,
    pub(super) readiness: Readiness,
    pub(super) in_flight: AtomicU32,
    pub(super) latency: Ewma,
    pub(super) penalty: Option<Penalty>,
}

/// Tells a balancer whether a member can be used. A new member is not ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    pub(super) standing: Arc<standing::Shared>,
    pub(super) changed: Arc<Notify>,
}

impl<T> Member<T> {
    pub(super) fn new(
        addr: SocketAddr,
        local: bool,
        load: Load,
        readiness: Readiness,
        make: impl FnOnce(Readiness) -> T,
    ) -> Self {
        let value = make(readiness.clone());
        let (latency, penalty) = (Ewma::new(load, Instant::now()), load.penalty);
        Self { addr, value, local, readiness, in_flight: AtomicU32::new(0), latency, penalty }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn is_ready(&self) -> bool {
        self.readiness.is_ready()
    }

    pub fn set_ready(&self, ready: bool) {
        self.readiness.set(ready);
    }

    /// For how long it has not answered.
    pub fn answered(&self, now: Instant) -> Duration {
        self.latency.age(now)
    }

    /// Picks that are waiting for their response.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Seconds of expected latency times what is waiting for it; less is better.
    pub fn load(&self, now: Instant) -> f64 {
        self.latency.seconds(now) * (f64::from(self.in_flight()) + 1.0)
    }
}

impl<T> Deref for Member<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> fmt::Debug for Member<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("addr", &self.addr)
            .field("ready", &self.is_ready())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Readiness {
    /// Of a member that is not ready yet, whose balancer is told so of each change.
    pub(super) fn new(changed: Arc<Notify>) -> Self {
        Self { standing: Arc::new(standing::Shared::new(Instant::now())), changed }
    }

    pub fn is_ready(&self) -> bool {
        self.standing.get() != Standing::Down && self.standing.gate.admits()
    }

    pub(super) fn is_preferred(&self, now: Instant) -> bool {
        self.standing.gate.admits() && self.standing.is_preferred(now, fastrand::f64)
    }

    /// Its circuit is open: it is not chosen, whatever else is known of it.
    pub fn trip(&self) {
        self.standing.gate.shut();
    }

    /// It is chosen once, to see.
    pub fn admit_one(&self) {
        if self.standing.gate.admit_one() {
            self.changed.notify_waiters();
        }
    }

    /// Its circuit is closed.
    pub fn recover(&self) {
        self.standing.gate.open();
        self.changed.notify_waiters();
    }

    pub fn set(&self, ready: bool) {
        match ready {
            true => self.rise(Standing::Ready),
            false => self.change(&[Standing::Doubted, Standing::Returning, Standing::Ready], Standing::Down),
        }
    }

    /// It may be down: it is chosen where there is no other.
    pub fn doubt(&self) {
        self.change(&[Standing::Returning, Standing::Ready], Standing::Doubted);
    }

    /// It is not down after all.
    pub fn trust(&self) {
        self.change(&[Standing::Doubted], Standing::Ready);
    }

    /// It was down, and is ready again: it is chosen more and more often.
    pub fn come_back(&self) {
        self.rise(Standing::Returning);
    }

    fn rise(&self, to: Standing) {
        if self.standing.change(&[Standing::Down], to, Instant::now()) {
            self.changed.notify_waiters();
        }
    }

    fn change(&self, from: &[Standing], to: Standing) {
        self.standing.change(from, to, Instant::now());
    }
}

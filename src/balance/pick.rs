//! A member in use: what is measured of it, until its answer has begun.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::locality::LocalFirst;
use super::member::{Member, Readiness};
use super::penalty;

/// A chosen member, in use until this is dropped or has [`responded`](Pick::responded).
pub struct Pick<T> {
    member: Arc<Member<T>>,
    /// Where it counts as local.
    local: Option<Arc<LocalFirst>>,
    since: Instant,
    in_flight: bool,
    /// The one that its circuit lets through to see.
    probe: bool,
}

impl<T> Pick<T> {
    /// `None` where its circuit lets no more through.
    pub(super) fn of(member: &Arc<Member<T>>, local: Option<Arc<LocalFirst>>, now: Instant) -> Option<Self> {
        let probe = member.readiness.standing.gate.enter()?;
        member.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(local) = &local {
            local.begin();
        }
        Some(Self { member: member.clone(), local, since: now, in_flight: true, probe })
    }

    /// What came of it is known: returns whether it is what its circuit waits for.
    pub fn judged(&mut self) -> bool {
        std::mem::take(&mut self.probe)
    }

    pub fn addr(&self) -> SocketAddr {
        self.member.addr
    }

    /// The answer has begun (HTTP: the first data of the response body): what was measured is
    /// recorded, and the pick no longer counts as in flight. Only the first call counts.
    pub fn responded(&mut self) {
        if self.release() {
            let now = Instant::now();
            self.member.latency.record(now.saturating_duration_since(self.since), now);
        }
    }

    /// The head of an answer has come. One that is a failure may count as a latency of its own, at once.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        let Some(penalty) = self.member.penalty else { return };
        if let Some(latency) = penalty::latency(penalty, status, headers, SystemTime::now())
            && self.release()
        {
            self.member.latency.record(latency, Instant::now());
        }
    }

    /// Measures from now on: what was waited for until here says nothing of the member's latency.
    pub fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// Gives the member back unused: nothing was learned about its latency.
    pub fn abandon(mut self) {
        self.release();
    }

    fn release(&mut self) -> bool {
        let held = std::mem::take(&mut self.in_flight);
        if held {
            self.member.in_flight.fetch_sub(1, Ordering::Relaxed);
            if let Some(local) = self.local.take() {
                local.end();
            }
        }
        held
    }
}

impl<T> Deref for Pick<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.member.value
    }
}

impl<T> Drop for Pick<T> {
    fn drop(&mut self) {
        self.responded();
        let Readiness { standing, changed } = &self.member.readiness;
        if self.probe && standing.gate.give_back() {
            changed.notify_waiters();
        }
    }
}

impl<T> fmt::Debug for Pick<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pick").field(&self.member).finish()
    }
}

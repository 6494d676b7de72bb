//! Which endpoint of a backend? Power of two choices over the ready ones, by peak-EWMA load
//! (contract 3.9).
//!
//! A [`Balancer`] knows no connections: whoever connects a [`Member`] tells when it is ready. Picks read
//! one snapshot and take no lock; a removed member is in no later snapshot, and lives on only in the
//! picks that were made before.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::model::endpoint::Locality;
use crate::model::outbound::{Load, LoadBand, Penalty};
use crate::telemetry::balancers::{Balancing, ByUse, Spill, State, Use};
use crate::telemetry::metric::Counter;

pub mod circuit;
mod ewma;
mod locality;
mod penalty;
mod pick;
mod standing;

use ewma::Ewma;
use locality::LocalFirst;
use pick::Choice;
pub use standing::Standing;

/// A changing set of members, keyed by address.
pub struct Balancer<T> {
    members: ArcSwap<Set<T>>,
    /// One change at a time, so that none is lost.
    writer: Mutex<()>,
    changed: Arc<Notify>,
    load: Load,
    /// For each [`Use`].
    local_first: ByUse<Option<Arc<LocalFirst>>>,
    updates: Updates,
}

/// The members at one time.
struct Set<T> {
    /// Local ones first; of each kind, ordered by address.
    all: Vec<Arc<Member<T>>>,
    /// How many are local. Where nobody asks for these first, none counts as such.
    local: usize,
}

/// How often the set has been told to change.
#[derive(Default)]
struct Updates {
    resets: Counter,
    additions: Counter,
    removals: Counter,
}

/// One address and the way to use it, with its readiness and load.
pub struct Member<T> {
    addr: SocketAddr,
    value: T,
    local: bool,
    readiness: Readiness,
    in_flight: AtomicU32,
    latency: Ewma,
    penalty: Option<Penalty>,
}

/// Tells a balancer whether a member can be used. A new member is not ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    standing: Arc<standing::Shared>,
    changed: Arc<Notify>,
}

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

impl<T> Balancer<T> {
    pub fn new(load: Load) -> Self {
        Self::local_first(load, ByUse::default())
    }

    /// Prefers local members in each [`Use`] for which there is a band.
    pub fn local_first(load: Load, bands: ByUse<Option<LoadBand>>) -> Self {
        let members = ArcSwap::from_pointee(Set { all: Vec::new(), local: 0 });
        let changed = Arc::new(Notify::new());
        let local_first = bands.map(|band| band.map(|band| Arc::new(LocalFirst::new(band))));
        Self { members, writer: Mutex::new(()), changed, load, local_first, updates: Updates::default() }
    }

    /// Makes a member, which is not in the set yet. What is made may keep the readiness and set it
    /// at any time.
    pub fn member(&self, addr: SocketAddr, make: impl FnOnce(Readiness) -> T) -> Arc<Member<T>> {
        self.member_at(addr, Locality::Unknown, make)
    }

    /// The same, of a member of which it is known where it is.
    pub fn member_at(
        &self,
        addr: SocketAddr,
        locality: Locality,
        make: impl FnOnce(Readiness) -> T,
    ) -> Arc<Member<T>> {
        let local = locality == Locality::Local && self.local_first.iter().any(Option::is_some);
        let now = Instant::now();
        let standing = Arc::new(standing::Shared::new(now));
        let readiness = Readiness { standing, changed: self.changed.clone() };
        let value = make(readiness.clone());
        let (latency, penalty) = (Ewma::new(self.load, now), self.load.penalty);
        Arc::new(Member { addr, value, local, readiness, in_flight: AtomicU32::new(0), latency, penalty })
    }

    /// The members now.
    pub fn members(&self) -> Vec<Arc<Member<T>>> {
        self.members.load().all.clone()
    }

    pub fn get(&self, addr: SocketAddr) -> Option<Arc<Member<T>>> {
        self.members.load().get(addr).cloned()
    }

    /// Adds members, in place of those with the same address.
    pub fn add(&self, new: impl IntoIterator<Item = Arc<Member<T>>>) {
        self.updates.additions.incr();
        self.change(|members| members.extend(new));
    }

    pub fn remove(&self, addrs: &[SocketAddr]) {
        if addrs.is_empty() {
            return;
        }
        self.updates.removals.incr();
        let gone: HashSet<SocketAddr> = addrs.iter().copied().collect();
        self.change(|members| members.retain(|member| !gone.contains(&member.addr)));
    }

    /// Replaces the whole set. A member that was in it before keeps its readiness and load.
    pub fn reset(&self, all: impl IntoIterator<Item = Arc<Member<T>>>) {
        self.updates.resets.incr();
        self.change(|members| {
            members.clear();
            members.extend(all);
        });
    }

    fn change(&self, apply: impl FnOnce(&mut Vec<Arc<Member<T>>>)) {
        let writer = self.writer.lock();
        let mut members = self.members();
        apply(&mut members);
        self.members.store(Arc::new(Set::of(members)));
        drop(writer);
        self.changed.notify_waiters();
    }

    /// Chooses between two ready members, of which none is doubted where there are others; `None` if none is ready.
    pub fn pick(&self) -> Option<Pick<T>> {
        let set = self.members.load();
        let now = Instant::now();
        let chosen = preferred(&set.all, now).or_else(|| choose(&set.all, now))?;
        // Another may have taken the only place that there was.
        Pick::of(chosen, None, now).or_else(|| self.pick())
    }

    /// The same, among local members alone while they can take more and this use is one that prefers them.
    pub fn pick_for(&self, used: Use) -> Option<Pick<T>> {
        let Some(local) = &self.local_first[used as usize] else { return self.pick() };
        let set = self.members.load();
        let now = Instant::now();
        let (near, far) = set.all.split_at(set.local);
        let chosen = if local.take(now, || near.iter().filter(|member| member.is_ready()).count()) {
            let certain = preferred(near, now).or_else(|| preferred(far, now));
            certain.or_else(|| choose(near, now)).or_else(|| choose(far, now))?
        } else {
            // Too much is better than none.
            let certain = preferred(far, now).inspect(|_| local.spilled()).or_else(|| preferred(near, now));
            certain.or_else(|| choose(far, now)).or_else(|| choose(near, now))?
        };
        Pick::of(chosen, chosen.local.then(|| local.clone()), now).or_else(|| self.pick_for(used))
    }

    /// Whether a pick would find a member.
    pub fn is_ready(&self) -> bool {
        self.members.load().all.iter().any(|member| member.is_ready())
    }

    /// Waits until a member is ready; false if none was by `deadline`.
    pub async fn wait_ready(&self, deadline: Instant) -> bool {
        loop {
            // Listen before looking, or a change in between would go unnoticed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_ready() {
                return true;
            }
            if timeout_at(deadline, changed).await.is_err() {
                return self.is_ready();
            }
        }
    }
}

impl<T: Send + Sync> Balancing for Balancer<T> {
    fn state(&self) -> State {
        let members = self.members.load();
        State {
            ready: members.all.iter().filter(|member| member.is_ready()).count(),
            members: members.all.len(),
            resets: self.updates.resets.value(),
            additions: self.updates.additions.value(),
            removals: self.updates.removals.value(),
            spill: None,
        }
    }

    fn spill(&self, used: Use) -> Option<Spill> {
        self.local_first[used as usize].as_ref().map(|local| local.state())
    }
}

/// One that is not doubted, nor held back since it was down.
fn preferred<T>(members: &[Arc<Member<T>>], now: Instant) -> Option<&Arc<Member<T>>> {
    pick::two(members, |member| member.readiness.is_preferred(now)).map(|choice| less_loaded(choice, now))
}

fn choose<T>(members: &[Arc<Member<T>>], now: Instant) -> Option<&Arc<Member<T>>> {
    pick::two(members, |member| member.is_ready()).map(|choice| less_loaded(choice, now))
}

/// The less loaded one of two.
fn less_loaded<T>(choice: Choice<'_, Arc<Member<T>>>, now: Instant) -> &Arc<Member<T>> {
    match choice {
        Choice::One(member) => member,
        Choice::Two(first, second) if second.load(now) < first.load(now) => second,
        Choice::Two(first, _) => first,
    }
}

impl<T> Set<T> {
    fn of(mut all: Vec<Arc<Member<T>>>) -> Self {
        // The last of those with one address wins: sorting is stable, removal keeps the first.
        all.reverse();
        all.sort_by_key(|member| member.addr);
        all.dedup_by_key(|member| member.addr);
        let local = all.iter().filter(|member| member.local).count();
        if local > 0 {
            all.sort_by_key(|member| !member.local);
        }
        Self { all, local }
    }

    fn get(&self, addr: SocketAddr) -> Option<&Arc<Member<T>>> {
        let (near, far) = self.all.split_at(self.local);
        [near, far].into_iter().find_map(|part| {
            let at = part.binary_search_by_key(&addr, |member| member.addr).ok()?;
            Some(&part[at])
        })
    }
}

impl<T> Member<T> {
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

impl Readiness {
    pub fn is_ready(&self) -> bool {
        self.standing.get() != Standing::Down && self.standing.gate.admits()
    }

    fn is_preferred(&self, now: Instant) -> bool {
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

impl<T> Pick<T> {
    /// `None` where its circuit lets no more through.
    fn of(member: &Arc<Member<T>>, local: Option<Arc<LocalFirst>>, now: Instant) -> Option<Self> {
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

impl<T> fmt::Debug for Balancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.load().all.iter()).finish()
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

impl<T> fmt::Debug for Pick<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pick").field(&self.member).finish()
    }
}

#[cfg(test)]
mod tests;

//! Which endpoint of a backend? Power of two choices over the ready ones, by peak-EWMA load
//! (contract 3.9).
//!
//! A [`Balancer`] knows no connections: whoever connects a [`Member`] tells when it is ready. Picks read
//! one snapshot and take no lock; a removed member is in no later snapshot, and lives on only in the
//! picks that were made before.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::model::endpoint::Locality;
use crate::model::outbound::{Load, LoadBand};
use crate::telemetry::balancers::{Balancing, ByUse, Spill, State, Use};
use crate::telemetry::metric::Counter;

mod choice;
pub mod circuit;
mod ewma;
mod locality;
mod member;
mod penalty;
mod pick;
mod standing;

use choice::Choice;
use locality::LocalFirst;
pub use member::{Member, Readiness};
pub use pick::Pick;
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
        let readiness = Readiness::new(self.changed.clone());
        Arc::new(Member::new(addr, local, self.load, readiness, make))
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
    choice::two(members, |member| member.readiness.is_preferred(now)).map(|choice| less_loaded(choice, now))
}

fn choose<T>(members: &[Arc<Member<T>>], now: Instant) -> Option<&Arc<Member<T>>> {
    choice::two(members, |member| member.is_ready()).map(|choice| less_loaded(choice, now))
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

impl<T> fmt::Debug for Balancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.load().all.iter()).finish()
    }
}

#[cfg(test)]
mod tests;

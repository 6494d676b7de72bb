//! How fast may they? Rate limits of inbound ports (contract 4.5), as token buckets that hold one second's worth.

pub mod retries;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::WorkloadId;
use crate::model::inbound::RateLimit;

/// What was exceeded, as metrics tell it: an override counts as its client's own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Total,
    Identity,
}

/// The state of one port's limit. A policy that leaves the limit as it was leaves its state alone too.
#[derive(Default)]
pub struct Limiter(Mutex<Option<Buckets>>);

struct Buckets {
    of: Arc<RateLimit>,
    total: Bucket,
    /// By override, in order.
    overrides: Vec<Bucket>,
    identities: HashMap<Option<WorkloadId>, Bucket>,
    /// How many identities there may be before the idle ones are forgotten.
    room: usize,
}

/// When the next request would be on time, if they came evenly spaced; before the first one, at any time.
#[derive(Clone, Copy, Default)]
struct Bucket(Option<Instant>);

/// Identities that are remembered without a look at who is idle.
const ROOM: usize = 1024;

impl Limiter {
    /// Takes a request into account: of all together, then of its client by the override that names it, else with
    /// those of the same identity. Clients without one share a bucket.
    ///
    /// # Errors
    /// The limit that it is beyond.
    pub fn check(&self, limit: &Arc<RateLimit>, id: Option<&WorkloadId>, now: Instant) -> Result<(), Scope> {
        let mut state = self.0.lock();
        let buckets = match &mut *state {
            Some(buckets) if Arc::ptr_eq(&buckets.of, limit) => buckets,
            Some(buckets) if buckets.of == *limit => {
                buckets.of = limit.clone();
                buckets
            }
            state => state.insert(Buckets::new(limit.clone())),
        };
        buckets.check(id, now)
    }
}

impl Buckets {
    fn new(of: Arc<RateLimit>) -> Self {
        let overrides = vec![Bucket::default(); of.overrides.len()];
        Self { of, total: Bucket::default(), overrides, identities: HashMap::new(), room: ROOM }
    }

    fn check(&mut self, id: Option<&WorkloadId>, now: Instant) -> Result<(), Scope> {
        let limit = self.of.clone();
        if limit.total.is_some_and(|rate| !self.total.take(rate, now)) {
            return Err(Scope::Total);
        }
        let own = limit.overrides.iter().position(|one| id.is_some_and(|id| one.clients.contains(id)));
        let taken = match (own, limit.identity) {
            (Some(at), _) => self.overrides[at].take(limit.overrides[at].rate, now),
            (None, Some(rate)) => self.identity(id, now).take(rate, now),
            (None, None) => true,
        };
        if taken { Ok(()) } else { Err(Scope::Identity) }
    }

    fn identity(&mut self, id: Option<&WorkloadId>, now: Instant) -> &mut Bucket {
        if self.identities.len() >= self.room {
            // A bucket that is full again is as good as new.
            self.identities.retain(|_, bucket| !bucket.is_full(now));
            self.room = ROOM.max(self.identities.len() * 2);
        }
        self.identities.entry(id.cloned()).or_default()
    }
}

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&mut self, rate: NonZeroU32, now: Instant) -> bool {
        let space = Duration::from_secs(1) / rate.get();
        let due = self.0.map_or(now, |due| due.max(now));
        // As many as come in a second may be ahead of their time, this one among them.
        if due + space > now + Duration::from_secs(1) {
            return false;
        }
        self.0 = Some(due + space);
        true
    }

    fn is_full(self, now: Instant) -> bool {
        self.0.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::inbound::RateOverride;

    fn rate(rate: u32) -> NonZeroU32 {
        NonZeroU32::new(rate).unwrap()
    }

    fn id(name: &str) -> WorkloadId {
        name.parse().unwrap()
    }

    /// How many of a hundred requests at one moment are let in.
    fn passed(limiter: &Limiter, limit: &Arc<RateLimit>, id: Option<&WorkloadId>, now: Instant) -> usize {
        (0..100).filter(|_| limiter.check(limit, id, now).is_ok()).count()
    }

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_as_many_as_come_back() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let limit = Arc::new(RateLimit { total: Some(rate(10)), ..RateLimit::default() });
        assert_eq!(passed(&limiter, &limit, None, start), 10);
        assert_eq!(limiter.check(&limit, None, start), Err(Scope::Total));
        assert_eq!(passed(&limiter, &limit, None, start + Duration::from_millis(99)), 0);
        assert_eq!(passed(&limiter, &limit, None, start + Duration::from_millis(300)), 3);
        assert_eq!(passed(&limiter, &limit, None, start + Duration::from_secs(60)), 10);
    }

    #[test]
    fn each_identity_has_its_own_and_those_without_share() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let overrides = vec![RateOverride { rate: rate(5), clients: vec![id("a.ns"), id("b.ns")] }];
        let limit = Arc::new(RateLimit { identity: Some(rate(2)), overrides, ..RateLimit::default() });
        assert_eq!(passed(&limiter, &limit, Some(&id("web.ns")), now), 2);
        assert_eq!(passed(&limiter, &limit, Some(&id("api.ns")), now), 2);
        assert_eq!(limiter.check(&limit, Some(&id("api.ns")), now), Err(Scope::Identity));
        assert_eq!(passed(&limiter, &limit, None, now), 2);
        // Its clients share an override, and are not counted as identities.
        assert_eq!(passed(&limiter, &limit, Some(&id("a.ns")), now), 5);
        assert_eq!(limiter.check(&limit, Some(&id("b.ns")), now), Err(Scope::Identity));
    }

    #[test]
    fn the_total_comes_first_and_takes_of_everybody() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let overrides = vec![RateOverride { rate: rate(50), clients: vec![id("a.ns")] }];
        let limit =
            RateLimit { total: Some(rate(7)), identity: Some(rate(4)), overrides, ..RateLimit::default() };
        let limit = Arc::new(limit);
        assert_eq!(passed(&limiter, &limit, Some(&id("a.ns")), now), 7);
        assert_eq!(limiter.check(&limit, Some(&id("a.ns")), now), Err(Scope::Total));
        assert_eq!(limiter.check(&limit, Some(&id("web.ns")), now), Err(Scope::Total));
    }

    #[test]
    fn a_limit_that_is_not_given_limits_nothing() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        assert_eq!(passed(&limiter, &Arc::default(), None, now), 100);
        assert_eq!(passed(&limiter, &Arc::default(), Some(&id("web.ns")), now), 100);
    }

    #[test]
    fn another_policy_with_the_same_limit_is_the_same_and_another_limit_begins_anew() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let limit = |total| Arc::new(RateLimit { total: Some(rate(total)), ..RateLimit::default() });
        assert_eq!(passed(&limiter, &limit(3), None, now), 3);
        assert_eq!(passed(&limiter, &limit(3), None, now), 0);
        assert_eq!(passed(&limiter, &limit(4), None, now), 4);
    }

    #[test]
    fn identities_that_are_idle_are_forgotten() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let limit = Arc::new(RateLimit { identity: Some(rate(2)), ..RateLimit::default() });
        let held = || limiter.0.lock().as_ref().map_or(0, |buckets| buckets.identities.len());
        for n in 0..ROOM {
            limiter.check(&limit, Some(&id(&format!("n{n}.ns"))), now).unwrap();
        }
        assert_eq!(held(), ROOM);
        assert_eq!(passed(&limiter, &limit, Some(&id("late.ns")), now), 2);
        assert_eq!(held(), ROOM + 1, "none of them is idle yet");
        for n in 0..ROOM {
            let _ = limiter.check(&limit, Some(&id(&format!("m{n}.ns"))), now + Duration::from_secs(2));
        }
        assert!(held() <= ROOM + 1, "{}", held());
    }
}

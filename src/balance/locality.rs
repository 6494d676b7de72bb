//! Endpoints of one's own zone first, and those elsewhere for what they cannot take.
//!
//! Not Linkerd's: a setting of our own, off unless it is asked for. What is in flight at local endpoints is
//! looked at every so often. While it stays below the band, they take everything, bursts included. Once it has
//! reached the upper end, they take no more than that at a time, and what comes on top goes elsewhere: exactly
//! the excess, request by request. It counts as over when they have been below the lower end for long, so that
//! nothing swings.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::outbound::LoadBand;
use crate::telemetry::balancers::Spill;
use crate::telemetry::metric::Counter;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Over which the load is averaged: what is over sooner is a burst.
const AVERAGED: Duration = Duration::from_millis(100);

/// For how long local endpoints must have been below the band before they take everything again.
const CALM: Duration = Duration::from_secs(10);

/// What was seen at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// At local endpoints together.
    in_flight: u32,
    /// Local endpoints.
    ready: u32,
}

/// Whether local endpoints take everything.
#[derive(Clone, Copy, Debug)]
struct Decision {
    band: LoadBand,
    /// In flight for each local endpoint.
    average: f64,
    looked: Option<Instant>,
    spilling: bool,
    /// Since when the average has been below the band.
    calm: Option<Instant>,
}

impl Decision {
    fn new(band: LoadBand) -> Self {
        Self { band, average: 0.0, looked: None, spilling: false, calm: None }
    }

    /// The most that may be in flight at local endpoints, until the next look; `None`: everything.
    fn look(&mut self, sample: Sample) -> Option<u32> {
        let each = f64::from(sample.in_flight) / f64::from(sample.ready.max(1));
        let passed = self.looked.map_or(AVERAGED, |last| sample.at.saturating_duration_since(last));
        let weight = (-passed.as_secs_f64() / AVERAGED.as_secs_f64()).exp();
        self.average = self.average * weight + each * (1.0 - weight);
        self.looked = Some(sample.at);
        if self.average >= f64::from(self.band.low) {
            self.calm = None;
        } else {
            self.calm.get_or_insert(sample.at);
        }
        let calm = self.calm.is_some_and(|since| sample.at.saturating_duration_since(since) >= CALM);
        self.spilling = if self.spilling { !calm } else { self.average >= f64::from(self.band.high) };
        self.spilling.then(|| self.band.high.saturating_mul(sample.ready))
    }
}

/// The load of a balancer's local endpoints, and what follows from it.
#[derive(Debug)]
pub(super) struct LocalFirst {
    in_flight: AtomicU32,
    /// The most of it; [`u32::MAX`]: everything.
    limit: AtomicU32,
    began: Instant,
    /// Milliseconds from then to the next look.
    due: AtomicU64,
    decision: Mutex<Decision>,
    changes: Counter,
    spilled: Counter,
}

impl LocalFirst {
    pub(super) fn new(band: LoadBand) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(u32::MAX),
            began: Instant::now(),
            due: AtomicU64::new(0),
            decision: Mutex::new(Decision::new(band)),
            changes: Counter::default(),
            spilled: Counter::default(),
        }
    }

    /// Whether local endpoints take one more. `ready` counts them, where that is needed.
    pub(super) fn take(&self, now: Instant, ready: impl FnOnce() -> usize) -> bool {
        let passed = now.saturating_duration_since(self.began).as_millis() as u64;
        let due = self.due.load(Ordering::Relaxed);
        let next = passed + LOOK.as_millis() as u64;
        // Whoever sets the next time looks. Nobody waits for it.
        if passed >= due
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && let Some(mut decision) = self.decision.try_lock()
        {
            self.look(&mut decision, now, ready());
        }
        self.in_flight.load(Ordering::Relaxed) < self.limit.load(Ordering::Relaxed)
    }

    fn look(&self, decision: &mut Decision, at: Instant, ready: usize) {
        let before = decision.spilling;
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let limit = decision.look(Sample { at, in_flight, ready: u32::try_from(ready).unwrap_or(u32::MAX) });
        self.limit.store(limit.unwrap_or(u32::MAX), Ordering::Relaxed);
        if decision.spilling != before {
            self.changes.incr();
        }
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// One went elsewhere because local endpoints had enough.
    pub(super) fn spilled(&self) {
        self.spilled.incr();
    }

    pub(super) fn state(&self) -> Spill {
        let spilling = self.limit.load(Ordering::Relaxed) != u32::MAX;
        Spill { spilling: spilling.into(), changes: self.changes.value(), spilled: self.spilled.value() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAND: LoadBand = LoadBand { low: 4, high: 8 };
    const MS: Duration = Duration::from_millis(1);

    /// Looks every 20 ms for so long, each time at what `in_flight` says; returns the last limit and how often
    /// the decision changed.
    fn run(
        decision: &mut Decision,
        now: &mut Instant,
        lasting: Duration,
        mut in_flight: impl FnMut() -> u32,
    ) -> (Option<u32>, u32) {
        let (until, mut changes) = (*now + lasting, 0);
        loop {
            let before = decision.spilling;
            let limit = decision.look(Sample { at: *now, in_flight: in_flight(), ready: 2 });
            changes += u32::from(decision.spilling != before);
            *now += LOOK;
            if *now >= until {
                return (limit, changes);
            }
        }
    }

    #[test]
    fn below_the_band_and_in_bursts_local_endpoints_take_everything() {
        let (mut decision, mut now) = (Decision::new(BAND), Instant::now());
        assert_eq!(run(&mut decision, &mut now, 5_000 * MS, || 15), (None, 0));
        assert_eq!(run(&mut decision, &mut now, 5_000 * MS, || 2), (None, 0));
        assert_eq!(run(&mut decision, &mut now, 40 * MS, || 30), (None, 0));
        assert_eq!(run(&mut decision, &mut now, 5_000 * MS, || 2), (None, 0));
    }

    #[test]
    fn what_stays_above_the_band_is_capped_within_a_second() {
        let (mut decision, mut now) = (Decision::new(BAND), Instant::now());
        run(&mut decision, &mut now, 5_000 * MS, || 2);
        assert_eq!(run(&mut decision, &mut now, 500 * MS, || 20), (Some(16), 1));
    }

    #[test]
    fn within_the_band_nothing_changes_and_below_it_everything_returns_after_ten_seconds() {
        let (mut decision, mut now) = (Decision::new(BAND), Instant::now());
        run(&mut decision, &mut now, 1_000 * MS, || 20);
        assert_eq!(run(&mut decision, &mut now, 60_000 * MS, || 10), (Some(16), 0));
        assert_eq!(run(&mut decision, &mut now, 9_500 * MS, || 2), (Some(16), 0));
        assert_eq!(run(&mut decision, &mut now, 1_500 * MS, || 2), (None, 1));
    }

    #[test]
    fn a_load_that_swings_across_the_band_turns_at_most_once_in_ten_seconds() {
        let (mut decision, mut now) = (Decision::new(BAND), Instant::now());
        let mut looks = 0;
        let (_, changes) = run(&mut decision, &mut now, 60_000 * MS, || {
            looks += 1;
            if looks / 50 % 2 == 0 { 40 } else { 0 }
        });
        assert_eq!(changes, 1);
    }

    #[test]
    fn fewer_local_endpoints_take_less() {
        let mut decision = Decision::new(BAND);
        let now = Instant::now();
        let at = |ready| Sample { at: now, in_flight: 40, ready };
        assert_eq!(decision.look(at(2)), Some(16));
        assert_eq!(decision.look(at(1)), Some(8));
        assert_eq!(decision.look(at(0)), Some(0));
    }

    #[test]
    fn one_look_in_a_while_counts_whole() {
        let (mut decision, now) = (Decision::new(BAND), Instant::now());
        assert_eq!(decision.look(Sample { at: now, in_flight: 0, ready: 1 }), None);
        let later = Sample { at: now + 60_000 * MS, in_flight: 9, ready: 1 };
        assert_eq!(decision.look(later), Some(8));
    }

    #[test]
    fn counting_follows_what_is_in_flight() {
        let local = LocalFirst::new(BAND);
        let now = Instant::now();
        for _ in 0..100 {
            local.begin();
        }
        let later = |ms: u32| now + ms * MS;
        assert!(!local.take(later(1_000), || 2), "far above");
        let over = Spill { spilling: 1, changes: 1, spilled: 0 };
        assert_eq!(local.state(), over);
        for _ in 0..85 {
            local.end();
        }
        assert!(local.take(later(1_001), || panic!("it was looked a moment ago")), "room again, at once");
        assert_eq!(local.state(), over);
    }
}

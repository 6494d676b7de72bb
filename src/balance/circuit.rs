//! Circuit breaking: an endpoint whose answers fail is left alone for a while, then tried with one request (contract
//! 3.10).
//!
//! ```text
//!   closed ──fails too often──▶ open ──pause──▶ one request ──succeeds──▶ closed
//!                                 ▲                  └─fails, longer pause─┐
//!                                 └────────────────────────────────────────┘
//! ```

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::model::outbound::{Breaker, SuccessRate};

/// Whether requests may go to a member, as far as its circuit is asked.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU8);

const OPEN: u8 = 0;
const SHUT: u8 = 1;
/// The next request, and no other.
const ONE: u8 = 2;
const TAKEN: u8 = 3;

impl Gate {
    pub(super) fn admits(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), OPEN | ONE)
    }

    /// Whether a request may pass, and whether it is the one that is let through to see. `None`: it may not.
    pub(super) fn enter(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            OPEN => Some(false),
            ONE => self.change(ONE, TAKEN).then_some(true),
            _ => None,
        }
    }

    /// The one that was let through has shown nothing.
    pub(super) fn give_back(&self) -> bool {
        self.change(TAKEN, ONE)
    }

    pub(super) fn open(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }

    pub(super) fn shut(&self) {
        self.0.store(SHUT, Ordering::Relaxed);
    }

    pub(super) fn admit_one(&self) -> bool {
        self.change(SHUT, ONE)
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// What an answer says of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Failure,
    /// A success, were it not that too many come.
    Limited,
}

/// What a verdict leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The endpoint is left alone, for so long.
    Tripped(Duration),
    /// It is used again.
    Recovered,
}

/// The circuit of one endpoint.
#[derive(Debug)]
pub struct Circuit {
    breaker: Breaker,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed {
        /// In a row.
        failures: u32,
        window: Option<Window>,
    },
    /// Left alone so often since it was closed last.
    Open { times: u32 },
}

impl Circuit {
    pub fn new(breaker: Breaker, now: Instant) -> Self {
        Self { breaker, state: Mutex::new(State::closed(&breaker, now)) }
    }

    /// Takes the verdict of an answer; `probe` of the request that was let through to see. Others count while the
    /// circuit is closed alone.
    pub fn record(&self, verdict: Verdict, probe: bool, now: Instant) -> Option<Change> {
        let mut state = self.state.lock();
        match &mut *state {
            State::Closed { failures, window } => {
                *failures = if verdict == Verdict::Failure { failures.saturating_add(1) } else { 0 };
                let too_many = self.max_failures() > 0 && *failures >= self.max_failures();
                let too_few = window.as_mut().is_some_and(|window| window.is_too_low_after(verdict, now));
                if !(too_many || too_few) {
                    return None;
                }
                *state = State::Open { times: 1 };
                Some(Change::Tripped(self.pause(0)))
            }
            State::Open { .. } if !probe => None,
            State::Open { .. } if self.heals(verdict) => {
                *state = State::closed(&self.breaker, now);
                Some(Change::Recovered)
            }
            State::Open { times } => {
                let pause = self.pause(*times);
                *times = times.saturating_add(1);
                Some(Change::Tripped(pause))
            }
        }
    }

    /// Only the unified breaker looks at limits.
    fn heals(&self, verdict: Verdict) -> bool {
        match self.breaker {
            Breaker::ConsecutiveFailures { .. } => verdict != Verdict::Failure,
            Breaker::Unified { .. } => verdict == Verdict::Success,
        }
    }

    fn max_failures(&self) -> u32 {
        match self.breaker {
            Breaker::ConsecutiveFailures { max_failures, .. } | Breaker::Unified { max_failures, .. } => {
                max_failures
            }
        }
    }

    fn pause(&self, times: u32) -> Duration {
        let (Breaker::ConsecutiveFailures { backoff, .. } | Breaker::Unified { backoff, .. }) = &self.breaker;
        Backoff::delay(backoff, times, fastrand::f64())
    }
}

impl State {
    fn closed(breaker: &Breaker, now: Instant) -> Self {
        let window = match breaker {
            Breaker::Unified { success_rate, .. } if success_rate.threshold > 0.0 => {
                Some(Window::new(*success_rate, now))
            }
            _ => None,
        };
        Self::Closed { failures: 0, window }
    }
}

/// Answers of late, and how many of them were successes, in slices of time.
#[derive(Debug)]
struct Window {
    rate: SuccessRate,
    slices: [Slice; SLICES],
    current: usize,
    /// When the current slice began.
    since: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    all: u32,
    successes: u32,
}

const SLICES: usize = 10;

impl Window {
    fn new(rate: SuccessRate, now: Instant) -> Self {
        Self { rate, slices: [Slice::default(); SLICES], current: 0, since: now }
    }

    fn is_too_low_after(&mut self, verdict: Verdict, now: Instant) -> bool {
        self.move_to(now);
        let slice = &mut self.slices[self.current];
        slice.all = slice.all.saturating_add(1);
        slice.successes = slice.successes.saturating_add(u32::from(verdict == Verdict::Success));
        let of =
            |count: fn(&Slice) -> u32| self.slices.iter().map(|slice| u64::from(count(slice))).sum::<u64>();
        let (all, successes) = (of(|slice| slice.all), of(|slice| slice.successes));
        all >= u64::from(self.rate.min_requests) && (successes as f64) < self.rate.threshold * all as f64
    }

    /// Forgets what is too long ago.
    fn move_to(&mut self, now: Instant) {
        let slice = (self.rate.window / SLICES as u32).max(Duration::from_millis(1));
        let mut passed = 0;
        while passed < SLICES && now.saturating_duration_since(self.since) >= slice {
            self.since += slice;
            self.current = (self.current + 1) % SLICES;
            self.slices[self.current] = Slice::default();
            passed += 1;
        }
        if passed == SLICES {
            // All is forgotten, however long ago it was.
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    use Verdict::{Failure, Limited, Success};

    fn backoff() -> Backoff {
        Backoff::new(100 * MS, 300 * MS, 0.0).unwrap()
    }

    fn unified(threshold: f64, min_requests: u32, max_failures: u32) -> Circuit {
        let success_rate = SuccessRate { threshold, window: 1_000 * MS, min_requests };
        let honors_retry_after = false;
        let breaker = Breaker::Unified { success_rate, max_failures, backoff: backoff(), honors_retry_after };
        Circuit::new(breaker, Instant::now())
    }

    fn consecutive(max_failures: u32) -> Circuit {
        Circuit::new(Breaker::ConsecutiveFailures { max_failures, backoff: backoff() }, Instant::now())
    }

    fn record(circuit: &Circuit, verdict: Verdict) -> Option<Change> {
        circuit.record(verdict, false, Instant::now())
    }

    fn probe(circuit: &Circuit, verdict: Verdict) -> Option<Change> {
        circuit.record(verdict, true, Instant::now())
    }

    fn tripped(ms: u32) -> Option<Change> {
        Some(Change::Tripped(ms * MS))
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_trip_and_a_success_between_them_does_not() {
        let circuit = consecutive(3);
        for verdict in [Failure, Failure, Success, Failure, Failure, Limited, Failure, Failure] {
            assert_eq!(record(&circuit, verdict), None);
        }
        assert_eq!(record(&circuit, Failure), tripped(100));
        assert_eq!(record(&circuit, Success), None, "what was under way says nothing any more");
        assert!((0..9).all(|_| record(&consecutive(0), Failure).is_none()), "off");
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_decides_and_pauses_grow() {
        let circuit = consecutive(1);
        assert_eq!(record(&circuit, Failure), tripped(100));
        assert_eq!(probe(&circuit, Failure), tripped(200));
        assert_eq!(probe(&circuit, Failure), tripped(300));
        assert_eq!(probe(&circuit, Limited), Some(Change::Recovered), "limits are nothing to this one");
        assert_eq!(record(&circuit, Failure), tripped(100), "from the beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn too_few_successes_trip_once_there_are_enough_answers() {
        let circuit = unified(0.8, 10, 0);
        for _ in 0..3 {
            assert_eq!(
                (record(&circuit, Failure), record(&circuit, Success), record(&circuit, Success)),
                (None, None, None)
            );
        }
        assert_eq!(record(&circuit, Limited), tripped(100), "6 of 10");
        assert_eq!(probe(&circuit, Limited), tripped(200), "limits are failures here");
        assert_eq!(probe(&circuit, Success), Some(Change::Recovered));
        assert_eq!(record(&circuit, Failure), None, "what was before is forgotten");
        let circuit = unified(0.5, 4, 0);
        assert!(
            [Success, Failure, Success, Failure]
                .map(|verdict| record(&circuit, verdict))
                .iter()
                .all(Option::is_none),
            "a half is enough"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn both_conditions_of_the_unified_breaker_trip_each_by_itself() {
        let circuit = unified(0.1, 1_000, 2);
        assert_eq!((record(&circuit, Limited), record(&circuit, Limited)), (None, None), "soft failures");
        assert_eq!((record(&circuit, Failure), record(&circuit, Failure)), (None, tripped(100)));
        let circuit = unified(0.0, 0, 0);
        assert!((0..99).all(|_| record(&circuit, Failure).is_none()), "off");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_count_as_long_as_the_window_and_no_longer() {
        let circuit = unified(0.5, 3, 0);
        assert_eq!((record(&circuit, Failure), record(&circuit, Failure)), (None, None));
        tokio::time::advance(1_100 * MS).await;
        assert_eq!((record(&circuit, Success), record(&circuit, Failure)), (None, None), "of two");
        tokio::time::advance(500 * MS).await;
        assert_eq!(record(&circuit, Failure), tripped(100), "one of three");
        let circuit = unified(0.5, 2, 0);
        tokio::time::advance(3_600_000 * MS).await;
        assert_eq!(
            (record(&circuit, Failure), record(&circuit, Failure)),
            (None, tripped(100)),
            "after an idle hour"
        );
    }

    #[test]
    fn a_gate_lets_one_through_to_see() {
        let gate = Gate::default();
        assert_eq!((gate.admits(), gate.enter()), (true, Some(false)));
        gate.shut();
        assert_eq!((gate.admits(), gate.enter()), (false, None));
        assert!(gate.admit_one() && gate.admits());
        assert_eq!((gate.enter(), gate.enter()), (Some(true), None));
        assert!(gate.give_back(), "it was given up");
        assert_eq!(gate.enter(), Some(true));
        gate.open();
        assert!(!gate.give_back() && gate.admits());
    }
}

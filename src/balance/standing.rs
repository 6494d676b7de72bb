//! May a member be chosen, and how gladly?
//!
//! One word, read at every pick: what a member is, and since when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::circuit::Gate;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not at all, until it has answered.
    Down,
    /// Only where there is no other: it may be down.
    Doubted,
    /// More and more often: it was down, and answers again.
    Returning,
    Ready,
}

/// A standing that others change while it is read.
#[derive(Debug)]
pub(super) struct Shared {
    /// Low two bits: the standing. The others: milliseconds from `start` to when it began.
    state: AtomicU64,
    start: Instant,
    /// What its circuit says.
    pub(super) gate: Gate,
}

impl Shared {
    pub(super) fn new(now: Instant) -> Self {
        Self { state: AtomicU64::new(Standing::Down as u64), start: now, gate: Gate::default() }
    }

    pub(super) fn get(&self) -> Standing {
        standing(self.state.load(Ordering::Acquire))
    }

    /// Sets a standing where the present one is one of `from`. Returns whether it was.
    pub(super) fn change(&self, from: &[Standing], to: Standing, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.start).as_millis() as u64;
        let next = |state| from.contains(&standing(state)).then_some(since << 2 | to as u64);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Whether to choose it now, where others are ready. `random` is asked for a number from 0 to 1.
    pub(super) fn is_preferred(&self, now: Instant, random: impl FnOnce() -> f64) -> bool {
        let state = self.state.load(Ordering::Acquire);
        match standing(state) {
            Standing::Ready => true,
            Standing::Down | Standing::Doubted => false,
            Standing::Returning => {
                let share =
                    share(now.saturating_duration_since(self.start + Duration::from_millis(state >> 2)));
                if share >= 1.0 {
                    self.change(&[Standing::Returning], Standing::Ready, now);
                }
                random() < share
            }
        }
    }
}

fn standing(state: u64) -> Standing {
    match state & 3 {
        0 => Standing::Down,
        1 => Standing::Doubted,
        2 => Standing::Returning,
        _ => Standing::Ready,
    }
}

/// The part of its usual chances that a member has so long after its return: what was down is cold, and may go down
/// again under the whole load of those that come back with it.
fn share(returned: Duration) -> f64 {
    FIRST + (1.0 - FIRST) * (returned.as_secs_f64() / RETURN.as_secs_f64())
}

const FIRST: f64 = 0.1;
/// Well below the 10 s within which its share is to be whole, the pause before it was tried included.
const RETURN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_returns_is_chosen_more_and_more_often() {
        let start = Instant::now();
        let member = Shared::new(start);
        assert!(!member.is_preferred(start, || 0.0));
        let returned = start + Duration::from_secs(60);
        assert!(member.change(&[Standing::Down], Standing::Returning, returned));
        let chosen = |seconds: f64, random: f64| {
            member.is_preferred(returned + Duration::from_secs_f64(seconds), || random)
        };
        assert!(chosen(0.0, 0.09) && !chosen(0.0, 0.11));
        assert!(chosen(2.5, 0.54) && !chosen(2.5, 0.56));
        assert!(chosen(5.0, 0.99));
        assert_eq!(member.get(), Standing::Ready);
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_ends_with_an_answer_and_does_not_raise_the_dead() {
        let now = Instant::now();
        let member = Shared::new(now);
        let doubted =
            |member: &Shared| member.change(&[Standing::Ready, Standing::Returning], Standing::Doubted, now);
        assert!(!doubted(&member), "what is down stays down");
        assert!(member.change(&[Standing::Down], Standing::Ready, now) && doubted(&member));
        assert!(!member.is_preferred(now, || 0.0));
        assert_ne!(member.get(), Standing::Down, "it can still be chosen");
    }
}

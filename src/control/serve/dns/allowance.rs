//! How much of the server's time each source has: a tenth, and a tenth of a second of it at once.
//!
//! Time and not questions, since one about a large Service takes as long as thousands of others.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// A source that kept the server at work for a moment has none for this many times as long.
const SHARE: u32 = 10;

/// What a source may be ahead of its share.
const AHEAD: Duration = Duration::from_secs(1);

/// What a question counts for at most: it is not the source's fault if the machine is busy elsewhere.
const LONGEST: Duration = Duration::from_millis(20);

/// Sources whose addresses fall together share: there may be any number of them, and this many are remembered.
const ACCOUNTS: usize = 4096;

pub(super) struct Allowances {
    hasher: RandomState,
    /// When what was taken will have been worked off.
    due: Mutex<Vec<Option<Instant>>>,
}

impl Default for Allowances {
    fn default() -> Self {
        Self { hasher: RandomState::new(), due: Mutex::new(vec![None; ACCOUNTS]) }
    }
}

impl Allowances {
    /// How long it is until `source` may ask; zero if it may at once.
    pub(super) fn wait(&self, source: IpAddr, now: Instant) -> Duration {
        let due = self.due.lock()[self.account(source)];
        due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now).saturating_sub(AHEAD))
    }

    /// The server worked for `source` for so long.
    pub(super) fn charge(&self, source: IpAddr, now: Instant, work: Duration) {
        let due = &mut self.due.lock()[self.account(source)];
        let from = due.map_or(now, |due| due.max(now));
        *due = Some(from + work.min(LONGEST) * SHARE);
    }

    fn account(&self, source: IpAddr) -> usize {
        self.hasher.hash_one(source.to_canonical()) as usize % ACCOUNTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_tenth_of_the_time_and_some_of_it_at_once() {
        let (allowances, start) = (Allowances::default(), Instant::now());
        let source = IpAddr::from([10, 0, 0, 1]);
        let work = Duration::from_millis(10);
        let asked = (0..100).take_while(|_| {
            let may = allowances.wait(source, start).is_zero();
            allowances.charge(source, start, work);
            may
        });
        assert_eq!(asked.count(), 11, "a tenth of a second, and the one that goes beyond it");
        let mut now = start;
        for _ in 0..100 {
            now += allowances.wait(source, now);
            allowances.charge(source, now, work);
        }
        assert_eq!(now - start, work * SHARE * 101);
        let others = (2..=9).map(|last| IpAddr::from([10, 0, 0, last]));
        assert!(others.filter(|other| allowances.wait(*other, start).is_zero()).count() >= 7);
    }

    #[test]
    fn no_question_costs_more_than_the_machine_s_haste_can_explain() {
        let (allowances, start) = (Allowances::default(), Instant::now());
        let source = IpAddr::from([10, 0, 0, 1]);
        allowances.charge(source, start, Duration::from_secs(60));
        assert_eq!(allowances.wait(source, start), Duration::ZERO);
        assert_eq!(allowances.wait("::ffff:10.0.0.1".parse().unwrap(), start), Duration::ZERO);
    }
}

//! How long to wait before trying again: exponential backoff with jitter (contract 3.9, 8).
//!
//! Delays double from `min` to `max`; each may grow by a random part of itself, so that many clients
//! that failed together do not return together. Sleeping is left to the caller.

use std::time::Duration;

/// The shape of a backoff. Delays are never longer than `max`, jitter included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    jitter: f64,
}

/// Why three numbers do not make a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    #[error("the minimum must not exceed the maximum")]
    MinAboveMax,
    #[error("the maximum must be greater than zero")]
    ZeroMax,
    #[error("the jitter must be a number from 0 to 100")]
    Jitter,
}

/// The delays of one series of attempts.
#[derive(Clone, Debug)]
pub struct Delays {
    backoff: Backoff,
    attempt: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    /// `jitter` is the greatest part of a delay that may be added to it: 0.1 adds up to a tenth.
    pub fn new(min: Duration, max: Duration, jitter: f64) -> Result<Self, InvalidBackoff> {
        if min > max {
            return Err(InvalidBackoff::MinAboveMax);
        }
        if max.is_zero() {
            return Err(InvalidBackoff::ZeroMax);
        }
        if !(0.0..=100.0).contains(&jitter) {
            return Err(InvalidBackoff::Jitter);
        }
        Ok(Self { min, max, jitter })
    }

    pub fn min(&self) -> Duration {
        self.min
    }

    pub fn max(&self) -> Duration {
        self.max
    }

    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The delay before attempt number `attempt` (the first retry is 0), with `random` from 0 to 1.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let base =
            2_u32.checked_pow(attempt).and_then(|factor| self.min.checked_mul(factor)).unwrap_or(self.max);
        let base = base.min(self.max);
        let growth = (1.0 + self.jitter * random.clamp(0.0, 1.0)) * base.as_secs_f64();
        Duration::try_from_secs_f64(growth).unwrap_or(self.max).clamp(base, self.max)
    }

    /// A new series of delays.
    pub fn delays(self) -> Delays {
        Delays { backoff: self, attempt: 0, rng: fastrand::Rng::new() }
    }

    /// A series that is the same for the same seed.
    pub fn seeded(self, seed: u64) -> Delays {
        Delays { backoff: self, attempt: 0, rng: fastrand::Rng::with_seed(seed) }
    }
}

impl Default for Backoff {
    /// 100 ms to 10 s, a tenth of jitter (contract 8, connect backoff inbound).
    fn default() -> Self {
        Self { min: Duration::from_millis(100), max: Duration::from_secs(10), jitter: 0.1 }
    }
}

impl Delays {
    /// The next delay; there is always one.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.backoff.delay(self.attempt, self.rng.f64());
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// Starts again from the shortest delay, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn delays_double_up_to_the_maximum() {
        let backoff = Backoff::new(100 * MS, 60_000 * MS, 0.0).unwrap();
        let mut delays = backoff.delays();
        let seen: Vec<_> = (0..12).map(|_| delays.next_delay().as_millis()).collect();
        assert_eq!(seen, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        delays.reset();
        assert_eq!(delays.next_delay(), 100 * MS);
    }

    #[test]
    fn equal_seeds_give_equal_delays_and_jitter_varies_them() {
        let backoff = Backoff::new(100 * MS, 10_000 * MS, 0.5).unwrap();
        let series = |seed| {
            let mut delays = backoff.seeded(seed);
            (0..5).map(|_| delays.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(series(7), series(7));
        assert_ne!(series(7), series(8));
    }

    #[test]
    fn senseless_numbers_are_refused() {
        assert_eq!(Backoff::new(2 * MS, MS, 0.1), Err(InvalidBackoff::MinAboveMax));
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO, 0.1), Err(InvalidBackoff::ZeroMax));
        for jitter in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Backoff::new(MS, MS, jitter), Err(InvalidBackoff::Jitter));
        }
    }

    proptest! {
        #[test]
        fn a_delay_lies_between_its_base_and_the_jittered_base(
            min in 0_u64..5_000, more in 1_u64..100_000, jitter in 0.0..2.0, attempt: u32, random in 0.0..1.0
        ) {
            let backoff = Backoff::new(min as u32 * MS, (min + more) as u32 * MS, jitter).unwrap();
            let base = backoff.delay(attempt, 0.0);
            let delay = backoff.delay(attempt, random);
            prop_assert!(delay >= base && delay <= backoff.max());
            prop_assert!(delay.as_secs_f64() <= base.as_secs_f64() * (1.0 + jitter) + 1e-9);
        }
    }
}

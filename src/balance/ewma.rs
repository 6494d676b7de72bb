//! Peak EWMA: an average of latencies that follows a worse one at once and forgets it slowly
//! (contract 3.9).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::outbound::Load;

/// Latency expected of one member. Estimate and time of the last sample share one word, so that they
/// are never read from two samples; of two racing samples one may be lost, which an average does not
/// mind.
#[derive(Debug)]
pub(super) struct Ewma {
    /// High half: seconds, as the bits of an `f32`. Low half: milliseconds since `start`.
    state: AtomicU64,
    start: Instant,
    decay: f32,
}

impl Ewma {
    pub(super) fn new(load: Load, now: Instant) -> Self {
        let state = AtomicU64::new(pack(load.default_rtt.as_secs_f32(), 0));
        Self { state, start: now, decay: load.decay.as_secs_f32() }
    }

    /// The estimate at `now`, in seconds: what is not used drifts down to the floor, and so is tried
    /// again.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        let (estimate, stamp) = unpack(self.state.load(Ordering::Relaxed));
        f64::from((estimate * self.weight(stamp, now)).max(FLOOR))
    }

    pub(super) fn record(&self, latency: Duration, now: Instant) {
        let latency = latency.as_secs_f32();
        let (estimate, stamp) = unpack(self.state.load(Ordering::Relaxed));
        let next = if latency > estimate {
            latency
        } else {
            let weight = self.weight(stamp, now);
            estimate * weight + latency * (1.0 - weight)
        };
        self.state.store(pack(next, self.millis(now)), Ordering::Relaxed);
    }

    /// Since the last sample.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let (_, stamp) = unpack(self.state.load(Ordering::Relaxed));
        Duration::from_millis(u64::from((self.millis(now).wrapping_sub(stamp) as i32).max(0) as u32))
    }

    /// How much of an estimate made at `stamp` still counts, from 1 down to 0.
    fn weight(&self, stamp: u32, now: Instant) -> f32 {
        // A racing sample may be newer than `now`: no time has passed then.
        let elapsed = (self.millis(now).wrapping_sub(stamp) as i32).max(0) as f32 / 1000.0;
        if self.decay > 0.0 { (-elapsed / self.decay).exp() } else { 0.0 }
    }

    /// Wraps after 49 days, which differences do not notice.
    fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.start).as_millis() as u32
    }
}

fn pack(estimate: f32, stamp: u32) -> u64 {
    u64::from(estimate.to_bits()) << 32 | u64::from(stamp)
}

fn unpack(state: u64) -> (f32, u32) {
    (f32::from_bits((state >> 32) as u32), state as u32)
}

/// The least latency that counts, in seconds (contract 8). Below it, what is in flight decides alone.
const FLOOR: f32 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn close(seen: f64, expected: f64) {
        assert!((seen - expected).abs() < 1e-5, "{seen} is not {expected}");
    }

    #[test]
    fn an_unmeasured_member_has_the_default_and_a_worse_latency_counts_at_once() {
        let start = Instant::now();
        let latency = Ewma::new(Load::default(), start);
        close(latency.seconds(start), 0.030);
        latency.record(500 * MS, start);
        close(latency.seconds(start), 0.5);
    }

    #[test]
    fn a_better_latency_counts_as_time_passes() {
        let start = Instant::now();
        let latency = Ewma::new(Load::default(), start);
        latency.record(500 * MS, start);
        latency.record(100 * MS, start);
        close(latency.seconds(start), 0.5);
        let later = start + 10_000 * MS;
        latency.record(100 * MS, later);
        let inverse_e = (-1.0_f64).exp();
        close(latency.seconds(later), 0.5 * inverse_e + 0.1 * (1.0 - inverse_e));
    }

    #[test]
    fn samples_within_one_millisecond_do_not_stop_the_decay() {
        let start = Instant::now();
        let latency = Ewma::new(Load::default(), start);
        latency.record(1000 * MS, start);
        for tenth in 1..=100_000 {
            latency.record(10 * MS, start + tenth * MS / 10);
        }
        let inverse_e = (-1.0_f64).exp();
        let seen = latency.seconds(start + 10_000 * MS);
        assert!((seen - (inverse_e + 0.01 * (1.0 - inverse_e))).abs() < 1e-3, "{seen}");
    }

    #[test]
    fn an_idle_estimate_sinks_to_the_floor() {
        let start = Instant::now();
        let latency = Ewma::new(Load::default(), start);
        latency.record(5000 * MS, start);
        close(latency.seconds(start + 600_000 * MS), 0.001);
    }
}

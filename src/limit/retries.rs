//! How many requests may be sent again? The budget of a service profile (contract 3.11): a part of those that need not
//! be, and so many a second beside them, looked at over its time.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::service_profile::RetryBudget;

/// Parts of its time that end one by one.
const SLOTS: u32 = 10;

/// The state of a budget that all routes of a profile share.
#[derive(Debug)]
pub struct Retries {
    pub of: RetryBudget,
    balance: Mutex<Balance>,
}

/// What was earned and spent, in retries.
#[derive(Debug)]
struct Balance {
    slots: [f64; SLOTS as usize],
    /// The slot of now, counted from the beginning.
    at: u32,
    began: Instant,
}

impl Retries {
    pub fn new(of: RetryBudget) -> Self {
        let balance = Balance { slots: Default::default(), at: 0, began: Instant::now() };
        Self { of, balance: Mutex::new(balance) }
    }

    /// A request was not sent again.
    pub fn earn(&self) {
        let mut balance = self.balance.lock();
        *balance.now(self.of.ttl) += f64::from(self.of.ratio);
    }

    /// Whether one may be; if so, it counts.
    pub fn spend(&self) -> bool {
        // What the ratio earns in parts must add up to a whole.
        const ROUNDING: f64 = 1e-6;
        let mut balance = self.balance.lock();
        balance.now(self.of.ttl);
        let reserve = f64::from(self.of.per_second) * self.of.ttl.as_secs_f64();
        let enough = balance.slots.iter().sum::<f64>() + reserve + ROUNDING >= 1.0;
        if enough {
            *balance.now(self.of.ttl) -= 1.0;
        }
        enough
    }
}

impl Balance {
    /// The slot of now; those that have ended meanwhile are empty.
    fn now(&mut self, ttl: Duration) -> &mut f64 {
        let passed = self.began.elapsed().as_nanos() / (ttl / SLOTS).as_nanos().max(1);
        let now = u32::try_from(passed).unwrap_or(u32::MAX);
        for ended in (self.at..now).take(SLOTS as usize) {
            self.slots[((ended + 1) % SLOTS) as usize] = 0.0;
        }
        self.at = now;
        &mut self.slots[(now % SLOTS) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn budget(ratio: f32, per_second: u32) -> Retries {
        Retries::new(RetryBudget { ratio, per_second, ttl: 10 * S })
    }

    fn spent(budget: &Retries) -> usize {
        (0..10_000).take_while(|_| budget.spend()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_of_what_succeeds_may_be_sent_again() {
        let budget = budget(0.2, 0);
        assert!(!budget.spend(), "nothing has been earned");
        (0..4).for_each(|_| budget.earn());
        assert!(!budget.spend());
        (0..21).for_each(|_| budget.earn());
        assert_eq!(spent(&budget), 5);
        (0..100).for_each(|_| budget.earn());
        tokio::time::advance(11 * S).await;
        assert!(!budget.spend(), "what was earned is over");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_a_second_may_be_sent_again_whatever_succeeds() {
        let budget = budget(0.0, 3);
        assert_eq!(spent(&budget), 30);
        tokio::time::advance(5 * S).await;
        assert_eq!(spent(&budget), 0, "they are of the last ten seconds");
        tokio::time::advance(6 * S).await;
        assert_eq!(spent(&budget), 30);
        tokio::time::advance(3600 * S).await;
        assert_eq!(spent(&budget), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ratio_above_one_earns_several() {
        let budget = budget(3.0, 0);
        budget.earn();
        assert_eq!(spent(&budget), 3);
    }
}

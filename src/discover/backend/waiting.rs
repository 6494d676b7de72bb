//! Those who wait for an endpoint of a backend: so many, and no longer than a backend may be without one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::balance::Balancer;
use crate::config::Queue;
use crate::error::Reason;

pub(super) struct Waiting {
    queue: Queue,
    /// How many wait, and since when somebody has.
    now: Mutex<Option<(usize, Instant)>>,
    /// Nobody was ready for a whole failfast timeout: later requests fail at once until one is.
    shut: AtomicBool,
}

/// One that waits, until this is dropped.
struct Place<'a>(&'a Waiting);

impl Waiting {
    pub(super) fn new(queue: Queue) -> Self {
        Self { queue, now: Mutex::default(), shut: AtomicBool::new(false) }
    }

    pub(super) fn failfast(&self) -> Duration {
        self.queue.failfast
    }

    /// An endpoint was ready.
    pub(super) fn open(&self) {
        // Most of the time it is. Writing it for each request would cost more than looking.
        if self.shut.load(Ordering::Relaxed) {
            self.shut.store(false, Ordering::Relaxed);
        }
    }

    /// Whether requests fail at once that find no endpoint ready.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    /// Waits until an endpoint is ready.
    ///
    /// # Errors
    /// None became ready before the deadline, or within the failfast timeout of the first who waits; none was for
    /// the whole of an earlier wait; too many wait already.
    pub(super) async fn until_ready<T>(
        &self,
        balancer: &Balancer<T>,
        deadline: Instant,
    ) -> Result<(), Reason> {
        if self.is_shut() {
            return Err(Reason::LoadShed);
        }
        let (_place, since) = self.place().ok_or(Reason::LoadShed)?;
        if balancer.wait_ready(deadline.min(since + self.queue.failfast)).await {
            return Ok(());
        }
        self.shut.store(true, Ordering::Relaxed);
        Err(Reason::FailFast)
    }

    /// A place, and since when somebody has waited.
    fn place(&self) -> Option<(Place<'_>, Instant)> {
        let mut now = self.now.lock();
        let (waiting, since) = now.unwrap_or((0, Instant::now()));
        if waiting >= self.queue.capacity {
            return None;
        }
        *now = Some((waiting + 1, since));
        Some((Place(self), since))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut now = self.0.now.lock();
        *now = now.and_then(|(waiting, since)| (waiting > 1).then_some((waiting - 1, since)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outbound::Load;

    const MS: Duration = Duration::from_millis(1);

    fn waiting(capacity: usize) -> Waiting {
        Waiting::new(Queue { capacity, failfast: 3_000 * MS })
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_fail_together_once_none_has_been_ready_for_long() {
        let (waiting, balancer) = (waiting(10), Balancer::<u8>::new(Load::default()));
        let began = Instant::now();
        let wait = async |after: u32| {
            tokio::time::sleep(after * MS).await;
            let failed = waiting.until_ready(&balancer, Instant::now() + 3_000 * MS).await;
            (failed, began.elapsed())
        };
        let (first, second) = tokio::join!(wait(0), wait(1_000));
        assert_eq!(first, (Err(Reason::FailFast), 3_000 * MS));
        assert_eq!(second, first);
        assert_eq!(wait(0).await, (Err(Reason::LoadShed), 3_000 * MS), "it is shut");
        waiting.open();
        assert_eq!(wait(0).await, (Err(Reason::FailFast), 6_000 * MS), "and counts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wait_than_there_are_places_and_who_leaves_gives_his_back() {
        let (waiting, balancer) = (waiting(1), Balancer::<u8>::new(Load::default()));
        let wait = || waiting.until_ready(&balancer, Instant::now() + 3_000 * MS);
        assert!(tokio::time::timeout(2_000 * MS, wait()).await.is_err());
        let began = Instant::now();
        let (first, second) = tokio::join!(wait(), wait());
        assert_eq!((first, second), (Err(Reason::FailFast), Err(Reason::LoadShed)));
        assert_eq!(began.elapsed(), 3_000 * MS, "who gave up does not count");
    }
}

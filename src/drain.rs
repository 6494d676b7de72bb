//! Ending gracefully: "finish what you have" and "everyone has finished" (contract 7.3).

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The signal to finish, and the count of those who still have work. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    signal: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
    /// Runs a connection's future as a task that [`Drain::finish`] waits for.
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(future);
    }

    /// Resolves when it is time to finish.
    pub async fn signaled(&self) {
        self.signal.cancelled().await;
    }

    pub fn is_signaled(&self) -> bool {
        self.signal.is_cancelled()
    }

    /// Tells everyone to finish, and waits until they have or the grace period is over. Returns
    /// how many were still at work then.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.signal.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
        self.tasks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn finishing_waits_for_tasks_up_to_the_grace_period() {
        let drain = Drain::default();
        let seen = drain.clone();
        drain.spawn(async move { seen.signaled().await });
        assert_eq!(drain.finish(Duration::from_secs(5)).await, 0);

        let drain = Drain::default();
        drain.spawn(std::future::pending());
        assert_eq!(drain.finish(Duration::from_secs(5)).await, 1);
    }
}

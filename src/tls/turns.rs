//! Handshakes take turns.
//!
//! A handshake costs more than a hundred requests. Where many clients come at once, each of whose steps is ready, their
//! sum would pass before a request gets the processor again. Here only so many steps are made, as many as there are
//! workers, before everything else that is ready has had its turn.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_util::sync::PollSemaphore;

/// The turns of one listener. Clones share them.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Semaphore>);

impl Turns {
    /// As many at once as there are workers; at least 1.
    pub fn new(workers: usize) -> Self {
        Self(Arc::new(Semaphore::new(workers.max(1))))
    }

    /// Runs `work`, each of its steps in a turn of its own.
    pub async fn take<F: Future>(&self, work: F) -> F::Output {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let (mut turns, mut turn) = (PollSemaphore::new(self.0.clone()), None);
        let (mut work, mut output) = (pin!(work), None);
        poll_fn(|cx| {
            woken.task.register(cx.waker());
            // Everybody has run who was ready when this turn was taken.
            turn = None;
            if let Some(output) = output.take() {
                return Poll::Ready(output);
            }
            if !woken.by_work.swap(false, Ordering::AcqRel) {
                return Poll::Pending;
            }
            turn = match turns.poll_acquire(cx) {
                Poll::Ready(turn) => turn,
                Poll::Pending => {
                    woken.by_work.store(true, Ordering::Release);
                    return Poll::Pending;
                }
            };
            if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                output = Some(done);
            }
            // Ends after the runtime has looked for news: others may have some.
            let _ = pin!(yield_now()).poll(cx);
            Poll::Pending
        })
        .await
    }
}

/// Tells a wake by the work itself from one by the end of a turn.
#[derive(Debug)]
struct Woken {
    by_work: AtomicBool,
    task: AtomicWaker,
}

impl Default for Woken {
    /// The first step needs nobody to wake it.
    fn default() -> Self {
        Self { by_work: AtomicBool::new(true), task: AtomicWaker::new() }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.by_work.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn others_run_between_any_two_steps() {
        let turns = Turns::new(1);
        let steps = Arc::new(AtomicUsize::new(0));
        let hundred: Vec<_> = (0..100)
            .map(|_| {
                let (turns, steps) = (turns.clone(), steps.clone());
                tokio::spawn(async move {
                    let step = || steps.fetch_add(1, Ordering::Relaxed);
                    turns.take(async { (step(), yield_now().await, step()) }).await;
                })
            })
            .collect();
        let mut most = 0;
        while steps.load(Ordering::Relaxed) < 200 {
            let before = steps.load(Ordering::Relaxed);
            yield_now().await;
            most = most.max(steps.load(Ordering::Relaxed) - before);
        }
        for one in hundred {
            one.await.unwrap();
        }
        assert!(most <= 2, "{most} steps at once");
    }

    #[tokio::test]
    async fn one_that_is_given_up_leaves_its_turn_to_the_next() {
        let turns = Turns::new(1);
        let stuck = std::future::pending::<()>();
        let limit = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(limit, turns.take(stuck)).await.is_err());
        assert_eq!(turns.take(async { yield_now().await }).await, ());
    }
}

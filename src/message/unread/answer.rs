//! One answer: the task that sends it, since when it waits for its reader, and that it was given up.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Context;

use futures_util::task::AtomicWaker;
use tokio::task::AbortHandle;

/// One answer, and the task that sends it.
pub(in crate::message) struct Answer {
    pub(super) task: OnceLock<AbortHandle>,
    /// Since when it waits for its reader, in milliseconds from when counting began and one more; 0 where it does not.
    pub(super) since: AtomicU64,
    interest: Interest,
    count: Arc<dyn Fn() + Send + Sync>,
}

/// Whether the answer to a request is still to be sent. To be asked by who passes on its body.
#[derive(Clone, Debug, Default)]
pub(in crate::message) struct Interest(Arc<Lost>);

#[derive(Debug, Default)]
struct Lost {
    lost: AtomicBool,
    asking: AtomicWaker,
}

impl Interest {
    /// Whether it is lost; whoever asks is woken when it is.
    pub(in crate::message) fn is_lost(&self, cx: &Context<'_>) -> bool {
        self.0.asking.register(cx.waker());
        self.0.lost.load(Ordering::Acquire)
    }

    fn lose(&self) {
        self.0.lost.store(true, Ordering::Release);
        self.0.asking.wake();
    }
}

thread_local! {
    /// The answer of the request that was accepted last, until its task begins.
    pub(super) static NEXT: Cell<Option<Arc<Answer>>> = const { Cell::new(None) };
}

/// Begins the tasks of a connection's streams, and tells answers which is theirs.
#[derive(Clone, Copy, Debug)]
pub struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let answer = NEXT.take();
        let task = tokio::spawn(task);
        if let Some(answer) = answer {
            let _ = answer.task.set(task.abort_handle());
        }
    }
}

impl Answer {
    /// Of a request that was just accepted: its task is the next that this thread begins. `count` is told if it is
    /// given up.
    pub(in crate::message) fn new(count: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        let (task, interest) = (OnceLock::new(), Interest::default());
        let answer = Arc::new(Self { task, since: AtomicU64::new(0), interest, count });
        NEXT.set(Some(answer.clone()));
        answer
    }

    /// For the body of its request.
    pub(in crate::message) fn interest(&self) -> Interest {
        self.interest.clone()
    }

    /// Ends its task, unless it has been read meanwhile.
    pub(super) fn give_up(&self, since: u64) -> bool {
        let (Some(task), relaxed) = (self.task.get(), Ordering::Relaxed) else { return false };
        let still = self.since.compare_exchange(since, 0, relaxed, relaxed).is_ok();
        if still {
            (self.count)();
            self.interest.lose();
            task.abort();
        }
        still
    }
}

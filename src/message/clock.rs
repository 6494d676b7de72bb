//! How far a request and its answer have come, and how long they may take (contract 3.11).

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::Reason;

/// How far one attempt at a request has come.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    /// Nanoseconds from then to when the last piece passed, either way.
    last: AtomicU64,
    sent: OnceLock<Instant>,
    /// All of the request has passed.
    whole: Notify,
}

/// How long an answer's body may take.
#[derive(Debug)]
pub struct Clock {
    end: Option<(Pin<Box<Sleep>>, Reason)>,
    idle: Option<Idle>,
}

#[derive(Debug)]
struct Idle {
    sleep: Pin<Box<Sleep>>,
    most: Duration,
    progress: Arc<Progress>,
}

impl Progress {
    pub fn new() -> Arc<Self> {
        let (last, sent, whole) = (AtomicU64::new(0), OnceLock::new(), Notify::new());
        Arc::new(Self { began: Instant::now(), last, sent, whole })
    }

    /// A piece has passed.
    pub fn moved(&self) {
        let since = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// All of the request has passed.
    pub fn sent(&self) {
        if self.sent.set(Instant::now()).is_ok() {
            self.whole.notify_one();
        }
    }

    /// When it had.
    pub fn sent_at(&self) -> Option<Instant> {
        self.sent.get().copied()
    }

    /// When the last piece passed.
    pub fn last(&self) -> Instant {
        self.began + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// Waits until all of the request has passed. For one who waits.
    pub async fn until_sent(&self) {
        while self.sent.get().is_none() {
            self.whole.notified().await;
        }
    }
}

impl Clock {
    /// `end` is when the body must have come, and what it means if it has not; `idle` is the longest pause.
    pub fn new(end: Option<(Instant, Reason)>, idle: Option<(Duration, Arc<Progress>)>) -> Option<Self> {
        if end.is_none() && idle.is_none() {
            return None;
        }
        let end = end.map(|(at, reason)| (Box::pin(sleep_until(at)), reason));
        let idle = idle.map(|(most, progress)| {
            progress.moved();
            Idle { sleep: Box::pin(sleep_until(after(progress.last(), most))), most, progress }
        });
        Some(Self { end, idle })
    }

    pub(super) fn progress(&self) -> Option<&Arc<Progress>> {
        self.idle.as_ref().map(|idle| &idle.progress)
    }

    /// Ready once time is up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        if let Some((sleep, reason)) = &mut self.end
            && sleep.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(*reason);
        }
        let Some(Idle { sleep, most, progress }) = &mut self.idle else { return Poll::Pending };
        while sleep.as_mut().poll(cx).is_ready() {
            // Meanwhile something may have passed the other way.
            let until = after(progress.last(), *most);
            if until <= Instant::now() {
                return Poll::Ready(Reason::IdleTimeout);
            }
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}

/// The end of a time that may be longer than the clock can hold: a year then, which is never.
pub fn after(from: Instant, time: Duration) -> Instant {
    from.checked_add(time).unwrap_or_else(|| from + Duration::from_secs(86_400 * 365))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn what_passes_either_way_keeps_a_body_from_being_idle() {
        let (began, progress) = (Instant::now(), Progress::new());
        let mut clock = Clock::new(None, Some((100 * MS, progress.clone()))).unwrap();
        let passing = async {
            for _ in 0..3 {
                tokio::time::sleep(60 * MS).await;
                progress.moved();
            }
        };
        let (reason, ()) = tokio::join!(poll_fn(|cx| clock.poll(cx)), passing);
        assert_eq!((reason, began.elapsed()), (Reason::IdleTimeout, 280 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_however_busy_a_body_is() {
        let (began, progress) = (Instant::now(), Progress::new());
        let end = Some((began + 250 * MS, Reason::RequestTimeout));
        let mut clock = Clock::new(end, Some((100 * MS, progress.clone()))).unwrap();
        let passing = async {
            loop {
                tokio::time::sleep(60 * MS).await;
                progress.moved();
            }
        };
        let reason = tokio::select! {
            reason = poll_fn(|cx| clock.poll(cx)) => reason,
            () = passing => unreachable!(),
        };
        assert_eq!((reason, began.elapsed()), (Reason::RequestTimeout, 250 * MS));
        assert!(Clock::new(None, None).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn that_a_request_has_passed_is_known_before_and_after_it_is_asked() {
        let progress = Progress::new();
        let ((), ()) = tokio::join!(progress.until_sent(), async {
            tokio::time::sleep(10 * MS).await;
            progress.sent();
        });
        progress.until_sent().await;
        assert_eq!(progress.sent_at(), Some(Instant::now()));
    }
}

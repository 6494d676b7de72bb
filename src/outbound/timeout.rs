//! How long a request may take, as its rule says (contract 3.11): as a whole, from its end to its answer's, and without
//! a piece of either.
//!
//! Before the answer's head has come it is waited for here; after that the answer's body keeps the time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::Reason;
use crate::message::clock::{Clock, Progress, after};
use crate::model::outbound::Timeouts;

use super::rule::Try;

/// What all attempts at a request have together. By default it may take as long as it does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// When its answer must have come to its end.
    end: Option<Instant>,
    /// When the head of its answer must have come, as a profile's route says.
    head: Option<Instant>,
    response: Option<Duration>,
    idle: Option<Duration>,
}

/// One attempt, and how long it may take.
#[derive(Debug)]
pub(super) struct Attempt {
    limits: Limits,
    how: Try,
    progress: Arc<Progress>,
}

impl Limits {
    pub(super) fn new(timeouts: &Timeouts, arrived: Instant) -> Self {
        Self {
            end: timeouts.request.map(|request| after(arrived, request)),
            head: None,
            response: timeouts.response,
            idle: timeouts.idle,
        }
    }

    /// Of a profile's route: the time that the head of an answer may take, whatever is tried in between.
    pub(super) fn until_head(timeout: Option<Duration>, arrived: Instant) -> Self {
        let head = timeout.map(|timeout| after(arrived, timeout));
        Self { head, ..Self::default() }
    }

    /// When the head of the answer must have come at the latest, and what it means if it has not.
    pub(super) fn head(self) -> Option<(Instant, Reason)> {
        let end = self.end.map(|at| (at, Reason::RequestTimeout));
        let head = self.head.map(|at| (at, Reason::ProfileTimeout));
        [end, head].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// An attempt that begins now. `None` where it may take as long as it likes.
    pub(super) fn attempt(self, how: Try) -> Option<Attempt> {
        let limited = self.head().is_some() || self.response.is_some() || self.idle.is_some();
        (limited || how.headers.is_some()).then(|| Attempt { limits: self, how, progress: Progress::new() })
    }

    /// Waits, if there is time for it.
    pub(super) async fn pause(self, pause: Duration) -> Result<(), Reason> {
        let until = after(Instant::now(), pause);
        sleep_until(self.end.map_or(until, |end| end.min(until))).await;
        if self.end.is_some_and(|end| end <= Instant::now()) { Err(Reason::RequestTimeout) } else { Ok(()) }
    }
}

impl Attempt {
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// When what comes before the answer must be over.
    pub(super) fn deadline(&self) -> Option<(Instant, Reason)> {
        self.limits.head()
    }

    /// Waits for what comes before the request is sent.
    ///
    /// # Errors
    /// Time was up first.
    pub(super) async fn before<T>(&self, what: impl Future<Output = T>) -> Result<T, Reason> {
        match self.limits.head() {
            None => Ok(what.await),
            Some((end, reason)) => timeout_at(end, what).await.map_err(|_| reason),
        }
    }

    /// Waits for the head of the answer.
    ///
    /// # Errors
    /// Time was up first.
    pub(super) async fn head<T>(&self, mut sending: Pin<&mut impl Future<Output = T>>) -> Result<T, Reason> {
        loop {
            let sent = self.progress.sent_at();
            let by = self.head_by(sent);
            let expired = async {
                match by {
                    Some((at, _)) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                head = sending.as_mut() => return Ok(head),
                // Now the time for the answer begins.
                () = self.progress.until_sent(), if sent.is_none() => {}
                () = expired => {
                    // Meanwhile a piece may have passed.
                    if let Some((at, reason)) = self.head_by(self.progress.sent_at())
                        && at <= Instant::now()
                    {
                        return Err(reason);
                    }
                }
            }
        }
    }

    /// When the head must have come, and what it means if it has not. A pause counts while the request is under way.
    fn head_by(&self, sent: Option<Instant>) -> Option<(Instant, Reason)> {
        let end = self.limits.head();
        let answer = sent.and_then(|sent| match (self.how.headers, self.limits.response) {
            (Some(headers), _) => Some((after(sent, headers), Reason::HeadersTimeout)),
            (None, Some(response)) => Some((after(sent, response), Reason::ResponseTimeout)),
            (None, None) => None,
        });
        let idle = self.limits.idle.filter(|_| sent.is_none());
        let idle = idle.map(|idle| (after(self.progress.last(), idle), Reason::IdleTimeout));
        [end, answer, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Waits for the first piece of the answer's body, whose head has just come.
    ///
    /// # Errors
    /// Time was up first.
    pub(super) async fn piece<T>(&self, first: impl Future<Output = T>) -> Result<T, Reason> {
        let (mut first, end) = (pin!(first), self.end_by());
        self.progress.moved();
        let by = || {
            let idle = self.limits.idle.map(|idle| (after(self.progress.last(), idle), Reason::IdleTimeout));
            [end, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
        };
        loop {
            let Some((at, reason)) = by() else { return Ok(first.await) };
            match timeout_at(at, first.as_mut()).await {
                Ok(first) => return Ok(first),
                // Meanwhile a piece of the request may have passed.
                Err(_) if by().is_some_and(|(at, _)| at > Instant::now()) => {}
                Err(_) => return Err(reason),
            }
        }
    }

    /// When the body of the answer must have come, whose head is there.
    pub(super) fn end_by(&self) -> Option<(Instant, Reason)> {
        let sent = self.progress.sent_at().unwrap_or_else(Instant::now);
        let response = self.limits.response.map(|time| (after(sent, time), Reason::ResponseTimeout));
        let end = self.limits.end.map(|at| (at, Reason::RequestTimeout));
        [end, response].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// What keeps the time of the answer's body.
    pub(super) fn clock(&self) -> Option<Clock> {
        Clock::new(self.end_by(), self.limits.idle.map(|idle| (idle, self.progress.clone())))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn limits(request: Option<u32>, response: Option<u32>, idle: Option<u32>) -> Limits {
        let of = |ms: Option<u32>| ms.map(|ms| ms * MS);
        let timeouts = Timeouts { request: of(request), response: of(response), idle: of(idle) };
        Limits::new(&timeouts, Instant::now())
    }

    /// How a wait ends whose request passes in pieces of 30 ms, so many, and whose head comes never.
    async fn ends(limits: Limits, headers: Option<Duration>, pieces: u32) -> (Reason, Duration) {
        let began = Instant::now();
        let attempt = limits.attempt(Try { headers }).unwrap();
        let sending = pin!(async {
            for _ in 0..pieces {
                sleep(30 * MS).await;
                attempt.progress().moved();
            }
            attempt.progress().sent();
            std::future::pending::<()>().await;
        });
        (attempt.head(sending).await.unwrap_err(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn each_limit_counts_from_where_it_begins() {
        assert_eq!(ends(limits(Some(100), None, None), None, 9).await, (Reason::RequestTimeout, 100 * MS));
        assert_eq!(ends(limits(None, Some(100), None), None, 2).await, (Reason::ResponseTimeout, 160 * MS));
        assert_eq!(ends(limits(None, None, Some(20)), None, 2).await, (Reason::IdleTimeout, 20 * MS));
        assert_eq!(
            ends(limits(Some(200), None, Some(40)), None, 2).await,
            (Reason::RequestTimeout, 200 * MS)
        );
        assert_eq!(ends(limits(None, None, None), Some(50 * MS), 1).await, (Reason::HeadersTimeout, 80 * MS));
        assert_eq!(
            ends(limits(Some(70), None, None), Some(50 * MS), 1).await,
            (Reason::RequestTimeout, 70 * MS)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_piece_of_the_body_is_waited_for_no_longer_than_a_pause_may_be() {
        // How long nothing of the body comes, while so many pieces of the request pass, each after 30 ms.
        let waits = async |limits: Limits, pieces: u32| {
            let attempt = limits.attempt(Try::default()).unwrap();
            sleep(70 * MS).await;
            let began = Instant::now();
            let passing = async {
                for _ in 0..pieces {
                    sleep(30 * MS).await;
                    attempt.progress().moved();
                }
                std::future::pending::<()>().await
            };
            let ended = attempt.piece(std::future::pending::<()>());
            tokio::select! {
                ended = ended => (ended.unwrap_err(), began.elapsed()),
                () = passing => unreachable!(),
            }
        };
        assert_eq!(waits(limits(None, None, Some(50)), 0).await, (Reason::IdleTimeout, 50 * MS));
        assert_eq!(waits(limits(None, None, Some(50)), 4).await, (Reason::IdleTimeout, 170 * MS));
        assert_eq!(waits(limits(Some(200), None, Some(50)), 9).await, (Reason::RequestTimeout, 130 * MS));
        assert_eq!(waits(limits(None, Some(100), Some(50)), 9).await, (Reason::ResponseTimeout, 100 * MS));
        let attempt = limits(None, None, Some(50)).attempt(Try::default()).unwrap();
        assert_eq!(attempt.piece(async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_has_what_is_left() {
        let attempt = limits(Some(300), Some(100), None).attempt(Try::default()).unwrap();
        sleep(50 * MS).await;
        attempt.progress().sent();
        let sent = Instant::now();
        sleep(70 * MS).await;
        assert_eq!(attempt.end_by(), Some((sent + 100 * MS, Reason::ResponseTimeout)));
        let head = Limits::until_head(Some(80 * MS), Instant::now());
        assert_eq!(ends(head, None, 1).await, (Reason::ProfileTimeout, 80 * MS));
        let attempt = head.attempt(Try::default()).unwrap();
        assert!(
            attempt.clock().is_none() && attempt.end_by().is_none(),
            "its body may take as long as it does"
        );
        assert!(limits(None, None, None).attempt(Try::default()).is_none(), "nothing to keep");
        assert_eq!(limits(Some(40), None, None).pause(90 * MS).await, Err(Reason::RequestTimeout));
        assert_eq!(limits(Some(40), None, None).pause(10 * MS).await, Ok(()));
    }
}

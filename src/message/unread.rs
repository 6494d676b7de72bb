//! Answers that nobody reads.
//!
//! What of an answer has come and not gone on yet waits in windows and buffers. Of one stream that is little, and it may
//! wait as long as it likes; ten thousand of them are the memory of the whole pod. [`Unread`] counts the streams whose
//! answers wait for their readers. Beyond one number those are given up that have waited longest, and for some seconds at
//! least: whoever takes a window's worth in that time is safe. Beyond a second number there is no such grace. What the
//! library has taken besides, of whole answers too, is counted by connection ([`held`]).
//!
//! An answer is given up by ending its task, which drops what it holds of the stream. The rest is its request's body,
//! which another task may be passing on: that is told, and fails ([`Interest`]).

mod answer;
mod held;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use slab::Slab;
use tokio::time::Instant;
use tracing::warn;

use crate::error::Reason;

use held::Held;

pub use answer::Tasks;
pub(super) use answer::{Answer, Interest};
pub use held::Account;
pub(super) use held::Connection;

/// Bytes that wait of one answer at most: a window full of what has come, what is to be sent, and what the allocator
/// needs for both.
const ANSWER: usize = 128 * 1024;
/// Bytes that may wait in all, and as many that the library may hold, where the process has no limit of memory;
/// otherwise it is a quarter of that.
const MOST: u64 = 128 << 20;
/// Where less waits, nobody is given up: a quarter of the whole.
const NOBODY: usize = 4;
/// Who was given something in this time is given up only beyond the whole.
const GRACE: Duration = Duration::from_secs(5);
/// How often it is looked at, once too much waits; and once far too much does.
const LOOK: Duration = Duration::from_millis(25);
const LOOK_SHARPLY: Duration = Duration::from_millis(3);
/// So that workers do not wait for each other.
const SHARDS: usize = 16;

/// The answers of all connections that wait to be read.
pub struct Unread {
    /// Answers that may wait, without and with grace.
    most: usize,
    nobody: usize,
    waiting: AtomicUsize,
    /// Whether somebody looks at it.
    watched: AtomicBool,
    began: Instant,
    shards: [Mutex<Slab<Arc<Answer>>>; SHARDS],
    next: AtomicUsize,
    held: Held,
}

impl Unread {
    /// For a process that may use so many bytes of memory.
    pub fn new(memory: Option<u64>) -> Arc<Self> {
        let bytes = memory.map_or(MOST, |limit| limit / 4) as usize;
        let most = bytes / ANSWER;
        Arc::new(Self {
            most,
            nobody: most / NOBODY,
            waiting: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            began: Instant::now(),
            shards: std::array::from_fn(|_| Mutex::default()),
            next: AtomicUsize::new(0),
            held: Held::new(bytes),
        })
    }

    fn enter(&self, answer: Arc<Answer>) -> (usize, usize) {
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        (shard, self.shards[shard].lock().insert(answer))
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// One more waits.
    fn waits(self: &Arc<Self>) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.look_if_needed();
    }

    fn look_if_needed(self: &Arc<Self>) {
        if self.is_too_much() && !self.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().look());
        }
    }

    /// Gives up answers until few enough wait.
    async fn look(self: Arc<Self>) {
        loop {
            let given_up = self.give_up();
            if given_up > 0 {
                let row = Reason::AnswerUnread.row();
                warn!(answers = given_up, reason = row.name, "{}", row.message);
            }
            self.held.relieve(self.now());
            let far_too_much =
                self.waiting.load(Ordering::Relaxed) > self.most || self.held.is_far_too_much();
            tokio::time::sleep(if far_too_much { LOOK_SHARPLY } else { LOOK }).await;
            if !self.is_too_much() {
                self.watched.store(false, Ordering::SeqCst);
                // Asked again, for who came in between.
                if !self.is_too_much() || self.watched.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
    }

    fn is_too_much(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > self.nobody || self.held.is_too_much()
    }

    fn give_up(&self) -> usize {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let (late, all) = (waiting.saturating_sub(self.nobody), waiting.saturating_sub(self.most));
        let patient = self.now().saturating_sub(GRACE.as_millis() as u64);
        let waits = |(_, answer): (usize, &Arc<Answer>)| match answer.since.load(Ordering::Relaxed) {
            0 => None,
            since => Some((since, answer.clone())),
        };
        let mut answers: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.lock().iter().filter_map(waits).collect::<Vec<_>>())
            .collect();
        answers.sort_unstable_by_key(|(since, _)| *since);
        let late = answers.iter().take_while(|(since, _)| *since < patient).count().min(late);
        answers.into_iter().take(late.max(all)).filter(|(since, answer)| answer.give_up(*since)).count()
    }
}

/// The body of an answer, of which is counted what the library takes.
pub struct Counted<B> {
    body: B,
    account: Arc<Account>,
    waits: Option<Waits>,
}

impl<B> Counted<B> {
    pub(super) fn new(body: B, account: &Arc<Account>) -> Self {
        Self { body, account: account.clone(), waits: None }
    }

    /// The same, of an answer that waits for its reader from when a piece of it was taken until the next is asked for.
    pub(super) fn waiting(self, unread: Arc<Unread>, answer: Arc<Answer>) -> Self {
        Self { waits: Some(Waits { unread, answer, place: None, waits: false }), ..self }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(waits) = &mut this.waits {
            match &frame {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => waits.begin(),
                _ => waits.end(),
            }
        }
        frame.map_ok(|frame| frame.map_data(|bytes| this.account.hold(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether an answer waits for its reader.
struct Waits {
    unread: Arc<Unread>,
    answer: Arc<Answer>,
    place: Option<(usize, usize)>,
    waits: bool,
}

impl Waits {
    fn begin(&mut self) {
        self.answer.since.store(self.unread.now(), Ordering::Relaxed);
        if self.place.is_none() {
            self.place = Some(self.unread.enter(self.answer.clone()));
        }
        if !std::mem::replace(&mut self.waits, true) {
            self.unread.waits();
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.waits, false) {
            self.answer.since.store(0, Ordering::Relaxed);
            self.unread.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.end();
        if let Some((shard, at)) = self.place {
            self.unread.shards[shard].lock().remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use http_body_util::StreamBody;

    use super::answer::NEXT;
    use super::*;

    type Piece = Result<Frame<Bytes>, std::convert::Infallible>;

    /// An account for so many answers, a quarter of them without a second look.
    fn unread(most: u64) -> Arc<Unread> {
        Unread::new(Some(most * 4 * ANSWER as u64))
    }

    /// Sends an endless answer, whose reader takes a piece whenever so much time has passed. The counter is of those
    /// that were given up.
    fn answer(
        unread: &Arc<Unread>,
        takes: Duration,
        given_up: &Arc<AtomicUsize>,
    ) -> tokio::task::JoinHandle<()> {
        let count = given_up.clone();
        let answer = Answer::new(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        NEXT.take();
        let piece = || Piece::Ok(Frame::data(Bytes::from_static(b"piece")));
        let endless = StreamBody::new(futures_util::stream::repeat_with(piece));
        let connection = Connection::new(unread.clone());
        let mut body = Counted::new(endless, connection.account()).waiting(unread.clone(), answer.clone());
        let task = tokio::spawn(async move {
            while body.frame().await.is_some() {
                tokio::time::sleep(takes).await;
            }
        });
        let _ = answer.task.set(task.abort_handle());
        task
    }

    const NEVER: Duration = Duration::from_secs(3600);
    const NOW_AND_THEN: Duration = Duration::from_millis(500);

    async fn given_up_of(most: u64, never: usize, now_and_then: usize) -> [usize; 2] {
        let (unread, counts) = (unread(most), [Arc::<AtomicUsize>::default(), Arc::default()]);
        let readers = (0..never).map(|_| answer(&unread, NEVER, &counts[0]));
        let readers: Vec<_> =
            readers.chain((0..now_and_then).map(|_| answer(&unread, NOW_AND_THEN, &counts[1]))).collect();
        tokio::time::sleep(Duration::from_secs(60)).await;
        readers.iter().for_each(tokio::task::JoinHandle::abort);
        counts.map(|count| count.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn few_may_wait_for_ever() {
        assert_eq!(given_up_of(400, 100, 0).await, [0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_reads_is_given_up_and_who_reads_is_not() {
        assert_eq!(given_up_of(400, 150, 50).await, [100, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_whole_even_readers_are_given_up() {
        let [none, some] = given_up_of(400, 0, 500).await;
        assert_eq!(none, 0);
        assert!((100..150).contains(&some), "{some}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_answers_that_have_ended() {
        let (unread, count) = (unread(400), Arc::default());
        let readers: Vec<_> = (0..10).map(|_| answer(&unread, NOW_AND_THEN, &count)).collect();
        tokio::time::sleep(NOW_AND_THEN * 3).await;
        for reader in readers {
            reader.abort();
            let _ = reader.await;
        }
        assert_eq!(unread.waiting.load(Ordering::Relaxed), 0);
        assert!(unread.shards.iter().all(|shard| shard.lock().is_empty()));
    }
}

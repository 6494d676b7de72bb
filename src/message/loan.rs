//! A request's body that can be had back: while the peer may still say that it never looked at the request (RFC 9113,
//! 8.7), or while a route's rule may want it sent again (contract 3.11).

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;

use crate::error::Reason;

use super::{RequestBody, body, vet};

/// Bytes of a body that are kept at most. A refusal comes within a round trip, or never; what is larger
/// has usually not been sent whole by then, and what was sent of it is not worth this memory.
const KEPT: usize = 16 * 1024;

/// What a kept piece takes beside its bytes.
const PIECE: usize = 64;

/// Bytes of bodies that may be kept for retries, of all requests together.
#[derive(Debug)]
pub struct Allowance {
    most: usize,
    used: AtomicUsize,
}

/// A part of an [`Allowance`], until this is dropped.
#[derive(Debug)]
struct Room {
    allowance: Arc<Allowance>,
    bytes: usize,
}

/// A body on loan to a connection. Clones are the same body.
#[derive(Clone, Debug)]
pub(super) struct Loan(Arc<Mutex<Option<Lent>>>);

#[derive(Debug)]
struct Lent {
    /// To be read before the rest: what an earlier connection had read.
    ahead: Pieces,
    rest: RequestBody,
    /// The rest has been read to its end.
    ended: bool,
    /// What was read so far; `None` once it is not all there any more, or nobody wants it back.
    read: Option<Read>,
    /// What was wrong with it.
    blame: Option<Reason>,
}

#[derive(Debug, Default)]
struct Pieces {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

/// What was read, and how much may be.
#[derive(Debug)]
struct Read {
    pieces: Pieces,
    bytes: usize,
    most: usize,
    room: Option<Room>,
}

impl Allowance {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0) })
    }

    /// Bytes that are kept now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Room {
    /// Whether there was room for so many bytes more.
    fn grow(&mut self, more: usize) -> bool {
        let fits = |used: usize| used.checked_add(more).filter(|sum| *sum <= self.allowance.most);
        let grown = self.allowance.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        self.bytes += if grown { more } else { 0 };
        grown
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.allowance.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Loan {
    pub(super) fn new(body: RequestBody) -> Self {
        Self::of(body, KEPT, None)
    }

    /// Keeps up to `most` bytes, as long as all who keep some have room.
    pub(super) fn keeping(body: RequestBody, most: usize, allowance: &Arc<Allowance>) -> Self {
        Self::of(body, most, Some(Room { allowance: allowance.clone(), bytes: 0 }))
    }

    fn of(rest: RequestBody, most: usize, room: Option<Room>) -> Self {
        let read = Some(Read { pieces: Pieces::default(), bytes: 0, most, room });
        Lent { ahead: Pieces::default(), rest, ended: false, read, blame: None }.into()
    }

    /// The body from its beginning, for another connection: the borrower finds nothing any more. `None` if
    /// more was read than is kept.
    pub(super) fn back(&self) -> Option<Self> {
        let Lent { ahead, rest, ended, read, .. } = self.0.lock().take()?;
        let mut read = read?;
        let mut again = mem::take(&mut read.pieces);
        again.data.extend(ahead.data);
        again.trailers = again.trailers.or(ahead.trailers);
        Some(Lent { ahead: again, rest, ended, read: Some(read), blame: None }.into())
    }

    pub(super) fn blame(&self) -> Option<Reason> {
        self.0.lock().as_ref()?.blame
    }

    /// Nobody will want it back.
    pub(super) fn forgive(&self) {
        if let Some(lent) = self.0.lock().as_mut() {
            lent.read = None;
        }
    }

    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        match self.0.lock().as_mut() {
            Some(lent) => lent.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.0.lock().as_ref().is_none_or(Lent::is_end_stream)
    }

    /// Whether all of it was read, and can be had back.
    pub(super) fn is_kept(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|lent| lent.read.is_some() && lent.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let lent = self.0.lock();
        let Some(lent) = lent.as_ref() else { return SizeHint::with_exact(0) };
        let ahead: usize = lent.ahead.data.iter().map(Bytes::len).sum();
        match lent.rest.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + ahead as u64),
            None => SizeHint::default(),
        }
    }
}

impl From<Lent> for Loan {
    fn from(lent: Lent) -> Self {
        Self(Arc::new(Mutex::new(Some(lent))))
    }
}

impl Lent {
    fn is_end_stream(&self) -> bool {
        self.ahead.data.is_empty()
            && self.ahead.trailers.is_none()
            && (self.ended || self.rest.is_end_stream())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        // What is read again was counted when it was read first.
        if let Some(data) = self.ahead.data.pop_front() {
            if let Some(read) = &mut self.read {
                read.pieces.data.push_back(data.clone());
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(trailers) = self.ahead.trailers.take() {
            if let Some(read) = &mut self.read {
                read.pieces.trailers = Some(trailers.clone());
            }
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.keep(data),
                (None, Some(trailers)) => {
                    self.keep_trailers(trailers);
                    self.ended = true;
                }
                (None, None) => self.read = None,
            },
            Some(Err(error)) => {
                self.read = None;
                self.blame = vet::to_blame(error);
            }
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, data: &Bytes) {
        let Some(read) = self.read.as_mut().filter(|_| !data.is_empty()) else { return };
        if read.fits(data.len()) {
            read.pieces.data.push_back(data.clone());
        } else {
            self.read = None;
        }
    }

    fn keep_trailers(&mut self, trailers: &HeaderMap) {
        let Some(read) = &mut self.read else { return };
        if read.fits(vet::list_size(trailers)) {
            read.pieces.trailers = Some(trailers.clone());
        } else {
            self.read = None;
        }
    }
}

impl Read {
    fn fits(&mut self, more: usize) -> bool {
        self.bytes += more;
        self.bytes <= self.most && self.room.as_mut().is_none_or(|room| room.grow(more + PIECE))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::message::Replay;
    use crate::telemetry::streams::Sent;

    fn replayed(bytes: usize, most: usize, allowance: &Arc<Allowance>) -> (RequestBody, Replay) {
        RequestBody::whole(vec![7; bytes].into(), Sent::default()).replayed(most, allowance)
    }

    async fn read(body: RequestBody) -> usize {
        body.collect().await.unwrap().to_bytes().len()
    }

    #[tokio::test]
    async fn a_body_can_be_had_back_as_often_as_it_was_read_whole() {
        let allowance = Allowance::new(1_000);
        let (body, mut replay) = replayed(500, 500, &allowance);
        assert!(!replay.can_again());
        assert_eq!(read(body).await, 500);
        for _ in 0..3 {
            assert!(replay.can_again());
            assert_eq!(allowance.used(), 500 + PIECE, "counted once");
            let (body, next) = replay.again().unwrap();
            assert!(!next.can_again());
            assert_eq!(read(body).await, 500);
            replay = next;
        }
        drop(replay);
        assert_eq!(allowance.used(), 0);
    }

    #[tokio::test]
    async fn what_is_too_long_or_has_no_room_passes_and_is_not_kept() {
        let allowance = Allowance::new(1_000);
        let (long, long_replay) = replayed(501, 500, &allowance);
        assert_eq!((read(long).await, allowance.used()), (501, 0));
        assert!(long_replay.again().is_none());
        let (first, held) = replayed(500, 500, &allowance);
        let (second, second_replay) = replayed(500, 500, &allowance);
        assert_eq!((read(first).await, read(second).await), (500, 500));
        assert!(second_replay.again().is_none() && allowance.used() < 1_000);
        assert!(held.again().is_some());
        drop(held);
        assert_eq!(allowance.used(), 0);
        let (third, third_replay) = replayed(500, 500, &allowance);
        assert_eq!(read(third).await, 500);
        assert!(third_replay.again().is_some(), "there is room again");
    }
}

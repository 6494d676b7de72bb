//! A request's body that can be had back, as long as the peer may still say that it never looked at the
//! request (RFC 9113, 8.7).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;

use crate::error::Reason;

use super::{RequestBody, body, vet};

/// Bytes of a body that are kept at most. A refusal comes within a round trip, or never; what is larger
/// has usually not been sent whole by then, and what was sent of it is not worth this memory.
const KEPT: usize = 16 * 1024;

/// A body on loan to a connection. Clones are the same body.
#[derive(Clone, Debug)]
pub(super) struct Loan(Arc<Mutex<Option<Lent>>>);

#[derive(Debug)]
struct Lent {
    /// To be read before the rest: what an earlier connection had read.
    ahead: VecDeque<Bytes>,
    rest: RequestBody,
    /// What was read so far; `None` once it is not all there any more, or nobody wants it back.
    read: Option<VecDeque<Bytes>>,
    /// What was wrong with it.
    blame: Option<Reason>,
}

impl Loan {
    pub(super) fn new(body: RequestBody) -> Self {
        Self::of(Lent { ahead: VecDeque::new(), rest: body, read: Some(VecDeque::new()), blame: None })
    }

    fn of(lent: Lent) -> Self {
        Self(Arc::new(Mutex::new(Some(lent))))
    }

    /// The body from its beginning, for another connection: the borrower finds nothing any more. `None` if
    /// more was read than is kept.
    pub(super) fn back(&self) -> Option<Self> {
        let Lent { ahead, rest, read, .. } = self.0.lock().take()?;
        let mut again = read?;
        again.extend(ahead);
        Some(Self::of(Lent { ahead: again, rest, read: Some(VecDeque::new()), blame: None }))
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
        self.0.lock().as_ref().is_none_or(|lent| lent.ahead.is_empty() && lent.rest.is_end_stream())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let lent = self.0.lock();
        let Some(lent) = lent.as_ref() else { return SizeHint::with_exact(0) };
        let ahead: usize = lent.ahead.iter().map(Bytes::len).sum();
        match lent.rest.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(rest + ahead as u64),
            None => SizeHint::default(),
        }
    }
}

impl Lent {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        if let Some(data) = self.ahead.pop_front() {
            self.keep(&data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => self.keep(data),
                // Trailers: rare enough in requests.
                None => self.read = None,
            },
            Some(Err(error)) => {
                self.read = None;
                self.blame = vet::to_blame(error);
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, data: &Bytes) {
        let Some(read) = &mut self.read else { return };
        let kept: usize = read.iter().map(Bytes::len).sum();
        if kept + data.len() > KEPT {
            self.read = None;
        } else if !data.is_empty() {
            read.push_back(data.clone());
        }
    }
}

//! Bodies on their way through: relayed frame by frame, or empty, with an observer of the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::Reason;
use crate::telemetry::streams::Sent;

use super::clock::{Clock, Progress};
use super::loan::Loan;
use super::unread::Interest;
use super::{headers, respond, vet};

mod lent;
mod observe;

pub use lent::{Claim, Replay};
pub use observe::{End, Error, Observe};

/// A relayed, whole or empty body.
#[derive(Debug)]
pub struct Body<W: Observe> {
    inner: Inner,
    observer: Option<W>,
    /// Whether the reader takes a failure from trailers.
    grpc: bool,
    /// Of a request: whether its answer is still wanted.
    interest: Option<Interest>,
    /// Where a rule of its route says more than where it goes.
    extra: Option<Box<Extra>>,
    /// A request's trailers are no place to say who its client is (contract 4.8).
    of_request: bool,
}

/// What a rule adds to a body.
#[derive(Debug, Default)]
pub struct Extra {
    /// What was looked at already, to be passed on before the rest.
    pub ahead: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    /// How long it may take.
    pub clock: Option<Clock>,
    /// Is told how far it has come.
    pub progress: Option<Arc<Progress>>,
}

#[derive(Debug)]
enum Inner {
    Relayed(Incoming),
    /// Relayed, and perhaps had back.
    Lent(Loan),
    /// The same, for whoever sends the request again as a whole: it may be lent in turn.
    Replayed(Loan),
    /// Made here.
    Whole(Bytes),
    Ended,
}

/// The body of a request on its way to an endpoint or application.
pub type RequestBody = Body<Sent>;

impl RequestBody {
    /// A request as it came, its body to be passed on for as long as its answer is wanted.
    pub fn of(mut req: Request<Incoming>, sent: Sent) -> Request<Self> {
        let interest = req.extensions_mut().remove();
        req.map(|body| {
            let mut body = Self::relay(body, sent);
            body.interest = interest;
            body.of_request = true;
            body
        })
    }

    /// The same, which tells how far it has come.
    pub fn telling(mut self, progress: Arc<Progress>) -> Self {
        if http_body::Body::is_end_stream(&self) {
            progress.sent();
        } else {
            self.extra.get_or_insert_default().progress = Some(progress);
        }
        self
    }
}

impl<W: Observe> Body<W> {
    fn new(inner: Inner, observer: Option<W>) -> Self {
        Self { inner, observer, grpc: false, interest: None, extra: None, of_request: false }
    }

    pub fn relay(inner: Incoming, observer: W) -> Self {
        Self::relay_with(inner, observer, None)
    }

    pub fn relay_with(inner: Incoming, observer: W, extra: Option<Box<Extra>>) -> Self {
        let ahead = extra.as_ref().is_some_and(|extra| !extra.ahead.is_empty());
        if http_body::Body::is_end_stream(&inner) && !ahead {
            // Nobody will poll a body that says it has ended.
            return Self::empty(observer);
        }
        let mut body = Self::new(Inner::Relayed(inner), Some(observer));
        body.extra = extra;
        body
    }

    /// The same, where `grpc` for a client who is told in trailers that its own cannot be passed on.
    pub fn for_grpc(mut self, grpc: bool) -> Self {
        self.grpc = grpc;
        self
    }

    /// A body made here.
    pub fn whole(bytes: Bytes, observer: W) -> Self {
        if bytes.is_empty() {
            return Self::empty(observer);
        }
        Self::new(Inner::Whole(bytes), Some(observer))
    }

    /// A body without bytes; the observer sees its end at once.
    pub fn empty(observer: W) -> Self {
        let mut body = Self::new(Inner::Ended, Some(observer));
        body.finish(End::Complete(None));
        body
    }

    fn observe(&mut self, frame: &Option<Result<Frame<Bytes>, Error>>, ended: bool) {
        match frame {
            None => self.finish(End::Complete(None)),
            Some(Err(error)) => self.finish(End::Failed(error)),
            Some(Ok(frame)) => match frame.data_ref() {
                None => self.finish(End::Complete(frame.trailers_ref())),
                Some(data) => {
                    if let Some(observer) = &mut self.observer {
                        observer.data(data.len());
                    }
                    if ended {
                        self.finish(End::Complete(None));
                    }
                }
            },
        }
    }

    fn finish(&mut self, end: End<'_>) {
        if let Some(mut observer) = self.observer.take() {
            observer.end(end);
        }
    }

    /// Ends here, since nobody waits for the answer any more.
    fn give_up(&mut self) -> Error {
        self.finish(End::Failed(&Error::GivenUp));
        self.inner = Inner::Ended;
        self.interest = None;
        Error::GivenUp
    }

    /// While nothing comes: whether it has taken too long.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(clock) = self.extra.as_mut().and_then(|extra| extra.clock.as_mut()) else {
            return Poll::Pending;
        };
        let reason = ready!(clock.poll(cx));
        Poll::Ready(self.cut(Error::TimedOut(reason), reason))
    }

    /// Ends here. A reader of gRPC is told in trailers.
    fn cut(&mut self, error: Error, reason: Reason) -> Option<Result<Frame<Bytes>, Error>> {
        self.finish(End::Failed(&error));
        self.inner = Inner::Ended;
        self.extra = None;
        Some(if self.grpc { Ok(Frame::trailers(respond::trailers(reason))) } else { Err(error) })
    }
}

impl Extra {
    /// A piece has passed, or the end.
    fn moved(&self, ended: bool) {
        let progress = self.progress.as_ref();
        if let Some(progress) = progress.or_else(|| self.clock.as_ref().and_then(Clock::progress)) {
            progress.moved();
        }
        if let (Some(progress), true) = (&self.progress, ended) {
            progress.sent();
        }
    }
}

impl<W: Observe + Unpin> http_body::Body for Body<W> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.interest.as_ref().is_some_and(|interest| interest.is_lost(cx)) {
            return Poll::Ready(Some(Err(this.give_up())));
        }
        let ahead = this.extra.as_mut().and_then(|extra| extra.ahead.pop_front());
        let polled = match &mut this.inner {
            Inner::Relayed(inner) => match ahead {
                Some(frame) => Poll::Ready(Some(bounded(frame))),
                None => Pin::new(inner).poll_frame(cx).map(|frame| frame.map(bounded)),
            },
            Inner::Lent(loan) => return loan.poll_frame(cx),
            Inner::Replayed(loan) => loan.poll_frame(cx),
            Inner::Ended => return Poll::Ready(None),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.inner = Inner::Ended;
                this.finish(End::Complete(None));
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        };
        let Poll::Ready(mut frame) = polled else { return this.poll_clock(cx) };
        if let Some(Err(Error::TrailersTooLarge)) = frame {
            return Poll::Ready(this.cut(Error::TrailersTooLarge, Reason::AnswerTooLarge));
        }
        if let (true, Some(Ok(frame))) = (this.of_request, &mut frame)
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::strip_client_id(trailers);
        }
        // With a content length the reader may stop after the last data, without asking for the end.
        let ended = http_body::Body::is_end_stream(&*this);
        if let Some(extra) = &this.extra {
            let last = frame.as_ref().is_none_or(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
            extra.moved(ended || last);
        }
        this.observe(&frame, ended);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Relayed(inner) => {
                let ahead = self.extra.as_ref().is_some_and(|extra| !extra.ahead.is_empty());
                !ahead && http_body::Body::is_end_stream(inner)
            }
            Inner::Lent(loan) | Inner::Replayed(loan) => loan.is_end_stream(),
            Inner::Whole(_) => false,
            Inner::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Relayed(inner) => match &self.extra {
                // A length that is less than what is still to come would be taken for the whole.
                Some(extra) if !extra.ahead.is_empty() => SizeHint::default(),
                _ => http_body::Body::size_hint(inner),
            },
            Inner::Lent(loan) | Inner::Replayed(loan) => loan.size_hint(),
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // That it has ended says it; a length here would add a `content-length` that was not sent.
            Inner::Ended => SizeHint::default(),
        }
    }
}

fn bounded(frame: Result<Frame<Bytes>, hyper::Error>) -> Result<Frame<Bytes>, Error> {
    let frame = frame.map_err(Error::Stream)?;
    match frame.trailers_ref() {
        Some(trailers) if vet::list_size(trailers) > vet::PASSED_ON => Err(Error::TrailersTooLarge),
        _ => Ok(frame),
    }
}

impl<W: Observe> Drop for Body<W> {
    fn drop(&mut self) {
        self.finish(End::Dropped);
    }
}

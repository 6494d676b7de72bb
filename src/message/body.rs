//! Bodies on their way through: relayed frame by frame, or empty, with an observer of the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::Reason;
use crate::telemetry::streams::Sent;

use super::clock::{Clock, Progress};
use super::loan::{Allowance, Loan};
use super::unread::Interest;
use super::{headers, respond, vet};

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the body's stream broke")]
    Stream(#[source] hyper::Error),
    /// An answer that took longer than its route allows.
    #[error("the answer was cut short: {}", .0.row().message)]
    TimedOut(Reason),
    /// A request that nobody waits for any more.
    #[error("the answer was given up, because nobody reads it")]
    GivenUp,
    /// The library cuts what is larger still; half a list of trailers is worse than none.
    #[error("the trailers are larger than {} KiB", vet::HEADER_LIST / 1024)]
    TrailersTooLarge,
}

/// How a body's stream ended.
#[derive(Debug)]
pub enum End<'a> {
    /// Whole, with trailers if there were any.
    Complete(Option<&'a HeaderMap>),
    /// The sender's side failed.
    Failed(&'a Error),
    /// The reader stopped before the end.
    Dropped,
}

/// Watches a body go by. `end` is called exactly once.
pub trait Observe: Send + 'static {
    /// One piece of data passed.
    fn data(&mut self, _bytes: usize) {}
    fn end(&mut self, _end: End<'_>) {}
}

impl Observe for () {}

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

impl Observe for Sent {
    fn data(&mut self, bytes: usize) {
        Self::data(self, bytes);
    }

    fn end(&mut self, _: End<'_>) {
        Self::end(self);
    }
}

/// The claim to a body that was lent to a connection.
#[derive(Debug)]
pub struct Claim(Option<Loan>);

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

    /// The same body, lent, and the claim to it.
    pub fn lend(self) -> (Self, Claim) {
        let loan = match &self.inner {
            Inner::Ended => return (self, Claim(None)),
            Inner::Lent(loan) => loan.clone(),
            Inner::Relayed(_) | Inner::Whole(_) | Inner::Replayed(_) => Loan::new(self),
        };
        (Self::lent(loan.clone()), Claim(Some(loan)))
    }

    /// The same body, and the claim to it for as long as it is not longer than `most` bytes, and all that are kept are
    /// not more than is allowed.
    pub fn replayed(self, most: usize, allowance: &Arc<Allowance>) -> (Self, Replay) {
        if let Inner::Ended = self.inner {
            return (self, Replay(None));
        }
        let loan = Loan::keeping(self, most, allowance);
        (Self::unwatched(Inner::Replayed(loan.clone())), Replay(Some(loan)))
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

    /// What watches the body is lent with it.
    fn lent(loan: Loan) -> Self {
        Self::unwatched(Inner::Lent(loan))
    }

    fn unwatched(inner: Inner) -> Self {
        Self { inner, observer: None, grpc: false, interest: None, extra: None, of_request: false }
    }
}

/// The claim to a body that may be sent again.
#[derive(Debug)]
pub struct Replay(Option<Loan>);

impl Replay {
    /// Whether it can be sent again: all of it was read, and is kept.
    pub fn can_again(&self) -> bool {
        self.0.as_ref().is_none_or(Loan::is_kept)
    }

    /// The body from its beginning, and the claim to it. `None` if more of it was read than could be kept.
    pub fn again(&self) -> Option<(RequestBody, Self)> {
        let Some(loan) = &self.0 else { return Some((RequestBody::empty(Sent::default()), Self(None))) };
        let again = loan.back()?;
        Some((RequestBody::unwatched(Inner::Replayed(again.clone())), Self(Some(again))))
    }
}

impl Claim {
    /// Why its request failed, if the body is to blame: an HTTP/2 stream that is reset for it does not say.
    pub fn blame(&self) -> Option<Reason> {
        self.0.as_ref()?.blame()
    }

    /// Whether its borrower has taken all of it.
    pub fn is_spent(&self) -> bool {
        self.0.as_ref().is_none_or(Loan::is_end_stream)
    }

    /// The body from its beginning; the connection that had it gets nothing more of it. `None` if it has
    /// passed further than can be had back.
    pub fn back(&self) -> Option<RequestBody> {
        match &self.0 {
            None => Some(RequestBody::empty(Sent::default())),
            Some(loan) => Some(RequestBody::lent(loan.back()?)),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(loan) = &self.0 {
            loan.forgive();
        }
    }
}

impl<W: Observe> Body<W> {
    pub fn relay(inner: Incoming, observer: W) -> Self {
        Self::relay_with(inner, observer, None)
    }

    pub fn relay_with(inner: Incoming, observer: W, extra: Option<Box<Extra>>) -> Self {
        let ahead = extra.as_ref().is_some_and(|extra| !extra.ahead.is_empty());
        if http_body::Body::is_end_stream(&inner) && !ahead {
            // Nobody will poll a body that says it has ended.
            return Self::empty(observer);
        }
        Self {
            inner: Inner::Relayed(inner),
            observer: Some(observer),
            grpc: false,
            interest: None,
            extra,
            of_request: false,
        }
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
        Self {
            inner: Inner::Whole(bytes),
            observer: Some(observer),
            grpc: false,
            interest: None,
            extra: None,
            of_request: false,
        }
    }

    /// A body without bytes; the observer sees its end at once.
    pub fn empty(observer: W) -> Self {
        let mut body = Self {
            inner: Inner::Ended,
            observer: Some(observer),
            grpc: false,
            interest: None,
            extra: None,
            of_request: false,
        };
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
            this.finish(End::Failed(&Error::GivenUp));
            this.inner = Inner::Ended;
            this.interest = None;
            return Poll::Ready(Some(Err(Error::GivenUp)));
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
        let Poll::Ready(mut frame) = polled else {
            let Some(clock) = this.extra.as_mut().and_then(|extra| extra.clock.as_mut()) else {
                return Poll::Pending;
            };
            let reason = ready!(clock.poll(cx));
            return Poll::Ready(this.cut(Error::TimedOut(reason), reason));
        };
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

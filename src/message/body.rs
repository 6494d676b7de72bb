//! Bodies on their way through: relayed frame by frame, or empty, with an observer of the end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::error::Reason;
use crate::telemetry::streams::Sent;

use super::loan::Loan;
use super::unread::Interest;
use super::{respond, vet};

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the body's stream broke")]
    Stream(#[source] hyper::Error),
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
}

#[derive(Debug)]
enum Inner {
    Relayed(Incoming),
    /// Relayed, and perhaps had back.
    Lent(Loan),
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
            body
        })
    }

    /// The same body, lent, and the claim to it.
    pub fn lend(self) -> (Self, Claim) {
        let loan = match &self.inner {
            Inner::Ended => return (self, Claim(None)),
            Inner::Lent(loan) => loan.clone(),
            Inner::Relayed(_) | Inner::Whole(_) => Loan::new(self),
        };
        (Self::lent(loan.clone()), Claim(Some(loan)))
    }

    /// What watches the body is lent with it.
    fn lent(loan: Loan) -> Self {
        Self { inner: Inner::Lent(loan), observer: None, grpc: false, interest: None }
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
        let ended = http_body::Body::is_end_stream(&inner);
        if ended {
            // Nobody will poll a body that says it has ended.
            return Self::empty(observer);
        }
        Self { inner: Inner::Relayed(inner), observer: Some(observer), grpc: false, interest: None }
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
        Self { inner: Inner::Whole(bytes), observer: Some(observer), grpc: false, interest: None }
    }

    /// A body without bytes; the observer sees its end at once.
    pub fn empty(observer: W) -> Self {
        let mut body = Self { inner: Inner::Ended, observer: Some(observer), grpc: false, interest: None };
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
        let inner = match &mut this.inner {
            Inner::Relayed(inner) => inner,
            Inner::Lent(loan) => return loan.poll_frame(cx),
            Inner::Ended => return Poll::Ready(None),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.inner = Inner::Ended;
                this.finish(End::Complete(None));
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        };
        let frame = ready!(Pin::new(&mut *inner).poll_frame(cx)).map(bounded);
        // With a content length the reader may stop after the last data, without asking for the end.
        let ended = http_body::Body::is_end_stream(inner);
        this.observe(&frame, ended);
        if this.grpc && matches!(frame, Some(Err(Error::TrailersTooLarge))) {
            this.inner = Inner::Ended;
            return Poll::Ready(Some(Ok(Frame::trailers(respond::trailers(Reason::AnswerTooLarge)))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Relayed(inner) => http_body::Body::is_end_stream(inner),
            Inner::Lent(loan) => loan.is_end_stream(),
            Inner::Whole(_) => false,
            Inner::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Relayed(inner) => http_body::Body::size_hint(inner),
            Inner::Lent(loan) => loan.size_hint(),
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

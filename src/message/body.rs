//! Bodies on their way through: relayed frame by frame, or empty, with an observer of the end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

/// How a body's stream ended.
#[derive(Debug)]
pub enum End<'a> {
    /// Whole, with trailers if there were any.
    Complete(Option<&'a HeaderMap>),
    /// The sender's side failed.
    Failed(&'a hyper::Error),
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

/// A relayed or empty body.
#[derive(Debug)]
pub struct Body<W: Observe> {
    inner: Option<Incoming>,
    observer: Option<W>,
}

/// The body of a request on its way to an endpoint or application.
pub type RequestBody = Body<()>;

impl<W: Observe> Body<W> {
    pub fn relay(inner: Incoming, observer: W) -> Self {
        let ended = http_body::Body::is_end_stream(&inner);
        let mut body = Self { inner: Some(inner), observer: Some(observer) };
        if ended {
            // Nobody will poll a body that says it has ended.
            body.inner = None;
            body.finish(End::Complete(None));
        }
        body
    }

    /// A body without bytes; the observer sees its end at once.
    pub fn empty(observer: W) -> Self {
        let mut body = Self { inner: None, observer: Some(observer) };
        body.finish(End::Complete(None));
        body
    }

    fn finish(&mut self, end: End<'_>) {
        if let Some(mut observer) = self.observer.take() {
            observer.end(end);
        }
    }
}

impl<W: Observe + Unpin> http_body::Body for Body<W> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    if let Some(observer) = &mut this.observer {
                        observer.data(data.len());
                    }
                    // With a content length the reader may stop here, without asking for the end.
                    if this.inner.as_ref().is_some_and(http_body::Body::is_end_stream) {
                        this.finish(End::Complete(None));
                    }
                } else {
                    this.finish(End::Complete(frame.trailers_ref()));
                }
            }
            Some(Err(error)) => this.finish(End::Failed(error)),
            None => this.finish(End::Complete(None)),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl<W: Observe> Drop for Body<W> {
    fn drop(&mut self) {
        self.finish(End::Dropped);
    }
}

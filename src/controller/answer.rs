//! The body of a controller's answer, whose first data ends the measurement of its replica (contract 1.4).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::replicas::Replica;
use crate::balance::Pick;

/// A body, and the replica that it counts for until it says something.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    pick: Option<Pick<Replica>>,
}

impl Answer {
    pub(super) fn new(body: Incoming, pick: Pick<Replica>) -> Self {
        Self { body, pick: Some(pick) }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.pick = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The body of a controller's answer, whose first data ends the measurement of its replica (contract 1.4).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::replicas::Replica;
use crate::balance::Pick;
use crate::telemetry::requests::{ResponseError, ResponseRecorder};

/// A body, the replica that it counts for until it says something, and what counts its end.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    pick: Option<Pick<Replica>>,
    recorder: Option<ResponseRecorder>,
}

impl Answer {
    pub(super) fn new(body: Incoming, pick: Pick<Replica>, recorder: ResponseRecorder) -> Self {
        Self { body, pick: Some(pick), recorder: Some(recorder) }
    }

    fn record(&mut self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let now = Instant::now();
        match frame {
            None => recorder.end(None, now),
            Some(Err(error)) => recorder.failed(ResponseError::of(error), now),
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => recorder.end(Some(trailers), now),
                None => {
                    recorder.began();
                    self.recorder = Some(recorder);
                }
            },
        }
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
        self.record(frame.as_ref());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! What watches an answer go by: it measures, and keeps what must stay counted as busy.

use crate::message::{End, Observe};
use crate::telemetry::requests::{Outcome, ResponseError, ResponseRecorder};
use crate::telemetry::streams::{self, StreamError};

use super::h2;
use http::HeaderMap;
use tokio::time::Instant;

/// Held until an answer has passed: a balancer's pick, or nothing.
pub trait Kept: Send + Unpin + 'static {
    /// The first data of the answer came.
    fn responded(&mut self) {}

    /// The answer ended so.
    fn ended(&mut self, _: Outcome) {}
}

/// Of an answer for which nothing need be held.
impl<K: Kept> Kept for Option<K> {
    fn responded(&mut self) {
        if let Some(kept) = self {
            kept.responded();
        }
    }

    fn ended(&mut self, outcome: Outcome) {
        if let Some(kept) = self {
            kept.ended(outcome);
        }
    }
}

/// The observer of an answer; of nothing, for answers made here.
pub struct Track<K: Kept>(Option<Box<Tracked<K>>>);

struct Tracked<K> {
    kept: K,
    recorder: ResponseRecorder,
    record: Option<streams::Stream>,
    /// The same by routes of profiles.
    profiled: Vec<ResponseRecorder>,
    _stream: Option<h2::Stream>,
}

impl<K: Kept> Track<K> {
    pub fn none() -> Self {
        Self(None)
    }

    /// Watches an answer whose head has come.
    pub fn new(kept: K, recorder: ResponseRecorder, stream: Option<h2::Stream>) -> Self {
        Self(Some(Box::new(Tracked { kept, recorder, record: None, profiled: Vec::new(), _stream: stream })))
    }

    /// What is held until the answer has passed.
    pub fn kept(&self) -> Option<&K> {
        self.0.as_ref().map(|tracked| &tracked.kept)
    }

    /// Watches for a route's counts, too.
    pub fn record(&mut self, record: streams::Stream) {
        if let Some(tracked) = &mut self.0 {
            tracked.record = Some(record);
        }
    }
}

impl<K: Kept> Track<K> {
    /// Watches for the counts of a profile's route, too.
    pub fn also(&mut self, recorder: ResponseRecorder) {
        if let Some(tracked) = &mut self.0 {
            tracked.profiled.push(recorder);
        }
    }

    /// How its answer ends, if it does so with these trailers.
    pub fn outcome(&self, trailers: Option<&HeaderMap>) -> Option<Outcome> {
        self.0.as_ref().map(|tracked| tracked.recorder.outcome(trailers))
    }
}

impl<K: Kept> Observe for Track<K> {
    fn data(&mut self, bytes: usize) {
        if let Some(tracked) = &mut self.0 {
            tracked.kept.responded();
            tracked.recorder.began();
            tracked.profiled.iter_mut().for_each(ResponseRecorder::began);
            if let Some(record) = &tracked.record {
                record.data(bytes);
            }
        }
    }

    fn end(&mut self, end: End<'_>) {
        let Some(tracked) = self.0.take() else { return };
        let Tracked { mut kept, recorder, record, profiled, .. } = *tracked;
        kept.responded();
        let now = Instant::now();
        let outcome = |recorder: &ResponseRecorder| match &end {
            End::Complete(trailers) => recorder.outcome(*trailers),
            End::Failed(error) => recorder.failure(ResponseError::of(*error)),
            // The reader had enough: judged by what came.
            End::Dropped => recorder.outcome(None),
        };
        let ended = outcome(&recorder);
        kept.ended(ended);
        recorder.finish(ended, now);
        for recorder in profiled {
            let ended = outcome(&recorder);
            recorder.finish(ended, now);
        }
        let Some(record) = record else { return };
        match end {
            End::Complete(trailers) => record.end(trailers, now),
            End::Failed(error) => record.failed(StreamError::of(error), now),
            End::Dropped => record.failed(StreamError::Unknown, now),
        }
    }
}

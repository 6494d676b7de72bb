//! One request, followed to the end of its answer.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::outcome::{Status, StreamError};
use super::{InboundRoute, OutboundRoute, Retries, RouteBackend, Spoken};
use crate::error::Fault;
use crate::telemetry::metric::{FrameSizes, Histogram, nanos};
use crate::telemetry::requests::{grpc_status, known_code};

/// One request and its answer. Dropping it before the answer's head counts nothing more: whoever asked
/// has gone.
#[derive(Debug)]
#[must_use]
pub struct Stream {
    level: Level,
    spoken: Spoken,
    since: Instant,
    /// When the request's body had passed; none where it had no body.
    sent: Option<Arc<OnceLock<Instant>>>,
    /// When it was sent again, or its last attempt was over.
    again: Option<Instant>,
    status: Status,
}

#[derive(Debug)]
enum Level {
    Inbound(Arc<InboundRoute>),
    /// Without a backend where the route has none to choose.
    Outbound(Arc<OutboundRoute>, Option<Arc<RouteBackend>>),
}

/// Watches a request's body go by.
#[derive(Debug, Default)]
pub struct Sent(Option<Sending>);

#[derive(Debug)]
struct Sending {
    frames: Arc<Histogram<FrameSizes>>,
    ended: Arc<OnceLock<Instant>>,
}

impl Stream {
    /// A request that was let in.
    pub fn inbound(spoken: Spoken, route: Arc<InboundRoute>, since: Instant) -> Self {
        route.requests.incr();
        Self::new(Level::Inbound(route), spoken, since)
    }

    /// A request that has a route.
    pub fn outbound(
        spoken: Spoken,
        route: Arc<OutboundRoute>,
        backend: Option<Arc<RouteBackend>>,
        since: Instant,
    ) -> Self {
        if let Some(backend) = &backend {
            backend.requests.incr();
        }
        Self::new(Level::Outbound(route, backend), spoken, since)
    }

    fn new(level: Level, spoken: Spoken, since: Instant) -> Self {
        Self { level, spoken, since, sent: None, again: None, status: Status::NONE }
    }

    /// An attempt goes to this backend; the first one, or one after another that is over.
    pub fn attempt(&mut self, backend: Arc<RouteBackend>) {
        if let Level::Outbound(_, to) = &mut self.level {
            backend.requests.incr();
            *to = Some(backend);
            self.again = self.again.map(|_| Instant::now());
        }
    }

    /// The answer to an attempt, whose head has come, is not passed on. It counts at its backend alone.
    pub fn attempt_ended(&mut self, trailers: Option<&HeaderMap>) {
        if let (Spoken::Grpc, Some(trailers)) = (self.spoken, trailers) {
            self.status = grpc(trailers);
        }
        self.attempt_over(StreamError::None);
    }

    /// An attempt failed, and will not be the last.
    pub fn attempt_failed(&mut self, fault: &Fault) {
        let error = self.failure(fault);
        self.attempt_over(error);
    }

    /// What comes after it is none of its backend's.
    fn attempt_over(&mut self, error: StreamError) {
        let now = Instant::now();
        if let Level::Outbound(_, to) = &mut self.level
            && let Some(backend) = to.take()
        {
            self.record_backend(&backend, error, self.response_time(now));
        }
        self.status = Status::NONE;
        self.again = Some(now);
    }

    /// What is counted of sending a request of its route again.
    pub fn retries(&self) -> Option<&Retries> {
        match &self.level {
            Level::Outbound(route, _) => Some(route.retries.get_or_init(Box::default)),
            Level::Inbound(_) => None,
        }
    }

    /// What watches the request's body; `empty` where it has none.
    pub fn body(&mut self, empty: bool) -> Sent {
        if empty {
            return Sent::default();
        }
        let ended = Arc::<OnceLock<Instant>>::default();
        self.sent = Some(ended.clone());
        let frames = match &self.level {
            Level::Inbound(route) => &route.request_frames,
            Level::Outbound(route, _) => &route.frames,
        };
        Sent(Some(Sending { frames: frames.clone(), ended }))
    }

    /// The answer's head has come.
    pub fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = match self.spoken {
            Spoken::Http => Status::of(status.as_u16()),
            Spoken::Grpc => grpc(headers),
        };
    }

    /// A piece of the answer passed.
    pub fn data(&self, bytes: usize) {
        match &self.level {
            Level::Inbound(route) => route.response_frames.observe(bytes as u64),
            Level::Outbound(_, Some(backend)) => backend.frames.observe(bytes as u64),
            Level::Outbound(_, None) => {}
        }
    }

    /// The answer has passed, with trailers if there were any.
    pub fn end(mut self, trailers: Option<&HeaderMap>, at: Instant) {
        if let (Spoken::Grpc, Some(trailers)) = (self.spoken, trailers) {
            self.status = grpc(trailers);
        }
        self.record(StreamError::None, at);
    }

    /// There is no answer but what the proxy makes of a failure. What fails at the endpoint is counted by
    /// the status of that, as the reference does.
    pub fn fault(mut self, fault: &Fault) {
        let error = self.failure(fault);
        self.record(error, Instant::now());
    }

    /// A filter of the route answers, with this status or code.
    pub fn answered(mut self, status: u16) {
        self.status = Status::of(status);
        self.record(StreamError::None, Instant::now());
    }

    fn failure(&mut self, fault: &Fault) -> StreamError {
        let error = StreamError::of_fault(fault);
        if error == StreamError::None {
            let row = fault.reason.row();
            self.status = Status::of(match self.spoken {
                Spoken::Http => row.status.as_u16(),
                Spoken::Grpc => row.grpc.into(),
            });
        }
        error
    }

    /// Not all of the answer came.
    pub fn failed(self, error: StreamError, at: Instant) {
        self.record(error, at);
    }

    fn record(&self, error: StreamError, at: Instant) {
        let request = nanos(at.saturating_duration_since(self.since));
        let response = self.response_time(at);
        match &self.level {
            Level::Inbound(route) => {
                route.statuses.get(self.status).incr();
                route.request_durations.observe(request);
                route.response_durations.observe(response);
            }
            Level::Outbound(route, backend) => {
                route.statuses.get((self.status, error)).incr();
                route.durations.observe(request);
                if let Some(backend) = backend {
                    self.record_backend(backend, error, response);
                }
            }
        }
    }

    fn record_backend(&self, backend: &RouteBackend, error: StreamError, response: u64) {
        backend.statuses.get((self.status, error)).incr();
        backend.durations.observe(response);
    }

    /// Nanoseconds from the end of the request.
    fn response_time(&self, at: Instant) -> u64 {
        let since = match (&self.sent, self.again) {
            (_, Some(again)) => Some(again),
            (None, None) => Some(self.since),
            (Some(sent), None) => sent.get().copied(),
        };
        // As the reference: an answer that ends before its request took no time.
        since.map_or(0, |since| nanos(at.saturating_duration_since(since)))
    }
}

fn grpc(headers: &HeaderMap) -> Status {
    grpc_status(headers).map_or(Status::NONE, |code| Status::of(known_code(code)))
}

impl Sent {
    pub fn data(&self, bytes: usize) {
        if let Some(Sending { frames, .. }) = &self.0 {
            frames.observe(bytes as u64);
        }
    }

    pub fn end(&self) {
        if let Some(Sending { ended, .. }) = &self.0 {
            let _ = ended.set(Instant::now());
        }
    }
}

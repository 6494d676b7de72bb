//! What becomes of requests and answers, route by route (contract 6.2)?
//!
//! A [`Stream`] follows one request to the end of its answer and records both levels at once: inbound the
//! route of a server, outbound the route of a parent and the backend that it took. Whether a request
//! counts as gRPC is its policy's word, not its own.

mod outcome;

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::labels::Labels;
use super::metric::{ByKey, Coarse, Counter, Fine, FrameSizes, Histogram, nanos};
use super::page::{Page, Unit};
use super::registry::{Budget, Family, Metric, Scraped};
use super::requests::{grpc_status, known_code};
use crate::error::Fault;
use crate::model::{DnsName, ResourceRef};

use outcome::Status;
pub use outcome::StreamError;

/// What a policy says that its requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http,
    Grpc,
}

/// All series about routes.
pub struct Streams {
    inbound: [Family<InboundRoute>; 2],
    outbound: [Family<OutboundRoute>; 2],
    backends: [Family<RouteBackend>; 2],
}

/// The counts of one route of a server.
#[derive(Debug, Default)]
pub struct InboundRoute {
    requests: Counter,
    statuses: ByKey<Status, Counter>,
    request_durations: Histogram<Fine>,
    response_durations: Histogram<Coarse>,
    request_frames: Arc<Histogram<FrameSizes>>,
    response_frames: Histogram<FrameSizes>,
}

/// The counts of one route of a parent.
#[derive(Debug, Default)]
pub struct OutboundRoute {
    statuses: ByKey<(Status, StreamError), Counter>,
    durations: Histogram<Coarse>,
    frames: Arc<Histogram<FrameSizes>>,
    /// Once it has retried.
    retries: OnceLock<Box<Retries>>,
}

/// What came of trying again.
#[derive(Debug, Default)]
pub struct Retries {
    pub requests: Counter,
    pub successes: Counter,
    /// Requests that were tried as often as they may be.
    pub limit_exceeded: Counter,
    /// Requests that no backend was ready for.
    pub overflow: Counter,
}

/// The counts of one backend of a route.
#[derive(Debug, Default)]
pub struct RouteBackend {
    requests: Counter,
    statuses: ByKey<(Status, StreamError), Counter>,
    durations: Histogram<Fine>,
    frames: Histogram<FrameSizes>,
}

impl Metric for InboundRoute {
    fn activity(&self) -> u64 {
        self.requests.value() + self.request_durations.count()
    }
}

impl Metric for OutboundRoute {
    fn activity(&self) -> u64 {
        self.durations.count()
    }
}

impl Metric for RouteBackend {
    fn activity(&self) -> u64 {
        self.requests.value() + self.durations.count()
    }
}

impl Streams {
    pub fn new(budget: &Budget) -> Self {
        Self {
            inbound: ["inbound_http_requests", "inbound_grpc_requests"].map(|name| budget.family(name)),
            outbound: ["outbound_http_route", "outbound_grpc_route"].map(|name| budget.family(name)),
            backends: ["outbound_http_route_backend", "outbound_grpc_route_backend"]
                .map(|name| budget.family(name)),
        }
    }

    pub fn inbound(
        &self,
        spoken: Spoken,
        server: &ResourceRef,
        port: u16,
        route: &ResourceRef,
    ) -> Arc<InboundRoute> {
        self.inbound[spoken as usize].get(&Labels::new().server_parent(server, port).route(route))
    }

    /// `hostname` only where the operator wants it: it is the application's to choose.
    pub fn outbound(
        &self,
        spoken: Spoken,
        parent: &ResourceRef,
        route: &ResourceRef,
        hostname: Option<&DnsName>,
    ) -> Arc<OutboundRoute> {
        let labels = Labels::new().parent(parent).namespaced_route(route);
        let labels = match hostname {
            Some(name) => labels.unproven_value("hostname", name),
            None => labels.with("hostname", ""),
        };
        self.outbound[spoken as usize].get(&labels)
    }

    pub fn backend(
        &self,
        spoken: Spoken,
        parent: &ResourceRef,
        route: &ResourceRef,
        backend: &ResourceRef,
    ) -> Arc<RouteBackend> {
        let labels = Labels::new().parent(parent).namespaced_route(route).backend(backend);
        self.backends[spoken as usize].get(&labels)
    }

    pub fn render_inbound(&self, page: &mut Page) {
        for spoken in [Spoken::Http, Spoken::Grpc] {
            self.render_server(page, spoken);
        }
    }

    pub fn render_outbound(&self, page: &mut Page) {
        for spoken in [Spoken::Http, Spoken::Grpc] {
            self.render_route(page, spoken);
            self.render_backend(page, spoken);
        }
    }

    fn render_server(&self, page: &mut Page, spoken: Spoken) {
        let series = self.inbound[spoken as usize].scrape();
        let name = |what: &str| format!("inbound_{}_{what}", spoken.name());
        page.totals(&name("requests"), "Requests let in.", &series, |labels, one| {
            [(labels.to_owned(), one.requests.value())]
        });
        let (what, help) = (name("request_frame_size_bytes"), "Sizes of the pieces of request bodies.");
        page.histograms((&what, Unit::Bytes), help, &series, |one| &one.request_frames);
        let (what, help) =
            (name("request_duration_seconds"), "From a request's headers to the end of its answer.");
        page.histograms((&what, Unit::Seconds), help, &series, |one| &one.request_durations);
        let (what, help) = (name("response_frame_size_bytes"), "Sizes of the pieces of answers.");
        page.histograms((&what, Unit::Bytes), help, &series, |one| &one.response_frames);
        let (what, help) =
            (name("response_duration_seconds"), "From the end of a request to the end of its answer.");
        page.histograms((&what, Unit::Seconds), help, &series, |one| &one.response_durations);
        page.totals(&name("statuses"), "Answers that ended.", &series, |labels, one| {
            one.statuses
                .iter()
                .map(|(status, count)| {
                    let status = status.map_or_else(|| "other".into(), Status::code);
                    (format!("{labels},status=\"{status}\""), count.value())
                })
                .collect::<Vec<_>>()
        });
    }

    fn render_route(&self, page: &mut Page, spoken: Spoken) {
        let series = self.outbound[spoken as usize].scrape();
        let name = |what: &str| format!("outbound_{}_route_{what}", spoken.name());
        let (what, help) =
            (name("request_duration_seconds"), "From a request's headers to the end of its answer.");
        page.histograms((&what, Unit::Seconds), help, &series, |one| &one.durations);
        let (what, help) = (name("request_frame_size_bytes"), "Sizes of the pieces of request bodies.");
        page.histograms((&what, Unit::Bytes), help, &series, |one| &one.frames);
        statuses(page, (&name("request_statuses"), spoken), "Requests that ended.", &series, |one| {
            &one.statuses
        });
        self.render_retries(page, &series, &name);
    }

    fn render_retries(
        &self,
        page: &mut Page,
        series: &[Scraped<OutboundRoute>],
        name: &dyn Fn(&str) -> String,
    ) {
        let retried = |(_, one): &&Scraped<OutboundRoute>| one.retries.get().is_some();
        let series: Vec<_> = series.iter().filter(retried).cloned().collect();
        let mut show = |what: &str, help: &str, count: fn(&Retries) -> &Counter| {
            page.totals(&name(what), help, &series, |labels, one| {
                one.retries.get().map(|all| (labels.to_owned(), count(all).value()))
            });
        };
        show("retry_requests", "Requests that were sent again.", |all| &all.requests);
        show("retry_successes", "Requests that succeeded when they were sent again.", |all| &all.successes);
        show("retry_limit_exceeded", "Requests that failed as often as they may be sent.", |all| {
            &all.limit_exceeded
        });
        show("retry_overflow", "Requests that were not sent again: no backend was ready.", |all| {
            &all.overflow
        });
    }

    fn render_backend(&self, page: &mut Page, spoken: Spoken) {
        let series = self.backends[spoken as usize].scrape();
        let name = |what: &str| format!("outbound_{}_route_backend_{what}", spoken.name());
        page.totals(&name("requests"), "Requests dispatched to a backend.", &series, |labels, one| {
            [(labels.to_owned(), one.requests.value())]
        });
        let (what, help) =
            (name("response_duration_seconds"), "From the end of a request to the end of its answer.");
        page.histograms((&what, Unit::Seconds), help, &series, |one| &one.durations);
        let (what, help) = (name("response_frame_size_bytes"), "Sizes of the pieces of answers.");
        page.histograms((&what, Unit::Bytes), help, &series, |one| &one.frames);
        statuses(page, (&name("response_statuses"), spoken), "Answers that ended.", &series, |one| {
            &one.statuses
        });
    }
}

/// A family of statuses as outbound spells them: HTTP by number, gRPC by name, and why there was none.
fn statuses<M>(
    page: &mut Page,
    (name, spoken): (&str, Spoken),
    help: &str,
    series: &[Scraped<M>],
    of: impl Fn(&M) -> &ByKey<(Status, StreamError), Counter>,
) {
    page.totals(name, help, series, |labels, one| {
        let line = |(end, count): (Option<(Status, StreamError)>, &Counter)| {
            let (status, error) = match end {
                Some((status, error)) => (status.named(spoken), error.label()),
                None => ("other".into(), "other"),
            };
            let key = spoken.status_label();
            (format!("{labels},{key}=\"{status}\",error=\"{error}\""), count.value())
        };
        of(one).iter().map(line).collect::<Vec<_>>()
    });
}

impl Spoken {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }

    fn status_label(self) -> &'static str {
        match self {
            Self::Http => "http_status",
            Self::Grpc => "grpc_status",
        }
    }
}

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

#[cfg(test)]
mod tests;

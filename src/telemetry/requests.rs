//! How many requests were carried, how did they end, and how long did they take?
//!
//! One [`Requests`] stands for one set of ENDPOINT labels (contract 6.1). A request is counted when it
//! starts and its response when the response *stream* ends. Latency ends with the first of the body: so
//! does the reference's, whatever contract 6.1 says.
//! Classification is contract 3.10's: by status, or by `grpc-status` for gRPC requests.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;

use super::labels::{InboundTarget, Labels};
use super::metric::{ByKey, Counter, Histogram, LatencyMs};
use super::page::Page;
use super::registry::{Budget, Family, Metric, Scraped};
use crate::error::{Fault, Reason, causes};
use crate::message::body;
use crate::model::peer::NoServerTls;
use crate::model::service_profile::{ResponseClass, is_failure};
use crate::model::{Authority, Endpoint, ResourceRef};

/// All series about requests.
pub struct RequestFamilies(Family<Requests>);

/// The counts of one endpoint.
#[derive(Debug, Default)]
pub struct Requests {
    total: Counter,
    latencies: ByKey<StatusCode, Histogram<LatencyMs>>,
    responses: ByKey<(Option<StatusCode>, Class), Counter>,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response to a plain request, judged by its status.
    Http(StatusCode),
    /// A response that a class of its route judges: whether it is a success.
    Classed(StatusCode, bool),
    /// A response to a gRPC request, judged by its `grpc-status`; `None` when it ended without one.
    Grpc(StatusCode, Option<u16>),
    /// It broke; without a status when there was no response at all.
    Failed(Option<StatusCode>, ResponseError),
}

/// Why there was no (complete) response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    Timeout,
    H2(h2::Reason),
    /// Trailers beyond the limit. Our own: the reference has them cut by its library.
    TooLarge,
    Unclassified,
}

/// The labels `classification`, `grpc_status` and `error`. Every part has few values, whatever a peer
/// sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    success: bool,
    grpc: Option<u16>,
    error: &'static str,
}

/// A request without a response yet. Dropping it counts no response.
#[derive(Debug)]
#[must_use]
pub struct InFlight {
    requests: Arc<Requests>,
    since: Instant,
    grpc: bool,
    /// Of the route of a service profile; where it has none, responses are judged as ever.
    classes: Option<Arc<[ResponseClass]>>,
}

/// A response whose stream has not ended. Dropping it counts an end without trailers.
#[derive(Debug)]
#[must_use]
pub struct ResponseRecorder {
    in_flight: Option<InFlight>,
    status: StatusCode,
    grpc_status: Option<u16>,
    began: bool,
}

impl RequestFamilies {
    pub fn new(budget: &Budget) -> Self {
        Self(budget.family("request_total"))
    }

    pub fn inbound(&self, at: &InboundTarget<'_>, route: &ResourceRef, authz: &ResourceRef) -> Arc<Requests> {
        self.0.get(&Labels::new().inbound_endpoint(at, route, authz))
    }

    /// `authority` names the balanced backend, if there is one.
    pub fn outbound(
        &self,
        authority: Option<&Authority>,
        to: &Endpoint,
        otherwise: NoServerTls,
    ) -> Arc<Requests> {
        self.0.get(&Labels::new().outbound().endpoint(authority, to, otherwise))
    }

    pub fn render(&self, page: &mut Page) {
        render(page, "", &self.0.scrape());
    }
}

/// The families of these series, whose names begin with `prefix`; nothing at all where there is none.
pub(super) fn render(page: &mut Page, prefix: &str, series: &[Scraped<Requests>]) {
    if series.is_empty() {
        return;
    }
    render_requests(page, prefix, series);
    let name = format!("{prefix}response_latency_ms");
    page.family(&name, "histogram", "Milliseconds that responses took.");
    for (labels, one) in series {
        for (status, latency) in one.latencies.iter() {
            page.latencies(&name, &format!("{labels},{}", status_code(status)), latency);
        }
    }
    render_responses(page, prefix, series);
}

pub(super) fn render_requests(page: &mut Page, prefix: &str, series: &[Scraped<Requests>]) {
    let name = format!("{prefix}request_total");
    page.family(&name, "counter", "HTTP requests.");
    series.iter().for_each(|(labels, one)| page.sample(&name, labels, one.total.value()));
}

pub(super) fn render_responses(page: &mut Page, prefix: &str, series: &[Scraped<Requests>]) {
    let name = format!("{prefix}response_total");
    page.family(&name, "counter", "HTTP responses.");
    for (labels, one) in series {
        for (end, count) in one.responses.iter() {
            page.sample(&name, &format!("{labels},{}", ended(end)), count.value());
        }
    }
}

/// `None` stands for statuses that did not fit.
fn status_code(status: Option<StatusCode>) -> String {
    let status = status.map(|status| status.as_u16().to_string());
    format!("status_code=\"{}\"", status.as_deref().unwrap_or("other"))
}

fn ended(end: Option<(Option<StatusCode>, Class)>) -> String {
    match end {
        Some((None, class)) => class.labels(),
        Some((status, class)) => format!("{},{}", status_code(status), class.labels()),
        None => format!("{},{}", status_code(None), OTHER_CLASS),
    }
}

const OTHER_CLASS: &str = r#"classification="other",grpc_status="other",error="other""#;

impl Requests {
    /// Counts a request whose headers have just arrived.
    pub fn start(self: &Arc<Self>, headers: &HeaderMap) -> InFlight {
        self.total.incr();
        let (since, grpc) = (Instant::now(), is_grpc(headers));
        InFlight { requests: self.clone(), since, grpc, classes: None }
    }

    fn took(&self, status: StatusCode, took: Duration) {
        self.latencies.get(status).observe(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }

    fn ended(&self, outcome: Outcome) {
        let status = match outcome {
            Outcome::Http(status) | Outcome::Grpc(status, _) | Outcome::Classed(status, _) => Some(status),
            Outcome::Failed(status, _) => status,
        };
        self.responses.get((status, Class::of(outcome))).incr();
    }
}

impl Metric for Requests {
    fn activity(&self) -> u64 {
        let responses: u64 = self.responses.iter().map(|(_, count)| count.value()).sum();
        self.total.value().wrapping_add(responses)
    }
}

impl InFlight {
    /// The headers of the response have come; what remains is its stream.
    pub fn response(self, status: StatusCode, headers: &HeaderMap) -> ResponseRecorder {
        ResponseRecorder { in_flight: Some(self), status, grpc_status: grpc_status(headers), began: false }
    }

    /// Has its response judged by these first; by none that there are not.
    pub fn judged_by(mut self, classes: Option<&Arc<[ResponseClass]>>) -> Self {
        self.classes = classes.cloned();
        self
    }

    /// There will be no response.
    pub fn failed(self, error: ResponseError) {
        self.requests.ended(Outcome::Failed(None, error));
    }

    /// There is no answer but what the proxy makes of a failure.
    pub fn fault(self, fault: &Fault) {
        match Outcome::of_fault(fault, self.grpc, self.classes.as_deref()) {
            Some(outcome) => self.requests.ended(outcome),
            None => self.failed(ResponseError::of(fault)),
        }
    }

    /// When the request's headers came.
    pub fn since(&self) -> Instant {
        self.since
    }
}

impl ResponseRecorder {
    /// The first of the stream came: how long it goes on is no latency. Only the first call counts.
    pub fn began(&mut self) {
        if !self.began {
            self.measure(Instant::now());
        }
    }

    fn measure(&mut self, at: Instant) {
        if let Some(in_flight) = self.in_flight.as_ref().filter(|_| !self.began) {
            in_flight.requests.took(self.status, at.saturating_duration_since(in_flight.since));
        }
        self.began = true;
    }

    /// The stream ended as it should.
    pub fn end(self, trailers: Option<&HeaderMap>, at: Instant) {
        let outcome = self.outcome(trailers);
        self.finish(outcome, at);
    }

    /// The stream broke.
    pub fn failed(self, error: ResponseError, at: Instant) {
        let outcome = self.failure(error);
        self.finish(outcome, at);
    }

    /// How it ends, if its stream does so as it should.
    pub fn outcome(&self, trailers: Option<&HeaderMap>) -> Outcome {
        let code = || self.grpc_status.or_else(|| grpc_status(trailers?));
        match self.in_flight.as_ref() {
            Some(InFlight { classes: Some(classes), .. }) => Outcome::by(classes, self.status, code()),
            Some(InFlight { grpc: true, .. }) => Outcome::Grpc(self.status, code()),
            _ => Outcome::Http(self.status),
        }
    }

    /// How it ends if its stream breaks.
    pub fn failure(&self, error: ResponseError) -> Outcome {
        Outcome::Failed(Some(self.status), error)
    }

    /// It ended so.
    pub fn finish(mut self, outcome: Outcome, at: Instant) {
        self.close(outcome, at);
    }

    fn close(&mut self, outcome: Outcome, at: Instant) {
        self.measure(at);
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.requests.ended(outcome);
        }
    }
}

impl Drop for ResponseRecorder {
    fn drop(&mut self) {
        if self.in_flight.is_some() {
            self.close(self.outcome(None), Instant::now());
        }
    }
}

impl Outcome {
    /// By the classes of a profile's route: the first that it is of; else by its code of gRPC, if it has one, whatever
    /// the request was; else by its status.
    fn by(classes: &[ResponseClass], status: StatusCode, code: Option<u16>) -> Self {
        match (is_failure(classes, status.as_u16()), code) {
            (Some(failure), _) => Self::Classed(status, !failure),
            (None, Some(_)) => Self::Grpc(status, code),
            (None, None) => Self::Http(status),
        }
    }

    /// What a failure counts as by the routes of profiles. What failed at the endpoint is an answer to the reference; of
    /// others there is none, which is no reason to try again.
    pub fn of_fault(fault: &Fault, grpc: bool, classes: Option<&[ResponseClass]>) -> Option<Self> {
        let row = fault.reason.row();
        if !matches!(row.label, "i/o" | "identity required") {
            return None;
        }
        let (status, code) = if grpc { (StatusCode::OK, Some(row.grpc.into())) } else { (row.status, None) };
        Some(match classes {
            Some(classes) => Self::by(classes, status, code),
            None if grpc => Self::Grpc(status, code),
            None => Self::Http(status),
        })
    }

    /// Contract 3.10.
    pub fn is_success(self) -> bool {
        match self {
            Self::Classed(_, success) => success,
            Self::Http(status) => !status.is_server_error(),
            // An end without a status counts as a success with code Unknown.
            Self::Grpc(_, None) => true,
            Self::Grpc(_, Some(code)) => !matches!(known_code(code), 2 | 4 | 7 | 13 | 14 | 15),
            Self::Failed(..) => false,
        }
    }
}

impl ResponseError {
    /// The HTTP/2 reason found in an error or its causes.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        if causes(error).any(|cause| matches!(cause.downcast_ref(), Some(body::Error::TrailersTooLarge))) {
            return Self::TooLarge;
        }
        let profile = matches!(error.downcast_ref(), Some(Fault { reason: Reason::ProfileTimeout, .. }));
        if profile || timed_out(error).is_some() {
            return Self::Timeout;
        }
        http2_error(error).and_then(h2::Error::reason).map_or(Self::Unclassified, Self::H2)
    }

    /// The `error` label. A reason that HTTP/2 does not define is the peer's invention and gets no label
    /// of its own.
    pub fn label(self) -> &'static str {
        let reason = match self {
            Self::H2(reason) => reason,
            Self::Timeout => return "timeout",
            Self::TooLarge => return "trailers-too-large",
            Self::Unclassified => return "unclassified",
        };
        match reason {
            h2::Reason::NO_ERROR => "h2(NO_ERROR)",
            h2::Reason::PROTOCOL_ERROR => "h2(PROTOCOL_ERROR)",
            h2::Reason::INTERNAL_ERROR => "h2(INTERNAL_ERROR)",
            h2::Reason::FLOW_CONTROL_ERROR => "h2(FLOW_CONTROL_ERROR)",
            h2::Reason::SETTINGS_TIMEOUT => "h2(SETTINGS_TIMEOUT)",
            h2::Reason::STREAM_CLOSED => "h2(STREAM_CLOSED)",
            h2::Reason::FRAME_SIZE_ERROR => "h2(FRAME_SIZE_ERROR)",
            h2::Reason::REFUSED_STREAM => "h2(REFUSED_STREAM)",
            h2::Reason::CANCEL => "h2(CANCEL)",
            h2::Reason::COMPRESSION_ERROR => "h2(COMPRESSION_ERROR)",
            h2::Reason::CONNECT_ERROR => "h2(CONNECT_ERROR)",
            h2::Reason::ENHANCE_YOUR_CALM => "h2(ENHANCE_YOUR_CALM)",
            h2::Reason::INADEQUATE_SECURITY => "h2(INADEQUATE_SECURITY)",
            h2::Reason::HTTP_1_1_REQUIRED => "h2(HTTP_1_1_REQUIRED)",
            _ => "h2(UNKNOWN)",
        }
    }
}

impl Class {
    fn of(outcome: Outcome) -> Self {
        let success = outcome.is_success();
        match outcome {
            Outcome::Http(_) | Outcome::Classed(..) => Self { success, grpc: None, error: "" },
            Outcome::Grpc(_, code) => {
                Self { success, grpc: Some(code.map_or(GRPC_UNKNOWN, known_code)), error: "" }
            }
            Outcome::Failed(_, error) => Self { success, grpc: None, error: error.label() },
        }
    }

    fn labels(self) -> String {
        let grpc = self.grpc.map(|code| code.to_string()).unwrap_or_default();
        let labels = Labels::new()
            .with("classification", if self.success { "success" } else { "failure" })
            .with("grpc_status", grpc)
            .with("error", self.error);
        labels.as_str().to_owned()
    }
}

/// The HTTP/2 error among an error and its causes.
pub(super) fn http2_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Which timeout cut an answer short, if one did.
pub(super) fn timed_out(error: &(dyn Error + 'static)) -> Option<Reason> {
    causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(body::Error::TimedOut(reason)) => Some(*reason),
        _ => None,
    })
}

const GRPC_UNKNOWN: u16 = 2;

/// Codes that gRPC does not define count as Unknown.
pub(super) fn known_code(code: u16) -> u16 {
    if code <= 16 { code } else { GRPC_UNKNOWN }
}

/// Whether a request is gRPC, by its content type.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The `grpc-status` in headers or trailers.
pub fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests;

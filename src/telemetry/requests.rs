//! How many requests were carried, how did they end, and how long did they take?
//!
//! One [`Requests`] stands for one set of ENDPOINT labels (contract 6.1). A request is counted when it
//! starts and its response when the response *stream* ends. Latency ends with the first of the body: so
//! does the reference's, whatever contract 6.1 says.
//! Classification is contract 3.10's: by status, or by `grpc-status` for gRPC requests.

mod outcome;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::labels::{InboundTarget, Labels};
use super::metric::{ByKey, Counter, Histogram, LatencyMs};
use super::page::Page;
use super::registry::{Budget, Family, Metric, Scraped};
use crate::error::Fault;
use crate::model::peer::NoServerTls;
use crate::model::service_profile::ResponseClass;
use crate::model::{Authority, Endpoint, ResourceRef};

use outcome::Class;
pub use outcome::{Outcome, ResponseError, grpc_status, is_grpc};
pub(super) use outcome::{http2_error, known_code, timed_out};

/// All series about requests.
pub struct RequestFamilies(Family<Requests>);

/// The counts of one endpoint.
#[derive(Debug, Default)]
pub struct Requests {
    total: Counter,
    latencies: ByKey<StatusCode, Histogram<LatencyMs>>,
    responses: ByKey<(Option<StatusCode>, Class), Counter>,
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

#[cfg(test)]
mod tests;

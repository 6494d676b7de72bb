//! What becomes of requests and answers, route by route (contract 6.2)?
//!
//! A [`Stream`] follows one request to the end of its answer and records both levels at once: inbound the
//! route of a server, outbound the route of a parent and the backend that it took. Whether a request
//! counts as gRPC is its policy's word, not its own.

mod outcome;
mod stream;

use std::sync::{Arc, OnceLock};

use super::labels::Labels;
use super::metric::{ByKey, Coarse, Counter, Fine, FrameSizes, Histogram};
use super::page::{Page, Unit};
use super::registry::{Budget, Family, Metric, Scraped};
use crate::model::{DnsName, ResourceRef};

use outcome::Status;
pub use outcome::StreamError;
pub use stream::{Sent, Stream};

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

#[cfg(test)]
mod tests;

//! What do connections turn out to be, which routes do they take, and across which zones do their bytes
//! go (contract 6.2)?
//!
//! All of it is found once a connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::labels::Labels;
use super::metric::{ByKey, Counter, Detecting, Histogram, nanos};
use super::page::{Page, Unit};
use super::registry::{Budget, Family, Metric, Scraped};
use crate::detect;
use crate::error::Reason;
use crate::model::endpoint::{Labels as EndpointLabels, Locality};
use crate::model::protocol::HttpVersion;
use crate::model::{ResourceRef, WorkloadId};
use crate::net::transport_header::TransportHeader;

/// All series about what connections are.
pub struct Connections {
    inbound_detect: Family<Detections>,
    outbound_detect: Family<Detections>,
    headers: Family<Counter>,
    protocols: Family<Counter>,
    routes: Family<OpaqueRoute>,
    tls_routes: Family<OpaqueRoute>,
    costs: [ZoneCost; 3],
}

/// What looking at first bytes has shown.
#[derive(Debug, Default)]
pub struct Detections {
    duration: Histogram<Detecting>,
    /// In the order of [`RESULTS`].
    results: [Counter; RESULTS.len()],
}

const RESULTS: [&str; 5] = ["not_http", "http/1", "http/2", "read_timeout", "error"];

/// Opaque connections of one route.
#[derive(Debug, Default)]
pub struct OpaqueRoute {
    opened: Counter,
    closed: ByKey<CloseError, Counter>,
}

/// The `error` of `outbound_tcp_route_close_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseError {
    None,
    Forbidden,
    InvalidBackend,
    InvalidPolicy,
    Unexpected,
}

impl CloseError {
    const ALL: [Self; 5] =
        [Self::None, Self::Forbidden, Self::InvalidBackend, Self::InvalidPolicy, Self::Unexpected];

    fn label(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Forbidden => "forbidden",
            Self::InvalidBackend => "invalid_backend",
            Self::InvalidPolicy => "invalid_policy",
            Self::Unexpected => "unexpected",
        }
    }
}

/// Bytes exchanged with endpoints of one locality; shared with every connection there.
#[derive(Clone, Debug, Default)]
pub struct ZoneCost(Arc<(Counter, Counter)>);

impl ZoneCost {
    pub fn received(&self, bytes: u64) {
        self.0.0.add(bytes);
    }

    pub fn sent(&self, bytes: u64) {
        self.0.1.add(bytes);
    }
}

/// How a connection of the application is to be treated, before its bytes are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configured {
    Http1,
    Http2,
    Detect,
    Opaque,
    Tls,
}

impl Configured {
    fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http/1",
            Self::Http2 => "http/2",
            Self::Detect => "detect",
            Self::Opaque => "opaq",
            Self::Tls => "tls",
        }
    }
}

impl Metric for Detections {
    fn activity(&self) -> u64 {
        self.results.iter().map(Counter::value).sum()
    }
}

impl Metric for OpaqueRoute {
    fn activity(&self) -> u64 {
        self.opened.value() + self.closed.iter().map(|(_, count)| count.value()).sum::<u64>()
    }
}

impl Detections {
    /// What one look has shown, and how long it took.
    pub fn record(&self, result: &std::io::Result<detect::Http>, took: Duration) {
        let at = match result {
            Ok(detect::Http::Not) => 0,
            Ok(detect::Http::Is(HttpVersion::Http1)) => 1,
            Ok(detect::Http::Is(HttpVersion::Http2)) => 2,
            Ok(detect::Http::TimedOut) => 3,
            Err(_) => 4,
        };
        self.results[at].incr();
        self.duration.observe(nanos(took));
    }
}

impl OpaqueRoute {
    pub fn open(&self) {
        self.opened.incr();
    }

    /// `None`: both sides ended as they should.
    pub fn close(&self, reason: Option<Reason>) {
        let error = match reason {
            None => CloseError::None,
            Some(Reason::Forbidden) => CloseError::Forbidden,
            Some(Reason::NoBackend) => CloseError::InvalidBackend,
            Some(Reason::InvalidPolicy) => CloseError::InvalidPolicy,
            Some(_) => CloseError::Unexpected,
        };
        self.closed.get(error).incr();
    }
}

impl Connections {
    pub fn new(budget: &Budget) -> Self {
        Self {
            inbound_detect: budget.family("inbound_tcp_detect_http"),
            outbound_detect: budget.family("outbound_tcp_detect_http"),
            headers: budget.family("inbound_tcp_transport_header_connections"),
            protocols: budget.family("outbound_tcp_protocol_connections"),
            routes: budget.family("outbound_tcp_route"),
            tls_routes: budget.family("outbound_tls_route"),
            costs: Default::default(),
        }
    }

    pub fn detect_inbound(&self, server: &ResourceRef, port: u16) -> Arc<Detections> {
        self.inbound_detect.get(&Labels::new().srv(server, port))
    }

    pub fn detect_outbound(&self, parent: &ResourceRef) -> Arc<Detections> {
        self.outbound_detect.get(&Labels::new().parent(parent))
    }

    pub fn transport_header(&self, header: &TransportHeader, client: Option<&WorkloadId>) {
        let session = header.session.map_or("", |version| match version {
            HttpVersion::Http1 => "http/1",
            HttpVersion::Http2 => "http/2",
        });
        let labels = Labels::new().with("session_protocol", session).chosen("target_port", header.port);
        let labels = match &header.name {
            Some(name) => labels.unproven_value("target_name", name),
            None => labels.with("target_name", ""),
        };
        let labels = match client {
            Some(id) => labels.chosen("client_id", id),
            None => labels.with("client_id", ""),
        };
        self.headers.get(&labels).incr();
    }

    pub fn protocol(&self, configured: Configured, parent: &ResourceRef) {
        self.protocols.get(&Labels::new().with("protocol", configured.label()).parent(parent)).incr();
    }

    /// `target_ip` is only said of targets that are no service.
    pub fn opaque_route(
        &self,
        parent: &ResourceRef,
        route: &ResourceRef,
        target: (Option<IpAddr>, u16),
    ) -> Arc<OpaqueRoute> {
        self.routes.get(&route_labels(parent, route, target))
    }

    /// The same of a route that is chosen by the server that TLS asks for.
    pub fn tls_route(
        &self,
        parent: &ResourceRef,
        route: &ResourceRef,
        target: (Option<IpAddr>, u16),
    ) -> Arc<OpaqueRoute> {
        self.tls_routes.get(&route_labels(parent, route, target))
    }

    /// What bytes to an endpoint with these labels count towards.
    pub fn zone_cost(&self, endpoint: &EndpointLabels) -> ZoneCost {
        self.costs[Locality::of(endpoint) as usize].clone()
    }

    pub fn render_inbound(&self, page: &mut Page) {
        detections(page, "inbound_tcp_detect_http", &self.inbound_detect.scrape());
        let name = "inbound_tcp_transport_header_connections";
        page.totals(name, "Connections that began with a transport header.", &self.headers.scrape(), single);
    }

    pub fn render_outbound(&self, page: &mut Page) {
        let help = "Connections by what was known of their protocol before their bytes.";
        page.totals("outbound_tcp_protocol_connections", help, &self.protocols.scrape(), single);
        detections(page, "outbound_tcp_detect_http", &self.outbound_detect.scrape());
    }

    pub fn render_routes(&self, page: &mut Page) {
        render_routes(page, "outbound_tcp_route", &self.routes.scrape());
        render_routes(page, "outbound_tls_route", &self.tls_routes.scrape());
        self.render_costs(page);
    }

    /// Localities that nothing was exchanged with are left out.
    fn render_costs(&self, page: &mut Page) {
        let name = "outbound_tcp_transfer_cost_bytes";
        page.family(name, "counter", "Bytes exchanged with endpoints, by zone.");
        page.unit(name, "bytes");
        for (locality, cost) in LOCALITIES.iter().zip(&self.costs) {
            let (received, sent) = (cost.0.0.value(), cost.0.1.value());
            for (op, bytes) in [("Send", sent), ("Recv", received)] {
                if received + sent > 0 {
                    let labels = Labels::new().with("op", op).with("zone_locality", locality);
                    page.sample("outbound_tcp_transfer_cost_bytes_total", labels.as_str(), bytes);
                }
            }
        }
    }
}

/// In the order of [`Locality`] and of [`Connections::costs`].
const LOCALITIES: [&str; 3] = ["Unknown", "Local", "Remote"];

fn route_labels(parent: &ResourceRef, route: &ResourceRef, target: (Option<IpAddr>, u16)) -> Labels {
    let (ip, port) = target;
    let labels = Labels::new().parent(parent).namespaced_route(route);
    let labels = match (parent, ip) {
        (ResourceRef::Default { .. }, Some(ip)) => labels.chosen("target_ip", ip),
        _ => labels.with("target_ip", ""),
    };
    labels.chosen("target_port", port)
}

fn render_routes(page: &mut Page, prefix: &str, routes: &[Scraped<OpaqueRoute>]) {
    page.totals(&format!("{prefix}_open"), "Connections that took a route.", routes, |labels, one| {
        [(labels.to_owned(), one.opened.value())]
    });
    let help = "Connections of a route that ended, and why.";
    page.totals(&format!("{prefix}_close"), help, routes, |labels, one| {
        CloseError::ALL
            .map(|error| (format!("{labels},error=\"{}\"", error.label()), one.closed.get(error).value()))
    });
}

fn single(labels: &str, counter: &Counter) -> [(String, u64); 1] {
    [(labels.to_owned(), counter.value())]
}

fn detections(page: &mut Page, prefix: &str, series: &[Scraped<Detections>]) {
    let name = format!("{prefix}_duration_seconds");
    page.histograms((&name, Unit::Seconds), "How long telling protocols apart took.", series, |one| {
        &one.duration
    });
    page.totals(&format!("{prefix}_results"), "What first bytes have shown.", series, |labels, one| {
        let line =
            |(result, count): (&&str, &Counter)| (format!("result=\"{result}\",{labels}"), count.value());
        RESULTS.iter().zip(&one.results).map(line).collect::<Vec<_>>()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(fill: impl FnOnce(&Connections)) -> String {
        let connections = Connections::new(&Budget::new(Duration::from_secs(600)));
        fill(&connections);
        let mut page = Page::default();
        connections.render_inbound(&mut page);
        connections.render_outbound(&mut page);
        connections.render_routes(&mut page);
        page.finish()
    }

    #[track_caller]
    fn assert_line(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
    }

    #[test]
    fn detection_shows_every_result_and_its_duration() {
        let server = ResourceRef::default_named("all-unauthenticated");
        let text = rendered(|connections| {
            let seen = connections.detect_inbound(&server, 4191);
            seen.record(&Ok(detect::Http::Is(HttpVersion::Http2)), Duration::from_millis(2));
            seen.record(&Err(std::io::ErrorKind::UnexpectedEof.into()), Duration::ZERO);
        });
        let srv = r#"srv_group="",srv_kind="default",srv_name="all-unauthenticated",srv_port="4191""#;
        for (result, count) in
            [("not_http", 0), ("http/1", 0), ("http/2", 1), ("read_timeout", 0), ("error", 1)]
        {
            let line = format!(r#"inbound_tcp_detect_http_results_total{{result="{result}",{srv}}} {count}"#);
            assert_line(&text, &line);
        }
        let bucket = |le: &str, n| {
            format!(r#"inbound_tcp_detect_http_duration_seconds_bucket{{le="{le}",{srv}}} {n}"#)
        };
        assert_line(&text, &bucket("0.001", 1));
        assert_line(&text, &bucket("0.1", 2));
    }

    #[test]
    fn opaque_routes_show_every_way_to_end() {
        let (parent, route) = (ResourceRef::default_named("fallback"), ResourceRef::default_named("opaque"));
        let text = rendered(|connections| {
            let route = connections.opaque_route(&parent, &route, ("10.0.0.9".parse().ok(), 25));
            route.open();
            route.close(Some(Reason::Forbidden));
            let cost = connections.zone_cost(&EndpointLabels::default());
            cost.received(7);
        });
        let labels = r#"parent_group="",parent_kind="default",parent_namespace="",parent_name="fallback",parent_port="",parent_section_name="",route_group="",route_kind="default",route_namespace="",route_name="opaque",target_ip="10.0.0.9",target_port="25""#;
        assert_line(&text, &format!("outbound_tcp_route_open_total{{{labels}}} 1"));
        assert_line(&text, &format!("outbound_tcp_route_close_total{{{labels},error=\"forbidden\"}} 1"));
        assert_line(&text, &format!("outbound_tcp_route_close_total{{{labels},error=\"\"}} 0"));
        assert_line(&text, r#"outbound_tcp_transfer_cost_bytes_total{op="Recv",zone_locality="Unknown"} 7"#);
        assert!(!text.contains("Remote"), "{text}");
    }

    #[test]
    fn names_in_transport_headers_are_bounded() {
        let text = rendered(|connections| {
            for n in 0..1_000 {
                let name = format!("svc{n}.example").parse().ok();
                let header = TransportHeader { port: 4143, name, session: Some(HttpVersion::Http2) };
                connections.transport_header(&header, None);
            }
        });
        let count = text.matches("inbound_tcp_transport_header_connections_total{").count();
        assert_eq!(count, crate::telemetry::registry::MOST_UNPROVEN + 1);
    }
}

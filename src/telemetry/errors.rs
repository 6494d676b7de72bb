//! How often did the proxy itself fail, and at what?
//!
//! Failures to carry a request or connection, labelled by the one table of reasons (contract 6.1). Refusals by policy are
//! not failures: they are counted with the authorizations. The labels of those families are few and old; our own
//! `causeway_faults_total` names each reason.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::Labels;
use super::metric::Counter;
use super::page::Page;
use super::registry::{Budget, Family};
use crate::error::Reason;
use crate::model::ResourceRef;

pub struct Errors {
    inbound_http: Family<Counter>,
    inbound_tcp: Family<Counter>,
    outbound_http: Family<Counter>,
    outbound_tcp: Family<Counter>,
    inbound: Reasons,
    outbound: Reasons,
}

/// How often each reason was met, in the order of [`Reason::ALL`].
struct Reasons([AtomicU64; Reason::ALL.len()]);

impl Errors {
    pub fn new(budget: &Budget) -> Self {
        Self {
            inbound_http: budget.family("inbound_http_errors_total"),
            inbound_tcp: budget.family("inbound_tcp_errors_total"),
            outbound_http: budget.family("outbound_http_errors_total"),
            outbound_tcp: budget.family("outbound_tcp_errors_total"),
            inbound: Reasons::new(),
            outbound: Reasons::new(),
        }
    }

    /// Counts a request that failed inbound.
    pub fn inbound_http(&self, reason: Reason, target: SocketAddr, server: &ResourceRef) {
        self.inbound.count(reason);
        let labels = Labels::new().with("error", reason.row().label).target(target);
        self.inbound_http.get(&labels.srv(server, target.port())).incr();
    }

    /// Counts a connection that failed inbound.
    pub fn inbound_tcp(&self, reason: Reason, target: SocketAddr) {
        self.inbound.count(reason);
        self.inbound_tcp.get(&Labels::new().with("error", reason.row().label).target(target)).incr();
    }

    /// Counts a request that failed outbound.
    pub fn outbound_http(&self, reason: Reason) {
        self.outbound.count(reason);
        self.outbound_http.get(&Labels::new().with("error", reason.row().label)).incr();
    }

    /// Counts a request that a route answers with another location: to the reference an error among others, but nothing
    /// that failed.
    pub fn outbound_redirect(&self) {
        self.outbound_http.get(&Labels::new().with("error", UNEXPECTED)).incr();
    }

    /// The same, inbound.
    pub fn inbound_redirect(&self, target: SocketAddr, server: &ResourceRef) {
        let labels = Labels::new().with("error", UNEXPECTED).target(target);
        self.inbound_http.get(&labels.srv(server, target.port())).incr();
    }

    /// Counts a connection that failed outbound; `target` is the original destination.
    pub fn outbound_tcp(&self, reason: Reason, target: SocketAddr) {
        self.outbound.count(reason);
        self.outbound_tcp.get(&Labels::new().target(target).with("error", reason.row().label)).incr();
    }

    /// Counts an attempt to accept for which there was no descriptor.
    pub fn inbound_accept(&self) {
        self.inbound.count(Reason::NoDescriptors);
    }

    /// The same, outbound.
    pub fn outbound_accept(&self) {
        self.outbound.count(Reason::NoDescriptors);
    }

    /// Counts an answer whose client did not read it.
    pub fn inbound_unread(&self) {
        self.inbound.count(Reason::AnswerUnread);
    }

    /// The same, outbound.
    pub fn outbound_unread(&self) {
        self.outbound.count(Reason::AnswerUnread);
    }

    pub fn render(&self, page: &mut Page) {
        let (http, tcp) = ("HTTP requests that the proxy failed.", "TCP connections that the proxy failed.");
        page.counters("inbound_http_errors_total", http, &self.inbound_http);
        page.counters("inbound_tcp_errors_total", tcp, &self.inbound_tcp);
        page.counters("outbound_http_errors_total", http, &self.outbound_http);
        page.counters("outbound_tcp_errors_total", tcp, &self.outbound_tcp);
        page.family(
            FAULTS,
            "counter",
            "Requests and connections that the proxy failed, by the reason's name.",
        );
        self.inbound.render(page, "inbound");
        self.outbound.render(page, "outbound");
    }
}

const FAULTS: &str = "causeway_faults_total";

/// The label of what has none of its own (contract 6.1).
const UNEXPECTED: &str = "unexpected";

impl Reasons {
    fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn count(&self, reason: Reason) {
        // The order is tested; a reason must not panic here.
        if let Some(count) = self.0.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn render(&self, page: &mut Page, direction: &str) {
        for (reason, count) in Reason::ALL.iter().zip(&self.0) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let labels = Labels::new().with("direction", direction).with("reason", reason.row().name);
                page.sample(FAULTS, labels.as_str(), count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_their_cause_and_place() {
        let errors = Errors::new(&Budget::new(crate::telemetry::RETAIN_IDLE));
        let target = "10.0.0.1:80".parse().unwrap();
        errors.inbound_http(Reason::ConnectFailed, target, &ResourceRef::default_named("deny"));
        errors.inbound_tcp(Reason::TlsDetectTimeout, target);
        errors.outbound_http(Reason::FailFast);
        errors.outbound_http(Reason::FailFast);
        errors.outbound_tcp(Reason::IdentityRequired, target);
        let mut page = Page::default();
        errors.render(&mut page);
        let text = page.finish();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let at = r#"target_addr="10.0.0.1:80",target_ip="10.0.0.1",target_port="80""#;
        let srv = r#"srv_group="",srv_kind="default",srv_name="deny",srv_port="80""#;
        assert_eq!(
            samples,
            [
                format!(r#"inbound_http_errors_total{{error="i/o",{at},{srv}}} 1"#),
                format!(r#"inbound_tcp_errors_total{{error="tls detection timeout",{at}}} 1"#),
                r#"outbound_http_errors_total{error="failfast"} 2"#.to_string(),
                format!(r#"outbound_tcp_errors_total{{{at},error="identity required"}} 1"#),
                r#"causeway_faults_total{direction="inbound",reason="connect-failed"} 1"#.to_string(),
                r#"causeway_faults_total{direction="inbound",reason="tls-detect-timeout"} 1"#.to_string(),
                r#"causeway_faults_total{direction="outbound",reason="failfast"} 2"#.to_string(),
                r#"causeway_faults_total{direction="outbound",reason="identity-required"} 1"#.to_string(),
            ]
        );
    }
}

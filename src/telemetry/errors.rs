//! How often did the proxy itself fail, and at what?
//!
//! Failures to carry a request or connection, labelled by the one table of reasons (contract 6.1). Refusals by policy are
//! not failures: they are counted with the authorizations.

use std::net::SocketAddr;
use std::sync::Arc;

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
}

impl Errors {
    pub fn new(budget: &Budget) -> Self {
        Self {
            inbound_http: budget.family("inbound_http_errors_total"),
            inbound_tcp: budget.family("inbound_tcp_errors_total"),
            outbound_http: budget.family("outbound_http_errors_total"),
            outbound_tcp: budget.family("outbound_tcp_errors_total"),
        }
    }

    pub fn inbound_http(&self, reason: Reason, target: SocketAddr, server: &ResourceRef) -> Arc<Counter> {
        let labels = Labels::new().with("error", reason.row().label).target(target);
        self.inbound_http.get(&labels.srv(server, target.port()))
    }

    pub fn inbound_tcp(&self, reason: Reason, target: SocketAddr) -> Arc<Counter> {
        self.inbound_tcp.get(&Labels::new().with("error", reason.row().label).target(target))
    }

    pub fn outbound_http(&self, reason: Reason) -> Arc<Counter> {
        self.outbound_http.get(&Labels::new().with("error", reason.row().label))
    }

    /// `target` is the original destination.
    pub fn outbound_tcp(&self, reason: Reason, target: SocketAddr) -> Arc<Counter> {
        self.outbound_tcp.get(&Labels::new().target(target).with("error", reason.row().label))
    }

    pub fn render(&self, page: &mut Page) {
        let (http, tcp) = ("HTTP requests that the proxy failed.", "TCP connections that the proxy failed.");
        page.counters("inbound_http_errors_total", http, &self.inbound_http);
        page.counters("inbound_tcp_errors_total", tcp, &self.inbound_tcp);
        page.counters("outbound_http_errors_total", http, &self.outbound_http);
        page.counters("outbound_tcp_errors_total", tcp, &self.outbound_tcp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_their_cause_and_place() {
        let errors = Errors::new(&Budget::new(crate::telemetry::RETAIN_IDLE));
        let target = "10.0.0.1:80".parse().unwrap();
        errors.inbound_http(Reason::ConnectFailed, target, &ResourceRef::default_named("deny")).incr();
        errors.inbound_tcp(Reason::TlsDetectTimeout, target).incr();
        errors.outbound_http(Reason::FailFast).add(2);
        errors.outbound_tcp(Reason::IdentityRequired, target).incr();
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
            ]
        );
    }
}

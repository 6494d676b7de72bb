//! Whom did policy let in, and whom not?
//!
//! The authorization families of contract 6.1. A handle belongs to one port, caller and decision; those
//! who judge often keep it.

use std::sync::Arc;

use super::labels::{InboundTarget, Labels};
use super::metric::Counter;
use super::page::Page;
use super::registry::{Budget, Family};
use crate::limit::Scope;
use crate::model::ResourceRef;

pub struct Authorizations {
    http_allow: Family<Counter>,
    http_deny: Family<Counter>,
    http_route_not_found: Family<Counter>,
    http_rate_limited: Family<Counter>,
    tcp_allow: Family<Counter>,
    tcp_deny: Family<Counter>,
    tcp_terminate: Family<Counter>,
}

impl Authorizations {
    pub fn new(budget: &Budget) -> Self {
        Self {
            http_allow: budget.family("inbound_http_authz_allow_total"),
            http_deny: budget.family("inbound_http_authz_deny_total"),
            http_route_not_found: budget.family("inbound_http_route_not_found_total"),
            http_rate_limited: budget.family("inbound_http_local_ratelimit_total"),
            tcp_allow: budget.family("inbound_tcp_authz_allow_total"),
            tcp_deny: budget.family("inbound_tcp_authz_deny_total"),
            tcp_terminate: budget.family("inbound_tcp_authz_terminate_total"),
        }
    }

    pub fn http_allow(
        &self,
        at: &InboundTarget<'_>,
        route: &ResourceRef,
        authz: &ResourceRef,
    ) -> Arc<Counter> {
        self.http_allow.get(&port(at).route(route).authz(authz).server_tls(at.peer))
    }

    pub fn http_deny(&self, at: &InboundTarget<'_>, route: &ResourceRef) -> Arc<Counter> {
        self.http_deny.get(&port(at).route(route).server_tls(at.peer))
    }

    pub fn http_route_not_found(&self, at: &InboundTarget<'_>) -> Arc<Counter> {
        self.http_route_not_found.get(&port(at).server_tls(at.peer))
    }

    /// A request that was let in, and came too fast. `limit` is the policy that says so, if it has a name.
    pub fn http_rate_limited(
        &self,
        at: &InboundTarget<'_>,
        limit: Option<&ResourceRef>,
        scope: Scope,
    ) -> Arc<Counter> {
        let labels = limit.into_iter().fold(port(at), Labels::rate_limit);
        let scope = match scope {
            Scope::Total => "total",
            Scope::Identity => "identity",
        };
        self.http_rate_limited.get(&labels.with("ratelimit_scope", scope).server_tls(at.peer))
    }

    pub fn tcp_allow(&self, at: &InboundTarget<'_>, authz: &ResourceRef) -> Arc<Counter> {
        self.tcp_allow.get(&port(at).authz(authz).server_tls(at.peer))
    }

    pub fn tcp_deny(&self, at: &InboundTarget<'_>) -> Arc<Counter> {
        self.tcp_deny.get(&port(at).server_tls(at.peer))
    }

    /// A connection that was let in and that a change of policy has cut.
    pub fn tcp_terminate(&self, at: &InboundTarget<'_>) -> Arc<Counter> {
        self.tcp_terminate.get(&port(at).server_tls(at.peer))
    }

    pub fn render(&self, page: &mut Page) {
        page.counters("inbound_http_authz_allow_total", "HTTP requests let in.", &self.http_allow);
        page.counters("inbound_http_authz_deny_total", "HTTP requests refused by policy.", &self.http_deny);
        let help = "HTTP requests that no route of the port takes.";
        page.counters("inbound_http_route_not_found_total", help, &self.http_route_not_found);
        let help = "HTTP requests beyond the rate limit of the port.";
        page.counters("inbound_http_local_ratelimit_total", help, &self.http_rate_limited);
        page.counters("inbound_tcp_authz_allow_total", "TCP connections let in.", &self.tcp_allow);
        page.counters("inbound_tcp_authz_deny_total", "TCP connections refused by policy.", &self.tcp_deny);
        let help = "TCP connections cut because policy changed.";
        page.counters("inbound_tcp_authz_terminate_total", help, &self.tcp_terminate);
    }
}

fn port(at: &InboundTarget<'_>) -> Labels {
    Labels::new().port_policy(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Peer;
    use crate::model::peer::NoTls;

    #[test]
    fn every_decision_has_the_labels_of_a_scrape() {
        let authorizations = Authorizations::new(&Budget::new(crate::telemetry::RETAIN_IDLE));
        let server = ResourceRef::object("policy.linkerd.io", "server", "bb");
        let peer = Peer::Plaintext(NoTls::NoTlsFromRemote);
        let at = InboundTarget { target: "10.0.0.1:80".parse().unwrap(), server: &server, peer: &peer };
        let route = ResourceRef::default_named("default");
        let authz = ResourceRef::object("policy.linkerd.io", "authorizationpolicy", "bb-authz");
        authorizations.http_allow(&at, &route, &authz).add(3);
        authorizations.http_deny(&at, &route).incr();
        authorizations.http_route_not_found(&at).incr();
        let limit = ResourceRef::object("policy.linkerd.io", "httplocalratelimitpolicy", "slow");
        authorizations.http_rate_limited(&at, Some(&limit), Scope::Total).incr();
        authorizations.http_rate_limited(&at, None, Scope::Identity).incr();
        authorizations.tcp_allow(&at, &authz).incr();
        authorizations.tcp_deny(&at).incr();
        authorizations.tcp_terminate(&at).incr();

        let mut page = Page::default();
        authorizations.render(&mut page);
        let text = page.finish();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let srv = r#"target_addr="10.0.0.1:80",target_ip="10.0.0.1",target_port="80",srv_group="policy.linkerd.io",srv_kind="server",srv_name="bb",srv_port="80""#;
        let route = r#"route_group="",route_kind="default",route_name="default""#;
        let authz =
            r#"authz_group="policy.linkerd.io",authz_kind="authorizationpolicy",authz_name="bb-authz""#;
        let limit = r#"ratelimit_group="policy.linkerd.io",ratelimit_kind="httplocalratelimitpolicy",ratelimit_name="slow""#;
        let tls = r#"tls="no_identity",no_tls_reason="no_tls_from_remote""#;
        assert_eq!(
            samples,
            [
                format!("inbound_http_authz_allow_total{{{srv},{route},{authz},{tls}}} 3"),
                format!("inbound_http_authz_deny_total{{{srv},{route},{tls}}} 1"),
                format!("inbound_http_route_not_found_total{{{srv},{tls}}} 1"),
                format!(
                    "inbound_http_local_ratelimit_total{{{srv},{limit},ratelimit_scope=\"total\",{tls}}} 1"
                ),
                format!("inbound_http_local_ratelimit_total{{{srv},ratelimit_scope=\"identity\",{tls}}} 1"),
                format!("inbound_tcp_authz_allow_total{{{srv},{authz},{tls}}} 1"),
                format!("inbound_tcp_authz_deny_total{{{srv},{tls}}} 1"),
                format!("inbound_tcp_authz_terminate_total{{{srv},{tls}}} 1"),
            ]
        );
    }
}

//! What proxies are told to let in, and where to send what goes out.

use causeway::api;
use causeway::control::index::{Target, Workload};
use causeway::model::ResourceRef;
use causeway::model::filter::Filter;
use causeway::model::inbound::{Authorization, InboundRoute};
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoutes, OpaqueRoute, OutboundProtocol,
};

use super::Answers;

impl Answers<'_> {
    pub fn server(&mut self, workload: &Workload, port: u16) {
        let Some(policy) = self.snapshot.server(workload, port) else {
            return self.line(1, format!("server {port}: unknown"));
        };
        let read = api::inbound::server(api::inbound::encode_server(&policy));
        assert!(read.is_ok(), "a proxy refuses it: {read:?}");
        self.line(1, format!("server {port}: {} {}", policy.meta.kind(), policy.meta.name()));
        let authorizations: Vec<_> = policy.authorizations.iter().map(authorization).collect();
        for authorization in authorizations {
            self.line(2, authorization);
        }
        match policy.protocol.routes() {
            None => self.debug(2, "protocol", &policy.protocol),
            Some(routes) => routes.iter().for_each(|route| self.route(route)),
        }
        policy.rate_limit.iter().for_each(|limit| self.debug(2, "rate limit", limit));
    }

    fn route(&mut self, route: &InboundRoute) {
        let names: Vec<_> = route.authorizations.iter().map(|a| a.meta.name()).collect();
        self.line(2, format!("route {} {:?} authorized by {names:?}", route.meta.name(), route.rules));
        if !route.hosts.is_empty() {
            self.debug(3, "hosts", &route.hosts);
        }
    }

    pub fn outbound(&mut self, client: &str, target: &str) {
        self.line(0, format!("\noutbound {target} from {client}"));
        let asked = target.parse().map_or(Target::Authority(target), Target::Addr);
        let policy = match self.snapshot.outbound(client, asked) {
            Ok(policy) => policy,
            Err(error) => return self.debug(1, "none", error),
        };
        let read = api::outbound::policy(api::outbound::encode_policy(&policy));
        assert!(read.is_ok(), "a proxy refuses it: {read:?}");
        self.line(1, format!("of {}", meta(&policy.parent)));
        match &policy.protocol {
            OutboundProtocol::Detect { http1, http2, opaque } => {
                assert_eq!(http1, http2);
                self.http("detect", http1);
                self.connections("else opaque", opaque);
            }
            OutboundProtocol::Http1(routes) => self.http("HTTP/1", routes),
            OutboundProtocol::Http2(routes) => self.http("HTTP/2", routes),
            OutboundProtocol::Grpc(routes) => self.http("gRPC", routes),
            OutboundProtocol::Opaque(routes) => self.connections("opaque", routes),
            OutboundProtocol::Tls(routes) => self.connections("TLS", routes),
        }
    }

    fn http(&mut self, protocol: &str, routes: &HttpRoutes) {
        self.line(1, protocol);
        routes.breaker.iter().for_each(|breaker| self.debug(2, "breaker", breaker));
        for route in &routes.routes {
            self.line(2, format!("route {} {:?}", meta(&route.meta), route.hosts));
            for rule in &route.rules {
                self.debug(3, "rule", &rule.matches);
                rule.filters.iter().for_each(|filter| self.debug(4, "filter", filter));
                if !rule.terms.are_none() {
                    self.debug(4, "terms", &rule.terms);
                }
                self.backends(&rule.backends, |to| (&to.backend, &to.filters));
            }
        }
    }

    fn connections(&mut self, protocol: &str, routes: &[OpaqueRoute]) {
        self.line(1, protocol);
        for route in routes {
            self.line(2, format!("route {} {:?} {:?}", meta(&route.meta), route.snis, route.refusal));
            self.backends(&route.backends, |to| (to, &[]));
        }
    }

    fn backends<B>(&mut self, all: &Distribution<B>, of: fn(&B) -> (&Backend, &[Filter])) {
        let mut show = |weight: String, to: &B| {
            let (backend, filters) = of(to);
            let kind = match &backend.kind {
                BackendKind::Balance { authority, load } => format!("balance {authority} {:?}", load.penalty),
                BackendKind::Forward(to) => format!("forward {}", to.addr),
                BackendKind::Fail => "fail".into(),
            };
            self.line(4, format!("{weight} {} {kind} {filters:?}", meta(&backend.meta)));
        };
        match all {
            Distribution::Empty => self.line(4, "to nobody"),
            Distribution::FirstAvailable(all) => all.iter().for_each(|to| show("first".into(), to)),
            Distribution::RandomAvailable(all) => {
                all.iter().for_each(|(to, weight)| show(weight.to_string(), to));
            }
        }
    }
}

fn meta(meta: &ResourceRef) -> String {
    match meta.is_default() {
        true => format!("default {}", meta.name()),
        false => {
            format!("{}/{} {}/{}:{}", meta.group(), meta.kind(), meta.namespace(), meta.name(), meta.port())
        }
    }
}

fn authorization(authorization: &Authorization) -> String {
    let networks: Vec<_> = authorization
        .networks
        .iter()
        .map(|network| format!("{} except {:?}", network.net, network.except))
        .collect();
    let (kind, name) = (authorization.meta.kind(), authorization.meta.name());
    format!("allow {kind}/{name} {networks:?} {:?}", authorization.authentication)
}

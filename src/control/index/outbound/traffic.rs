//! The policy of a Service, or of what is outside: which routes there are, and what takes what no route takes
//! (controlplane 3.9).

use std::net::SocketAddr;

use http::StatusCode;

use crate::control::index::{ObjectName, World};
use crate::control::manifest::route::{Route, RouteKind, Rule, TargetKind};
use crate::control::manifest::{Annotated, Object, TrafficPolicy};
use crate::model::filter::{Failure, FailureKind, Filter, Ratio};
use crate::model::matching::{PathMatch, RequestMatch};
use crate::model::outbound::{
    Distribution, HttpRoute, HttpRoutes, HttpRule, Load, OpaqueRefusal, OpaqueRoute, OutboundProtocol, Retry,
    RouteBackend, Terms, Timeouts,
};
use crate::model::{OutboundPolicy, ResourceRef};

/// Traffic to one port, with everything that is said of it.
pub(super) struct Traffic<'a> {
    pub(super) world: &'a World,
    pub(super) kind: TargetKind,
    pub(super) parent: &'a ObjectName,
    pub(super) port: u16,
    pub(super) protocol: AppProtocol,
    pub(super) annotated: Annotated,
    /// Set for an EgressNetwork.
    pub(super) outside: Option<Outside>,
    /// In the order in which they count.
    pub(super) routes: Vec<&'a Object<Route>>,
}

/// Traffic out of the cluster: where to, and whether it may go there.
#[derive(Clone, Copy)]
pub(super) struct Outside {
    pub(super) addr: SocketAddr,
    pub(super) traffic: TrafficPolicy,
}

/// What a port is said to speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AppProtocol {
    Unset,
    Http1,
    Http2,
    /// Anything else as well.
    Opaque,
}

/// What is built for calls of gRPC differs from what is for HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    Grpc,
}

impl Traffic<'_> {
    pub(super) fn policy(&self) -> OutboundPolicy {
        OutboundPolicy { parent: self.meta(), protocol: self.outbound_protocol() }
    }

    fn outbound_protocol(&self) -> OutboundProtocol {
        use OutboundProtocol as P;
        let has = |kind: fn(RouteKind) -> bool| self.routes.iter().any(|(_, route)| kind(route.kind));
        let (grpc, http) = (has(|kind| kind == RouteKind::Grpc), has(is_http));
        match self.protocol {
            AppProtocol::Http1 => P::Http1(self.requests(Speaks::Http)),
            AppProtocol::Http2 | AppProtocol::Unset if grpc => P::Grpc(self.requests(Speaks::Grpc)),
            AppProtocol::Http2 => P::Http2(self.requests(Speaks::Http)),
            AppProtocol::Unset if !http && has(|kind| kind == RouteKind::Tls) => P::Tls(self.tls()),
            AppProtocol::Unset if http || !has(|kind| kind == RouteKind::Tcp) => {
                let routes = self.requests(Speaks::Http);
                P::Detect {
                    http1: routes.clone(),
                    http2: routes,
                    opaque: vec![self.default_opaque("opaq", "tcp")],
                }
            }
            AppProtocol::Unset | AppProtocol::Opaque => P::Opaque(vec![self.tcp()]),
        }
    }

    fn of(&self, wanted: fn(RouteKind) -> bool) -> impl Iterator<Item = &Object<Route>> {
        self.routes.iter().copied().filter(move |(_, route)| wanted(route.kind))
    }

    /// Routes of requests; what none of them takes goes where it was going, unless there are some for a Service.
    fn requests(&self, speaks: Speaks) -> HttpRoutes {
        let wanted = match speaks {
            Speaks::Http => is_http,
            Speaks::Grpc => |kind| kind == RouteKind::Grpc,
        };
        let made = self.of(wanted).map(|object| self.http_route(object, speaks));
        let mut routes: Vec<HttpRoute> = made.collect();
        if self.outside.is_some() || (routes.is_empty() && speaks == Speaks::Http) {
            routes.push(self.default_http(speaks));
        }
        HttpRoutes { routes, breaker: self.annotated.breaker }
    }

    fn http_route(&self, object: &Object<Route>, speaks: Speaks) -> HttpRoute {
        let (_, route) = object;
        let rules = route.rules.iter().map(|rule| self.http_rule(route, rule, speaks)).collect();
        HttpRoute { meta: route_ref(object), hosts: route.hosts.clone(), rules }
    }

    fn http_rule(&self, route: &Route, rule: &Rule, speaks: Speaks) -> HttpRule {
        HttpRule {
            matches: rule.matches.clone(),
            filters: rule.filters.iter().map(|filter| as_linkerd_sends_it(filter, route.kind)).collect(),
            backends: self.request_backends(rule, speaks),
            terms: self.terms(route, rule, speaks),
            allow_headers: self.world.settings.allow_request_headers,
        }
    }

    /// Any timeout of a route replaces all of the parent's, and so do retries.
    fn terms(&self, route: &Route, rule: &Rule, speaks: Speaks) -> Terms {
        let own = Timeouts { request: route.terms.timeouts.request.or(rule.timeout), ..route.terms.timeouts };
        let timeouts = if own == Timeouts::default() { self.annotated.timeouts } else { own };
        Terms { timeouts, retry: route.terms.retry.clone().or_else(|| self.retry(speaks).clone()) }
    }

    fn retry(&self, speaks: Speaks) -> &Option<Retry> {
        match speaks {
            Speaks::Http => &self.annotated.http_retry,
            Speaks::Grpc => &self.annotated.grpc_retry,
        }
    }

    fn default_http(&self, speaks: Speaks) -> HttpRoute {
        let everything =
            RequestMatch { path: Some(PathMatch::Prefix("/".into())), ..RequestMatch::default() };
        let (name, matched, kind) = match speaks {
            Speaks::Http => ("http", Some(everything), FailureKind::Http(StatusCode::FORBIDDEN)),
            Speaks::Grpc => ("grpc", None, FailureKind::Grpc(PERMISSION_DENIED)),
        };
        let backends = Distribution::FirstAvailable(vec![self.default_backend(self.annotated.load)]);
        let mut rule = HttpRule::new(matched.into_iter().collect(), backends);
        rule.terms = Terms { timeouts: self.annotated.timeouts, retry: self.retry(speaks).clone() };
        if self.is_denied() {
            let message = "traffic not allowed".into();
            rule.filters.push(Filter::Failure(Failure { kind, message, ratio: Ratio::ALL }));
        }
        HttpRoute::new(ResourceRef::default_named(&self.default_name(name, name)), vec![rule])
    }

    /// There is nothing to choose by, so only the first counts.
    fn tcp(&self) -> OpaqueRoute {
        match self.of(|kind| kind == RouteKind::Tcp).next() {
            Some(object) => OpaqueRoute::new(route_ref(object), self.connection_backends(&object.1)),
            None => self.default_opaque("opaq", "tcp"),
        }
    }

    fn tls(&self) -> Vec<OpaqueRoute> {
        let made = self.of(|kind| kind == RouteKind::Tls).map(|object| OpaqueRoute {
            snis: object.1.hosts.clone(),
            ..OpaqueRoute::new(route_ref(object), self.connection_backends(&object.1))
        });
        made.chain(self.outside.map(|_| self.default_opaque("tls", "tls"))).collect()
    }

    fn default_opaque(&self, name: &str, outside: &str) -> OpaqueRoute {
        // Failures are told by answers, which these have not.
        let load = if self.protocol == AppProtocol::Opaque { Load::default() } else { self.annotated.load };
        let backend = self.default_backend(load);
        let meta = ResourceRef::default_named(&self.default_name(name, outside));
        let mut route = OpaqueRoute::new(meta, Distribution::FirstAvailable(vec![backend]));
        route.refusal = self.is_denied().then_some(OpaqueRefusal::Forbidden);
        route
    }

    fn is_denied(&self) -> bool {
        self.outside.is_some_and(|outside| outside.traffic == TrafficPolicy::Deny)
    }

    fn default_name(&self, of_service: &str, outside: &str) -> String {
        match self.outside.map(|outside| outside.traffic) {
            None => of_service.to_owned(),
            Some(TrafficPolicy::Allow) => format!("{outside}-egress-allow"),
            Some(TrafficPolicy::Deny) => format!("{outside}-egress-deny"),
        }
    }

    fn request_backends(&self, rule: &Rule, speaks: Speaks) -> Distribution<RouteBackend> {
        if rule.backends.is_empty() {
            let backend =
                RouteBackend { filters: Vec::new(), backend: self.default_backend(self.annotated.load) };
            return Distribution::FirstAvailable(vec![backend]);
        }
        let weighted = rule.backends.iter().map(|to| (self.request_backend(to, speaks), to.weight));
        Distribution::RandomAvailable(weighted.collect())
    }

    fn connection_backends(&self, route: &Route) -> Distribution {
        let backends = route.rules.first().map(|rule| rule.backends.as_slice()).unwrap_or_default();
        if backends.is_empty() {
            return Distribution::FirstAvailable(vec![self.default_backend(self.annotated.load)]);
        }
        let weighted = backends.iter().map(|to| (self.connection_backend(to), to.weight));
        Distribution::RandomAvailable(weighted.collect())
    }
}

const PERMISSION_DENIED: u16 = 7;

fn is_http(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Http | RouteKind::PolicyHttp)
}

fn route_ref((meta, route): &Object<Route>) -> ResourceRef {
    ResourceRef::Resource {
        group: route.kind.group().into(),
        kind: route.kind.name().into(),
        name: meta.name.name.clone(),
        namespace: meta.name.namespace.clone(),
        section: "".into(),
        port: 0,
    }
}

/// Of Linkerd's own routes, changes of answers' headers are told as changes of requests' (controlplane 8, 41).
fn as_linkerd_sends_it(filter: &Filter, kind: RouteKind) -> Filter {
    match (filter, kind) {
        (Filter::ResponseHeaders(change), RouteKind::PolicyHttp) => Filter::RequestHeaders(change.clone()),
        _ => filter.clone(),
    }
}

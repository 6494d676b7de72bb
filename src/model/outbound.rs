//! How a target's traffic is to be treated: what `OutboundPolicies.Watch` says (contract 3.2-3.4).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::filter::Filter;
use super::matching::{HostMatch, RequestMatch};
use super::meta::ResourceRef;
use super::name::Authority;
use crate::backoff::Backoff;

/// The whole answer for one target. `B` is the backend as the control plane describes it, or the
/// live one that the path picks from.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundPolicy<B = Backend> {
    pub parent: ResourceRef,
    pub protocol: OutboundProtocol<B>,
}

/// What to expect on the connection, with the routes of each protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboundProtocol<B = Backend> {
    Detect { http1: HttpRoutes<B>, http2: HttpRoutes<B>, opaque: Vec<OpaqueRoute<B>> },
    Http1(HttpRoutes<B>),
    Http2(HttpRoutes<B>),
    Grpc(HttpRoutes<B>),
    Opaque(Vec<OpaqueRoute<B>>),
    Tls(Vec<OpaqueRoute<B>>),
}

/// The routes of one protocol, and when their endpoints are left alone.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoutes<B = Backend> {
    pub routes: Vec<HttpRoute<B>>,
    pub breaker: Option<Breaker>,
}

/// One route: rules in order.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute<B = Backend> {
    pub meta: ResourceRef,
    /// The hosts that it is for; empty for all.
    pub hosts: Vec<HostMatch>,
    pub rules: Vec<HttpRule<B>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule<B = Backend> {
    /// Empty matches every request.
    pub matches: Vec<RequestMatch>,
    /// In order, before those of the backend that is chosen.
    pub filters: Vec<Filter>,
    pub backends: Distribution<RouteBackend<B>>,
    pub terms: Terms,
    /// Requests may ask for terms of their own, in `l5d-` headers (contract 3.11).
    pub allow_headers: bool,
}

/// How long requests of a rule may take, and how often they are tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    pub timeouts: Timeouts,
    pub retry: Option<Retry>,
}

/// A backend of a rule, and what is done to requests that go there.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteBackend<B = Backend> {
    pub filters: Vec<Filter>,
    pub backend: B,
}

/// What is not given is not limited (contract 3.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's arrival to the end of its answer, whatever is tried in between.
    pub request: Option<Duration>,
    /// From the end of a request to the end of its answer.
    pub response: Option<Duration>,
    /// Between two pieces of its bodies.
    pub idle: Option<Duration>,
}

/// When a request is sent again, and how often (contract 3.11).
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Times, after the first.
    pub limit: u16,
    /// Bytes of a request's body. A longer one is sent once.
    pub max_body: u32,
    /// Statuses of HTTP.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Codes of gRPC, in the head of an answer or in trailers that come at once.
    pub codes: Vec<u16>,
    /// From the end of a request to the head of its answer. The last attempt may take longer.
    pub timeout: Option<Duration>,
    /// Between attempts.
    pub backoff: Option<Backoff>,
}

/// When an endpoint that fails is left alone, and for how long (contract 3.10).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Breaker {
    /// So many failures in a row; none is no breaker.
    ConsecutiveFailures { max_failures: u32, backoff: Backoff },
    /// The same; or too small a part of its recent answers are successes.
    Unified {
        success_rate: SuccessRate,
        max_failures: u32,
        backoff: Backoff,
        /// Whether a server may ask to be left alone for longer; proxies do not do that yet (contract 3.2).
        honors_retry_after: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SuccessRate {
    /// From 0 to 1, below which it is too small; 0 asks for nothing.
    pub threshold: f64,
    /// How far back answers count.
    pub window: Duration,
    /// With fewer answers than these nothing is said.
    pub min_requests: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRoute<B = Backend> {
    pub meta: ResourceRef,
    /// Of routes for TLS: the server names that it is for; empty for all.
    pub snis: Vec<HostMatch>,
    /// Set when a filter refuses the route's connections.
    pub refusal: Option<OpaqueRefusal>,
    pub backends: Distribution<B>,
}

/// Why a route refuses every connection (contract 3.11, opaque filters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpaqueRefusal {
    Forbidden,
    Invalid,
}

/// Which backend serves a request or connection (contract 3.4).
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution<B = Backend> {
    Empty,
    FirstAvailable(Vec<B>),
    RandomAvailable(Vec<(B, u32)>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    pub meta: ResourceRef,
    pub kind: BackendKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BackendKind {
    /// Balance over the endpoints of `Destination.Get` for this authority.
    Balance { authority: Authority, load: Load },
    /// One given endpoint.
    Forward(Box<Endpoint>),
    /// The control plane named no dispatcher: 502, connections closed.
    Fail,
}

/// Parameters of the peak-EWMA load estimate (contract 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub default_rtt: Duration,
    pub decay: Duration,
    /// How answers that are failures count; `None`: by their latency, as others do.
    pub penalty: Option<Penalty>,
}

/// What an answer that is a failure counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// As if it had taken so long.
    pub latency: Duration,
    /// Or as long as the server asks to be left alone, up to this.
    pub max_retry_after: Duration,
}

/// How much may be in flight at each local endpoint before what comes on top goes elsewhere, and what counts as
/// little again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadBand {
    pub low: u32,
    /// More than `low`.
    pub high: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10), penalty: None }
    }
}

impl Default for Penalty {
    fn default() -> Self {
        Self { latency: Duration::from_secs(5), max_retry_after: Duration::from_secs(300) }
    }
}

impl<B> OutboundPolicy<B> {
    /// The same policy over other backends. Those of opaque connections have no breaker.
    pub fn map<C>(self, f: &mut impl FnMut(B, Option<Breaker>) -> C) -> OutboundPolicy<C> {
        OutboundPolicy { parent: self.parent, protocol: self.protocol.map(f) }
    }
}

impl<B> OutboundProtocol<B> {
    fn map<C>(self, f: &mut impl FnMut(B, Option<Breaker>) -> C) -> OutboundProtocol<C> {
        match self {
            Self::Detect { http1, http2, opaque } => OutboundProtocol::Detect {
                http1: http1.map(f),
                http2: http2.map(f),
                opaque: map_opaque(opaque, f),
            },
            Self::Http1(routes) => OutboundProtocol::Http1(routes.map(f)),
            Self::Http2(routes) => OutboundProtocol::Http2(routes.map(f)),
            Self::Grpc(routes) => OutboundProtocol::Grpc(routes.map(f)),
            Self::Opaque(routes) => OutboundProtocol::Opaque(map_opaque(routes, f)),
            Self::Tls(routes) => OutboundProtocol::Tls(map_opaque(routes, f)),
        }
    }
}

impl<B> HttpRoutes<B> {
    fn map<C>(self, f: &mut impl FnMut(B, Option<Breaker>) -> C) -> HttpRoutes<C> {
        let breaker = self.breaker;
        let mut to =
            |to: RouteBackend<B>| RouteBackend { filters: to.filters, backend: f(to.backend, breaker) };
        let mut rule = |rule: HttpRule<B>| HttpRule {
            matches: rule.matches,
            filters: rule.filters,
            backends: rule.backends.map(&mut to),
            terms: rule.terms,
            allow_headers: rule.allow_headers,
        };
        let route = |route: HttpRoute<B>| HttpRoute {
            meta: route.meta,
            hosts: route.hosts,
            rules: route.rules.into_iter().map(&mut rule).collect(),
        };
        HttpRoutes { routes: self.routes.into_iter().map(route).collect(), breaker }
    }
}

/// Without a breaker.
impl<B> From<Vec<HttpRoute<B>>> for HttpRoutes<B> {
    fn from(routes: Vec<HttpRoute<B>>) -> Self {
        Self { routes, breaker: None }
    }
}

impl<B> HttpRoute<B> {
    /// For every host.
    pub fn new(meta: ResourceRef, rules: Vec<HttpRule<B>>) -> Self {
        Self { meta, hosts: Vec::new(), rules }
    }
}

impl<B> OpaqueRoute<B> {
    /// For every connection.
    pub fn new(meta: ResourceRef, backends: Distribution<B>) -> Self {
        Self { meta, snis: Vec::new(), refusal: None, backends }
    }
}

impl<B> HttpRule<B> {
    /// Sends what matches to these, as it is, for as long as it takes.
    pub fn new(matches: Vec<RequestMatch>, backends: Distribution<B>) -> Self {
        let backends = backends.map(&mut |backend| RouteBackend { filters: Vec::new(), backend });
        Self { matches, filters: Vec::new(), backends, terms: Terms::default(), allow_headers: false }
    }

    /// Whether it says nothing but which requests go where.
    pub fn is_plain(&self) -> bool {
        self.filters.is_empty() && !self.allow_headers && self.terms.are_none()
    }
}

impl Terms {
    /// Whether a request may take as long as it does, and is tried once.
    pub fn are_none(&self) -> bool {
        self.retry.is_none() && self.timeouts == Timeouts::default()
    }
}

impl Retry {
    /// Whether an answer is one to try again for.
    pub fn takes_status(&self, status: u16) -> bool {
        self.statuses.iter().any(|range| range.contains(&status))
    }
}

impl<B> Distribution<B> {
    /// The same choice among others.
    pub fn map<C>(self, f: &mut impl FnMut(B) -> C) -> Distribution<C> {
        match self {
            Self::Empty => Distribution::Empty,
            Self::FirstAvailable(all) => Distribution::FirstAvailable(all.into_iter().map(f).collect()),
            Self::RandomAvailable(all) => {
                Distribution::RandomAvailable(all.into_iter().map(|(b, weight)| (f(b), weight)).collect())
            }
        }
    }
}

fn map_opaque<B, C>(
    routes: Vec<OpaqueRoute<B>>,
    f: &mut impl FnMut(B, Option<Breaker>) -> C,
) -> Vec<OpaqueRoute<C>> {
    let mut to = |backend| f(backend, None);
    let route = |route: OpaqueRoute<B>| OpaqueRoute {
        meta: route.meta,
        snis: route.snis,
        refusal: route.refusal,
        backends: route.backends.map(&mut to),
    };
    routes.into_iter().map(route).collect()
}

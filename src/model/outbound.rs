//! How a target's traffic is to be treated: what `OutboundPolicies.Watch` says (contract 3.2-3.4).

use std::time::Duration;

use super::endpoint::Endpoint;
use super::matching::RequestMatch;
use super::meta::ResourceRef;
use super::name::Authority;

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
    Detect { http1: Vec<HttpRoute<B>>, http2: Vec<HttpRoute<B>>, opaque: Vec<OpaqueRoute<B>> },
    Http1(Vec<HttpRoute<B>>),
    Http2(Vec<HttpRoute<B>>),
    Grpc(Vec<HttpRoute<B>>),
    Opaque(Vec<OpaqueRoute<B>>),
    Tls(Vec<OpaqueRoute<B>>),
}

/// One route: rules in order.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute<B = Backend> {
    pub meta: ResourceRef,
    pub rules: Vec<HttpRule<B>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule<B = Backend> {
    /// Empty matches every request.
    pub matches: Vec<RequestMatch>,
    pub backends: Distribution<B>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRoute<B = Backend> {
    pub meta: ResourceRef,
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
    /// The same policy over other backends.
    pub fn map<C>(self, f: &mut impl FnMut(B) -> C) -> OutboundPolicy<C> {
        OutboundPolicy { parent: self.parent, protocol: self.protocol.map(f) }
    }
}

impl<B> OutboundProtocol<B> {
    fn map<C>(self, f: &mut impl FnMut(B) -> C) -> OutboundProtocol<C> {
        match self {
            Self::Detect { http1, http2, opaque } => OutboundProtocol::Detect {
                http1: map_http(http1, f),
                http2: map_http(http2, f),
                opaque: map_opaque(opaque, f),
            },
            Self::Http1(routes) => OutboundProtocol::Http1(map_http(routes, f)),
            Self::Http2(routes) => OutboundProtocol::Http2(map_http(routes, f)),
            Self::Grpc(routes) => OutboundProtocol::Grpc(map_http(routes, f)),
            Self::Opaque(routes) => OutboundProtocol::Opaque(map_opaque(routes, f)),
            Self::Tls(routes) => OutboundProtocol::Tls(map_opaque(routes, f)),
        }
    }
}

impl<B> Distribution<B> {
    fn map<C>(self, f: &mut impl FnMut(B) -> C) -> Distribution<C> {
        match self {
            Self::Empty => Distribution::Empty,
            Self::FirstAvailable(all) => Distribution::FirstAvailable(all.into_iter().map(f).collect()),
            Self::RandomAvailable(all) => {
                Distribution::RandomAvailable(all.into_iter().map(|(b, weight)| (f(b), weight)).collect())
            }
        }
    }
}

fn map_http<B, C>(routes: Vec<HttpRoute<B>>, f: &mut impl FnMut(B) -> C) -> Vec<HttpRoute<C>> {
    let mut rule = |rule: HttpRule<B>| HttpRule { matches: rule.matches, backends: rule.backends.map(f) };
    routes
        .into_iter()
        .map(|route| HttpRoute { meta: route.meta, rules: route.rules.into_iter().map(&mut rule).collect() })
        .collect()
}

fn map_opaque<B, C>(routes: Vec<OpaqueRoute<B>>, f: &mut impl FnMut(B) -> C) -> Vec<OpaqueRoute<C>> {
    routes
        .into_iter()
        .map(|route| OpaqueRoute {
            meta: route.meta,
            refusal: route.refusal,
            backends: route.backends.map(f),
        })
        .collect()
}

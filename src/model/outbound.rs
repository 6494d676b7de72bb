//! How a target's traffic is to be treated: what `OutboundPolicies.Watch` says (contract 3.2-3.4).

use std::time::Duration;

use super::endpoint::Endpoint;
use super::matching::RequestMatch;
use super::meta::ResourceRef;
use super::name::Authority;

/// The whole answer for one target.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundPolicy {
    pub parent: ResourceRef,
    pub protocol: OutboundProtocol,
}

/// What to expect on the connection, with the routes of each protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboundProtocol {
    Detect { http1: Vec<HttpRoute>, http2: Vec<HttpRoute>, opaque: Vec<OpaqueRoute> },
    Http1(Vec<HttpRoute>),
    Http2(Vec<HttpRoute>),
    Grpc(Vec<HttpRoute>),
    Opaque(Vec<OpaqueRoute>),
    Tls(Vec<OpaqueRoute>),
}

/// One route: rules in order.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute {
    pub meta: ResourceRef,
    pub rules: Vec<HttpRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// Empty matches every request.
    pub matches: Vec<RequestMatch>,
    pub backends: Distribution,
}

#[derive(Clone, Debug, PartialEq)]
pub struct OpaqueRoute {
    pub meta: ResourceRef,
    /// Set when a filter refuses the route's connections.
    pub refusal: Option<OpaqueRefusal>,
    pub backends: Distribution,
}

/// Why a route refuses every connection (contract 3.11, opaque filters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpaqueRefusal {
    Forbidden,
    Invalid,
}

/// Which backend serves a request or connection (contract 3.4).
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    Empty,
    FirstAvailable(Vec<Backend>),
    RandomAvailable(Vec<(Backend, u32)>),
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
}

impl Default for Load {
    fn default() -> Self {
        Self { default_rtt: Duration::from_millis(30), decay: Duration::from_secs(10) }
    }
}

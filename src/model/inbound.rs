//! Who may reach a port, and how it speaks: what `WatchPort` says (contract 4.3).

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::filter::Filter;
use super::identity::WorkloadId;
use super::matching::{HostMatch, RequestMatch};
use super::meta::ResourceRef;

/// The policy of one inbound port.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerPolicy {
    /// The `Server`, or the default policy, that this is.
    pub meta: ResourceRef,
    pub protocol: ServerProtocol,
    /// Server-level authorizations, the appended localhost one included where it applies.
    pub authorizations: Vec<Authorization>,
    /// How many requests are let in; of ports for HTTP alone.
    pub rate_limit: Option<Arc<RateLimit>>,
}

impl ServerPolicy {
    /// What an answer that cannot be understood becomes: nobody is let in (contract 4.3).
    pub fn invalid() -> Self {
        let meta = ResourceRef::default_named("invalid");
        let route = InboundRoute::everything(meta.clone(), vec![]);
        let timeout = Duration::from_secs(10);
        Self {
            meta,
            protocol: ServerProtocol::Detect { timeout, routes: vec![route] },
            authorizations: vec![],
            rate_limit: None,
        }
    }
}

/// What the port speaks. Routes carry their own authorizations followed by the server's.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerProtocol {
    Detect { timeout: Duration, routes: Vec<InboundRoute> },
    Http1(Vec<InboundRoute>),
    Http2(Vec<InboundRoute>),
    Grpc(Vec<InboundRoute>),
    Opaque,
    Tls,
}

impl ServerProtocol {
    /// The routes of HTTP ports; `None` where the port does not speak HTTP.
    pub fn routes(&self) -> Option<&[InboundRoute]> {
        match self {
            Self::Detect { routes, .. } | Self::Http1(routes) | Self::Http2(routes) | Self::Grpc(routes) => {
                Some(routes)
            }
            Self::Opaque | Self::Tls => None,
        }
    }

    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Detect { .. } => "detect",
            Self::Http1(_) => "http1",
            Self::Http2(_) => "http2",
            Self::Grpc(_) => "grpc",
            Self::Opaque => "opaque",
            Self::Tls => "tls",
        }
    }

    /// Whether nothing but HTTP is carried.
    pub fn is_http_alone(&self) -> bool {
        matches!(self, Self::Http1(_) | Self::Http2(_) | Self::Grpc(_))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct InboundRoute {
    pub meta: ResourceRef,
    /// The hosts that it is for; empty for all.
    pub hosts: Vec<HostMatch>,
    pub rules: Vec<InboundRule>,
    /// In order of evaluation: the route's own, then the server's.
    pub authorizations: Vec<Authorization>,
}

impl InboundRoute {
    /// The route that takes every request.
    pub fn everything(meta: ResourceRef, authorizations: Vec<Authorization>) -> Self {
        Self { meta, hosts: Vec::new(), rules: vec![InboundRule::default()], authorizations }
    }
}

/// Requests of a route that are treated alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboundRule {
    /// A rule without matches takes every request.
    pub matches: Vec<RequestMatch>,
    /// In order.
    pub filters: Vec<Filter>,
}

impl From<Vec<RequestMatch>> for InboundRule {
    fn from(matches: Vec<RequestMatch>) -> Self {
        Self { matches, filters: Vec::new() }
    }
}

/// Requests a second that are let in (contract 4.5). What is not given is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    pub meta: Option<ResourceRef>,
    /// Of all together.
    pub total: Option<NonZeroU32>,
    /// Of each identity; those without one share a limit.
    pub identity: Option<NonZeroU32>,
    /// Of some, in place of that. The clients of one share its limit.
    pub overrides: Vec<RateOverride>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateOverride {
    pub rate: NonZeroU32,
    pub clients: Vec<WorkloadId>,
}

/// One way to be let in: from these networks, with this authentication.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    pub meta: ResourceRef,
    pub networks: Vec<NetworkMatch>,
    pub authentication: Authentication,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkMatch {
    pub net: IpNet,
    pub except: Vec<IpNet>,
}

impl NetworkMatch {
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.net.contains(&ip) && !self.except.iter().any(|net| net.contains(&ip))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    Unauthenticated,
    /// TLS ended here, with or without a client certificate.
    TlsUnauthenticated,
    /// A client identity that one of these matches.
    Identities(Vec<IdentityMatch>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityMatch {
    Exact(WorkloadId),
    /// A literal that is no well-formed identity: matches nobody, kept so that the rest works.
    Never(String),
    /// Ends in `.` and these labels, joined by dots; no labels: every DNS identity, no URI.
    Suffix(Vec<String>),
}

impl IdentityMatch {
    pub fn matches(&self, id: &WorkloadId) -> bool {
        match (self, id) {
            (Self::Exact(wanted), id) => wanted == id,
            (Self::Never(_), _) | (Self::Suffix(_), WorkloadId::Uri(_)) => false,
            (Self::Suffix(labels), WorkloadId::Dns(name)) => {
                let mut own = name.as_str().rsplit('.');
                labels.iter().rev().all(|label| own.next() == Some(label)) && own.next().is_some()
            }
        }
    }
}

/// As policies write them.
impl fmt::Display for IdentityMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => id.fmt(f),
            Self::Never(text) => text.escape_debug().fmt(f),
            Self::Suffix(labels) if labels.is_empty() => f.write_str("*"),
            Self::Suffix(labels) => write!(f, "*.{}", labels.join(".").escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_need_a_label_before_them_and_take_dots_literally() {
        let id: WorkloadId = "web.ns.example".parse().unwrap();
        let suffix = |parts: &[&str]| IdentityMatch::Suffix(parts.iter().map(|p| p.to_string()).collect());
        assert!(suffix(&[]).matches(&id));
        assert!(suffix(&["ns", "example"]).matches(&id));
        assert!(!suffix(&["web", "ns", "example"]).matches(&id));
        assert!(!suffix(&["s", "example"]).matches(&id));
        assert!(!suffix(&[]).matches(&"spiffe://td/x".parse().unwrap()));
    }
}

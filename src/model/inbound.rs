//! Who may reach a port, and how it speaks: what `WatchPort` says (contract 4.3).

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::identity::WorkloadId;
use super::matching::RequestMatch;
use super::meta::ResourceRef;

/// The policy of one inbound port.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerPolicy {
    /// The `Server`, or the default policy, that this is.
    pub meta: ResourceRef,
    pub protocol: ServerProtocol,
    /// Server-level authorizations, the appended localhost one included where it applies.
    pub authorizations: Vec<Authorization>,
}

impl ServerPolicy {
    /// What an answer that cannot be understood becomes: nobody is let in (contract 4.3).
    pub fn invalid() -> Self {
        let meta = ResourceRef::default_named("invalid");
        let route = InboundRoute { meta: meta.clone(), rules: vec![vec![]], authorizations: vec![] };
        let timeout = Duration::from_secs(10);
        Self {
            meta,
            protocol: ServerProtocol::Detect { timeout, routes: vec![route] },
            authorizations: vec![],
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
}

#[derive(Clone, Debug, PartialEq)]
pub struct InboundRoute {
    pub meta: ResourceRef,
    /// One entry a rule; a rule without matches takes every request.
    pub rules: Vec<Vec<RequestMatch>>,
    /// In order of evaluation: the route's own, then the server's.
    pub authorizations: Vec<Authorization>,
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
                let own: Vec<&str> = name.as_str().split('.').collect();
                own.len() > labels.len()
                    && own.ends_with(&labels.iter().map(|l| l.as_str()).collect::<Vec<_>>())
            }
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

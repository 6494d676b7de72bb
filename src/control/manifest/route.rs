//! Routes: which requests and connections are treated how, and where they go (controlplane 3.2, 3.5, 3.9).
//!
//! What cannot be done as asked is a problem: a route that is passed over would let in whom it keeps out, or send
//! elsewhere what it leads.

use std::time::Duration;

use crate::model::filter::Filter;
use crate::model::matching::{HostMatch, RequestMatch};
use crate::model::outbound::Terms;

use super::reader::Reader;
use super::workload::At;
use super::yaml::Node;
use super::{annotations, filter, policy};

mod backend;
pub(super) mod matches;
mod parent;

pub use backend::{BackendRef, Leads};
pub(super) use matches::read_name;
pub use parent::{Parent, TargetKind};

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub kind: RouteKind,
    /// Servers of its own namespace that it is for.
    pub servers: Vec<String>,
    /// Services and EgressNetworks that it is for.
    pub parents: Vec<At<Parent>>,
    pub hosts: Vec<HostMatch>,
    pub rules: Vec<Rule>,
    /// What its annotations say of each of its requests to a Service.
    pub terms: Terms,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    pub matches: Vec<RequestMatch>,
    /// Those of answers too, which are for traffic to Services alone.
    pub filters: Vec<Filter>,
    /// Empty: where requests were going.
    pub backends: Vec<BackendRef>,
    /// `timeouts.request`.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Of the Gateway API.
    Http,
    /// Linkerd's own.
    PolicyHttp,
    Grpc,
    Tls,
    Tcp,
}

impl RouteKind {
    pub(super) fn of(group: &str, kind: &str) -> Self {
        match (group, kind) {
            (policy::GROUP, _) => Self::PolicyHttp,
            (_, "GRPCRoute") => Self::Grpc,
            (_, "TLSRoute") => Self::Tls,
            (_, "TCPRoute") => Self::Tcp,
            _ => Self::Http,
        }
    }

    pub fn group(self) -> &'static str {
        match self {
            Self::PolicyHttp => policy::GROUP,
            _ => GATEWAY_GROUP,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Http | Self::PolicyHttp => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
        }
    }

    /// Of requests, not of connections.
    fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::PolicyHttp | Self::Grpc)
    }
}

pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Of other parents nothing is read but that they are there.
pub(super) fn read(reader: &mut Reader, node: &Node, kind: RouteKind) -> Option<Route> {
    let spec = reader.required_mapping(node, "spec")?;
    let own = node.get("metadata").and_then(|meta| reader.text(meta, "namespace"));
    let own = own.as_deref().unwrap_or("default");
    let servers = if kind.is_http() { parent::servers(reader, spec, own) } else { None };
    let parents = parent::targets(reader, spec, own);
    let mut route = Route {
        kind,
        servers: Vec::new(),
        parents,
        hosts: Vec::new(),
        rules: Vec::new(),
        terms: Terms::default(),
    };
    if servers.is_none() && route.parents.is_empty() {
        let server = if kind.is_http() { "a Server, " } else { "" };
        let message =
            format!("a {} without {server}a Service or an EgressNetwork for parent is not used", kind.name());
        reader.note(node, message);
        return Some(route);
    }
    route.hosts = matches::hosts(reader, spec);
    let nodes = reader.mappings(spec, "rules");
    if !kind.is_http() && nodes.len() != 1 {
        let at = spec.get("rules").unwrap_or(spec);
        reader.problem(at, format!("a {} with {} rules", kind.name(), nodes.len()), "exactly one rule");
    }
    let side = Side { servers: servers.is_some(), targets: !route.parents.is_empty() };
    for rule in nodes {
        route.rules.push(read_rule(reader, rule, kind, side));
    }
    if side.targets && kind.is_http() {
        route.terms = annotations::read_terms(reader, node, kind);
    }
    route.servers = servers.unwrap_or_default();
    Some(route)
}

/// Of which kinds a route's parents are; what it says must be possible for all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) servers: bool,
    /// Services and EgressNetworks.
    pub(super) targets: bool,
}

fn read_rule(reader: &mut Reader, rule: &Node, kind: RouteKind, side: Side) -> Rule {
    let is_http = kind.is_http();
    Rule {
        matches: if is_http { matches::read(reader, rule, kind) } else { Vec::new() },
        filters: if is_http { filter::read(reader, rule, kind, side) } else { Vec::new() },
        backends: if side.targets { backend::read(reader, rule, kind) } else { Vec::new() },
        timeout: if side.targets && is_http { read_timeout(reader, rule) } else { None },
    }
}

/// Zero is no limit. How long one attempt may take is not used, but it is no longer than all of them (3.7).
fn read_timeout(reader: &mut Reader, rule: &Node) -> Option<Duration> {
    let node = reader.mapping(rule, "timeouts")?;
    let request = reader.go_duration(node, "request").filter(|timeout| !timeout.is_zero());
    let attempt = reader.go_duration(node, "backendRequest");
    if let (Some(request), Some(attempt)) = (request, attempt)
        && attempt > request
    {
        let at = node.get("backendRequest").unwrap_or(node);
        reader.problem(at, "one attempt may take longer than the request", "no more than `request`");
    }
    request
}

//! HTTPRoutes and GRPCRoutes of Servers: which requests are treated how (controlplane 3.2, 3.5).
//!
//! What cannot be done as asked is a problem: a route that is passed over would let in whom it keeps out.

use http::{HeaderName, HeaderValue, Method};

use crate::model::inbound::InboundRule;
use crate::model::matching::{
    HeaderMatch, HostMatch, PathMatch, Pattern, QueryMatch, RequestMatch, ValueMatch,
};

use super::reader::Reader;
use super::yaml::Node;
use super::{filter, policy};

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub kind: RouteKind,
    /// Servers of its own namespace that it is for.
    pub servers: Vec<String>,
    pub hosts: Vec<HostMatch>,
    pub rules: Vec<InboundRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Of the Gateway API.
    Http,
    /// Linkerd's own.
    PolicyHttp,
    Grpc,
}

impl RouteKind {
    pub(super) fn of(group: &str, kind: &str) -> Self {
        match (group, kind) {
            (policy::GROUP, _) => Self::PolicyHttp,
            (_, "GRPCRoute") => Self::Grpc,
            _ => Self::Http,
        }
    }

    pub fn group(self) -> &'static str {
        match self {
            Self::PolicyHttp => policy::GROUP,
            Self::Http | Self::Grpc => GATEWAY_GROUP,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Http | Self::PolicyHttp => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }
}

pub(super) const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Of other parents nothing is read but that they are there.
pub(super) fn read(reader: &mut Reader, node: &Node, kind: RouteKind) -> Option<Route> {
    let spec = reader.required_mapping(node, "spec")?;
    let own = node.get("metadata").and_then(|meta| reader.text(meta, "namespace"));
    let parents = reader.mappings(spec, "parentRefs");
    let of_servers: Vec<&Node> = parents.iter().copied().filter(|parent| is_server(reader, parent)).collect();
    if of_servers.is_empty() {
        reader.note(node, format!("a {} without a Server for parent is not used here", kind.name()));
        return Some(Route { kind, servers: Vec::new(), hosts: Vec::new(), rules: Vec::new() });
    }
    let mut servers = Vec::new();
    for parent in of_servers {
        servers.extend(read_server(reader, parent, own.as_deref().unwrap_or("default")));
    }
    // One wrong parent keeps the whole route from counting (controlplane 3.5).
    if servers.iter().any(Option::is_none) {
        servers.clear();
    }
    let hosts = reader.texts(spec, "hostnames").iter().map(|host| host_match(host)).collect();
    let mut rules = Vec::new();
    for rule in reader.mappings(spec, "rules") {
        rules.push(read_rule(reader, rule, kind));
    }
    Some(Route { kind, servers: servers.into_iter().flatten().collect(), hosts, rules })
}

fn is_server(reader: &mut Reader, parent: &Node) -> bool {
    let group = reader.text(parent, "group");
    let kind = reader.text(parent, "kind");
    group.as_deref() == Some(policy::GROUP) && kind.as_deref() == Some("Server")
}

/// `Some(None)` for a parent that routes cannot have.
fn read_server(reader: &mut Reader, parent: &Node, own: &str) -> Option<Option<String>> {
    let name = reader.required_text(parent, "name")?;
    let other = reader.text(parent, "namespace").is_some_and(|namespace| namespace != own);
    let wrong = [
        (other, "in another namespace"),
        (parent.get("port").is_some(), "by port"),
        (parent.get("sectionName").is_some(), "by section"),
    ];
    let Some((_, how)) = wrong.into_iter().find(|(is, _)| *is) else { return Some(Some(name)) };
    reader.note(parent, format!("a route with a parent Server {how} is not used"));
    Some(None)
}

fn host_match(host: &str) -> HostMatch {
    match host.strip_prefix("*.") {
        Some(suffix) => HostMatch::Suffix(suffix.split('.').rev().map(str::to_owned).collect()),
        None => HostMatch::Exact(host.to_owned()),
    }
}

fn read_rule(reader: &mut Reader, rule: &Node, kind: RouteKind) -> InboundRule {
    let mut matches = Vec::new();
    for node in reader.mappings(rule, "matches") {
        matches.extend(match kind {
            RouteKind::Grpc => read_call(reader, node),
            RouteKind::Http | RouteKind::PolicyHttp => read_match(reader, node),
        });
    }
    InboundRule { matches, filters: filter::read(reader, rule, kind) }
}

fn read_match(reader: &mut Reader, node: &Node) -> Option<RequestMatch> {
    let path = match reader.mapping(node, "path") {
        Some(path) => Some(read_path(reader, path)?),
        None => None,
    };
    let mut query = Vec::new();
    for node in reader.mappings(node, "queryParams") {
        let name = reader.required_text(node, "name")?;
        query.push(QueryMatch { name, value: read_value(reader, node, false)? });
    }
    let method = match reader.text(node, "method") {
        Some(text) => Some(read_method(reader, node, &text)?),
        None => None,
    };
    Some(RequestMatch { path, headers: read_headers(reader, node)?, query, method })
}

fn read_path(reader: &mut Reader, node: &Node) -> Option<PathMatch> {
    let value = reader.text(node, "value").unwrap_or_else(|| "/".into());
    let kind = reader.text(node, "type");
    let kind = kind.as_deref().unwrap_or("PathPrefix");
    if kind == "RegularExpression" {
        return read_pattern(reader, node, &value).map(PathMatch::Regex);
    }
    if !value.starts_with('/') {
        reader.problem(node, format!("the path {value:?} is not absolute"), "a path that begins with `/`");
        return None;
    }
    match kind {
        "Exact" => Some(PathMatch::Exact(value)),
        "PathPrefix" => Some(PathMatch::Prefix(value)),
        other => unknown_type(reader, node, other, "Exact, PathPrefix or RegularExpression"),
    }
}

/// A call of gRPC.
fn read_call(reader: &mut Reader, node: &Node) -> Option<RequestMatch> {
    let path = match reader.mapping(node, "method") {
        Some(method) => {
            if let Some(other) = reader.text(method, "type").filter(|kind| kind != "Exact") {
                return unknown_type(
                    reader,
                    method,
                    &other,
                    "Exact, which is the only one that Linkerd takes",
                );
            }
            let (service, method) = (reader.text(method, "service"), reader.text(method, "method"));
            Some(PathMatch::Rpc { service, method })
        }
        None => None,
    };
    Some(RequestMatch { path, headers: read_headers(reader, node)?, ..RequestMatch::default() })
}

fn read_headers(reader: &mut Reader, node: &Node) -> Option<Vec<HeaderMatch>> {
    let mut headers = Vec::new();
    for node in reader.mappings(node, "headers") {
        let name = read_name(reader, node)?;
        headers.push(HeaderMatch { name, value: read_value(reader, node, true)? });
    }
    Some(headers)
}

/// The `name` of a header.
pub(super) fn read_name(reader: &mut Reader, node: &Node) -> Option<HeaderName> {
    let text = reader.required_text(node, "name")?;
    let name = HeaderName::try_from(text.as_str()).ok();
    if name.is_none() {
        reader.problem(node, format!("{text:?} is no name of a header"), "letters, digits and '-'");
    }
    name
}

fn read_value(reader: &mut Reader, node: &Node, header: bool) -> Option<ValueMatch> {
    reader.required(node, "value")?;
    let value = reader.text(node, "value")?;
    match reader.text(node, "type").as_deref().unwrap_or("Exact") {
        "Exact" if header && HeaderValue::from_str(&value).is_err() => {
            reader.problem(node, format!("{value:?} is no value of a header"), "text on one line");
            None
        }
        "Exact" => Some(ValueMatch::Exact(value.into_bytes())),
        "RegularExpression" => read_pattern(reader, node, &value).map(ValueMatch::Regex),
        other => unknown_type(reader, node, other, "Exact or RegularExpression"),
    }
}

fn read_pattern(reader: &mut Reader, node: &Node, text: &str) -> Option<Pattern> {
    let pattern = Pattern::new(text);
    if let Err(error) = &pattern {
        reader.problem(node, format!("{text:?} cannot be used"), error.to_string().replace("expected ", ""));
    }
    pattern.ok()
}

fn unknown_type<T>(reader: &mut Reader, node: &Node, kind: &str, expected: &str) -> Option<T> {
    reader.problem(node.get("type").unwrap_or(node), format!("{kind:?} is no type of match here"), expected);
    None
}

/// As the Gateway API lists them.
fn read_method(reader: &mut Reader, node: &Node, text: &str) -> Option<Method> {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let method = METHODS.contains(&text).then(|| text.parse().ok()).flatten();
    if method.is_none() {
        let at = node.get("method").unwrap_or(node);
        reader.problem(at, format!("{text:?} is no method"), METHODS.join(", "));
    }
    method
}

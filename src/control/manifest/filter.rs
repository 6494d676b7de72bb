//! Filters of routes: what is done to their requests (controlplane 3.5, 3.9).

use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::model::filter::{Filter, HeaderChange, PathChange, Redirect};

use super::reader::Reader;
use super::route::{self, RouteKind, Side};
use super::yaml::Node;

/// Those of a rule or of a backend. Headers of answers are changed of traffic to Services alone, and not of calls of
/// gRPC (controlplane 3.9).
pub(super) fn read(reader: &mut Reader, rule: &Node, of: RouteKind, side: Side) -> Vec<Filter> {
    let mut filters = Vec::new();
    for node in reader.mappings(rule, "filters") {
        let Some(kind) = reader.required_text(node, "type") else { continue };
        match kind.as_str() {
            "RequestHeaderModifier" => {
                let found = reader.required_mapping(node, "requestHeaderModifier");
                let change = found.and_then(|node| read_change(reader, node));
                filters.extend(change.map(Filter::RequestHeaders));
            }
            "RequestRedirect" if of != RouteKind::Grpc => {
                let found = reader.required_mapping(node, "requestRedirect");
                filters.extend(found.and_then(|node| read_redirect(reader, node)).map(Filter::Redirect));
            }
            "ResponseHeaderModifier" if of != RouteKind::Grpc || !side.targets => {
                if side.servers {
                    reader.note(node, "headers of answers are not changed on the inbound side");
                }
                let found = reader.required_mapping(node, "responseHeaderModifier");
                let change = found.and_then(|node| read_change(reader, node));
                filters.extend(change.filter(|_| side.targets).map(Filter::ResponseHeaders));
            }
            other => {
                let expected = match (of, side.targets) {
                    (RouteKind::Grpc, true) => "RequestHeaderModifier",
                    (RouteKind::Grpc, false) => "RequestHeaderModifier or ResponseHeaderModifier",
                    _ => "RequestHeaderModifier, RequestRedirect or ResponseHeaderModifier",
                };
                let at = node.get("type").unwrap_or(node);
                reader.problem(at, format!("a filter {other:?} is not supported"), expected);
            }
        }
    }
    filters
}

fn read_change(reader: &mut Reader, node: &Node) -> Option<HeaderChange> {
    let (add, set) = (read_pairs(reader, node, "add")?, read_pairs(reader, node, "set")?);
    let mut remove = Vec::new();
    for text in reader.texts(node, "remove") {
        match HeaderName::try_from(text.as_str()) {
            Ok(name) => remove.push(name),
            Err(_) => {
                let at = node.get("remove").unwrap_or(node);
                reader.problem(at, format!("{text:?} is no name of a header"), "letters, digits and '-'");
                return None;
            }
        }
    }
    Some(HeaderChange { add, set, remove })
}

fn read_pairs(reader: &mut Reader, node: &Node, key: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let mut pairs = Vec::new();
    for node in reader.mappings(node, key) {
        let name = route::read_name(reader, node)?;
        let text = reader.text(node, "value").unwrap_or_default();
        let Ok(value) = HeaderValue::from_str(&text) else {
            reader.problem(node, format!("{text:?} is no value of a header"), "text on one line");
            return None;
        };
        pairs.push((name, value));
    }
    Some(pairs)
}

fn read_redirect(reader: &mut Reader, node: &Node) -> Option<Redirect> {
    let scheme = match reader.text(node, "scheme").as_deref() {
        None => None,
        Some("http") => Some(Scheme::HTTP),
        Some("https") => Some(Scheme::HTTPS),
        Some(other) => {
            reader.problem(node, format!("{other:?} is no scheme"), "http or https");
            return None;
        }
    };
    let host = match reader.text(node, "hostname") {
        None => None,
        Some(text) => Some(read_host(reader, node, text)?),
    };
    let path = match reader.mapping(node, "path") {
        None => None,
        Some(path) => Some(read_path(reader, path)?),
    };
    let status = reader.number(node, "statusCode", 300..=399);
    let status = status.and_then(|status| StatusCode::from_u16(status as u16).ok());
    Some(Redirect { scheme, host, port: reader.port(node, "port"), path, status })
}

fn read_host(reader: &mut Reader, node: &Node, text: String) -> Option<Authority> {
    let host = Authority::try_from(text.as_str()).ok();
    if host.is_none() {
        reader.problem(node, format!("{text:?} is no host name"), "a DNS name");
    }
    host
}

fn read_path(reader: &mut Reader, node: &Node) -> Option<PathChange> {
    let full = reader.text(node, "replaceFullPath").map(PathChange::Full);
    let change = full.or_else(|| reader.text(node, "replacePrefixMatch").map(PathChange::Prefix));
    let absolute = |change: &PathChange| match change {
        PathChange::Full(path) | PathChange::Prefix(path) => path.starts_with('/'),
    };
    if !change.as_ref().is_some_and(absolute) {
        let expected = "`replaceFullPath` or `replacePrefixMatch` with a path that begins with `/`";
        reader.problem(node, "the redirect does not say where to", expected);
        return None;
    }
    change
}

//! Which requests a rule of a route is for.

use http::{HeaderName, HeaderValue, Method};

use crate::control::manifest::reader::Reader;
use crate::control::manifest::yaml::Node;
use crate::model::matching::{
    HeaderMatch, HostMatch, PathMatch, Pattern, QueryMatch, RequestMatch, ValueMatch,
};

use super::RouteKind;

pub(super) fn hosts(reader: &mut Reader, spec: &Node) -> Vec<HostMatch> {
    reader.texts(spec, "hostnames").iter().map(|host| host_match(host)).collect()
}

fn host_match(host: &str) -> HostMatch {
    match host.strip_prefix("*.") {
        Some(suffix) => HostMatch::Suffix(suffix.split('.').rev().map(str::to_owned).collect()),
        None => HostMatch::Exact(host.to_owned()),
    }
}

/// Those of one rule.
pub(super) fn read(reader: &mut Reader, rule: &Node, kind: RouteKind) -> Vec<RequestMatch> {
    let mut matches = Vec::new();
    for node in reader.mappings(rule, "matches") {
        matches.extend(match kind {
            RouteKind::Grpc => read_call(reader, node),
            _ => read_request(reader, node),
        });
    }
    matches
}

fn read_request(reader: &mut Reader, node: &Node) -> Option<RequestMatch> {
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
            let (service, name) = (reader.text(method, "service"), reader.text(method, "method"));
            if service.is_none() && name.is_none() {
                reader.problem(method, "the match names no call", "`service`, `method` or both");
            }
            Some(PathMatch::Rpc { service, method: name })
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
pub(in crate::control::manifest) fn read_name(reader: &mut Reader, node: &Node) -> Option<HeaderName> {
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

pub(in crate::control::manifest) fn read_pattern(
    reader: &mut Reader,
    node: &Node,
    text: &str,
) -> Option<Pattern> {
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

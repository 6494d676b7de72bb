//! Request matchers of HTTP and gRPC routes, the same on both sides.

use http::{HeaderName, Method};
use linkerd2_proxy_api::http_route::host_match::{Match as Host, Suffix};
use linkerd2_proxy_api::http_route::{header_match, path_match, query_param_match};
use linkerd2_proxy_api::{grpc_route, http_route};

use super::InvalidPolicy;
use crate::model::matching::{
    HeaderMatch, HostMatch, PathMatch, Pattern, QueryMatch, RequestMatch, ValueMatch,
};

/// Reads an HTTP match. What cannot be read refuses it: a part less would widen the route.
pub(super) fn http(pb: http_route::HttpRouteMatch) -> Result<RequestMatch, InvalidPolicy> {
    let method = pb.method.map(Method::try_from).transpose();
    let method =
        method.map_err(|_| InvalidPolicy::Field { field: "method match", expected: "an HTTP method" })?;
    Ok(RequestMatch {
        path: pb.path.map(path).transpose()?,
        headers: pb.headers.into_iter().map(header).collect::<Result<_, _>>()?,
        query: pb.query_params.into_iter().map(query).collect::<Result<_, _>>()?,
        method,
    })
}

fn path(pb: http_route::PathMatch) -> Result<PathMatch, InvalidPolicy> {
    Ok(match pb.kind.ok_or(InvalidPolicy::Missing("path match"))? {
        path_match::Kind::Exact(path) => PathMatch::Exact(path),
        path_match::Kind::Prefix(path) => PathMatch::Prefix(path),
        path_match::Kind::Regex(text) => PathMatch::Regex(pattern("path match", &text)?),
    })
}

fn header(pb: http_route::HeaderMatch) -> Result<HeaderMatch, InvalidPolicy> {
    let name = HeaderName::try_from(pb.name)
        .map_err(|_| InvalidPolicy::Field { field: "header match", expected: "a header name" })?;
    let value = match pb.value.ok_or(InvalidPolicy::Missing("header match"))? {
        header_match::Value::Exact(value) => ValueMatch::Exact(value),
        header_match::Value::Regex(text) => ValueMatch::Regex(pattern("header match", &text)?),
    };
    Ok(HeaderMatch { name, value })
}

fn query(pb: http_route::QueryParamMatch) -> Result<QueryMatch, InvalidPolicy> {
    if pb.name.is_empty() {
        return Err(InvalidPolicy::Missing("query parameter name"));
    }
    let value = match pb.value.ok_or(InvalidPolicy::Missing("query parameter match"))? {
        query_param_match::Value::Exact(value) => ValueMatch::Exact(value.into_bytes()),
        query_param_match::Value::Regex(text) => ValueMatch::Regex(pattern("query parameter match", &text)?),
    };
    Ok(QueryMatch { name: pb.name, value })
}

fn pattern(field: &'static str, text: &str) -> Result<Pattern, InvalidPolicy> {
    let expected = "a regular expression that is not expensive to match";
    Pattern::new(text).map_err(|_| InvalidPolicy::Field { field, expected })
}

/// Reads a match of the host that a request is for.
pub(super) fn host(pb: http_route::HostMatch) -> Result<HostMatch, InvalidPolicy> {
    Ok(match pb.r#match.ok_or(InvalidPolicy::Missing("host match"))? {
        Host::Exact(host) => HostMatch::Exact(host),
        Host::Suffix(Suffix { reverse_labels }) => HostMatch::Suffix(reverse_labels),
    })
}

/// Reads a gRPC match.
pub(super) fn grpc(pb: grpc_route::GrpcRouteMatch) -> Result<RequestMatch, InvalidPolicy> {
    let rpc = pb.rpc.ok_or(InvalidPolicy::Missing("gRPC match"))?;
    let named = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(RequestMatch {
        path: Some(PathMatch::Rpc { service: named(rpc.service), method: named(rpc.method) }),
        headers: pb.headers.into_iter().map(header).collect::<Result<_, _>>()?,
        query: Vec::new(),
        method: Some(Method::POST),
    })
}

pub(super) fn encode_http(from: &RequestMatch) -> http_route::HttpRouteMatch {
    let kind = from.path.as_ref().map(|path| match path {
        PathMatch::Exact(path) => path_match::Kind::Exact(path.clone()),
        PathMatch::Prefix(path) => path_match::Kind::Prefix(path.clone()),
        PathMatch::Regex(pattern) => path_match::Kind::Regex(pattern.as_str().to_owned()),
        PathMatch::Rpc { .. } => path_match::Kind::Exact(NEVER.to_owned()),
    });
    http_route::HttpRouteMatch {
        path: kind.map(|kind| http_route::PathMatch { kind: Some(kind) }),
        headers: from.headers.iter().map(encode_header).collect(),
        query_params: from.query.iter().map(encode_query).collect(),
        method: from.method.clone().map(Into::into),
    }
}

/// Matches no request: a request path is never empty, and no name in it has a slash.
const NEVER: &str = "";
const NEVER_NAMED: &str = "/";

fn encode_header(from: &HeaderMatch) -> http_route::HeaderMatch {
    let value = match &from.value {
        ValueMatch::Exact(value) => header_match::Value::Exact(value.clone()),
        ValueMatch::Regex(pattern) => header_match::Value::Regex(pattern.as_str().to_owned()),
    };
    http_route::HeaderMatch { name: from.name.as_str().to_owned(), value: Some(value) }
}

fn encode_query(from: &QueryMatch) -> http_route::QueryParamMatch {
    let value = match &from.value {
        ValueMatch::Exact(value) => {
            query_param_match::Value::Exact(String::from_utf8_lossy(value).into_owned())
        }
        ValueMatch::Regex(pattern) => query_param_match::Value::Regex(pattern.as_str().to_owned()),
    };
    http_route::QueryParamMatch { name: from.name.clone(), value: Some(value) }
}

pub(super) fn encode_host(from: &HostMatch) -> http_route::HostMatch {
    let matched = match from {
        HostMatch::Exact(host) => Host::Exact(host.clone()),
        HostMatch::Suffix(labels) => Host::Suffix(Suffix { reverse_labels: labels.clone() }),
    };
    http_route::HostMatch { r#match: Some(matched) }
}

/// What is not a match of calls is sent as one that matches nothing.
pub(super) fn encode_grpc(from: &RequestMatch) -> grpc_route::GrpcRouteMatch {
    let calls = from.method.as_ref().is_none_or(|m| m == Method::POST) && from.query.is_empty();
    let (service, method) = match &from.path {
        None if calls => Default::default(),
        Some(PathMatch::Rpc { service, method }) if calls => {
            (service.clone().unwrap_or_default(), method.clone().unwrap_or_default())
        }
        _ => (NEVER_NAMED.to_owned(), String::new()),
    };
    let rpc = Some(grpc_route::GrpcRpcMatch { service, method });
    grpc_route::GrpcRouteMatch { rpc, headers: from.headers.iter().map(encode_header).collect() }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::model::matching::Head;

    fn rpc(service: &str, method: &str) -> grpc_route::GrpcRouteMatch {
        let rpc = grpc_route::GrpcRpcMatch { service: service.into(), method: method.into() };
        grpc_route::GrpcRouteMatch { rpc: Some(rpc), headers: Vec::new() }
    }

    fn takes_call(matched: &RequestMatch, path: &str) -> bool {
        matched.rank(&Head::of(&Request::post(path).body(()).unwrap())).is_some()
    }

    #[test]
    fn grpc_names_with_slashes_match_no_call() {
        for (service, method) in [("/", ""), ("a/b", ""), ("a", "b/c"), ("", "/")] {
            let read = grpc(rpc(service, method)).unwrap();
            for path in ["/", "/a/b", "/a/b/c", "//"] {
                assert!(!takes_call(&read, path), "{service:?} {method:?} {path}");
            }
        }
    }

    #[test]
    fn a_match_that_no_call_satisfies_stays_so_on_the_wire() {
        let of = |path| RequestMatch { path: Some(path), ..RequestMatch::default() };
        let get = RequestMatch { method: Some(Method::GET), ..RequestMatch::default() };
        let queried = QueryMatch { name: "q".into(), value: ValueMatch::Exact(b"1".to_vec()) };
        let queried = RequestMatch { query: vec![queried], ..RequestMatch::default() };
        for case in [get, queried, of(PathMatch::Exact("/svc".into())), of(PathMatch::Prefix("/a/b".into()))]
        {
            let read = grpc(encode_grpc(&case)).unwrap();
            assert!(!takes_call(&read, "/svc/method") && !takes_call(&read, "/a/b"), "{case:?}");
        }
        let call = of(PathMatch::Rpc { service: None, method: None });
        let read = http(encode_http(&call)).unwrap();
        assert!(!takes_call(&read, "/svc/method"), "nor of HTTP");
    }

    #[test]
    fn what_would_widen_a_route_if_dropped_is_refused() {
        let empty = http_route::HttpRouteMatch::default;
        let header = |name: &str, value| http_route::HttpRouteMatch {
            headers: vec![http_route::HeaderMatch { name: name.into(), value }],
            ..empty()
        };
        let query = |name: &str, value| http_route::HttpRouteMatch {
            query_params: vec![http_route::QueryParamMatch { name: name.into(), value }],
            ..empty()
        };
        let path =
            |kind| http_route::HttpRouteMatch { path: Some(http_route::PathMatch { kind }), ..empty() };
        let bad = || "(".to_owned();
        for case in [
            header("x", None),
            header("x y", Some(header_match::Value::Exact(Vec::new()))),
            header("x", Some(header_match::Value::Regex(bad()))),
            query("q", None),
            query("", Some(query_param_match::Value::Exact(String::new()))),
            query("q", Some(query_param_match::Value::Regex(bad()))),
            path(None),
            path(Some(path_match::Kind::Regex(bad()))),
        ] {
            assert!(http(case.clone()).is_err(), "{case:?}");
        }
        let nameless = grpc_route::GrpcRouteMatch { rpc: None, headers: Vec::new() };
        assert_eq!(grpc(nameless), Err(InvalidPolicy::Missing("gRPC match")));
        assert!(host(http_route::HostMatch { r#match: None }).is_err());
    }
}

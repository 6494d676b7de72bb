//! Request matchers of HTTP and gRPC routes, the same on both sides.

use http::Method;
use linkerd2_proxy_api::{grpc_route, http_route};

use super::InvalidPolicy;
use crate::model::matching::{PathMatch, RequestMatch};

/// Matches no request: a request path is never empty.
const NEVER: &str = "";

/// Reads an HTTP match. Header, query and regular-expression matches are refused: dropping one
/// would widen the route.
pub(super) fn http(pb: http_route::HttpRouteMatch) -> Result<RequestMatch, InvalidPolicy> {
    if !pb.headers.is_empty() {
        return Err(InvalidPolicy::Unsupported("a header match"));
    }
    if !pb.query_params.is_empty() {
        return Err(InvalidPolicy::Unsupported("a query parameter match"));
    }
    let method = pb.method.map(Method::try_from).transpose();
    let method =
        method.map_err(|_| InvalidPolicy::Field { field: "method match", expected: "an HTTP method" })?;
    Ok(RequestMatch { path: pb.path.map(path).transpose()?, method })
}

fn path(pb: http_route::PathMatch) -> Result<PathMatch, InvalidPolicy> {
    match pb.kind.ok_or(InvalidPolicy::Missing("path match"))? {
        http_route::path_match::Kind::Exact(path) => Ok(PathMatch::Exact(path)),
        http_route::path_match::Kind::Prefix(path) => Ok(PathMatch::Prefix(path)),
        http_route::path_match::Kind::Regex(_) => {
            Err(InvalidPolicy::Unsupported("a regular expression path match"))
        }
    }
}

pub(super) fn encode_http(from: &RequestMatch) -> http_route::HttpRouteMatch {
    let kind = from.path.as_ref().map(|path| match path {
        PathMatch::Exact(path) => http_route::path_match::Kind::Exact(path.clone()),
        PathMatch::Prefix(path) => http_route::path_match::Kind::Prefix(path.clone()),
    });
    http_route::HttpRouteMatch {
        path: kind.map(|kind| http_route::PathMatch { kind: Some(kind) }),
        headers: Vec::new(),
        query_params: Vec::new(),
        method: from.method.clone().map(Into::into),
    }
}

/// Reads a gRPC match as the path and method that its calls have on the wire.
pub(super) fn grpc(pb: grpc_route::GrpcRouteMatch) -> Result<RequestMatch, InvalidPolicy> {
    if !pb.headers.is_empty() {
        return Err(InvalidPolicy::Unsupported("a header match"));
    }
    let rpc = pb.rpc.ok_or(InvalidPolicy::Missing("gRPC match"))?;
    let path = match (rpc.service.as_str(), rpc.method.as_str()) {
        // A slash inside a name matches no call; read as a prefix, "/" would match all of them.
        (service, method) if service.contains('/') || method.contains('/') => {
            Some(PathMatch::Exact(NEVER.into()))
        }
        ("", "") => None,
        ("", _) => return Err(InvalidPolicy::Unsupported("a gRPC match by method alone")),
        (service, "") => Some(PathMatch::Prefix(format!("/{service}"))),
        (service, method) => Some(PathMatch::Exact(format!("/{service}/{method}"))),
    };
    Ok(RequestMatch { path, method: Some(Method::POST) })
}

/// A match that no gRPC call can satisfy is sent as one that matches nothing.
pub(super) fn encode_grpc(from: &RequestMatch) -> grpc_route::GrpcRouteMatch {
    let never = ("/".to_owned(), String::new());
    let calls = from.method.as_ref().is_none_or(|m| m == Method::POST);
    let (service, method) = match &from.path {
        _ if !calls => never,
        None => Default::default(),
        Some(PathMatch::Prefix(path)) => match path.trim_matches('/') {
            service if service.contains('/') => never,
            service => (service.to_owned(), String::new()),
        },
        Some(PathMatch::Exact(path)) => match path.strip_prefix('/').and_then(|p| p.split_once('/')) {
            Some((service, method)) if !service.is_empty() && !method.is_empty() => {
                (service.to_owned(), method.to_owned())
            }
            _ => never,
        },
    };
    let rpc = Some(grpc_route::GrpcRpcMatch { service, method });
    grpc_route::GrpcRouteMatch { rpc, headers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(service: &str, method: &str) -> grpc_route::GrpcRouteMatch {
        let rpc = grpc_route::GrpcRpcMatch { service: service.into(), method: method.into() };
        grpc_route::GrpcRouteMatch { rpc: Some(rpc), headers: Vec::new() }
    }

    #[test]
    fn grpc_names_with_slashes_match_no_call() {
        for (service, method) in [("/", ""), ("a/b", ""), ("a", "b/c"), ("", "/")] {
            let read = grpc(rpc(service, method)).unwrap();
            for path in ["/", "/a/b", "/a/b/c", "//"] {
                assert_eq!(read.rank(&Method::POST, path), None, "{service:?} {method:?} {path}");
            }
        }
    }

    #[test]
    fn a_match_that_no_call_satisfies_stays_so_on_the_wire() {
        let get = RequestMatch { path: None, method: Some(Method::GET) };
        let one_segment = RequestMatch { path: Some(PathMatch::Exact("/svc".into())), method: None };
        let deep = RequestMatch { path: Some(PathMatch::Prefix("/a/b".into())), method: None };
        for case in [get, one_segment, deep] {
            assert_eq!(
                grpc(encode_grpc(&case)).unwrap().rank(&Method::POST, "/svc/method"),
                None,
                "{case:?}"
            );
        }
    }

    #[test]
    fn what_would_widen_a_route_if_dropped_is_refused() {
        let header = http_route::HeaderMatch { name: "x".into(), value: None };
        let query = http_route::QueryParamMatch { name: "x".into(), value: None };
        let regex = http_route::path_match::Kind::Regex(".*".into());
        let empty = http_route::HttpRouteMatch::default;
        let cases = [
            http_route::HttpRouteMatch { headers: vec![header], ..empty() },
            http_route::HttpRouteMatch { query_params: vec![query], ..empty() },
            http_route::HttpRouteMatch { path: Some(http_route::PathMatch { kind: Some(regex) }), ..empty() },
        ];
        for case in cases {
            assert!(matches!(http(case.clone()), Err(InvalidPolicy::Unsupported(_))), "{case:?}");
        }
        let kindless = http_route::PathMatch { kind: None };
        let kindless = http_route::HttpRouteMatch { path: Some(kindless), ..empty() };
        assert_eq!(http(kindless), Err(InvalidPolicy::Missing("path match")));
        assert!(grpc(rpc("", "Method")).is_err());
    }
}

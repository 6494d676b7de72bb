//! Short ways to write the policies of a scenario.

use std::net::SocketAddr;
use std::time::Duration;

use causeway::api::inbound::localhost;
use causeway::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use causeway::model::matching::{PathMatch, RequestMatch};
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRule, Load, OpaqueRoute, OutboundProtocol,
};
use causeway::model::{Endpoint, OutboundPolicy, ResourceRef, ServerPolicy};

/// Balance over the endpoints of this authority.
pub fn balance(authority: &str) -> Backend {
    let kind = BackendKind::Balance { authority: authority.parse().unwrap(), load: Load::default() };
    Backend { meta: ResourceRef::object("core", "Service", "bb"), kind }
}

pub fn forward(endpoint: Endpoint) -> Backend {
    Backend { meta: ResourceRef::default_named("endpoint"), kind: BackendKind::Forward(Box::new(endpoint)) }
}

/// Detects, and sends everything to one backend.
pub fn detect(backend: Backend) -> OutboundPolicy {
    let http = || vec![http_route(backend.clone())].into();
    let opaque = vec![opaque_route(backend.clone())];
    outbound(OutboundProtocol::Detect { http1: http(), http2: http(), opaque })
}

/// Treats everything as bytes for one backend.
pub fn opaque(backend: Backend) -> OutboundPolicy {
    outbound(OutboundProtocol::Opaque(vec![opaque_route(backend)]))
}

pub fn outbound(protocol: OutboundProtocol) -> OutboundPolicy {
    OutboundPolicy { parent: ResourceRef::object("core", "Service", "bb"), protocol }
}

pub fn http_route(backend: Backend) -> HttpRoute {
    let rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![backend]));
    HttpRoute::new(ResourceRef::default_named("http"), vec![rule])
}

pub fn opaque_route(backend: Backend) -> OpaqueRoute {
    let backends = Distribution::FirstAvailable(vec![backend]);
    OpaqueRoute::new(ResourceRef::default_named("opaque"), backends)
}

/// What a port speaks.
#[derive(Clone, Copy, Debug)]
pub enum Speaks {
    Detected,
    Http1,
    Http2,
    Grpc,
    Opaque,
    Tls,
}

/// A server that lets these in.
pub fn server(speaks: Speaks, authorizations: Vec<Authorization>) -> ServerPolicy {
    routed(speaks, vec![("/", authorizations.clone())], authorizations)
}

/// A server with one route for each path prefix, which lets these in.
pub fn routed(
    speaks: Speaks,
    routes: Vec<(&str, Vec<Authorization>)>,
    mut authorizations: Vec<Authorization>,
) -> ServerPolicy {
    authorizations.push(localhost());
    let route = |(prefix, own): (&str, Vec<Authorization>)| InboundRoute {
        meta: ResourceRef::object("policy.linkerd.io", "HTTPRoute", prefix.trim_matches('/')),
        hosts: Vec::new(),
        rules: vec![vec![below(speaks, prefix)].into()],
        authorizations: own.into_iter().chain(authorizations.iter().cloned()).collect(),
    };
    let routes: Vec<_> = routes.into_iter().map(route).collect();
    let protocol = match speaks {
        Speaks::Detected => ServerProtocol::Detect { timeout: Duration::from_secs(10), routes },
        Speaks::Http1 => ServerProtocol::Http1(routes),
        Speaks::Http2 => ServerProtocol::Http2(routes),
        Speaks::Grpc => ServerProtocol::Grpc(routes),
        Speaks::Opaque => ServerProtocol::Opaque,
        Speaks::Tls => ServerProtocol::Tls,
    };
    let meta = ResourceRef::object("policy.linkerd.io", "Server", "bb");
    ServerPolicy { meta, protocol, authorizations, rate_limit: None }
}

/// What lies below a path; of gRPC, the calls of the service that has its name.
fn below(speaks: Speaks, prefix: &str) -> RequestMatch {
    let service = Some(prefix.trim_matches('/').to_owned()).filter(|name| !name.is_empty());
    match speaks {
        Speaks::Grpc => RequestMatch {
            method: Some(http::Method::POST),
            ..by_path(PathMatch::Rpc { service, method: None })
        },
        _ => by_path(PathMatch::Prefix(prefix.into())),
    }
}

pub fn by_path(path: PathMatch) -> RequestMatch {
    RequestMatch { path: Some(path), ..RequestMatch::default() }
}

/// Lets in whoever proves one of these identities.
pub fn identified(ids: &[&str]) -> Authorization {
    let ids = ids.iter().map(|id| IdentityMatch::Exact(id.parse().unwrap())).collect();
    authorization(Authentication::Identities(ids))
}

/// Lets everyone in.
pub fn everyone() -> Authorization {
    authorization(Authentication::Unauthenticated)
}

pub fn authorization(authentication: Authentication) -> Authorization {
    let everywhere = NetworkMatch { net: "0.0.0.0/0".parse().unwrap(), except: vec![] };
    Authorization {
        meta: ResourceRef::object("policy.linkerd.io", "AuthorizationPolicy", "bb"),
        networks: vec![everywhere],
        authentication,
    }
}

/// The only network that an authorization is for, and what of it is excepted.
pub fn only_from(mut authorization: Authorization, net: &str, except: &[String]) -> Authorization {
    let except = except.iter().map(|net| net.parse().unwrap()).collect();
    authorization.networks = vec![NetworkMatch { net: net.parse().unwrap(), except }];
    authorization
}

/// The routes of a policy that is for HTTP.
pub fn routes_of(policy: &mut ServerPolicy) -> &mut Vec<InboundRoute> {
    match &mut policy.protocol {
        ServerProtocol::Detect { routes, .. }
        | ServerProtocol::Http1(routes)
        | ServerProtocol::Http2(routes)
        | ServerProtocol::Grpc(routes) => routes,
        ServerProtocol::Opaque | ServerProtocol::Tls => panic!("a policy without routes"),
    }
}

pub fn add(endpoints: Vec<Endpoint>) -> causeway::model::EndpointUpdate {
    causeway::model::EndpointUpdate::Add { endpoints, unusable: Vec::new() }
}

pub fn remove(addr: SocketAddr) -> causeway::model::EndpointUpdate {
    causeway::model::EndpointUpdate::Remove(vec![addr])
}

pub fn none() -> causeway::model::EndpointUpdate {
    causeway::model::EndpointUpdate::NoEndpoints { exists: true }
}

//! `OutboundPolicies`: how traffic to a target is to be treated (controlplane 3.8, 3.9).

use std::net::SocketAddr;

use crate::model::endpoint::Endpoint;
use crate::model::matching::{PathMatch, RequestMatch};
use crate::model::name::Host;
use crate::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRoutes, HttpRule, Load, OpaqueRefusal, OpaqueRoute,
    OutboundProtocol,
};
use crate::model::{Authority, OutboundPolicy, ResourceRef};

use super::inject::OPAQUE_PORTS;
use super::profile::service_ref;
use super::world::World;
use super::{LookupError, ObjectName, PortSet, Service, Target};

pub(super) fn policy(world: &World, target: Target<'_>) -> Result<OutboundPolicy, LookupError> {
    match target {
        Target::Authority(text) => by_authority(world, text),
        Target::Addr(addr) => by_addr(world, addr),
    }
}

/// Answers for every well-formed name, also of Services that do not exist.
fn by_authority(world: &World, text: &str) -> Result<OutboundPolicy, LookupError> {
    let invalid = |_| LookupError::InvalidArgument(format!("{text:?} is no authority"));
    let authority: Authority = text.parse().map_err(invalid)?;
    let unknown = || LookupError::NotFound(format!("{text:?} is not <service>.<namespace>.svc"));
    let Host::Name(name) = &authority.host else { return Err(unknown()) };
    let short = name.as_str().strip_suffix(&format!(".{}", world.settings.cluster_domain));
    let parts: Vec<&str> = short.unwrap_or(name.as_str()).split('.').collect();
    let [service, namespace, "svc"] = parts.as_slice() else { return Err(unknown()) };
    let name = ObjectName::new(namespace, service);
    Ok(of_service(world, &name, world.services.get(&name), authority.port.unwrap_or(80)))
}

fn by_addr(world: &World, addr: SocketAddr) -> Result<OutboundPolicy, LookupError> {
    if let Some(service) = world.services_at(addr.ip()).next() {
        return Ok(match service.tcp_port(addr.port()) {
            Some(_) => of_service(world, &service.name, Some(service), addr.port()),
            None => undefined_port(&service.name, addr.port()),
        });
    }
    if world.settings.cluster_networks.iter().any(|net| net.contains(&addr.ip())) {
        return Err(LookupError::NotFound(format!("{addr} is no Service")));
    }
    Ok(fallback(addr))
}

fn of_service(world: &World, name: &ObjectName, service: Option<&Service>, port: u16) -> OutboundPolicy {
    let parent = service_ref(name, port);
    let protocol = match default_backend(world, name, port) {
        Some(backend) => service_protocol(world, service, port, backend),
        None => OutboundProtocol::Opaque(vec![opaque_route("opaq", Distribution::Empty)]),
    };
    OutboundPolicy { parent, protocol }
}

fn service_protocol(
    world: &World,
    service: Option<&Service>,
    port: u16,
    backend: Backend,
) -> OutboundProtocol {
    let app_protocol = service.and_then(|service| service.tcp_port(port)?.app_protocol.as_deref());
    let distribution = Distribution::FirstAvailable(vec![backend]);
    let http = || vec![http_route("http", distribution.clone())].into();
    let opaque = || vec![opaque_route("opaq", distribution.clone())];
    match app_protocol.map(str::to_ascii_lowercase).as_deref() {
        None if is_opaque(world, service, port) => OutboundProtocol::Opaque(opaque()),
        None => OutboundProtocol::Detect { http1: http(), http2: http(), opaque: opaque() },
        Some("http") => OutboundProtocol::Http1(http()),
        Some("kubernetes.io/h2c") => OutboundProtocol::Http2(http()),
        Some(_) => OutboundProtocol::Opaque(opaque()),
    }
}

/// By annotation (numbers and ranges; a name breaks the whole list), else by default.
fn is_opaque(world: &World, service: Option<&Service>, port: u16) -> bool {
    match service.and_then(|service| service.annotations.get(OPAQUE_PORTS)) {
        Some(text) => PortSet::parse(text).is_some_and(|ports| ports.contains(port)),
        None => world.settings.default_opaque_ports.contains(port),
    }
}

/// `None` only where the name cannot be a DNS name, which parsing has ruled out before.
fn default_backend(world: &World, name: &ObjectName, port: u16) -> Option<Backend> {
    let ObjectName { name: service, namespace } = name;
    let host = format!("{service}.{namespace}.svc.{}", world.settings.cluster_domain).parse().ok()?;
    let authority = Authority::named(host, port);
    let kind = BackendKind::Balance { authority, load: Load::default() };
    Some(Backend { meta: service_ref(name, port), kind })
}

fn http_route(name: &str, backends: Distribution) -> HttpRoute {
    let everything = RequestMatch { path: Some(PathMatch::Prefix("/".into())), ..RequestMatch::default() };
    let rule = HttpRule::new(vec![everything], backends);
    HttpRoute::new(ResourceRef::default_named(name), vec![rule])
}

fn opaque_route(name: &str, backends: Distribution) -> OpaqueRoute {
    OpaqueRoute::new(ResourceRef::default_named(name), backends)
}

/// A Service's address at a port that it does not have: refused.
fn undefined_port(name: &ObjectName, port: u16) -> OutboundPolicy {
    let mut route = opaque_route("undefined-port", Distribution::Empty);
    route.refusal = Some(OpaqueRefusal::Forbidden);
    OutboundPolicy { parent: service_ref(name, port), protocol: OutboundProtocol::Opaque(vec![route]) }
}

/// Outside the cluster: on to where the client wanted to go.
fn fallback(addr: SocketAddr) -> OutboundPolicy {
    const NAME: &str = "egress-fallback";
    let endpoint = Endpoint { weight: 1, ..Endpoint::plain(addr) };
    let kind = BackendKind::Forward(Box::new(endpoint));
    let backend = Backend { meta: ResourceRef::default_named(NAME), kind };
    let backends = Distribution::FirstAvailable(vec![backend]);
    let rule = HttpRule::new(vec![RequestMatch::default()], backends.clone());
    let http = HttpRoutes::from(vec![HttpRoute::new(ResourceRef::default_named(NAME), vec![rule])]);
    let opaque = vec![opaque_route(NAME, backends)];
    OutboundPolicy {
        parent: ResourceRef::default_named(NAME),
        protocol: OutboundProtocol::Detect { http1: http.clone(), http2: http, opaque },
    }
}

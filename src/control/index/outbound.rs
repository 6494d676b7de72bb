//! `OutboundPolicies`: how traffic to a target is to be treated (controlplane 3.8, 3.9).

use std::net::SocketAddr;

use crate::control::manifest::egress::TrafficPolicy;
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::route::TargetKind;
use crate::control::manifest::{Annotated, EgressNetwork};
use crate::model::endpoint::Endpoint;
use crate::model::matching::RequestMatch;
use crate::model::name::Host;
use crate::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRoutes, HttpRule, OpaqueRefusal, OpaqueRoute,
    OutboundProtocol,
};
use crate::model::{Authority, OutboundPolicy, ResourceRef};

use super::inject::OPAQUE_PORTS;

use super::profile::service_ref;
use super::world::World;
use super::{LookupError, ObjectName, PortSet, Service, Target, egress};

mod backends;
mod traffic;

use traffic::{AppProtocol, Outside, Traffic};

/// As clients of the namespace `client` see it.
pub(super) fn policy(world: &World, client: &str, target: Target<'_>) -> Result<OutboundPolicy, LookupError> {
    match target {
        Target::Authority(text) => by_authority(world, client, text),
        Target::Addr(addr) => by_addr(world, client, addr),
    }
}

/// Answers for every well-formed name, also of Services that do not exist.
fn by_authority(world: &World, client: &str, text: &str) -> Result<OutboundPolicy, LookupError> {
    let invalid = |_| LookupError::InvalidArgument(format!("{text:?} is no authority"));
    let authority: Authority = text.parse().map_err(invalid)?;
    let unknown = || LookupError::NotFound(format!("{text:?} is not <service>.<namespace>.svc"));
    let Host::Name(name) = &authority.host else { return Err(unknown()) };
    let short = name.as_str().strip_suffix(&format!(".{}", world.settings.cluster_domain));
    let parts: Vec<&str> = short.unwrap_or(name.as_str()).split('.').collect();
    let [service, namespace, "svc"] = parts.as_slice() else { return Err(unknown()) };
    let name = ObjectName::new(namespace, service);
    Ok(of_service(world, client, &name, authority.port.unwrap_or(80)))
}

fn by_addr(world: &World, client: &str, addr: SocketAddr) -> Result<OutboundPolicy, LookupError> {
    if let Some(service) = world.services_at(addr.ip()).next() {
        return Ok(match service.port(addr.port()) {
            Some(_) => of_service(world, client, &service.name, addr.port()),
            None => undefined_port(&service.name, addr.port()),
        });
    }
    let is_inside = world.settings.cluster_networks.iter().any(|net| net.contains(&addr.ip()));
    let network = egress::of(world, client, addr.ip());
    if let Some((meta, network)) = network.filter(|(_, network)| !is_inside || keeps_back(network)) {
        let outside = Outside { addr, traffic: network.traffic };
        return Ok(of_network(world, client, &meta.name, &meta.annotations, outside));
    }
    if is_inside {
        return Err(LookupError::NotFound(format!("{addr} is no Service")));
    }
    Ok(fallback(addr))
}

/// Whether nothing goes out: only so does an EgressNetwork count inside of the cluster. One that lets out what is meshed
/// there would send it in plaintext; it is not accepted (controlplane 3.6).
fn keeps_back(network: &EgressNetwork) -> bool {
    network.traffic == TrafficPolicy::Deny
}

fn of_service(world: &World, client: &str, name: &ObjectName, port: u16) -> OutboundPolicy {
    let service = world.services.get(name);
    let annotated = service.map(|service| Annotated::of(service.annotations())).unwrap_or_default();
    Traffic {
        world,
        kind: TargetKind::Service,
        parent: name,
        port,
        protocol: app_protocol(world, service, port),
        annotated,
        outside: None,
        routes: world.outbound.routes(TargetKind::Service, name, port, client),
    }
    .policy()
}

fn of_network(
    world: &World,
    client: &str,
    name: &ObjectName,
    annotations: &Labels,
    outside: Outside,
) -> OutboundPolicy {
    let (kind, port) = (TargetKind::EgressNetwork, outside.addr.port());
    let mut annotated = Annotated::of(annotations);
    // Nothing outside is balanced over (controlplane 3.9).
    annotated.load = Default::default();
    let is_opaque = is_opaque(world, Some(annotations), port);
    Traffic {
        world,
        kind,
        parent: name,
        port,
        protocol: if is_opaque { AppProtocol::Opaque } else { AppProtocol::Unset },
        annotated,
        outside: Some(outside),
        routes: world.outbound.routes(kind, name, port, client),
    }
    .policy()
}

fn app_protocol(world: &World, service: Option<&Service>, port: u16) -> AppProtocol {
    // Of several protocols with that number, the last that says something.
    let ports = service.into_iter().flat_map(|service| service.ports.iter().rev());
    let mut given = ports.filter(|given| given.port == port).filter_map(|port| port.app_protocol.as_deref());
    let given = given.next();
    match given.map(str::to_ascii_lowercase).as_deref() {
        None if is_opaque(world, service.map(|service| &**service.annotations()), port) => {
            AppProtocol::Opaque
        }
        None => AppProtocol::Unset,
        Some("http") => AppProtocol::Http1,
        Some("kubernetes.io/h2c") => AppProtocol::Http2,
        Some(_) => AppProtocol::Opaque,
    }
}

/// By annotation (numbers and ranges; a name breaks the whole list), else by default.
fn is_opaque(world: &World, annotations: Option<&Labels>, port: u16) -> bool {
    match annotations.and_then(|annotations| annotations.get(OPAQUE_PORTS)) {
        Some(text) => PortSet::parse(text).is_some_and(|ports| ports.contains(port)),
        None => world.settings.default_opaque_ports.contains(port),
    }
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
    let backend = Backend { meta: ResourceRef::default_named(NAME), kind: forward(addr) };
    let backends = Distribution::FirstAvailable(vec![backend]);
    let rule = HttpRule::new(vec![RequestMatch::default()], backends.clone());
    let http = HttpRoutes::from(vec![HttpRoute::new(ResourceRef::default_named(NAME), vec![rule])]);
    let opaque = vec![opaque_route(NAME, backends)];
    OutboundPolicy {
        parent: ResourceRef::default_named(NAME),
        protocol: OutboundProtocol::Detect { http1: http.clone(), http2: http, opaque },
    }
}

fn forward(addr: SocketAddr) -> BackendKind {
    BackendKind::Forward(Box::new(Endpoint { weight: 1, ..Endpoint::plain(addr) }))
}

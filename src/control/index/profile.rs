//! `GetProfile`: what is known about one name or address (controlplane 2.9). Always local.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::{Profile, ResourceRef};

use super::endpoints::{is_opaque, pod_endpoint};
use super::lookup::{PathHost, parse_path};
use super::world::World;
use super::{Context, LookupError, ObjectName, Pod, ProfileAnswer, Service, Snapshot};

pub(super) fn profile(
    snapshot: &Snapshot,
    path: &str,
    _context: &Context,
) -> Result<ProfileAnswer, LookupError> {
    let own = &snapshot.own;
    let (host, port) = parse_path(path, &own.settings)?;
    match host {
        PathHost::Addr(ip) => by_addr(own, ip, port),
        PathHost::Service { instance, name, namespace } => {
            let name = ObjectName { namespace, name };
            let service = own.services.get(&name);
            let service =
                service.ok_or_else(|| LookupError::Unknown(format!("Service {name} does not exist")))?;
            match instance {
                None => of_service(own, service, port),
                Some(instance) => of_instance(own, service, &instance, port),
            }
        }
    }
}

fn by_addr(world: &World, ip: IpAddr, port: u16) -> Result<ProfileAnswer, LookupError> {
    let services: Vec<_> = world.services.values().filter(|s| s.cluster_ip == Some(ip)).collect();
    match services.as_slice() {
        [service] => return of_service(world, service, port),
        [] => {}
        _ => return Err(LookupError::FailedPrecondition(format!("{ip} belongs to several Services"))),
    }
    let owns = |pod: &&Pod| pod.ip == Some(ip) && !pod.host_network && pod.running;
    let pods: Vec<_> = world.pods.values().filter(owns).collect();
    match pods.as_slice() {
        [pod] => Ok(of_pod(world, pod, SocketAddr::new(ip, port))),
        [] => Ok(of_unknown(world, SocketAddr::new(ip, port))),
        _ => Err(LookupError::FailedPrecondition(format!("{ip} belongs to several pods"))),
    }
}

fn of_service(world: &World, service: &Service, port: u16) -> Result<ProfileAnswer, LookupError> {
    if service.tcp_port(port).is_none() {
        return Ok(ProfileAnswer::default());
    }
    let ObjectName { namespace, name } = &service.name;
    if service.external_name.is_some() {
        return Err(LookupError::InvalidArgument(format!("Service {} is an ExternalName", service.name)));
    }
    let fqn = format!("{name}.{namespace}.svc.{}", world.settings.cluster_domain);
    let opaque = service.opaque_ports(&world.settings).contains(port);
    Ok(ProfileAnswer {
        profile: Profile { name: fqn.parse().ok(), opaque, endpoint: None },
        parent: Some(service_ref(&service.name, port)),
    })
}

fn of_instance(
    world: &World,
    service: &Service,
    instance: &str,
    port: u16,
) -> Result<ProfileAnswer, LookupError> {
    let endpoints = world.endpoints.get(&service.name).map(Vec::as_slice).unwrap_or_default();
    let found = endpoints.iter().find(|endpoint| endpoint.hostname.as_deref() == Some(instance));
    let pod = found.and_then(|endpoint| Some((endpoint.ip, world.pods.get(endpoint.pod.as_ref()?)?)));
    match pod {
        Some((ip, pod)) => Ok(of_pod(world, pod, SocketAddr::new(ip, port))),
        None => Err(LookupError::NotFound(format!("{instance} is no host of Service {}", service.name))),
    }
}

fn of_pod(world: &World, pod: &Pod, addr: SocketAddr) -> ProfileAnswer {
    let opaque = is_opaque(world, pod, addr.port(), &world.settings.default_opaque_ports);
    let endpoint = pod_endpoint(world, pod, addr, &world.settings).map(|mut endpoint| {
        Arc::make_mut(&mut endpoint.labels).insert("namespace".into(), pod.name.namespace.clone());
        endpoint
    });
    ProfileAnswer { profile: Profile { name: None, opaque, endpoint }, parent: None }
}

fn of_unknown(world: &World, addr: SocketAddr) -> ProfileAnswer {
    let opaque = world.settings.default_opaque_ports.contains(addr.port());
    ProfileAnswer {
        profile: Profile { name: None, opaque, endpoint: Some(Endpoint::plain(addr)) },
        parent: None,
    }
}

/// A Service and port as policies and profiles refer to it (controlplane 3.9).
pub(super) fn service_ref(name: &ObjectName, port: u16) -> ResourceRef {
    ResourceRef::Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: name.name.as_str().into(),
        namespace: name.namespace.as_str().into(),
        section: "".into(),
        port,
    }
}

//! `GetProfile`: what is known about one name or address (controlplane 2.9). Always local.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::model::endpoint::Endpoint;
use crate::model::service_profile::ServiceProfile;
use crate::model::{Profile, ResourceRef};

use super::lookup::{PathHost, parse_path};
use super::slices::Backing;
use super::world::World;
use super::{
    Context, LookupError, ObjectName, Phase, Pod, ProfileAnswer, Service, Snapshot, address, external,
};
use crate::control::manifest::{ExternalWorkload, Object};

pub(super) fn profile(
    snapshot: &Snapshot,
    path: &str,
    context: &Context,
) -> Result<ProfileAnswer, LookupError> {
    let own = &snapshot.own;
    let (host, port) = parse_path(path, &own.settings)?;
    match host {
        PathHost::Addr(ip) => by_addr(own, ip, port, context),
        PathHost::Service { instance, name, namespace } => {
            let name = ObjectName::new(&namespace, &name);
            let service = own.services.get(&name);
            let service =
                service.ok_or_else(|| LookupError::Unknown(format!("Service {name} does not exist")))?;
            match instance {
                None => of_service(own, service, port, context),
                Some(instance) => of_instance(own, service, &instance, port),
            }
        }
    }
}

fn by_addr(world: &World, ip: IpAddr, port: u16, context: &Context) -> Result<ProfileAnswer, LookupError> {
    if let Some(service) = only(world.services_at(ip), || format!("{ip} belongs to several Services"))? {
        return of_service(world, service, port, context);
    }
    let addr = SocketAddr::new(ip, port);
    if let Some(pod) = only(world.pods_at(ip), || format!("{ip} belongs to several pods"))? {
        return of_pod(world, pod, addr);
    }
    let on_host = world.pods_on_host(ip).filter(|pod| has_host_port(pod, port));
    if let Some(pod) = only(on_host, || format!("{addr} belongs to several pods"))? {
        return of_pod(world, pod, addr);
    }
    let outside = external::by_addr(&world.external_workloads, ip, port);
    match only(outside.into_iter(), || format!("{addr} belongs to several ExternalWorkloads"))? {
        Some(workload) => Ok(of_external(world, workload, addr)),
        None => Ok(of_unknown(world, addr)),
    }
}

/// The one that there is, if any.
fn only<T>(
    mut found: impl Iterator<Item = T>,
    several: impl Fn() -> String,
) -> Result<Option<T>, LookupError> {
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(LookupError::FailedPrecondition(several())),
        (found, None) => Ok(found),
    }
}

/// Ports of the node lead to a pod that asks for them; in its network, to all that the pod has.
fn has_host_port(pod: &Pod, port: u16) -> bool {
    let taken = |declared: &super::ContainerPort| {
        declared.host_port == Some(port) || (pod.host_network && declared.port == port)
    };
    pod.all_containers().flat_map(|container| &container.ports).any(taken)
}

fn of_service(
    world: &World,
    service: &Service,
    port: u16,
    context: &Context,
) -> Result<ProfileAnswer, LookupError> {
    if service.port(port).is_none() {
        return Ok(ProfileAnswer::default());
    }
    let ObjectName { namespace, name } = &service.name;
    if service.external_name.is_some() {
        return Err(LookupError::InvalidArgument(format!("Service {} is an ExternalName", service.name)));
    }
    let fqn = format!("{name}.{namespace}.svc.{}", world.settings.cluster_domain);
    let opaque = service.opaque_ports(&world.settings).contains(port);
    let (source, given) = service_profile(world, &fqn, context, namespace).unzip();
    let service_profile = given.unwrap_or_default();
    Ok(ProfileAnswer {
        profile: Profile { name: fqn.parse().ok(), opaque, service: service_profile, endpoint: None },
        parent: Some(service_ref(&service.name, port)),
        source,
    })
}

/// By the Service's full name; one in the client's namespace comes first.
fn service_profile(
    world: &World,
    fqn: &str,
    context: &Context,
    namespace: &str,
) -> Option<(ResourceRef, ServiceProfile)> {
    let found = [context.namespace.as_str(), namespace].into_iter().find_map(|namespace| {
        let (_, profile) = world.service_profiles.get(&ObjectName::new(namespace, fqn))?;
        Some((namespace, profile))
    });
    let (namespace, profile) = found?;
    let source = ResourceRef::Resource {
        group: "linkerd.io".into(),
        kind: "ServiceProfile".into(),
        name: fqn.into(),
        namespace: namespace.into(),
        section: "".into(),
        port: 0,
    };
    Some((source, (**profile).clone()))
}

fn of_instance(
    world: &World,
    service: &Service,
    instance: &str,
    port: u16,
) -> Result<ProfileAnswer, LookupError> {
    let mut endpoints = world.endpoints_of(&service.name);
    let found = endpoints.find(|endpoint| endpoint.hostname.as_deref() == Some(instance));
    let pod = found.as_ref().and_then(|endpoint| match &endpoint.backing {
        Backing::Pod(name) => world.pods.get(name),
        _ => None,
    });
    let pod = pod.and_then(|pod| Some((pod.ip?, pod)));
    match pod {
        Some((ip, pod)) => of_pod(world, pod, SocketAddr::new(ip, port)),
        None => Err(LookupError::NotFound(format!("{instance} is no host of Service {}", service.name))),
    }
}

/// Readiness is not asked for: members of a cluster that forms call each other before they are ready.
/// A meshed pod that does not say where its proxy listens has no answer that would not be plaintext.
fn of_pod(world: &World, pod: &Pod, addr: SocketAddr) -> Result<ProfileAnswer, LookupError> {
    if pod.phase != Phase::Running {
        return Ok(of_unknown(world, addr));
    }
    let opaque = address::is_opaque_pod(world, pod, addr.port(), &world.settings.default_opaque_ports);
    let endpoint = address::of_pod(world, pod, addr, None, &world.settings).ok_or_else(|| {
        LookupError::FailedPrecondition(format!("pod {} does not say where its proxy listens", pod.name))
    })?;
    Ok(of_workload(endpoint, &pod.name.namespace, opaque))
}

fn of_external(world: &World, workload: &Object<ExternalWorkload>, addr: SocketAddr) -> ProfileAnswer {
    let (meta, body) = workload;
    let defaults = &world.settings.default_opaque_ports;
    let opaque = address::is_opaque_external(world, meta, body, addr.port(), defaults);
    let endpoint = address::of_external(world, workload, addr, None, &world.settings);
    of_workload(endpoint, &meta.name.namespace, opaque)
}

/// `Get` tells the namespace once for the whole set; here it is the endpoint's.
fn of_workload(mut endpoint: Endpoint, namespace: &str, opaque: bool) -> ProfileAnswer {
    Arc::make_mut(&mut endpoint.labels).insert("namespace".into(), namespace.to_owned());
    of_endpoint(endpoint, opaque)
}

fn of_unknown(world: &World, addr: SocketAddr) -> ProfileAnswer {
    of_endpoint(Endpoint::plain(addr), world.settings.default_opaque_ports.contains(addr.port()))
}

fn of_endpoint(endpoint: Endpoint, opaque: bool) -> ProfileAnswer {
    let profile = Profile { opaque, endpoint: Some(endpoint), ..Profile::default() };
    ProfileAnswer { profile, ..ProfileAnswer::default() }
}

/// A Service and port as policies and profiles refer to it (controlplane 3.9).
pub(super) fn service_ref(name: &ObjectName, port: u16) -> ResourceRef {
    ResourceRef::Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: name.name.clone(),
        namespace: name.namespace.clone(),
        section: "".into(),
        port,
    }
}

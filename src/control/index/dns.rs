//! The cluster's names, as its name server would answer for them.

use std::net::IpAddr;

use super::ObjectName;
use super::world::World;

/// Services of the control plane itself, all answered by one process (controlplane 9).
const OWN_SERVICES: [&str; 5] = [
    "linkerd-dst",
    "linkerd-dst-headless",
    "linkerd-policy",
    "linkerd-identity",
    "linkerd-identity-headless",
];

pub(super) fn addresses(world: &World, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let suffix = format!(".svc.{}", world.settings.cluster_domain);
    let Some(labels) = name.strip_suffix(&suffix) else { return Vec::new() };
    match labels.split('.').collect::<Vec<_>>().as_slice() {
        [service, namespace] => of_service(world, &ObjectName::new(namespace, service), None),
        [instance, service, namespace] => {
            of_service(world, &ObjectName::new(namespace, service), Some(instance))
        }
        _ => Vec::new(),
    }
}

fn of_service(world: &World, name: &ObjectName, instance: Option<&str>) -> Vec<IpAddr> {
    let Some(service) = world.services.get(name) else {
        let own = name.namespace == world.settings.control_namespace && OWN_SERVICES.contains(&&*name.name);
        return if own && instance.is_none() { vec![world.settings.control_addr] } else { Vec::new() };
    };
    if let (Some(ip), None) = (service.cluster_ip, instance) {
        return vec![ip];
    }
    let endpoints = world.endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
    let named = endpoints.iter().filter(|e| instance.is_none() || e.hostname.as_deref() == instance);
    let mut addresses: Vec<IpAddr> = named.filter(|endpoint| endpoint.ready).map(|e| e.ip).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

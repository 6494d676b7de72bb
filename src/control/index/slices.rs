//! Endpoints of Services: drawn from selectors and readiness, given by slices, or written by the mirror.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::control::manifest::{self, Documents, Meta};
use crate::control::mirror::{AddressOf, Mirrored};

use super::world::World;
use super::{ObjectName, Pod, PortRef, Service};

/// One address of a Service, before it is known which port is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::control) struct ServiceEndpoint {
    pub(super) ip: IpAddr,
    pub(in crate::control) ready: bool,
    pub(in crate::control) hostname: Option<String>,
    /// `None` for a plain address.
    pub(super) pod: Option<ObjectName>,
    /// By name of the Service port.
    pub(in crate::control) ports: BTreeMap<String, u16>,
    /// Annotations of the slice (controlplane 2.4): who answers at a gateway, and for which name.
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// Every Service's endpoints, but for those of mirrors. A Service without any has no entry.
pub(super) fn endpoints(
    documents: &Documents,
    services: &BTreeMap<ObjectName, Service>,
    pods: &BTreeMap<ObjectName, Pod>,
) -> BTreeMap<ObjectName, Vec<ServiceEndpoint>> {
    let mut all: BTreeMap<ObjectName, Vec<ServiceEndpoint>> = BTreeMap::new();
    for (name, service) in services {
        if !service.selector.is_empty() {
            let selected = pods.values().filter(|pod| selects(service, pod));
            all.entry(name.clone())
                .or_default()
                .extend(selected.filter_map(|pod| pod_endpoint(service, pod)));
        }
    }
    for (meta, slice) in documents.endpoint_slices.values() {
        let Some(service) = service_of(meta) else { continue };
        // What the endpoint controller printed is worked out above from the same pods.
        let derived = services.get(&service).is_some_and(|service| !service.selector.is_empty());
        if derived && meta.labels.get(MANAGED_BY).is_some_and(|by| by == "endpointslice-controller.k8s.io") {
            continue;
        }
        all.entry(service).or_default().extend(slice_endpoints(meta, slice));
    }
    all.retain(|_, endpoints| !endpoints.is_empty());
    all
}

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

fn selects(service: &Service, pod: &Pod) -> bool {
    pod.name.namespace == service.name.namespace
        && pod.running
        && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

fn pod_endpoint(service: &Service, pod: &Pod) -> Option<ServiceEndpoint> {
    let number = |target: &PortRef| match target {
        PortRef::Number(port) => Some(*port),
        PortRef::Name(name) => pod.named_port(name),
    };
    let tcp = service.ports.iter().filter(|port| port.protocol == "TCP");
    let ports = tcp.filter_map(|port| Some((port.name.clone(), number(&port.target)?)));
    Some(ServiceEndpoint {
        ip: pod.ip?,
        ready: pod.ready,
        hostname: pod.hostname.clone().filter(|_| pod.subdomain.as_ref() == Some(&service.name.name)),
        pod: Some(pod.name.clone()),
        ports: ports.collect(),
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
    })
}

/// The Service of a slice: its label, else an owner (controlplane 2.4).
fn service_of(meta: &Meta) -> Option<ObjectName> {
    let owner = || meta.owners.iter().find(|owner| owner.kind == "Service").map(|owner| &owner.name);
    let name = meta.labels.get("kubernetes.io/service-name").or_else(owner)?;
    Some(ObjectName::new(&meta.name.namespace, name))
}

fn slice_endpoints(meta: &Meta, slice: &manifest::EndpointSlice) -> Vec<ServiceEndpoint> {
    let tcp = slice.ports.iter().filter(|port| port.protocol == "TCP");
    let ports: BTreeMap<_, _> = tcp.map(|port| (port.name.clone(), port.port)).collect();
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let pod = match &endpoint.target {
            None => None,
            Some(target) if target.kind == "Pod" => {
                let namespace = target.namespace.as_ref().unwrap_or(&meta.name.namespace);
                Some(ObjectName::new(namespace, &target.name))
            }
            Some(_) => continue,
        };
        endpoints.extend(endpoint.addresses.iter().map(|ip| ServiceEndpoint {
            ip: *ip,
            ready: endpoint.ready,
            hostname: endpoint.hostname.clone(),
            pod: pod.clone(),
            ports: ports.clone(),
            annotations: meta.annotations.clone(),
            labels: meta.labels.clone(),
        }));
    }
    endpoints
}

/// As Kubernetes copies hand-made Endpoints into slices, labels and annotations included.
pub(super) fn add_mirrored(world: &mut World, mirrored: &Mirrored) {
    for (name, endpoints) in &mirrored.endpoints {
        let mut made = Vec::new();
        for subset in &endpoints.subsets {
            let tcp = subset.ports.iter().filter(|port| port.protocol == "TCP");
            let ports: BTreeMap<_, _> = tcp.map(|port| (port.name.clone(), port.port)).collect();
            let ready = subset.addresses.iter().map(|address| (address, true));
            for (address, ready) in ready.chain(subset.not_ready.iter().map(|address| (address, false))) {
                let ip = match &address.at {
                    AddressOf::Ip(ip) => Some(*ip),
                    AddressOf::Service(name) => world.services.get(name).and_then(|found| found.cluster_ip),
                };
                made.extend(ip.map(|ip| ServiceEndpoint {
                    ip,
                    ready,
                    hostname: address.hostname.clone(),
                    pod: None,
                    ports: ports.clone(),
                    annotations: endpoints.annotations.clone(),
                    labels: endpoints.labels.clone(),
                }));
            }
        }
        if !made.is_empty() {
            world.endpoints.entry(name.clone()).or_default().extend(made);
        }
    }
}

//! ExternalWorkloads of a cluster, and the endpoints that Services have in them (controlplane 3.2).

use std::net::IpAddr;
use std::sync::Arc;

use crate::control::manifest::labelled::Labelled;
use crate::control::manifest::service::Family;
use crate::control::manifest::{ExternalWorkload, Object};
use crate::control::ordered::Ordered;

use crate::control::manifest::slice::SlicePort;

use super::slices::{self, Backing, ServiceEndpoint};
use super::{ObjectName, PortRef, Service, ServicePort};

/// Label with the zone of a node, and of an external workload.
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// What Linkerd's own endpoints controller would write for one Service.
pub(super) fn endpoints(
    workloads: &Labelled<'_, Object<ExternalWorkload>>,
    service: &Service,
) -> Vec<ServiceEndpoint> {
    let mut endpoints = Vec::new();
    for (meta, workload) in workloads.candidates(&service.name.namespace, &service.selector) {
        if !service.selects(&meta.labels) {
            continue;
        }
        let made = |ip: &IpAddr| ServiceEndpoint {
            ip: *ip,
            // Readiness is asked for even by Services that publish addresses before.
            ready: workload.ready,
            hostname: service.headless.then(|| meta.name.name.clone()),
            backing: Backing::External(meta.name.clone()),
            ports: ports(service, workload),
            zone: meta.labels.get(ZONE).map(|zone| zone.as_str().into()),
            for_zones: Vec::new(),
            slice: slices::head(service),
        };
        endpoints.extend(workload.ips.iter().filter(|ip| counts(service, workload, **ip)).map(made));
    }
    endpoints
}

/// Whether the address is of a family that the Service has: where it names none that of its own address, and where it has
/// none either that of the workload's first.
fn counts(service: &Service, workload: &ExternalWorkload, ip: IpAddr) -> bool {
    let family = Family::of(ip);
    let own = service.cluster_ip.or_else(|| workload.ips.first().copied()).map(Family::of);
    if service.families.is_empty() { own == Some(family) } else { service.families.contains(&family) }
}

/// By name of the Service port. A number counts only where the workload declares it.
fn ports(service: &Service, workload: &ExternalWorkload) -> Arc<Vec<SlicePort>> {
    let number = |port: &ServicePort| {
        let same = |declared: &&crate::control::manifest::workload::ContainerPort| {
            declared.protocol == port.protocol
                && match &port.target {
                    PortRef::Number(number) => declared.port == *number,
                    PortRef::Name(name) => declared.name == *name,
                }
        };
        workload.ports.iter().find(same).map(|declared| declared.port)
    };
    let found = service.ports.iter().filter_map(|port| Some(port.at(number(port)?)));
    Arc::new(found.collect())
}

/// The one that has the address and declares the port.
pub(super) fn by_addr(
    workloads: &Ordered<ObjectName, Object<ExternalWorkload>>,
    ip: IpAddr,
    port: u16,
) -> Vec<&Object<ExternalWorkload>> {
    let has = |workload: &ExternalWorkload| {
        workload.ips.contains(&ip) && workload.ports.iter().any(|declared| declared.port == port)
    };
    workloads.values().filter(|(_, workload)| has(workload)).collect()
}

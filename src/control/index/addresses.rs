//! Whose is an address? So that a look-up does not look at all pods and Services.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::{ObjectName, Phase, Pod, Service};

/// Names by address, each list in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Addresses {
    services: HashMap<IpAddr, Vec<ObjectName>>,
    /// Living ones, of an address of their own.
    pods: HashMap<IpAddr, Vec<ObjectName>>,
    /// Living ones that take ports of their node, by the node's addresses.
    on_hosts: HashMap<IpAddr, Vec<ObjectName>>,
}

impl Addresses {
    pub(super) fn of(services: &BTreeMap<ObjectName, Service>, pods: &BTreeMap<ObjectName, Pod>) -> Self {
        let mut all = Self::default();
        for (name, service) in services {
            for ip in [service.cluster_ip, service.other_ip].into_iter().flatten() {
                all.services.entry(ip).or_default().push(name.clone());
            }
        }
        for (name, pod) in pods.iter().filter(|(_, pod)| pod.phase != Phase::Finished && !pod.terminating) {
            if !pod.host_network {
                for ip in [pod.ip, pod.other_ip].into_iter().flatten() {
                    all.pods.entry(ip).or_default().push(name.clone());
                }
            }
            let mut ports = pod.all_containers().flat_map(|container| &container.ports);
            if ports.any(|port| pod.host_network || port.host_port.is_some()) {
                for ip in &pod.host_ips {
                    all.on_hosts.entry(*ip).or_default().push(name.clone());
                }
            }
        }
        all
    }

    pub(super) fn services(&self, ip: IpAddr) -> &[ObjectName] {
        self.services.get(&ip).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn pods(&self, ip: IpAddr) -> &[ObjectName] {
        self.pods.get(&ip).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn on_host(&self, ip: IpAddr) -> &[ObjectName] {
        self.on_hosts.get(&ip).map(Vec::as_slice).unwrap_or_default()
    }
}

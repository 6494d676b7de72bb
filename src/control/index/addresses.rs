//! Whose is an address? So that a look-up does not look at all pods and Services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{ObjectName, Phase, Pod, Service};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Addresses {
    pub(super) services: ByAddress,
    /// Living ones, of an address of their own.
    pub(super) pods: ByAddress,
    /// Living ones that take ports of their node, by the node's addresses.
    pub(super) on_hosts: ByAddress,
}

/// Names in the order of their addresses, of one address in their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ByAddress(Vec<(IpAddr, ObjectName)>);

impl ByAddress {
    /// The names are in order.
    fn of<'n>(names: impl Iterator<Item = (IpAddr, &'n ObjectName)>) -> Self {
        let mut all: Vec<_> = names.map(|(ip, name)| (ip, name.clone())).collect();
        all.sort_by_key(|(ip, _)| *ip);
        Self(all)
    }

    pub(super) fn at(&self, ip: IpAddr) -> impl Iterator<Item = &ObjectName> {
        let start = self.0.partition_point(|(known, _)| *known < ip);
        self.0.iter().skip(start).take_while(move |(known, _)| *known == ip).map(|(_, name)| name)
    }
}

impl Addresses {
    pub(super) fn of(services: &BTreeMap<ObjectName, Service>, pods: &BTreeMap<ObjectName, Pod>) -> Self {
        let living = || pods.values().filter(|pod| pod.phase != Phase::Finished && !pod.terminating);
        let own = living().filter(|pod| !pod.host_network);
        let on_hosts = living().filter(|pod| takes_node_ports(pod));
        Self {
            services: ByAddress::of(services.iter().flat_map(|(name, service)| {
                [service.cluster_ip, service.other_ip].into_iter().flatten().map(move |ip| (ip, name))
            })),
            pods: ByAddress::of(
                own.flat_map(|pod| [pod.ip, pod.other_ip].into_iter().flatten().map(|ip| (ip, &pod.name))),
            ),
            on_hosts: ByAddress::of(on_hosts.flat_map(|pod| pod.host_ips.iter().map(|ip| (*ip, &pod.name)))),
        }
    }
}

fn takes_node_ports(pod: &Pod) -> bool {
    let mut ports = pod.all_containers().flat_map(|container| &container.ports);
    !pod.host_ips.is_empty() && ports.any(|port| pod.host_network || port.host_port.is_some())
}

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

/// Names in the order of their addresses' numbers, of one address in their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ByAddress(Vec<(IpAddr, ObjectName)>);

impl ByAddress {
    /// The names are in order.
    fn of<'n>(names: impl Iterator<Item = (IpAddr, &'n ObjectName)>) -> Self {
        let all: Vec<_> = names.collect();
        let mut order: Vec<_> = all.iter().enumerate().map(|(at, (ip, _))| (number(*ip), at)).collect();
        order.sort_unstable();
        Self(
            order
                .into_iter()
                .filter_map(|(_, at)| all.get(at))
                .map(|(ip, name)| (*ip, (*name).clone()))
                .collect(),
        )
    }

    pub(super) fn at(&self, ip: IpAddr) -> impl Iterator<Item = &ObjectName> {
        let start = self.0.partition_point(|(known, _)| number(*known) < number(ip));
        self.0
            .iter()
            .skip(start)
            .take_while(move |(known, _)| number(*known) == number(ip))
            .filter(move |(known, _)| *known == ip)
            .map(|(_, name)| name)
    }
}

/// By which addresses are sorted: numbers are faster to compare, and those of IPv4 are an IPv6 address's as well.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

impl Addresses {
    pub(super) fn of(services: &BTreeMap<ObjectName, Service>, pods: &[Pod]) -> Self {
        let living = || pods.iter().filter(|pod| pod.phase != Phase::Finished && !pod.terminating);
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

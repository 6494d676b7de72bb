//! Whose is an address? So that a look-up does not look at all pods and Services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{ObjectName, Phase, Pod, Service};

#[derive(Clone, Debug)]
pub(super) struct Addresses {
    pub(super) services: ByAddress<ObjectName>,
    /// Living ones, of an address of their own, by their places among all pods.
    pub(super) pods: ByAddress<u32>,
    /// Living ones that take ports of their node, by the node's addresses.
    pub(super) on_hosts: ByAddress<u32>,
}

impl PartialEq for Addresses {
    /// They follow from the pods and Services of their cluster, which are compared.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Names or places in the order of their addresses' numbers, of one address in their own.
#[derive(Clone, Debug)]
pub(super) struct ByAddress<T>(Vec<(IpAddr, T)>);

impl<T: Ord> ByAddress<T> {
    fn of(all: impl Iterator<Item = (IpAddr, T)>) -> Self {
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by(|(ip, of), (other, than)| {
            number(*ip).cmp(&number(*other)).then_with(|| of.cmp(than))
        });
        Self(all)
    }

    pub(super) fn at(&self, ip: IpAddr) -> impl Iterator<Item = &T> {
        let start = self.0.partition_point(|(known, _)| number(*known) < number(ip));
        self.0
            .iter()
            .skip(start)
            .take_while(move |(known, _)| number(*known) == number(ip))
            .filter(move |(known, _)| *known == ip)
            .map(|(_, of)| of)
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
        let living =
            || (0u32..).zip(pods).filter(|(_, pod)| pod.phase != Phase::Finished && !pod.terminating);
        let own = living().filter(|(_, pod)| !pod.host_network);
        let on_hosts = living().filter(|(_, pod)| takes_node_ports(pod));
        let both = |first: Option<IpAddr>, other: Option<IpAddr>| [first, other].into_iter().flatten();
        Self {
            services: ByAddress::of(services.iter().flat_map(|(name, service)| {
                both(service.cluster_ip, service.other_ip).map(|ip| (ip, name.clone()))
            })),
            pods: ByAddress::of(own.flat_map(|(at, pod)| both(pod.ip, pod.other_ip).map(move |ip| (ip, at)))),
            on_hosts: ByAddress::of(
                on_hosts.flat_map(|(at, pod)| pod.host_ips.iter().map(move |ip| (*ip, at))),
            ),
        }
    }
}

fn takes_node_ports(pod: &Pod) -> bool {
    let mut ports = pod.all_containers().flat_map(|container| &container.ports);
    !pod.host_ips.is_empty() && ports.any(|port| pod.host_network || port.host_port.is_some())
}

//! Whose is an address? So that a look-up does not look at all pods and Services.

use std::net::IpAddr;

use super::world::Services;
use super::{Phase, Pod};

/// Of pods, by their places among all. Living ones only.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressesOfPods {
    /// Of an address of their own.
    pub(super) own: ByAddress,
    /// Those that take ports of their node, by the node's addresses.
    pub(super) on_hosts: ByAddress,
}

/// Places in the order of their addresses, of one address in their own.
#[derive(Clone, Debug, Default)]
pub(super) struct ByAddress {
    /// An address and a place in one number: there are many, and numbers are sorted fast.
    v4: Vec<u64>,
    v6: Vec<(u128, u32)>,
}

impl PartialEq for ByAddress {
    /// They follow from the Services of their cluster, which are compared.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl ByAddress {
    fn add(&mut self, ip: IpAddr, place: u32) {
        match ip {
            IpAddr::V4(ip) => self.v4.push(u64::from(ip.to_bits()) << 32 | u64::from(place)),
            IpAddr::V6(ip) => self.v6.push((ip.to_bits(), place)),
        }
    }

    fn sort(&mut self) {
        self.v4.sort_unstable();
        self.v6.sort_unstable();
    }

    pub(super) fn at(&self, ip: IpAddr) -> impl Iterator<Item = u32> {
        let (v4, v6) = match ip {
            IpAddr::V4(ip) => (range(&self.v4, |known| ((known >> 32) as u32).cmp(&ip.to_bits())), &[][..]),
            IpAddr::V6(ip) => (&[][..], range(&self.v6, |(known, _)| known.cmp(&ip.to_bits()))),
        };
        v4.iter().map(|known| *known as u32).chain(v6.iter().map(|(_, place)| *place))
    }
}

/// Those of a sorted list that are equal.
fn range<T>(all: &[T], compare: impl Fn(&T) -> std::cmp::Ordering) -> &[T] {
    let start = all.partition_point(|known| compare(known).is_lt());
    let rest = all.get(start..).unwrap_or_default();
    rest.get(..rest.partition_point(|known| compare(known).is_eq())).unwrap_or_default()
}

impl ByAddress {
    /// By their places among all.
    pub(super) fn of_services(services: &Services) -> Self {
        let mut all = Self::default();
        for (place, service) in (0..).zip(services.values()) {
            service.cluster_ip.iter().chain(&service.other_ip).for_each(|ip| all.add(*ip, place));
        }
        all.sort();
        all
    }
}

impl AddressesOfPods {
    pub(super) fn of(pods: &[Pod]) -> Self {
        let mut all = Self::default();
        (0..).zip(pods).for_each(|(place, pod)| all.add(place, pod));
        all.sort();
        all
    }

    /// To be sorted when all are there.
    pub(super) fn add(&mut self, place: u32, pod: &Pod) {
        if pod.phase == Phase::Finished || pod.terminating {
            return;
        }
        if !pod.host_network {
            pod.ip.into_iter().chain(pod.other_ip()).for_each(|ip| self.own.add(ip, place));
        }
        if takes_node_ports(pod) {
            pod.host.ips.iter().for_each(|ip| self.on_hosts.add(*ip, place));
        }
    }

    pub(super) fn sort(&mut self) {
        self.own.sort();
        self.on_hosts.sort();
    }
}

fn takes_node_ports(pod: &Pod) -> bool {
    let mut ports = pod.all_containers().flat_map(|container| &container.ports);
    !pod.host.ips.is_empty() && ports.any(|port| pod.host_network || port.host_port.is_some())
}

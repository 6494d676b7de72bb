//! A gateway's addresses in the place of a Service's pods (controlplane 1.5, 1.9).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Address, AddressOf, ObjectName, Ports, Subset, copied_ports, manifest};
use crate::control::manifest::{Gateway, GatewayAddress};

/// What is known of gateways that no Link says: as plain data, so that mirrors follow from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// Links whose gateway has answered once and does not any more. Any other counts as alive.
    pub dead: BTreeSet<ObjectName>,
    /// What DNS last knew of a host name.
    pub resolved: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Gateways {
    /// Where a gateway is. As texts they are in order, 10.0.0.10 before 10.0.0.9, and each is there once.
    pub fn addresses(&self, gateway: &Gateway) -> Vec<IpAddr> {
        let ips = gateway.addresses.iter().flat_map(|address| match address {
            GatewayAddress::Ip(ip) => vec![*ip],
            GatewayAddress::Name(name) => self.resolved.get(name).into_iter().flatten().copied().collect(),
        });
        let sorted: BTreeMap<String, IpAddr> = ips.map(|ip| (ip.to_string(), ip)).collect();
        sorted.into_values().collect()
    }

    /// A Link's gateway, as all its mirrors have it; `None` for one without an address. A dead one's are not ready.
    pub(super) fn at(&self, link: &ObjectName, gateway: &Gateway) -> Option<At> {
        let found = self.addresses(gateway).into_iter();
        let found: Arc<[_]> = found.map(|ip| Address { hostname: None, at: AddressOf::Ip(ip) }).collect();
        if found.is_empty() {
            return None;
        }
        let (addresses, not_ready) = match self.dead.contains(link) {
            true => (Arc::default(), found),
            false => (found, Arc::default()),
        };
        Some(At { addresses, not_ready, port: gateway.port })
    }

    /// Host names that DNS does not know.
    pub(super) fn unresolved<'a>(&self, gateway: &'a Gateway) -> impl Iterator<Item = &'a str> {
        gateway.addresses.iter().filter_map(|address| match address {
            GatewayAddress::Name(name) if !self.resolved.contains_key(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Where a gateway is.
pub(super) struct At {
    addresses: Arc<[Address]>,
    not_ready: Arc<[Address]>,
    port: u16,
}

impl At {
    /// Every port of the Service at the gateway's port.
    pub(super) fn subset(&self, service: &manifest::Service) -> Subset {
        let (addresses, not_ready) = (self.addresses.clone(), self.not_ready.clone());
        Subset { addresses, not_ready, ports: Ports::At(self.port, copied_ports(&service.ports)) }
    }
}

//! A gateway's addresses in the place of a Service's pods (controlplane 1.5).

use super::{Address, AddressOf, EndpointPort, Subset, manifest};
use crate::control::manifest::{Gateway, GatewayAddress};

/// Every port of the Service at the gateway's port. `None` for a gateway without an address.
pub(super) fn subset(gateway: &Gateway, service: &manifest::Service) -> Option<Subset> {
    let ips = gateway.addresses.iter().filter_map(|address| match address {
        GatewayAddress::Ip(ip) => Some(*ip),
        GatewayAddress::Name(_) => None,
    });
    let mut addresses: Vec<Address> =
        ips.map(|ip| Address { hostname: None, at: AddressOf::Ip(ip) }).collect();
    // As texts: 10.0.0.10 before 10.0.0.9.
    addresses.sort_by_key(|address| match &address.at {
        AddressOf::Ip(ip) => ip.to_string(),
        AddressOf::Service(name) => name.to_string(),
    });
    addresses.dedup();
    let ports = service.ports.iter().map(|port| EndpointPort {
        name: port.name.clone(),
        protocol: port.protocol.clone(),
        port: gateway.port,
    });
    (!addresses.is_empty()).then(|| Subset { addresses, ports: ports.collect() })
}

/// Host names, which only a resolver could make addresses of.
pub(super) fn unresolved(gateway: &Gateway) -> impl Iterator<Item = &str> {
    gateway.addresses.iter().filter_map(|address| match address {
        GatewayAddress::Name(name) => Some(name.as_str()),
        GatewayAddress::Ip(_) => None,
    })
}

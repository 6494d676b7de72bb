//! EndpointSlices, and Endpoints as Kubernetes makes slices of them.

use std::net::IpAddr;
use std::sync::Arc;

use super::reader::Reader;
use super::workload::{check_port_name, read_protocol};
use super::yaml::Node;

#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    pub endpoints: Vec<SliceEndpoint>,
    pub ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SliceEndpoint {
    pub addresses: Vec<IpAddr>,
    pub ready: bool,
    pub hostname: Option<Arc<str>>,
    pub target: Option<TargetRef>,
    pub zone: Option<Arc<str>>,
    /// Zones whose clients it is meant for; empty without hints.
    pub for_zones: Vec<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRef {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    pub name: String,
    pub port: u16,
    pub protocol: String,
}

pub(super) fn read_slice(reader: &mut Reader, node: &Node) -> Option<EndpointSlice> {
    let mut endpoints = Vec::new();
    // Names of hosts are nothing that a proxy could go to; Linkerd passes over them too.
    let named = reader.text(node, "addressType").as_deref() == Some("FQDN");
    for node in reader.mappings(node, "endpoints").into_iter().filter(|_| !named) {
        endpoints.push(read_endpoint(reader, node));
    }
    Some(EndpointSlice { endpoints, ports: read_slice_ports(reader, node) })
}

/// A slice for each subset.
pub(super) fn read_endpoints(reader: &mut Reader, node: &Node) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for subset in reader.mappings(node, "subsets") {
        let mut endpoints = Vec::new();
        for (key, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for node in reader.mappings(subset, key) {
                reader.required(node, "ip");
                endpoints.push(SliceEndpoint {
                    addresses: reader.address(node, "ip").into_iter().collect(),
                    ready,
                    hostname: reader.text(node, "hostname").map(Arc::from),
                    target: read_target(reader, node),
                    zone: None,
                    for_zones: Vec::new(),
                });
            }
        }
        slices.push(EndpointSlice { endpoints, ports: read_slice_ports(reader, subset) });
    }
    slices
}

fn read_slice_ports(reader: &mut Reader, node: &Node) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for node in reader.mappings(node, "ports") {
        let name = reader.text(node, "name").unwrap_or_default();
        check_port_name(reader, node, &name);
        let protocol = read_protocol(reader, node);
        if let Some(port) = reader.port(node, "port") {
            ports.push(SlicePort { name, port, protocol });
        }
    }
    ports
}

fn read_endpoint(reader: &mut Reader, node: &Node) -> SliceEndpoint {
    reader.required(node, "addresses");
    let addresses = reader.addresses(node, "addresses");
    let ready = match reader.mapping(node, "conditions") {
        Some(conditions) => reader.flag(conditions, "ready").unwrap_or(true),
        None => true,
    };
    let mut for_zones = Vec::new();
    if let Some(hints) = reader.mapping(node, "hints") {
        for zone in reader.mappings(hints, "forZones") {
            for_zones.extend(reader.required_text(zone, "name").map(Arc::from));
        }
    }
    SliceEndpoint {
        addresses,
        ready,
        hostname: reader.text(node, "hostname").map(Arc::from),
        target: read_target(reader, node),
        zone: reader.text(node, "zone").map(Arc::from),
        for_zones,
    }
}

fn read_target(reader: &mut Reader, node: &Node) -> Option<TargetRef> {
    let target = reader.mapping(node, "targetRef")?;
    Some(TargetRef {
        kind: reader.required_text(target, "kind")?,
        namespace: reader.text(target, "namespace"),
        name: reader.required_text(target, "name")?,
    })
}

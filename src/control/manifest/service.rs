//! Services.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::labelled::Labels;
use super::reader::Reader;
use super::slice::SlicePort;
use super::workload::{PortRef, read_port_ref, read_protocol};
use super::yaml::Node;
use super::{annotations, names};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    pub kind: ServiceKind,
    pub selector: Arc<Labels>,
    pub ports: Arc<Vec<ServicePort>>,
    /// `internalTrafficPolicy: Local`.
    pub local_traffic_only: bool,
    /// The second of `clusterIPs`, of the other family.
    pub other_ip: Option<IpAddr>,
    /// Families that its endpoints are of; empty where only the cluster's first one is.
    pub families: Vec<Family>,
    /// `publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `trafficDistribution`: each endpoint is for clients of its own zone.
    pub same_zone: bool,
    /// Addresses and host names in the load balancer's status.
    pub ingress: Vec<String>,
    /// The ports on nodes of a `NodePort` Service, by the names of its ports.
    pub node_ports: BTreeMap<String, u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// With the address that the API server gave it, if it did already.
    ClusterIp(Option<IpAddr>),
    #[default]
    Headless,
    ExternalName(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty where a single port has no name.
    pub name: String,
    pub port: u16,
    pub protocol: String,
    pub target: PortRef,
    pub app_protocol: Option<String>,
}

impl ServicePort {
    /// What it is in a slice, at this number.
    pub fn at(&self, port: u16) -> SlicePort {
        SlicePort { name: self.name.clone(), port, protocol: self.protocol.clone() }
    }
}

pub(super) fn read_service(reader: &mut Reader, node: &Node) -> Option<Service> {
    annotations::check(reader, node);
    let spec = reader.required_mapping(node, "spec")?;
    let kind = read_kind(reader, spec)?;
    let mut ports = Vec::new();
    let nodes = reader.mappings(spec, "ports");
    for node in &nodes {
        ports.extend(read_port(reader, node, nodes.len() > 1));
    }
    if nodes.is_empty() && matches!(kind, ServiceKind::ClusterIp(_)) {
        reader.problem(spec, "the Service has no ports", "a list `ports` with at least one entry");
    }
    check_repeats(reader, &nodes, &ports);
    let local = reader.text(spec, "internalTrafficPolicy").is_some_and(|policy| policy == "Local");
    let distribution = reader.text(spec, "trafficDistribution");
    let ips = reader.addresses(spec, "clusterIPs");
    Some(Service {
        kind,
        selector: Arc::new(reader.text_map(spec, "selector")),
        ports: Arc::new(ports),
        local_traffic_only: local,
        families: read_families(reader, spec, &ips),
        other_ip: ips.get(1).copied(),
        publish_not_ready: reader.flag(spec, "publishNotReadyAddresses").unwrap_or(false),
        same_zone: distribution.is_some_and(|name| ZONAL.contains(&name.as_str())),
        ingress: read_ingress(reader, node),
        node_ports: read_node_ports(reader, spec),
    })
}

/// What the cloud wrote; by hand, where a gateway is to be found.
fn read_ingress(reader: &mut Reader, node: &Node) -> Vec<String> {
    let status = reader.mapping(node, "status").and_then(|status| reader.mapping(status, "loadBalancer"));
    let Some(status) = status else { return Vec::new() };
    let entries = reader.mappings(status, "ingress");
    let mut address = |entry: &&Node| {
        let ip = reader.text(entry, "ip").filter(|ip| !ip.is_empty());
        ip.or_else(|| reader.text(entry, "hostname").filter(|name| !name.is_empty()))
    };
    entries.iter().filter_map(&mut address).collect()
}

fn read_node_ports(reader: &mut Reader, spec: &Node) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    if reader.text(spec, "type").as_deref() == Some("NodePort") {
        for node in reader.mappings(spec, "ports") {
            let name = reader.text(node, "name").unwrap_or_default();
            ports.extend(reader.port(node, "nodePort").map(|port| (name, port)));
        }
    }
    ports
}

/// As listed, as the policy asks for, or as the addresses show.
fn read_families(reader: &mut Reader, spec: &Node, ips: &[IpAddr]) -> Vec<Family> {
    let mut families = Vec::new();
    for name in reader.texts(spec, "ipFamilies") {
        match name.as_str() {
            "IPv4" => families.push(Family::V4),
            "IPv6" => families.push(Family::V6),
            _ => {
                let at = spec.get("ipFamilies").unwrap_or(spec);
                reader.problem(at, format!("{name:?} is no family of addresses"), "IPv4 or IPv6");
            }
        }
    }
    let policy = reader.text(spec, "ipFamilyPolicy");
    if families.len() < 2
        && policy.is_some_and(|name| ["PreferDualStack", "RequireDualStack"].contains(&&*name))
    {
        return vec![Family::V4, Family::V6];
    }
    if families.is_empty() { ips.iter().map(|ip| Family::of(*ip)).collect() } else { families }
}

/// Values of `trafficDistribution` that keep to a zone; the last one to a node first, which is no hint that
/// Linkerd reads.
const ZONAL: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];

fn read_kind(reader: &mut Reader, spec: &Node) -> Option<ServiceKind> {
    let kind = reader.text(spec, "type").unwrap_or_else(|| "ClusterIP".into());
    match kind.as_str() {
        "ExternalName" => return reader.required_text(spec, "externalName").map(ServiceKind::ExternalName),
        "ClusterIP" | "NodePort" | "LoadBalancer" => {}
        other => {
            let at = spec.get("type").unwrap_or(spec);
            reader.problem(
                at,
                format!("{other:?} is no type of Service"),
                "ClusterIP, NodePort, LoadBalancer or ExternalName",
            );
            return None;
        }
    }
    match reader.text(spec, "clusterIP").filter(|ip| !ip.is_empty()).as_deref() {
        None => Some(ServiceKind::ClusterIp(None)),
        Some("None") => Some(ServiceKind::Headless),
        Some(text) => match text.parse() {
            Ok(ip) => Some(ServiceKind::ClusterIp(Some(ip))),
            Err(_) => {
                let at = spec.get("clusterIP").unwrap_or(spec);
                reader.problem(at, format!("{text:?} is no cluster IP"), "an IP address or None");
                None
            }
        },
    }
}

fn read_port(reader: &mut Reader, node: &Node, one_of_many: bool) -> Option<ServicePort> {
    let name = reader.text(node, "name").unwrap_or_default();
    if !name.is_empty() && !names::is_label(&name) {
        let at = node.get("name").unwrap_or(node);
        reader.problem(at, format!("{name:?} is no name for a port"), names::LABEL_FORM);
    }
    if name.is_empty() && one_of_many {
        reader.problem(node, "this port has no name", "a `name` for each port where there are several");
    }
    reader.required(node, "port");
    let port = reader.port(node, "port");
    let target = read_port_ref(reader, node, "targetPort");
    let protocol = read_protocol(reader, node);
    let app_protocol = reader.text(node, "appProtocol");
    let port = port?;
    Some(ServicePort { name, port, protocol, target: target.unwrap_or(PortRef::Number(port)), app_protocol })
}

fn check_repeats(reader: &mut Reader, nodes: &[&Node], ports: &[ServicePort]) {
    if nodes.len() != ports.len() {
        return;
    }
    for (at, port) in ports.iter().enumerate() {
        let before = &ports[..at];
        if before.iter().any(|other| other.port == port.port && other.protocol == port.protocol) {
            reader.problem(nodes[at], format!("port {} is given twice", port.port), "different ports");
        }
        if !port.name.is_empty() && before.iter().any(|other| other.name == port.name) {
            reader.problem(nodes[at], format!("port name {:?} is given twice", port.name), "different names");
        }
    }
}

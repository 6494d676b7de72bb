//! ExternalWorkloads: what runs outside of the cluster and takes part in its mesh (controlplane 3.2).

use std::net::IpAddr;

use crate::model::{DnsName, WorkloadId};

use super::reader::Reader;
use super::workload::{ContainerPort, read_named_ports};
use super::yaml::Node;

#[derive(Clone, Debug, PartialEq)]
pub struct ExternalWorkload {
    /// What its certificate proves: a URI, as SPIRE writes it.
    pub identity: WorkloadId,
    /// What clients name in their handshake.
    pub server_name: DnsName,
    pub ports: Vec<ContainerPort>,
    /// At most one of each family.
    pub ips: Vec<IpAddr>,
    /// The condition `Ready`; without any status, as somebody who writes one by hand would have it.
    pub ready: bool,
}

impl ExternalWorkload {
    /// The number of the port of that name.
    pub fn named_port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|port| port.name == name).map(|port| port.port)
    }
}

/// The field of the identity is spelled differently in the two versions.
pub(super) fn read(reader: &mut Reader, node: &Node, version: &str) -> Option<ExternalWorkload> {
    let spec = reader.required_mapping(node, "spec")?;
    let tls = reader.required_mapping(spec, if version == "v1alpha1" { "meshTls" } else { "meshTLS" });
    let ports = read_named_ports(reader, spec, "port");
    let mut ips = Vec::new();
    let nodes = reader.mappings(spec, "workloadIPs");
    for node in &nodes {
        reader.required(node, "ip");
        ips.extend(reader.address(node, "ip"));
    }
    if ips.len() > 2 || ips.iter().filter(|ip| ip.is_ipv4()).count() > 1 {
        let at = spec.get("workloadIPs").unwrap_or(spec);
        reader.problem(at, "there are too many workloadIPs", "at most one address of each family");
    }
    let ready = reader.condition(node, "Ready").unwrap_or_else(|| node.get("status").is_none());
    let tls = tls?;
    let identity = parsed(reader, tls, "identity", "a URI such as spiffe://domain/path", |text| {
        text.parse().ok().filter(|id| matches!(id, WorkloadId::Uri(_)))
    });
    let server_name = parsed(reader, tls, "serverName", "a DNS name", |text| text.parse().ok());
    Some(ExternalWorkload { identity: identity?, server_name: server_name?, ports, ips, ready })
}

fn parsed<T>(
    reader: &mut Reader,
    tls: &Node,
    key: &str,
    form: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = reader.required_text(tls, key)?;
    let value = parse(&text);
    if value.is_none() {
        reader.problem(tls.get(key).unwrap_or(tls), format!("`{key}` is {text:?}"), form);
    }
    value
}

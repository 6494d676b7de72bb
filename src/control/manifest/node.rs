//! Nodes: where pods run, and in which zone.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::reader::Reader;
use super::yaml::Node as Tree;

/// A machine of the cluster. Its zone is a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its addresses of type `InternalIP`.
    pub ips: Arc<[IpAddr]>,
    /// Where its pods have theirs: `podCIDRs`.
    pub pod_networks: Arc<[IpNet]>,
}

pub(super) fn read(reader: &mut Reader, node: &Tree) -> Node {
    let mut ips = Vec::new();
    if let Some(status) = reader.mapping(node, "status") {
        for entry in reader.mappings(status, "addresses") {
            if reader.text(entry, "type").as_deref() == Some("InternalIP") {
                ips.extend(reader.address(entry, "address"));
            }
        }
    }
    // Nothing is given out by them, so that what is none hinders nothing.
    let mut networks = Vec::new();
    if let Some(spec) = reader.mapping(node, "spec") {
        let texts = reader.text(spec, "podCIDR").into_iter().chain(reader.texts(spec, "podCIDRs"));
        networks.extend(texts.filter_map(|text| text.parse::<IpNet>().ok()));
    }
    Node { ips: ips.into(), pod_networks: networks.into() }
}

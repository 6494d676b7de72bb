//! Nodes: where pods run, and in which zone.

use std::net::IpAddr;
use std::sync::Arc;

use super::reader::Reader;
use super::yaml::Node as Tree;

/// A machine of the cluster. Its zone is a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its addresses of type `InternalIP`.
    pub ips: Arc<[IpAddr]>,
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
    Node { ips: ips.into() }
}

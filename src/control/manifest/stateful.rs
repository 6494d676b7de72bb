//! StatefulSets: replicas with names of their own.

use super::reader::Reader;
use super::workload::{self, Deployment};
use super::yaml::Node;

#[derive(Clone, Debug, PartialEq)]
pub struct StatefulSet {
    /// The headless Service under which each replica has a name; may be empty.
    pub service_name: String,
    /// Number of the first replica.
    pub start: u32,
    /// Replicas, selector and template, which are as a Deployment's.
    pub pods: Deployment,
}

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<StatefulSet> {
    let pods = workload::read_deployment(reader, node)?;
    let spec = node.get("spec")?;
    let ordinals = reader.mapping(spec, "ordinals");
    let start = ordinals.and_then(|ordinals| reader.number(ordinals, "start", 0..=1_000_000));
    let service_name = reader.text(spec, "serviceName").unwrap_or_default();
    Some(StatefulSet { service_name, start: start.unwrap_or(0) as u32, pods })
}

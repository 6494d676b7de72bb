//! EgressNetworks: what is outside, and whether it may be called (controlplane 3.2, 3.7).

use super::reader::Reader;
use super::yaml::Node;
use super::{annotations, policy};
use crate::model::inbound::NetworkMatch;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressNetwork {
    pub traffic: TrafficPolicy,
    /// `None`: all that is outside of the cluster's networks.
    pub networks: Option<Vec<NetworkMatch>>,
}

/// What becomes of traffic that no route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    Allow,
    Deny,
}

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<EgressNetwork> {
    annotations::check(reader, node);
    let spec = reader.required_mapping(node, "spec")?;
    let networks = spec.get("networks").map(|at| {
        let nodes = reader.mappings(spec, "networks");
        if nodes.is_empty() {
            reader.problem(
                at,
                "there are no networks",
                "at least one entry, or no `networks` for all outside",
            );
        }
        nodes.into_iter().filter_map(|node| policy::read_network_match(reader, node)).collect()
    });
    let text = reader.required_text(spec, "trafficPolicy")?;
    let traffic = match text.as_str() {
        "Allow" => TrafficPolicy::Allow,
        "Deny" => TrafficPolicy::Deny,
        _ => {
            let at = spec.get("trafficPolicy").unwrap_or(spec);
            reader.problem(at, format!("`trafficPolicy` is {text:?}"), "Allow or Deny");
            return None;
        }
    };
    Some(EgressNetwork { traffic, networks })
}

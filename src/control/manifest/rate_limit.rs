//! HTTPLocalRateLimitPolicies: how many requests a Server's pods take (controlplane 3.2, 3.7).

use std::num::NonZeroU32;

use super::authorization::AccountRef;
use super::policy::GROUP;
use super::reader::Reader;
use super::workload::At;
use super::yaml::Node;

/// Requests a second; what is not given is not limited.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimitPolicy {
    /// Of the policy's own namespace.
    pub server: At<String>,
    pub total: Option<NonZeroU32>,
    pub identity: Option<NonZeroU32>,
    pub overrides: Vec<Override>,
}

/// The limit that some clients have together.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pub rate: NonZeroU32,
    pub clients: Vec<AccountRef>,
}

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<RateLimitPolicy> {
    let spec = reader.required_mapping(node, "spec")?;
    let server = reader.required_mapping(spec, "targetRef").and_then(|node| read_target(reader, node));
    let mut limit = |key: &str| {
        let node = reader.mapping(spec, key)?;
        read_rate(reader, node)
    };
    let (total, identity) = (limit("total"), limit("identity"));
    let mut overrides = Vec::new();
    for node in reader.mappings(spec, "overrides") {
        let rate = read_rate(reader, node);
        let clients = read_clients(reader, node);
        overrides.extend(rate.map(|rate| Override { rate, clients }));
        check_within(reader, node, rate, total);
    }
    check_within(reader, spec.get("identity").unwrap_or(spec), identity, total);
    Some(RateLimitPolicy { server: server?, total, identity, overrides })
}

fn read_target(reader: &mut Reader, node: &Node) -> Option<At<String>> {
    let (group, kind) = (reader.text(node, "group"), reader.required_text(node, "kind"));
    let name = reader.required_text(node, "name");
    let (kind, name) = (kind?, name?);
    if group.as_deref() != Some(GROUP) || kind != "Server" {
        let group = group.unwrap_or_default();
        reader.problem(node, format!("{kind} of group {group:?} is no target"), format!("Server of {GROUP}"));
        return None;
    }
    Some(At { value: name, at: reader.place(node) })
}

fn read_rate(reader: &mut Reader, node: &Node) -> Option<NonZeroU32> {
    reader.required(node, "requestsPerSecond")?;
    let rate = reader.number(node, "requestsPerSecond", 1..=i128::from(u32::MAX))?;
    NonZeroU32::new(u32::try_from(rate).ok()?)
}

fn check_within(reader: &mut Reader, node: &Node, rate: Option<NonZeroU32>, total: Option<NonZeroU32>) {
    let Some((rate, total)) = rate.zip(total).filter(|(rate, total)| rate > total) else { return };
    reader.problem(
        node,
        format!("{rate} requests a second are more than the total"),
        format!("at most {total}"),
    );
}

fn read_clients(reader: &mut Reader, node: &Node) -> Vec<AccountRef> {
    reader.required(node, "clientRefs");
    let mut clients = Vec::new();
    for node in reader.mappings(node, "clientRefs") {
        let group = reader.text(node, "group").unwrap_or_default();
        let (kind, name) = (reader.required_text(node, "kind"), reader.required_text(node, "name"));
        let (Some(kind), Some(name)) = (kind, name) else { continue };
        if !["", "core"].contains(&group.as_str()) || kind != "ServiceAccount" {
            reader.problem(node, format!("{kind} of group {group:?} is no client"), "ServiceAccount");
            continue;
        }
        let namespace = reader.text(node, "namespace").filter(|namespace| !namespace.is_empty());
        clients.push(AccountRef { name, namespace });
    }
    clients
}

//! Where requests and connections of a rule go.

use crate::control::manifest::reader::Reader;
use crate::control::manifest::yaml::Node;
use crate::control::manifest::{filter, names};
use crate::model::filter::Filter;

use super::{RouteKind, Side, TargetKind};

#[derive(Clone, Debug, PartialEq)]
pub struct BackendRef {
    pub leads: Leads,
    /// Its part of the requests, beside the others'.
    pub weight: u32,
    pub filters: Vec<Filter>,
}

/// Whether there is anything that such a backend could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    To {
        kind: TargetKind,
        name: String,
        /// `None`: the parent's (controlplane 3.9).
        namespace: Option<String>,
        /// Always of Services.
        port: Option<u16>,
    },
    /// A kind of object that no traffic is sent to. Its part of the requests fails.
    Nowhere { group: String, kind: String },
}

pub(super) fn read(reader: &mut Reader, rule: &Node, kind: RouteKind) -> Vec<BackendRef> {
    let mut backends = Vec::new();
    for node in reader.mappings(rule, "backendRefs") {
        backends.extend(read_backend(reader, node, kind));
    }
    backends
}

fn read_backend(reader: &mut Reader, node: &Node, of: RouteKind) -> Option<BackendRef> {
    // More than the Gateway API takes is more than shares can be told apart by.
    let weight = match node.get("weight") {
        Some(_) => reader.number(node, "weight", 0..=1_000_000).map(|weight| weight as u32),
        None => Some(1),
    };
    let side = Side { servers: false, targets: true };
    let filters = if of.is_http() { filter::read(reader, node, of, side) } else { Vec::new() };
    Some(BackendRef { leads: read_leads(reader, node)?, weight: weight?, filters })
}

fn read_leads(reader: &mut Reader, node: &Node) -> Option<Leads> {
    let group = reader.text(node, "group");
    let kind = reader.text(node, "kind").unwrap_or_else(|| "Service".into());
    let name = reader.required_text(node, "name");
    let port = reader.port(node, "port");
    let Some(target) = TargetKind::of(group.as_deref(), &kind) else {
        return Some(Leads::Nowhere { group: group.unwrap_or_else(|| "core".into()), kind });
    };
    let namespace = reader.text(node, "namespace");
    if target == TargetKind::Service {
        reader.required(node, "port");
        let texts = [("name", &name), ("namespace", &namespace)];
        for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?))) {
            if !names::is_label(text) {
                let at = node.get(key).unwrap_or(node);
                reader.problem(at, format!("`{key}` is {text:?}"), names::LABEL_FORM);
            }
        }
        port?;
    }
    Some(Leads::To { kind: target, name: name?, namespace, port })
}

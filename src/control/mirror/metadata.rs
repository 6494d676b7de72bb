//! Which labels and annotations a mirror carries: copied ones and its own (controlplane 1.5, 1.6).

use std::collections::BTreeMap;

use crate::control::index::inject::OPAQUE_PORTS;
use crate::control::index::{REMOTE_DISCOVERY, REMOTE_FQ_NAME, REMOTE_SERVICE};
use crate::control::manifest::{Link, Meta};

type Map = BTreeMap<String, String>;

/// Never copied: they would steer traffic by the other cluster's zones.
const TOPOLOGY: [&str; 2] =
    ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];

pub(super) fn labels(link: &Link, target: &Meta) -> Map {
    let copied = target
        .labels
        .iter()
        .filter(|(key, _)| !key.starts_with("mirror.linkerd.io") && !excluded(key, &link.excluded_labels));
    let mut labels: Map = copied.map(|(key, value)| (key.clone(), value.clone())).collect();
    let cluster = &link.target_cluster_name;
    labels.insert("mirror.linkerd.io/mirrored-service".into(), "true".into());
    labels.insert("mirror.linkerd.io/cluster-name".into(), cluster.clone());
    labels.insert(REMOTE_DISCOVERY.into(), cluster.clone());
    labels.insert(REMOTE_SERVICE.into(), target.name.name.clone());
    labels
}

pub(super) fn annotations(link: &Link, target: &Meta) -> Map {
    let copied = target.annotations.iter().filter(|(key, _)| {
        // Opaque ports are copied even when they are excluded.
        *key == OPAQUE_PORTS
            || (!TOPOLOGY.contains(&key.as_str()) && !excluded(key, &link.excluded_annotations))
    });
    let mut annotations: Map = copied.map(|(key, value)| (key.clone(), value.clone())).collect();
    let name = &target.name;
    let fq_name = format!("{}.{}.svc.{}", name.name, name.namespace, link.target_cluster_domain);
    annotations.insert(REMOTE_FQ_NAME.into(), fq_name);
    annotations.insert("mirror.linkerd.io/remote-resource-version".into(), target.resource_version.clone());
    annotations
}

/// An entry ending in `/*` takes every key that starts with the rest, any other its equal.
fn excluded(key: &str, entries: &[String]) -> bool {
    entries.iter().any(|entry| match entry.strip_suffix("/*") {
        Some(start) => key.starts_with(start),
        None => key == entry,
    })
}

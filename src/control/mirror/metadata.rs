//! Which labels and annotations a mirror carries: copied ones and its own (controlplane 1.5, 1.6).

use super::copied::Union;
use super::mode;
use crate::control::index::inject::{self, OPAQUE_PORTS};
use crate::control::index::{
    CLUSTER_NAME, GATEWAY_IDENTITY, LOCAL_DISCOVERY, REMOTE_DISCOVERY, REMOTE_FQ_NAME, REMOTE_SERVICE,
    Settings,
};
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::{self, Documents, Exclusions, Link, Meta};

/// Marks what only makes sense where it was written; nothing of it is copied.
const OWN_PREFIX: &str = "mirror.linkerd.io";
/// On every mirror.
pub const MIRRORED: &str = "mirror.linkerd.io/mirrored-service";
/// On the mirror of one host, with the name of the mirror that it belongs to.
pub(in crate::control) const PARENT: &str = "mirror.linkerd.io/headless-mirror-svc-name";
const RESOURCE_VERSION: &str = "mirror.linkerd.io/remote-resource-version";

/// Never copied: they would steer traffic by the other cluster's zones.
const TOPOLOGY: [&str; 2] =
    ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];

/// Never copied: whoever labels Services in one cluster must not choose where another one's mirror leads.
const DISCOVERY: [&str; 3] = [REMOTE_DISCOVERY, REMOTE_SERVICE, LOCAL_DISCOVERY];

/// Of a mirror in any mode. The two that ask for remote discovery come with its selector.
pub(super) fn labels(link: &Link, target: &Meta) -> Labels {
    let mut labels = endpoints_labels(link, target);
    if mode::is_remote(link, target) {
        labels.insert(REMOTE_DISCOVERY.into(), link.target_cluster_name.clone());
        labels.insert(REMOTE_SERVICE.into(), target.name.name.to_string());
    }
    labels
}

pub(super) fn endpoints_labels(link: &Link, target: &Meta) -> Labels {
    let mut labels = copied_labels(target, &link.excluded);
    labels.insert(CLUSTER_NAME.into(), link.target_cluster_name.clone());
    labels
}

pub(super) fn copied_labels(target: &Meta, excluded: &Exclusions) -> Labels {
    let copied = target.labels.iter().filter(|(key, _)| {
        let own = key.starts_with(OWN_PREFIX) || DISCOVERY.contains(&key.as_str());
        !own && !is_excluded(key, &excluded.labels)
    });
    let mut labels: Labels = copied.map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.insert(MIRRORED.into(), "true".into());
    labels
}

pub(super) fn annotations(link: &Link, target: &Meta, opaque: Option<&str>) -> Labels {
    let mut annotations = copied_annotations(target, opaque, &link.excluded);
    annotations.insert(REMOTE_FQ_NAME.into(), fq_name(link, target, None));
    annotations.insert(RESOURCE_VERSION.into(), target.resource_version.clone());
    annotations
}

/// What the first member brings along, and where all are.
pub(super) fn federated_annotations(union: &Union) -> Labels {
    let mut annotations = copied_annotations(&union.meta, union.opaque.as_deref(), &union.excluded);
    let name = &union.meta.name.name;
    if union.local {
        annotations.insert(LOCAL_DISCOVERY.into(), name.to_string());
    }
    let remote = union.links.iter().map(|link| format!("{name}@{}", link.target_cluster_name));
    let remote: Vec<String> = remote.collect();
    if !remote.is_empty() {
        annotations.insert(REMOTE_DISCOVERY.into(), remote.join(","));
    }
    annotations
}

/// What the target's webhook writes on the Service itself as its opaque ports (controlplane 5.1), where its manifest is
/// not what an API server printed, which went through it already.
pub(super) fn opaque_ports(
    meta: &Meta,
    service: &manifest::Service,
    documents: &Documents,
    settings: &Settings,
) -> Option<String> {
    if meta.uid.is_some() {
        return None;
    }
    inject::opaque_ports_of_service(&meta.name, &service.ports, documents, settings)
}

/// Opaque ports are copied even when they are excluded; where the target does not say them, `opaque` are they.
fn copied_annotations(target: &Meta, opaque: Option<&str>, excluded: &Exclusions) -> Labels {
    let copied = target.annotations.iter().filter(|(key, _)| {
        let left_out = key.starts_with(OWN_PREFIX)
            || TOPOLOGY.contains(&key.as_str())
            || DISCOVERY.contains(&key.as_str())
            || is_excluded(key, &excluded.annotations);
        *key == OPAQUE_PORTS || !left_out
    });
    let mut annotations: Labels = copied.map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(ports) = opaque {
        annotations.insert_missing(OPAQUE_PORTS, ports);
    }
    annotations
}

/// Of an endpoint mirror: nothing is copied. `version` is that of the target's endpoints.
pub(super) fn host_annotations(link: &Link, target: &Meta, hostname: &str, version: &str) -> Labels {
    Labels::from([
        (REMOTE_FQ_NAME.to_owned(), fq_name(link, target, Some(hostname))),
        (RESOURCE_VERSION.to_owned(), version.to_owned()),
    ])
}

/// Who answers at the gateway, and for which name.
pub(super) fn endpoints_annotations(link: &Link, target: &Meta, hostname: Option<&str>) -> Labels {
    let mut annotations = Labels::from([(REMOTE_FQ_NAME.to_owned(), fq_name(link, target, hostname))]);
    if let Some(identity) = link.gateway.as_ref().and_then(|gateway| gateway.identity.clone()) {
        annotations.insert(GATEWAY_IDENTITY.into(), identity);
    }
    annotations
}

fn fq_name(link: &Link, target: &Meta, hostname: Option<&str>) -> String {
    let host = hostname.map(|name| format!("{name}.")).unwrap_or_default();
    let name = &target.name;
    format!("{host}{}.{}.svc.{}", name.name, name.namespace, link.target_cluster_domain)
}

/// An entry ending in `/*` takes every key that starts with the rest, any other its equal.
fn is_excluded(key: &str, entries: &[String]) -> bool {
    entries.iter().any(|entry| match entry.strip_suffix("/*") {
        Some(start) => key.starts_with(start),
        None => key == entry,
    })
}

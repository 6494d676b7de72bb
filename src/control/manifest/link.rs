//! What joins clusters: the Link and the credentials Secrets.

use std::sync::Arc;

use super::gateway::{self, Gateway};
use super::kubeconfig;
use super::reader::Reader;
use super::selector::{self, Selector};
use super::workload::At;
use super::yaml::{Key, Node, Value};
use super::{Documents, Object, ObjectName, base64, names};

/// The type by which credentials Secrets are known (controlplane 1.2).
pub const REMOTE_KUBECONFIG: &str = "mirror.linkerd.io/remote-kubeconfig";

/// Label of a credentials Secret for discovery with the name of its cluster, and annotations with what that cluster is
/// (controlplane 1.2).
pub(in crate::control) const CLUSTER_NAME: &str = "multicluster.linkerd.io/cluster-name";
pub(in crate::control) const CLUSTER_DOMAIN: &str = "multicluster.linkerd.io/cluster-domain";
pub(in crate::control) const TRUST_DOMAIN: &str = "multicluster.linkerd.io/trust-domain";

/// `spec` of a Link (controlplane 1.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub target_cluster_name: String,
    pub target_cluster_domain: String,
    pub target_control_namespace: String,
    /// In the Link's own namespace.
    pub credentials_secret: At<String>,
    pub gateway: Option<Gateway>,
    /// Gateway mode. No terms select nothing (controlplane 1.1), in all three.
    pub selector: Selector,
    pub remote_discovery_selector: Selector,
    pub federated_selector: Selector,
    pub excluded: Arc<Exclusions>,
}

/// Keys that mirrors do not bring along; `/*` at the end takes all that start so (controlplane 1.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    pub labels: Vec<String>,
    pub annotations: Vec<String>,
}

/// A Secret. Nothing of its data is kept but where a kubeconfig points.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    pub kind: String,
    /// `server` of the kubeconfig's current context, a `file://` URL.
    pub remote: Option<At<String>>,
}

impl Link {
    /// The Secret of the credentials of the Link of this name.
    pub fn credentials(&self, own: &ObjectName) -> ObjectName {
        own.beside(&self.credentials_secret.value)
    }
}

impl Documents {
    /// The Links that count: in any other namespace they do nothing.
    pub fn links_in(&self, mirror_namespace: &str) -> impl Iterator<Item = &Object<Link>> {
        self.links.values().filter(move |(meta, _)| *meta.name.namespace == *mirror_namespace)
    }

    /// Where the credentials of the Link of this name lead.
    pub fn remote(&self, own: &ObjectName, link: &Link) -> Option<&At<String>> {
        self.secrets.get(&link.credentials(own))?.1.remote.as_ref()
    }
}

pub(super) fn read_link(reader: &mut Reader, node: &Node, version: &str) -> Option<Link> {
    let spec = reader.required_mapping(node, "spec")?;
    let name = reader.required_text(spec, "targetClusterName");
    if let Some(name) = name.as_ref().filter(|name| !names::is_label(name)) {
        let at = spec.get("targetClusterName").unwrap_or(spec);
        reader.problem(at, format!("{name:?} is no name for a cluster"), names::LABEL_FORM);
    }
    let secret = reader.required_text(spec, "clusterCredentialsSecret");
    let secret_at = reader.place(spec.get("clusterCredentialsSecret").unwrap_or(spec));
    let text = |reader: &mut Reader, key: &str, default: &str| {
        reader.text(spec, key).filter(|text| !text.is_empty()).unwrap_or_else(|| default.into())
    };
    let domain = text(reader, "targetClusterDomain", "cluster.local");
    check_domain(reader, spec.get("targetClusterDomain").unwrap_or(spec), "targetClusterDomain", &domain);
    note_newer_fields(reader, spec, version);
    Some(Link {
        target_cluster_domain: domain,
        target_control_namespace: text(reader, "targetClusterLinkerdNamespace", "linkerd"),
        gateway: gateway::read(reader, spec),
        selector: read_selector(reader, spec, "selector"),
        remote_discovery_selector: read_selector(reader, spec, "remoteDiscoverySelector"),
        federated_selector: match version {
            "v1alpha1" => Selector::default(),
            _ => read_selector(reader, spec, "federatedServiceSelector"),
        },
        excluded: Arc::new(read_exclusions(reader, spec, version)),
        target_cluster_name: name?,
        credentials_secret: At { value: secret?, at: secret_at },
    })
}

/// Identities are made of domains, and proxies could not prove one that is no name.
fn check_domain(reader: &mut Reader, at: &Node, key: &str, text: &str) {
    if !names::is_subdomain(text) {
        reader.problem(at, format!("`{key}` is {text:?}, which is no DNS name"), names::SUBDOMAIN_FORM);
    }
}

/// Fields with the first version that has them: an API server drops them from older ones.
const SINCE: [(&str, &str); 5] = [
    ("federatedServiceSelector", "v1alpha2"),
    ("excludedAnnotations", "v1alpha3"),
    ("excludeAnnotations", "v1alpha3"),
    ("excludedLabels", "v1alpha3"),
    ("excludeLabels", "v1alpha3"),
];

fn note_newer_fields(reader: &mut Reader, spec: &Node, version: &str) {
    for (field, since) in SINCE {
        if let Some(at) = spec.get(field).filter(|_| version < since) {
            reader.note(at, format!("`{field}` does nothing in a Link of {version}; {since} has it"));
        }
    }
}

fn read_selector(reader: &mut Reader, spec: &Node, key: &str) -> Selector {
    match reader.mapping(spec, key) {
        Some(node) => selector::read(reader, node),
        None => Selector::default(),
    }
}

/// The code of Linkerd spells these fields with a `d`, its documentation without: both count.
fn read_exclusions(reader: &mut Reader, spec: &Node, version: &str) -> Exclusions {
    if version < "v1alpha3" {
        return Exclusions::default();
    }
    let mut texts =
        |spellings: [&str; 2]| spellings.into_iter().flat_map(|key| reader.texts(spec, key)).collect();
    Exclusions {
        annotations: texts(["excludedAnnotations", "excludeAnnotations"]),
        labels: texts(["excludedLabels", "excludeLabels"]),
    }
}

pub(super) fn read_secret(reader: &mut Reader, node: &Node) -> Option<Secret> {
    let kind = reader.text(node, "type").unwrap_or_else(|| "Opaque".into());
    if kind != REMOTE_KUBECONFIG {
        return Some(Secret { kind, remote: None });
    }
    let annotations = node.get("metadata").and_then(|metadata| metadata.get("annotations"));
    if let Some(Node { value: Value::Map(entries), .. }) = annotations {
        for (Key { text: key, .. }, at) in entries {
            match &at.value {
                _ if ![CLUSTER_DOMAIN, TRUST_DOMAIN].contains(&key.as_str()) => {}
                Value::Text(domain) => check_domain(reader, at, key, domain),
                // An annotation that is there and says nothing.
                Value::Null => check_domain(reader, at, key, ""),
                // Told where annotations are read.
                _ => {}
            }
        }
    }
    let mut remote = None;
    if let Some((at, text)) = kubeconfig_text(reader, node) {
        match kubeconfig::server(&text) {
            Ok(server) => remote = Some(At { value: server, at: reader.place(at) }),
            Err(why) => reader.problem(
                at,
                format!("the kubeconfig leads nowhere: {why}"),
                "a current context whose cluster has a `server`",
            ),
        }
    }
    Some(Secret { kind, remote })
}

/// The key `kubeconfig`: plain under `stringData`, which wins, or in base64 under `data`.
fn kubeconfig_text<'n>(reader: &mut Reader, node: &'n Node) -> Option<(&'n Node, String)> {
    if let Some(data) = node.get("stringData")
        && let Some(at) = data.get("kubeconfig")
    {
        return reader.secret_text(data, "kubeconfig").map(|text| (at, text));
    }
    let Some(at) = node.get("data").and_then(|data| data.get("kubeconfig")) else {
        reader.problem(
            node,
            "the Secret has no key `kubeconfig`",
            "the kubeconfig under `data` (base64) or `stringData`",
        );
        return None;
    };
    let decoded = match &at.value {
        Value::Text(text) => base64::decode(text).and_then(|bytes| String::from_utf8(bytes).ok()),
        _ => None,
    };
    if decoded.is_none() {
        reader.problem(at, "the kubeconfig under `data` is not base64 of text", "base64 of a kubeconfig");
    }
    decoded.map(|text| (at, text))
}

//! Links and their credentials, and what two clusters must have in common.

use std::collections::BTreeSet;

use super::{
    AGREES, Cluster, EXPORTS, Extent, Finding, Joined, LINK, MANIFESTS, NAMESPACES, NETWORKS, is_counting,
};
use crate::control::index::{self, ObjectName};
use crate::control::manifest::workload::At;
use crate::control::manifest::{Link, Meta, Secret};

const CLUSTER_NAME: &str = "multicluster.linkerd.io/cluster-name";
const TRUST_DOMAIN: &str = "multicluster.linkerd.io/trust-domain";
const CLUSTER_DOMAIN: &str = "multicluster.linkerd.io/cluster-domain";

/// Credentials that lead nowhere, or to a folder whose manifests cannot take effect.
pub(super) fn reachable(cluster: &Cluster, clusters: &[Cluster], findings: &mut Vec<Finding>) {
    let mut told = BTreeSet::new();
    for remote in remotes(cluster) {
        match cluster.targets.get(&remote.value) {
            Some(Err(why)) => {
                let found = format!("the kubeconfig's server {} leads nowhere: {why}", remote.value);
                findings.push(LINK.finding(found, &remote.at));
            }
            // One that was asked about tells its problems itself.
            Some(Ok(target)) if !clusters[*target].asked && told.insert(*target) => {
                let problems = &clusters[*target].assembled.problems;
                findings.extend(problems.iter().map(|problem| MANIFESTS.problem(problem)));
            }
            _ => {}
        }
    }
}

fn remotes(cluster: &Cluster) -> impl Iterator<Item = &At<String>> {
    cluster.assembled.documents.secrets.values().filter_map(|(_, secret)| secret.remote.as_ref())
}

/// The Secrets for discovery: in the control plane's namespace, with a cluster's name (controlplane 1.2).
fn discovery<'a>(cluster: &'a Cluster, name: &str) -> Vec<(&'a Meta, &'a Secret)> {
    let namespace = &cluster.settings.control_namespace;
    let secrets = cluster.assembled.documents.secrets.values();
    secrets
        .filter(|(meta, secret)| {
            *meta.name.namespace == **namespace
                && secret.remote.is_some()
                && meta.labels.get(CLUSTER_NAME).is_some_and(|label| label == name)
        })
        .map(|(meta, secret)| (&**meta, &**secret))
        .collect()
}

/// Whether pods are reached without the gateway.
fn is_flat(link: &Link) -> bool {
    !link.remote_discovery_selector.is_empty() || !link.federated_selector.is_empty()
}

/// What one cluster's own Links and Secrets say of each other.
pub(super) fn agree(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let documents = &cluster.assembled.documents;
    let mut names = BTreeSet::new();
    for (meta, link) in documents.links.values().filter(|(meta, _)| is_counting(cluster, meta)) {
        let name = link.target_cluster_name.as_str();
        if !names.insert(name) {
            let found = format!("another Link has the targetClusterName {name} too: their mirrors collide");
            findings.push(AGREES.finding(found, &meta.at));
        }
        let secrets = discovery(cluster, name);
        if secrets.is_empty() && is_flat(link) {
            let found = format!(
                "Link {} has no credentials for discovery: no Secret in namespace {} has the label \
                 {CLUSTER_NAME}: {name}, so its pods are never found",
                meta.name.name, cluster.settings.control_namespace
            );
            findings.push(AGREES.finding(found, &meta.at));
        }
        let mirror = ObjectName::new(&meta.name.namespace, &link.credentials_secret.value);
        let mirror = documents.secrets.get(&mirror).and_then(|(_, secret)| secret.remote.as_ref());
        for (secret_meta, secret) in secrets {
            findings.extend(compare(meta, link, mirror, secret_meta, secret));
        }
    }
    stale(cluster, &names, findings);
}

fn compare(
    meta: &Meta,
    link: &Link,
    mirror: Option<&At<String>>,
    secret_meta: &Meta,
    secret: &Secret,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = &meta.name.name;
    if let (Some(mirror), Some(remote)) = (mirror, &secret.remote)
        && mirror.value != remote.value
    {
        let found =
            format!("Link {name} mirrors {}, and its pods are looked for in {}", mirror.value, remote.value);
        findings.push(AGREES.finding(found, &remote.at));
    }
    for (key, agrees_with) in [(CLUSTER_DOMAIN, Some(&link.target_cluster_domain)), (TRUST_DOMAIN, None)] {
        let found = match (secret_meta.annotations.get(key), agrees_with) {
            (None, _) => format!("the Secret lacks the annotation {key}: without it, it does not count"),
            (Some(said), Some(domain)) if said != domain => {
                format!("Link {name} has the targetClusterDomain {domain}, its Secret for discovery {said}")
            }
            _ => continue,
        };
        findings.push(AGREES.finding(found, &secret_meta.at));
    }
    findings
}

/// Credentials without a Link: what Linkerd leaves behind keeps answering (controlplane 8.11).
fn stale(cluster: &Cluster, links: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    for (meta, secret) in cluster.assembled.documents.secrets.values() {
        let Some(name) = meta.labels.get(CLUSTER_NAME).filter(|_| secret.remote.is_some()) else { continue };
        if *meta.name.namespace == *cluster.settings.control_namespace && !links.contains(name.as_str()) {
            let found = format!("there is no Link with the targetClusterName {name} for these credentials");
            findings.push(AGREES.warning(found, &meta.at));
        }
    }
}

/// What a Link and its Secret say of the target, and what the target says itself.
pub(super) fn agree_with_target(joined: &Joined<'_>, findings: &mut Vec<Finding>) {
    let Joined { source, meta, link, target } = joined;
    let mut differs = |what: &str, said: &str, own: &Option<String>, at: &dyn ToString| {
        if let Some(own) = own.as_ref().filter(|own| *own != said) {
            let found = format!("{} says {what} {said}, cluster {} has {own}", meta.name.name, target.name);
            findings.push(AGREES.finding(found, at.to_string()));
        }
    };
    let facts = &target.facts;
    differs("targetClusterDomain", &link.target_cluster_domain, &facts.cluster_domain, &meta.at);
    for (secret, _) in discovery(source, &link.target_cluster_name) {
        if let Some(said) = secret.annotations.get(TRUST_DOMAIN) {
            differs("trust-domain", said, &facts.trust_domain, &secret.at);
        }
    }
}

/// A pod is meshed if its label names our control plane's namespace; another name means plaintext
/// (controlplane 8.22).
pub(super) fn control_namespaces(joined: &Joined<'_>, findings: &mut Vec<Finding>) {
    let Joined { source, meta, link, target } = joined;
    let own = &source.settings.control_namespace;
    let said = &link.target_control_namespace;
    let real = target.facts.control_namespace.as_ref().unwrap_or(said);
    let found = if real != own {
        format!(
            "the control plane of {} is in namespace {own}, that of {} in {real}",
            source.name, target.name
        )
    } else if real != said {
        format!("the Link says targetClusterLinkerdNamespace {said}, cluster {} has {real}", target.name)
    } else {
        return;
    };
    findings.push(NAMESPACES.finding(found, &meta.at));
}

/// Services that a Link selects and that find no namespace to be mirrored into (controlplane 1.7).
pub(super) fn namespaces(joined: &Joined<'_>, findings: &mut Vec<Finding>) {
    let Joined { source, meta, link, target } = joined;
    if source.settings.enable_namespace_creation {
        return;
    }
    let there = index::namespaces(&source.assembled.documents, &source.settings);
    let selectors = [&link.selector, &link.remote_discovery_selector, &link.federated_selector];
    for (service, _) in target.assembled.documents.services.values() {
        let exported = selectors.iter().any(|selector| selector.chooses(&service.labels));
        if exported && !there.contains(&*service.name.namespace) {
            let found = format!(
                "{} exports {}, and {} has no namespace {}: it is not mirrored by Link {}",
                target.name, service.name, source.name, service.name.namespace, meta.name.name
            );
            findings.push(EXPORTS.finding(found, &service.at));
        }
    }
}

/// Only where pods are reached directly; each pair once. Where networks are not known, addresses that both
/// clusters' manifests give are compared.
pub(super) fn networks(joined: &[Joined<'_>], extent: &mut Extent, findings: &mut Vec<Finding>) {
    let mut told = BTreeSet::new();
    for Joined { source, meta, link, target } in joined {
        let mut pair = [&source.folder, &target.folder];
        pair.sort();
        if !is_flat(link) || !told.insert(pair) {
            continue;
        }
        if let (Some(a), Some(b)) = (source.facts.pod_network, target.facts.pod_network) {
            extent.compared(NETWORKS);
            if a.contains(&b) || b.contains(&a) {
                let found = format!("pods of {} are in {a}, those of {} in {b}", source.name, target.name);
                findings.push(NETWORKS.finding(found, &meta.at));
            }
            continue;
        }
        let addresses = |cluster: &Cluster| -> BTreeSet<_> {
            cluster
                .assembled
                .documents
                .pods
                .values()
                .flat_map(|(_, pod)| pod.status.ips.iter().copied())
                .collect()
        };
        let (ours, theirs) = (addresses(source), addresses(target));
        if ours.is_empty() || theirs.is_empty() {
            let why = format!("the pod networks of {} and {} are not both known", source.name, target.name);
            extent.missing(NETWORKS, why);
            continue;
        }
        extent.compared(NETWORKS);
        if let Some(both) = ours.intersection(&theirs).next() {
            let found = format!("{both} is a pod of {} and a pod of {}", source.name, target.name);
            findings.push(NETWORKS.finding(found, &meta.at));
        }
    }
}

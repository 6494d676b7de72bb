//! Links and their credentials, and what two clusters must have in common.

use std::collections::BTreeSet;

use super::{AGREES, Cluster, Extent, Finding, Joined, LINK, MANIFESTS, NAMESPACES, counting, exports};
use crate::control::manifest::link::{CLUSTER_DOMAIN, CLUSTER_NAME, TRUST_DOMAIN};
use crate::control::manifest::workload::At;
use crate::control::manifest::{Link, Meta, Secret};

/// Credentials that lead nowhere, to no cluster, or to a folder whose manifests cannot take effect.
pub(super) fn reachable(cluster: &Cluster, clusters: &[Cluster], findings: &mut Vec<Finding>) {
    let mut told = BTreeSet::new();
    for remote in remotes(cluster) {
        let mut wrong = |why: &str| {
            let found = format!("the kubeconfig's server {} leads {why}", remote.value);
            findings.push(LINK.finding(found, &remote.at));
        };
        let target = match cluster.targets.get(&remote.value) {
            Some(Err(why)) => {
                wrong(&format!("nowhere: {why}"));
                continue;
            }
            Some(Ok(target)) if told.insert(*target) => &clusters[*target],
            _ => continue,
        };
        if std::ptr::eq(target, cluster) {
            wrong("to the cluster's own folder");
        } else if target.asked {
            // It tells its problems itself.
        } else if target.files == 0 {
            wrong(&format!("to no cluster: {} holds no manifests", target.folder.display()));
        } else {
            let problems = target.assembled.problems.iter().chain(&target.unknown);
            findings.extend(problems.map(|problem| MANIFESTS.problem(problem)));
        }
    }
}

/// Pods have addresses once their control plane has given out some. Where no other one has run yet either, nothing is
/// the matter with that.
pub(super) fn addressed(joined: &Joined<'_>, extent: &mut Extent, findings: &mut Vec<Finding>) {
    let Joined { source, meta, target, .. } = joined;
    if target.ran || !exports::is_flat(joined) || !wants_addresses(target) {
        return;
    }
    let found = format!("the pods of {} have no addresses yet: its control plane never ran", target.name);
    if !source.ran {
        return extent.missing(LINK, found);
    }
    let remedy = format!("start it: causeway control {}", target.folder.display());
    findings.push(Finding { remedy, ..LINK.warning(found, &meta.at) });
}

/// Whether there are pods, and none has an address by its manifest, as those that an API server printed do.
fn wants_addresses(cluster: &Cluster) -> bool {
    let documents = &cluster.assembled.documents;
    let any = !documents.pods.is_empty() || documents.workloads().next().is_some();
    any && documents.pods.values().all(|(_, pod)| pod.status.ips.is_empty())
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

/// Whether pods may be reached without the gateway.
fn asks_for_flat(link: &Link) -> bool {
    !link.remote_discovery_selector.is_empty() || !link.federated_selector.is_empty()
}

/// What one cluster's own Links and Secrets say of each other.
pub(super) fn agree(cluster: &Cluster, joined: &[Joined<'_>], findings: &mut Vec<Finding>) {
    let documents = &cluster.assembled.documents;
    let mut names = BTreeSet::new();
    for (meta, link) in counting(cluster) {
        let name = link.target_cluster_name.as_str();
        if !names.insert(name) {
            let found = format!("another Link has the targetClusterName {name} too: their mirrors collide");
            findings.push(AGREES.finding(found, &meta.at));
        }
        let secrets = discovery(cluster, name);
        if secrets.is_empty() && asks_for_flat(link) {
            let target = joined.iter().find(|joined| std::ptr::eq(joined.meta, &**meta));
            findings.push(undiscovered(cluster, meta, link, target));
        }
        let mirror = documents.remote(&meta.name, link);
        for (secret_meta, secret) in secrets {
            let name = &meta.name.name;
            findings.extend(compare(name, link, secret_meta));
            if let (Some(mirror), Some(remote)) = (mirror, &secret.remote)
                && !is_one_folder(cluster, mirror, remote)
            {
                let found = format!(
                    "Link {name} mirrors {}, and its pods are looked for in {}",
                    mirror.value, remote.value
                );
                findings.push(AGREES.finding(found, &remote.at));
            }
        }
    }
    stale(cluster, &names, findings);
}

/// Until something is exported to be reached pod to pod, nobody looks for a pod.
fn undiscovered(cluster: &Cluster, meta: &Meta, link: &Link, target: Option<&Joined<'_>>) -> Finding {
    let found = format!(
        "Link {} has no credentials for discovery: no Secret in namespace {} has the label {CLUSTER_NAME}: {}, so its \
         pods are never found",
        meta.name.name, cluster.settings.control_namespace, link.target_cluster_name
    );
    match target.is_none_or(exports::is_flat) {
        true => AGREES.finding(found, &meta.at),
        false => AGREES.warning(found, &meta.at),
    }
}

/// A folder may be spelled in many ways.
fn is_one_folder(cluster: &Cluster, one: &At<String>, other: &At<String>) -> bool {
    let target = |url: &At<String>| cluster.targets.get(&url.value).and_then(|target| target.as_ref().ok());
    one.value == other.value || target(one).is_some_and(|found| target(other) == Some(found))
}

/// What the Secret for discovery says, and what the Link does.
fn compare(name: &str, link: &Link, secret: &Meta) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, agrees_with) in [(CLUSTER_DOMAIN, Some(&link.target_cluster_domain)), (TRUST_DOMAIN, None)] {
        let found = match (secret.annotations.get(key), agrees_with) {
            (None, _) => format!("the Secret lacks the annotation {key}: without it, it does not count"),
            (Some(said), Some(domain)) if said != domain => {
                format!("Link {name} has the targetClusterDomain {domain}, its Secret for discovery {said}")
            }
            _ => continue,
        };
        findings.push(AGREES.finding(found, &secret.at));
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
/// (controlplane 8.22). Who is behind a gateway nobody asks.
pub(super) fn control_namespaces(joined: &Joined<'_>, extent: &mut Extent, findings: &mut Vec<Finding>) {
    let Joined { source, meta, link, target } = joined;
    if !exports::is_flat(joined) {
        return extent.missing(NAMESPACES, exports::nothing_flat(joined));
    }
    extent.compared(NAMESPACES);
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

//! Who calls what only a proxy can reach.

use std::collections::BTreeSet;

use super::{CLIENTS, Cluster, Extent, Finding};
use crate::control::index::{Container, EnvValue, ObjectName, Pod, REMOTE_DISCOVERY, Service, is_federated};

/// Mirrors that are reached pod to pod, and federated Services, have no endpoints but for proxies: an unmeshed
/// client gets no connection. Whom a pod calls is not written anywhere; its command line and environment
/// are looked through for the names.
pub(super) fn meshed(cluster: &Cluster, extent: &mut Extent, findings: &mut Vec<Finding>) {
    let Some(snapshot) = &cluster.snapshot else {
        return extent.missing(CLIENTS, format!("the manifests of {} have problems", cluster.name));
    };
    extent.compared(CLIENTS);
    let for_proxies =
        |name: &ObjectName| snapshot.service(&name.namespace, &name.name).is_some_and(is_for_proxies);
    let mut seen = BTreeSet::new();
    for pod in snapshot.pods().filter(|pod| !pod.meshed()) {
        // Once for a workload, not for each replica.
        if !seen.insert((&pod.name.namespace, &pod.owner)) {
            continue;
        }
        for service in named(pod).iter().filter(|name| for_proxies(name)) {
            let (kind, name) = &pod.owner;
            let found = format!(
                "{kind} {}/{name} is not meshed and calls {service}, which only proxies can reach",
                pod.name.namespace
            );
            findings.push(CLIENTS.finding(found, place(cluster, pod)));
        }
    }
}

/// Remote discovery is a label of a mirror and an annotation of a federated Service (controlplane 8.4).
fn is_for_proxies(service: &Service) -> bool {
    service.mirrored && (service.labels().contains_key(REMOTE_DISCOVERY) || is_federated(service))
}

/// The Services that something in the pod may name: by one word within its namespace, with the namespace
/// behind it from anywhere.
fn named(pod: &Pod) -> BTreeSet<ObjectName> {
    let literals = |container: &Container| -> Vec<String> {
        let env = container.env.iter().filter_map(|variable| match &variable.value {
            EnvValue::Literal(text) => Some(text),
            _ => None,
        });
        container.command.iter().chain(&container.args).chain(env).cloned().collect()
    };
    let mut names = BTreeSet::new();
    for text in pod.applications().flat_map(literals) {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.') {
            let mut labels = word.split('.');
            let name = labels.next().unwrap_or_default();
            let namespace = labels.next().unwrap_or(&pod.name.namespace);
            names.insert(ObjectName::new(namespace, name));
        }
    }
    names
}

/// Where the pod, or what makes it, is written.
fn place(cluster: &Cluster, pod: &Pod) -> String {
    let documents = &cluster.assembled.documents;
    let owner = ObjectName::new(&pod.name.namespace, &pod.owner.1);
    let at = match pod.owner.0.as_str() {
        "deployment" => documents.deployments.get(&owner).map(|(meta, _)| &meta.at),
        "replicaset" => documents.replica_sets.get(&owner).map(|(meta, _)| &meta.at),
        "daemonset" => documents.daemon_sets.get(&owner).map(|(meta, _)| &meta.at),
        "job" => documents.jobs.get(&owner).map(|(meta, _)| &meta.at),
        "statefulset" => documents.stateful_sets.get(&owner).map(|(meta, _)| &meta.at),
        _ => documents.pods.get(&pod.name).map(|(meta, _)| &meta.at),
    };
    at.map_or_else(|| pod.name.to_string(), ToString::to_string)
}

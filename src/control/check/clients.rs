//! Who calls what only a proxy can reach.

use super::{CLIENTS, Cluster, Finding};
use crate::control::index::{EnvValue, Pod, REMOTE_DISCOVERY, Service};

/// Mirrors that are reached pod to pod, and federated Services, have no endpoints but for proxies: an unmeshed
/// client gets no connection. Whom a pod calls is not written anywhere; its command line and environment
/// are looked through for the names.
pub(super) fn meshed(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let Some(snapshot) = &cluster.snapshot else { return };
    let services: Vec<&Service> = snapshot.services().filter(|service| is_for_proxies(service)).collect();
    let mut seen = std::collections::BTreeSet::new();
    for pod in snapshot.pods().filter(|pod| !pod.meshed()) {
        for service in services.iter().filter(|service| names(pod, service)) {
            // Once for a workload, not for each replica.
            if !seen.insert((&pod.name.namespace, &pod.owner, &service.name)) {
                continue;
            }
            let (kind, name) = &pod.owner;
            let found = format!(
                "{kind} {}/{name} is not meshed and calls {}, which only proxies can reach",
                pod.name.namespace, service.name
            );
            findings.push(CLIENTS.finding(found, place(cluster, pod)));
        }
    }
}

/// Remote discovery is a label of a mirror and an annotation of a federated Service (controlplane 8.4).
fn is_for_proxies(service: &Service) -> bool {
    service.mirrored
        && (service.labels.contains_key(REMOTE_DISCOVERY)
            || service.annotations.contains_key(REMOTE_DISCOVERY)
            || service.annotations.contains_key(crate::control::index::LOCAL_DISCOVERY))
}

/// Whether something in the pod spells the Service's name: alone within its namespace, with it anywhere.
fn names(pod: &Pod, service: &Service) -> bool {
    let own = pod.name.namespace == service.name.namespace;
    let full = format!("{}.{}", service.name.name, service.name.namespace);
    let is_host = |word: &str| {
        (own && word == service.name.name)
            || word.strip_prefix(full.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let in_text = |text: &str| {
        let other = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.';
        text.split(other).any(is_host)
    };
    pod.applications().any(|container| {
        let literal = container.env.iter().filter_map(|variable| match &variable.value {
            EnvValue::Literal(text) => Some(text),
            _ => None,
        });
        container.command.iter().chain(&container.args).chain(literal).any(|text| in_text(text))
    })
}

/// Where the pod, or what makes it, is written.
fn place(cluster: &Cluster, pod: &Pod) -> String {
    let documents = &cluster.assembled.documents;
    let owner = crate::control::index::ObjectName::new(&pod.name.namespace, &pod.owner.1);
    let at = match pod.owner.0.as_str() {
        "deployment" => documents.deployments.get(&owner).map(|(meta, _)| &meta.at),
        "statefulset" => documents.stateful_sets.get(&owner).map(|(meta, _)| &meta.at),
        _ => documents.pods.get(&pod.name).map(|(meta, _)| &meta.at),
    };
    at.map_or_else(|| pod.name.to_string(), ToString::to_string)
}

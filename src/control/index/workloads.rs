//! Pods, as the workload controllers and the injector would make them: given ones as they are, a
//! Deployment's named as its ReplicaSet would name them, a StatefulSet's by number.

use std::collections::BTreeMap;

use crate::control::hash;
use crate::control::manifest::workload::{Deployment, PodSpec};
use crate::control::manifest::{self, Documents, Meta, StatefulSet};

use super::{ObjectName, Pod, Settings, inject};

/// Every pod of the documents, without addresses yet unless given.
pub(super) fn pods(documents: &Documents, settings: &Settings) -> BTreeMap<ObjectName, Pod> {
    let mut pods = BTreeMap::new();
    for (meta, pod) in documents.pods.values() {
        pods.insert(meta.name.clone(), given_pod(meta, pod, settings));
    }
    for (meta, deployment) in documents.deployments.values() {
        if !has_given_pods(documents, meta, deployment, "ReplicaSet") {
            for replica in 0..deployment.replicas {
                let pod = derived_pod(meta, deployment, replica, settings);
                pods.insert(pod.name.clone(), pod);
            }
        }
    }
    for (meta, set) in documents.stateful_sets.values() {
        if !has_given_pods(documents, meta, &set.pods, "StatefulSet") {
            for replica in 0..set.pods.replicas {
                let pod = numbered_pod(meta, set, set.start.saturating_add(replica), settings);
                pods.insert(pod.name.clone(), pod);
            }
        }
    }
    let none = BTreeMap::new();
    for (name, pod) in &mut pods {
        let namespace = documents.namespaces.get(&name.namespace);
        let annotations = namespace.map_or(&none, |namespace| &namespace.meta.annotations);
        // What an API server printed went through its webhooks already.
        if documents.pods.get(name).is_none_or(|(meta, _)| meta.uid.is_none()) {
            inject::admit(pod, annotations, settings);
        }
    }
    pods
}

/// Whether the folder holds a workload's pods themselves, as `kubectl get all` prints them. `owner` is
/// the kind that a pod names as its own.
fn has_given_pods(documents: &Documents, meta: &Meta, deployment: &Deployment, owner: &str) -> bool {
    let owned = |pod: &Meta| {
        let hash = pod.labels.get("pod-template-hash").filter(|_| owner == "ReplicaSet");
        let set = hash.map_or_else(|| meta.name.name.clone(), |hash| format!("{}-{hash}", meta.name.name));
        pod.owners.iter().any(|found| found.kind == owner && found.name == set)
    };
    documents.pods.values().any(|(pod, _)| {
        pod.name.namespace == meta.name.namespace && deployment.selector.matches(&pod.labels) && owned(pod)
    })
}

fn given_pod(meta: &Meta, pod: &manifest::Pod, settings: &Settings) -> Pod {
    let phase = pod.status.phase.as_deref().unwrap_or("Running");
    let mut made = from_spec(meta.name.clone(), &pod.spec, settings);
    made.uid = meta.uid.clone().unwrap_or_else(|| uid(&meta.name));
    made.ip = pod.status.ip;
    made.labels.clone_from(&meta.labels);
    made.annotations.clone_from(&meta.annotations);
    made.owner = owner(meta);
    made.running = !["Succeeded", "Failed"].contains(&phase);
    made.ready = pod.status.ready.unwrap_or(phase == "Running") && made.running;
    made
}

/// One of a Deployment's pods, named as its ReplicaSet would name it.
fn derived_pod(meta: &Meta, deployment: &Deployment, replica: u32, settings: &Settings) -> Pod {
    let set = format!("{}-{}", meta.name.name, deployment.template_hash);
    let suffix = hash::suffix(&format!("{}/{set}/{replica}", meta.name.namespace), 5);
    // Generated names keep 58 bytes of what they start with.
    let start: String = format!("{set}-").chars().take(58).collect();
    let name = ObjectName::new(&meta.name.namespace, &format!("{start}{suffix}"));
    let mut made = from_spec(name, &deployment.template.spec, settings);
    made.labels.clone_from(&deployment.template.labels);
    made.labels.insert("pod-template-hash".into(), deployment.template_hash.clone());
    made.annotations.clone_from(&deployment.template.annotations);
    made.owner = ("deployment".into(), meta.name.name.clone());
    made
}

/// One of a StatefulSet's pods, which keeps its name when it is made again.
fn numbered_pod(meta: &Meta, set: &StatefulSet, number: u32, settings: &Settings) -> Pod {
    let name = ObjectName::new(&meta.name.namespace, &format!("{}-{number}", meta.name.name));
    let mut made = from_spec(name, &set.pods.template.spec, settings);
    made.hostname = Some(made.name.name.clone());
    made.subdomain = Some(set.service_name.clone()).filter(|service| !service.is_empty());
    made.labels.clone_from(&set.pods.template.labels);
    let own = [
        ("apps.kubernetes.io/pod-index", number.to_string()),
        ("controller-revision-hash", format!("{}-{}", meta.name.name, set.pods.template_hash)),
        ("statefulset.kubernetes.io/pod-name", made.name.name.clone()),
    ];
    made.labels.extend(own.map(|(key, value)| (key.to_owned(), value)));
    made.annotations.clone_from(&set.pods.template.annotations);
    made.owner = ("statefulset".into(), meta.name.name.clone());
    made
}

fn from_spec(name: ObjectName, spec: &PodSpec, settings: &Settings) -> Pod {
    Pod {
        uid: uid(&name),
        ip: None,
        node_name: spec.node_name.clone().unwrap_or_else(|| settings.node_name.clone()),
        hostname: spec.hostname.clone(),
        subdomain: spec.subdomain.clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        service_account: spec.service_account.clone(),
        owner: ("pod".into(), name.name.clone()),
        ready: true,
        running: true,
        host_network: spec.host_network,
        init_containers: spec.init_containers.clone(),
        containers: spec.containers.clone(),
        name,
    }
}

/// None or several owners: the pod itself. A ReplicaSet stands for its Deployment, which its name
/// and the template's hash give away.
fn owner(meta: &Meta) -> (String, String) {
    let [owner] = meta.owners.as_slice() else { return ("pod".into(), meta.name.name.clone()) };
    let hash = meta.labels.get("pod-template-hash");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match (owner.kind.as_str(), deployment) {
        ("ReplicaSet", Some(deployment)) => ("deployment".into(), deployment.into()),
        (kind, _) => (kind.to_lowercase(), owner.name.clone()),
    }
}

/// In the form of a UUID, from the name alone.
fn uid(name: &ObjectName) -> String {
    let (high, low) = (hash::fnv64(&name.to_string()), hash::fnv64(&format!("{name}!")));
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0x0fff);
    format!("{a:08x}-{b:04x}-4{c:03x}-8{:03x}-{:012x}", low >> 52, low & 0xffff_ffff_ffff)
}

//! Pods, as the workload controllers and the injector would make them: given ones as they are, others
//! named as their controller would name them, and spread over the nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::control::hash;
use crate::control::manifest::workload::{Deployment, PodSpec, PodTemplate};
use crate::control::manifest::{self, Documents, Meta, StatefulSet};

use super::{ObjectName, Phase, Pod, Settings, inject};

/// Every pod of the documents, without addresses yet unless given.
pub(super) fn pods(documents: &Documents, settings: &Settings) -> BTreeMap<ObjectName, Pod> {
    let cluster = Cluster { documents, settings, owned: owned(documents) };
    let mut pods = Vec::new();
    pods.extend(documents.pods.values().map(|(meta, pod)| cluster.given_pod(meta, pod)));
    for (meta, body) in documents.deployments.values() {
        pods.extend(cluster.deployment(meta, body));
    }
    for (meta, body) in documents.replica_sets.values() {
        pods.extend(cluster.replica_set(meta, body));
    }
    for (meta, body) in documents.stateful_sets.values() {
        pods.extend(cluster.stateful_set(meta, body));
    }
    for (meta, body) in documents.daemon_sets.values() {
        pods.extend(cluster.daemon_set(meta, body));
    }
    for (meta, body) in documents.jobs.values() {
        pods.extend(cluster.job(meta, body));
    }
    pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect()
}

struct Cluster<'a> {
    documents: &'a Documents,
    settings: &'a Settings,
    owned: Owned<'a>,
}

/// Given pods by the namespace, kind and name of those that own them. A ReplicaSet that is named like a
/// Deployment's stands for that too.
type Owned<'a> = HashMap<(&'a str, &'a str, &'a str), Vec<&'a Meta>>;

fn owned(documents: &Documents) -> Owned<'_> {
    let mut all = Owned::new();
    for (pod, _) in documents.pods.values() {
        let hash = pod.labels.get("pod-template-hash");
        for owner in &pod.owners {
            let mut add = |name| {
                let key = (pod.name.namespace.as_str(), owner.kind.as_str(), name);
                all.entry(key).or_default().push(pod);
            };
            add(owner.name.as_str());
            let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
            if let Some(name) = deployment.filter(|_| owner.kind == "ReplicaSet") {
                add(name);
            }
        }
    }
    all
}

/// A pod of a template without what is only its own, and the nodes that it may run on.
struct Model<'a> {
    pod: Pod,
    spec: &'a PodSpec,
    nodes: Vec<&'a str>,
}

impl<'a> Cluster<'a> {
    fn given_pod(&self, meta: &Meta, pod: &manifest::Pod) -> Pod {
        let mut made = bare(&pod.spec);
        made.name = meta.name.clone();
        self.place(&mut made, &pod.spec, &self.nodes(&pod.spec), 0);
        match pod.status.phase.as_deref() {
            None => {}
            Some("Pending") => made.phase = Phase::Pending,
            Some("Succeeded" | "Failed") => made.phase = Phase::Finished,
            Some(_) => made.phase = Phase::Running,
        }
        made.uid = meta.uid.clone().unwrap_or_else(|| uid(&meta.name));
        if let [first, others @ ..] = pod.status.ips.as_slice() {
            made.ip = Some(*first);
            made.other_ip = others.first().copied();
        }
        if !pod.status.host_ips.is_empty() {
            made.host_ips.clone_from(&pod.status.host_ips);
        }
        made.labels = Arc::new(meta.labels.clone());
        made.annotations = Arc::new(meta.annotations.clone());
        made.owner = self.owner(meta);
        made.terminating = meta.terminating;
        let running = made.phase == Phase::Running && !made.terminating;
        made.ready = running && pod.status.ready.unwrap_or(true);
        // What an API server printed went through its webhooks already.
        if meta.uid.is_none() {
            self.admit(&mut made);
        }
        made
    }

    fn admit(&self, pod: &mut Pod) {
        let namespace = self.documents.namespaces.get(&pod.name.namespace);
        let none = BTreeMap::new();
        let annotations = namespace.map_or(&none, |namespace| &namespace.meta.annotations);
        inject::admit(pod, annotations, self.settings);
    }

    /// Pods of the one ReplicaSet that a Deployment would have now.
    fn deployment(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        if self.has_given_pods(meta, body, "ReplicaSet") {
            return Vec::new();
        }
        let set = format!("{}-{}", meta.name.name, body.template_hash);
        let hash = ("pod-template-hash".to_owned(), body.template_hash.clone());
        let owner = ("deployment".to_owned(), meta.name.name.clone());
        self.replicas(meta, body, &set, &owner, &[hash])
    }

    /// Those of a ReplicaSet whose Deployment is here too are the Deployment's.
    fn replica_set(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        let namespace = &meta.name.namespace;
        let deployed = meta.owners.iter().any(|owner| {
            let name = ObjectName::new(namespace, &owner.name);
            owner.kind == "Deployment" && self.documents.deployments.contains_key(&name)
        });
        if deployed || self.has_given_pods(meta, body, "ReplicaSet") {
            return Vec::new();
        }
        self.replicas(meta, body, &meta.name.name, &controller("replicaset", meta), &[])
    }

    fn job(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        if self.has_given_pods(meta, body, "Job") {
            return Vec::new();
        }
        let labels = ["batch.kubernetes.io/job-name", "job-name"];
        let labels = labels.map(|key| (key.to_owned(), meta.name.name.clone()));
        self.replicas(meta, body, &meta.name.name, &controller("job", meta), &labels)
    }

    /// One on each node that it may run on.
    fn daemon_set(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        if self.has_given_pods(meta, body, "DaemonSet") {
            return Vec::new();
        }
        let nodes = self.nodes(&body.template.spec).len() as u32;
        let each = Deployment { replicas: nodes, ..body.clone() };
        let owner = ("daemonset".to_owned(), meta.name.name.clone());
        let revision = ("controller-revision-hash".to_owned(), body.template_hash.clone());
        self.replicas(meta, &each, &meta.name.name, &owner, &[revision])
    }

    /// A StatefulSet's pods keep their names when they are made again.
    fn stateful_set(&self, meta: &Meta, set: &StatefulSet) -> Vec<Pod> {
        if self.has_given_pods(meta, &set.pods, "StatefulSet") {
            return Vec::new();
        }
        let owner = ("statefulset".to_owned(), meta.name.name.clone());
        let model = self.model(&meta.name.namespace, &set.pods.template, owner, &[]);
        (0..set.pods.replicas).map(|replica| self.numbered_pod(meta, set, &model, replica)).collect()
    }

    fn numbered_pod(&self, meta: &Meta, set: &StatefulSet, model: &Model<'_>, replica: u32) -> Pod {
        let number = set.start.saturating_add(replica);
        let name = ObjectName::new(&meta.name.namespace, &format!("{}-{number}", meta.name.name));
        let mut made = self.copy(model, name, replica);
        made.hostname = Some(made.name.name.clone());
        made.subdomain = Some(set.service_name.clone()).filter(|service| !service.is_empty());
        let own = [
            ("apps.kubernetes.io/pod-index", number.to_string()),
            ("controller-revision-hash", format!("{}-{}", meta.name.name, set.pods.template_hash)),
            ("statefulset.kubernetes.io/pod-name", made.name.name.clone()),
        ];
        Arc::make_mut(&mut made.labels).extend(own.map(|(key, value)| (key.to_owned(), value)));
        made
    }

    /// Pods with generated names that begin with `set`.
    fn replicas(
        &self,
        meta: &Meta,
        body: &Deployment,
        set: &str,
        owner: &(String, String),
        labels: &[(String, String)],
    ) -> Vec<Pod> {
        let namespace = &meta.name.namespace;
        // Generated names keep 58 bytes of what they start with.
        let start: String = format!("{set}-").chars().take(58).collect();
        let model = self.model(namespace, &body.template, owner.clone(), labels);
        let pod = |replica| {
            let suffix = hash::suffix(&format!("{namespace}/{set}/{replica}"), 5);
            self.copy(&model, ObjectName::new(namespace, &format!("{start}{suffix}")), replica)
        };
        (0..body.replicas).map(pod).collect()
    }

    /// Whether the folder holds a workload's pods themselves, as `kubectl get all` prints them. `owner` is
    /// the kind that a pod names as its own.
    fn has_given_pods(&self, meta: &Meta, body: &Deployment, owner: &str) -> bool {
        let owned = self.owned.get(&(meta.name.namespace.as_str(), owner, meta.name.name.as_str()));
        owned.is_some_and(|pods| pods.iter().any(|pod| body.selector.matches(&pod.labels)))
    }

    /// None or several owners: the pod itself. A ReplicaSet or Job stands for its own single owner
    /// (controlplane 2.5); a Deployment that is not given is known by the ReplicaSet's name.
    fn owner(&self, meta: &Meta) -> (String, String) {
        let [owner] = meta.owners.as_slice() else { return ("pod".into(), meta.name.name.clone()) };
        let name = ObjectName::new(&meta.name.namespace, &owner.name);
        let parent = match owner.kind.as_str() {
            "ReplicaSet" => self.documents.replica_sets.get(&name),
            "Job" => self.documents.jobs.get(&name),
            _ => None,
        };
        if let Some((parent, _)) = parent {
            return controller(&owner.kind.to_lowercase(), parent);
        }
        let hash = meta.labels.get("pod-template-hash");
        let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        match (owner.kind.as_str(), deployment) {
            ("ReplicaSet", Some(deployment)) => ("deployment".into(), deployment.into()),
            (kind, _) => (kind.to_lowercase(), owner.name.clone()),
        }
    }

    /// What all pods of a template have in common, as they are after admission.
    fn model<'t>(
        &'t self,
        namespace: &str,
        template: &'t PodTemplate,
        owner: (String, String),
        labels: &[(String, String)],
    ) -> Model<'t> {
        let mut pod = bare(&template.spec);
        let all = template.labels.iter().map(|(key, value)| (key.clone(), value.clone()));
        pod.labels = Arc::new(all.chain(labels.iter().cloned()).collect());
        pod.annotations = Arc::new(template.annotations.clone());
        pod.name.namespace = namespace.to_owned();
        pod.owner = owner;
        self.admit(&mut pod);
        Model { pod, spec: &template.spec, nodes: self.nodes(&template.spec) }
    }

    fn copy(&self, model: &Model<'_>, name: ObjectName, replica: u32) -> Pod {
        let mut made = model.pod.clone();
        made.name = name;
        self.place(&mut made, model.spec, &model.nodes, replica);
        made
    }

    /// Makes a pod one of its own: on a node, if there is one.
    fn place(&self, pod: &mut Pod, spec: &PodSpec, nodes: &[&str], replica: u32) {
        let node = nodes.get(replica as usize % nodes.len().max(1)).copied();
        pod.node_name = spec.node_name.as_deref().or(node).unwrap_or_default().to_owned();
        let host_ips = self.documents.nodes.get(&pod.node_name).map(|(_, node)| node.ips.clone());
        pod.host_ips = host_ips.unwrap_or_default();
        pod.ip = pod.host_ips.first().copied().filter(|_| spec.host_network);
        // Without a node that takes it a pod waits.
        pod.phase = if pod.node_name.is_empty() { Phase::Pending } else { Phase::Running };
        pod.ready = !pod.node_name.is_empty();
        pod.uid = uid(&pod.name);
    }

    /// The nodes that a pod may run on, by name. Where none are given there is one.
    fn nodes(&self, spec: &PodSpec) -> Vec<&'a str> {
        if self.documents.nodes.is_empty() {
            return vec![&self.settings.node_name];
        }
        let takes =
            |node: &Meta| spec.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
        let nodes = self.documents.nodes.iter().filter(|(_, (meta, _))| takes(meta));
        nodes.map(|(name, _)| name.as_str()).collect()
    }
}

/// What a specification says of any pod.
fn bare(spec: &PodSpec) -> Pod {
    Pod {
        name: ObjectName::new("", ""),
        uid: String::new(),
        ip: None,
        other_ip: None,
        host_ips: Vec::new(),
        node_name: String::new(),
        hostname: spec.hostname.clone(),
        subdomain: spec.subdomain.clone(),
        labels: Arc::default(),
        annotations: Arc::default(),
        service_account: spec.service_account.clone(),
        owner: (String::new(), String::new()),
        ready: false,
        phase: Phase::Pending,
        terminating: false,
        host_network: spec.host_network,
        init_containers: Arc::new(spec.init_containers.clone()),
        containers: Arc::new(spec.containers.clone()),
    }
}

/// The single owner of what owns pods, or itself.
fn controller(kind: &str, meta: &Meta) -> (String, String) {
    match meta.owners.as_slice() {
        [owner] => (owner.kind.to_lowercase(), owner.name.clone()),
        _ => (kind.to_owned(), meta.name.name.clone()),
    }
}

/// In the form of a UUID, from the name alone.
fn uid(name: &ObjectName) -> String {
    let (high, low) = (hash::fnv64(&name.to_string()), hash::fnv64(&format!("{name}!")));
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0x0fff);
    format!("{a:08x}-{b:04x}-4{c:03x}-8{:03x}-{:012x}", low >> 52, low & 0xffff_ffff_ffff)
}

//! Pods, as the workload controllers and the injector would make them: given ones as they are, others
//! named as their controller would name them, and spread over the nodes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use crate::control::hash;
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::workload::{Deployment, PodSpec, PodTemplate};
use crate::control::manifest::{self, Documents, Meta, StatefulSet};

use super::inject::Injector;
use super::objects::Printed;
use super::pods::{Gathered, Known, Pods};
use super::{Given, Host, ObjectName, Phase, Pod, Settings, Template};

/// For how many pods there is room from the start, whatever a manifest asks for.
const ROOM: usize = 100_000;

/// Every pod of the documents, with the address that its manifest gives it or that was given out to it before; and these.
pub(super) fn pods(
    documents: &Documents,
    settings: &Settings,
    given: Option<&Given>,
) -> (Pods, Vec<Option<IpAddr>>) {
    let cluster = Cluster::new(documents, settings, given);
    let plain = documents.deployments.values().map(|(_, body)| body.replicas as usize);
    let derived: usize = plain.sum();
    let mut pods = Gathered::with_capacity(documents.pods.len() + derived.min(ROOM));
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
    pods.sorted()
}

struct Cluster<'a> {
    documents: &'a Documents,
    injector: Injector<'a>,
    owned: Owned<'a>,
    nodes: Arc<[Arc<Host>]>,
    known: Known<'a>,
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
                let key = (&*pod.name.namespace, owner.kind.as_str(), name);
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

/// What the pods of a template have in common, and the nodes that they may run on.
struct Model {
    template: Arc<Template>,
    nodes: Arc<[Arc<Host>]>,
}

impl<'a> Cluster<'a> {
    fn new(documents: &'a Documents, settings: &'a Settings, given: Option<&'a Given>) -> Self {
        let host = |name, ips| Arc::new(Host { name, ips });
        let nodes = documents.nodes.values();
        let mut nodes: Vec<_> =
            nodes.map(|(meta, node)| host(meta.name.name.clone(), node.ips.clone())).collect();
        // Where none are given there is one.
        if nodes.is_empty() {
            nodes.push(host(settings.node_name.as_str().into(), Arc::default()));
        }
        let injector = Injector::new(settings);
        let known = Known::of(given);
        Self { documents, injector, owned: owned(documents), nodes: nodes.into(), known }
    }

    fn given_pod(&self, meta: &Meta, pod: &manifest::Pod) -> Pod {
        let (labels, annotations) = (meta.labels.clone(), meta.annotations.clone());
        let mut template = bare(&pod.spec, labels, annotations, self.owner(meta));
        // What an API server printed went through its webhooks already.
        if meta.uid.is_none() {
            self.admit(&mut template, &meta.name.namespace);
        }
        let mut made = self.model(template, &pod.spec).pod(meta.name.clone(), 0);
        match pod.status.phase.as_deref() {
            None => {}
            Some("Pending") => made.phase = Phase::Pending,
            Some("Succeeded" | "Failed") => made.phase = Phase::Finished,
            Some(_) => made.phase = Phase::Running,
        }
        let mut other_ip = None;
        if let [first, others @ ..] = pod.status.ips.as_slice() {
            (made.ip, made.given_ip) = (Some(*first), true);
            other_ip = others.first().copied();
        }
        if meta.uid.is_some() || other_ip.is_some() {
            made.printed = Some(Arc::new(Printed { uid: meta.uid.clone(), other_ip }));
        }
        self.known.settle(&mut made);
        if !pod.status.host_ips.is_empty() && pod.status.host_ips != made.host.ips {
            Arc::make_mut(&mut made.host).ips = pod.status.host_ips.clone();
        }
        made.terminating = meta.terminating;
        let running = made.phase == Phase::Running && !made.terminating;
        made.ready = running && pod.status.ready.unwrap_or(true);
        made
    }

    fn admit(&self, template: &mut Template, namespace: &str) {
        let annotations = self.documents.namespaces.get(namespace).map(|meta| &*meta.annotations);
        let none = Labels::default();
        self.injector.admit(template, namespace, annotations.unwrap_or(&none));
    }

    /// Pods of the one ReplicaSet that a Deployment would have now.
    fn deployment(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        if self.has_given_pods(meta, body, "ReplicaSet") {
            return Vec::new();
        }
        let set = format!("{}-{}", meta.name.name, body.template_hash);
        let hash = ("pod-template-hash".to_owned(), body.template_hash.clone());
        let owner = ("deployment".to_owned(), meta.name.name.to_string());
        let model = self.derived(&meta.name, &body.template, owner, &[hash]);
        self.generated(&meta.name, &set, &model, body.replicas)
    }

    /// Those of a ReplicaSet whose Deployment is here too are the Deployment's.
    fn replica_set(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        let deployed = meta.owners.iter().any(|owner| {
            owner.kind == "Deployment"
                && self.documents.deployments.contains_key(&meta.name.beside(&owner.name))
        });
        if deployed || self.has_given_pods(meta, body, "ReplicaSet") {
            return Vec::new();
        }
        let model = self.derived(&meta.name, &body.template, controller("replicaset", meta), &[]);
        self.generated(&meta.name, &meta.name.name, &model, body.replicas)
    }

    fn job(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        if self.has_given_pods(meta, body, "Job") {
            return Vec::new();
        }
        let labels = ["batch.kubernetes.io/job-name", "job-name"];
        let labels = labels.map(|key| (key.to_owned(), meta.name.name.to_string()));
        let model = self.derived(&meta.name, &body.template, controller("job", meta), &labels);
        self.generated(&meta.name, &meta.name.name, &model, body.replicas)
    }

    /// One on each node that it may run on.
    fn daemon_set(&self, meta: &Meta, body: &Deployment) -> Vec<Pod> {
        if self.has_given_pods(meta, body, "DaemonSet") {
            return Vec::new();
        }
        let owner = ("daemonset".to_owned(), meta.name.name.to_string());
        let revision = ("controller-revision-hash".to_owned(), body.template_hash.clone());
        let model = self.derived(&meta.name, &body.template, owner, &[revision]);
        self.generated(&meta.name, &meta.name.name, &model, model.nodes.len() as u32)
    }

    /// A StatefulSet's pods keep their names when they are made again.
    fn stateful_set(&self, meta: &Meta, set: &StatefulSet) -> Vec<Pod> {
        if self.has_given_pods(meta, &set.pods, "StatefulSet") {
            return Vec::new();
        }
        let owner = ("statefulset".to_owned(), meta.name.name.to_string());
        let mut model = self.derived(&meta.name, &set.pods.template, owner, &[]);
        let subdomain = Some(set.service_name.clone()).filter(|service| !service.is_empty());
        Arc::make_mut(&mut model.template).subdomain = subdomain;
        let numbered = |replica| {
            let mut pod = numbered_pod(meta, set, &model, replica);
            self.known.settle(&mut pod);
            pod
        };
        (0..set.pods.replicas).map(numbered).collect()
    }

    /// Whether the folder holds a workload's pods themselves, as `kubectl get all` prints them. `owner` is
    /// the kind that a pod names as its own.
    fn has_given_pods(&self, meta: &Meta, body: &Deployment, owner: &str) -> bool {
        let owned = self.owned.get(&(&*meta.name.namespace, owner, &*meta.name.name));
        owned.is_some_and(|pods| pods.iter().any(|pod| body.selector.matches(&pod.labels)))
    }

    /// None or several owners: the pod itself. A ReplicaSet or Job stands for its own single owner
    /// (controlplane 2.5); a Deployment that is not given is known by the ReplicaSet's name.
    fn owner(&self, meta: &Meta) -> (String, String) {
        let [owner] = meta.owners.as_slice() else { return ("pod".into(), meta.name.name.to_string()) };
        let name = meta.name.beside(&owner.name);
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

    /// Of the pods that a controller makes, as they are after admission.
    fn derived(
        &self,
        workload: &ObjectName,
        given: &PodTemplate,
        owner: (String, String),
        labels: &[(String, String)],
    ) -> Model {
        let mut all = given.labels.clone();
        if !labels.is_empty() {
            Arc::make_mut(&mut all).extend(labels.iter().cloned());
        }
        let mut template = bare(&given.spec, all, given.annotations.clone(), owner);
        self.admit(&mut template, &workload.namespace);
        self.model(template, &given.spec)
    }

    /// Pods with generated names that begin with `set`. Names that are known are not made again.
    fn generated(&self, workload: &ObjectName, set: &str, model: &Model, replicas: u32) -> Vec<Pod> {
        // Generated names keep 58 bytes of what they start with.
        let mut name: String = format!("{set}-").chars().take(58).collect();
        let start = name.len();
        let pod = |(suffix, replica): ([char; 5], u32)| {
            name.truncate(start);
            name.extend(suffix);
            let known = self.known.named(&workload.namespace, &name);
            let known_name = known.map(|(name, _)| name.clone());
            let mut pod = model.pod(known_name.unwrap_or_else(|| workload.beside(&name)), replica);
            if !pod.given_ip {
                pod.ip = known.map(|(_, ip)| ip);
            }
            pod
        };
        suffixes(workload, set, replicas).into_iter().map(pod).collect()
    }

    fn model(&self, template: Template, spec: &PodSpec) -> Model {
        Model { template: Arc::new(template), nodes: self.nodes(spec) }
    }

    /// The nodes that a pod may run on, by name.
    fn nodes(&self, spec: &PodSpec) -> Arc<[Arc<Host>]> {
        if let Some(name) = &spec.node_name {
            let known = self.nodes.binary_search_by(|node| (*node.name).cmp(name)).ok();
            let unknown = || Arc::new(Host { name: name.as_str().into(), ips: Arc::default() });
            return [known.and_then(|at| self.nodes.get(at).cloned()).unwrap_or_else(unknown)].into();
        }
        if self.documents.nodes.is_empty() || spec.node_selector.is_empty() {
            return self.nodes.clone();
        }
        let takes =
            |meta: &Meta| spec.node_selector.iter().all(|(key, value)| meta.labels.get(key) == Some(value));
        let nodes = self.nodes.iter().zip(self.documents.nodes.values());
        nodes.filter(|(_, (meta, _))| takes(meta)).map(|(place, _)| place.clone()).collect()
    }
}

impl Model {
    /// One of its own: on a node, if there is one. Without a node that takes it a pod waits.
    fn pod(&self, name: ObjectName, replica: u32) -> Pod {
        let host = self.nodes.get(replica as usize % self.nodes.len().max(1)).cloned().unwrap_or_default();
        let placed = !host.name.is_empty();
        Pod {
            name,
            ip: host.ips.first().copied().filter(|_| self.template.host_network),
            given_ip: self.template.host_network && !host.ips.is_empty(),
            printed: None,
            host,
            ready: placed,
            phase: if placed { Phase::Running } else { Phase::Pending },
            terminating: false,
            template: self.template.clone(),
        }
    }
}

/// Ends of generated names, in order, each with its replica.
fn suffixes(workload: &ObjectName, set: &str, replicas: u32) -> Vec<([char; 5], u32)> {
    let mut seed = format!("{}/{set}/", workload.namespace);
    let seeded = seed.len();
    let suffix = |replica| {
        seed.truncate(seeded);
        let _ = write!(seed, "{replica}");
        let mut letters = ['-'; 5];
        letters.iter_mut().zip(hash::suffix(&seed, 5)).for_each(|(place, letter)| *place = letter);
        (letters, replica)
    };
    let mut all: Vec<_> = (0..replicas).map(suffix).collect();
    // So that the whole list of a cluster is in order without being sorted.
    all.sort_unstable();
    all
}

fn numbered_pod(meta: &Meta, set: &StatefulSet, model: &Model, replica: u32) -> Pod {
    let number = set.start.saturating_add(replica);
    let name = meta.name.beside(&format!("{}-{number}", meta.name.name));
    let own = [
        ("apps.kubernetes.io/pod-index", number.to_string()),
        ("controller-revision-hash", format!("{}-{}", meta.name.name, set.pods.template_hash)),
        ("statefulset.kubernetes.io/pod-name", name.name.to_string()),
    ];
    let mut made = model.pod(name, replica);
    let template = Arc::make_mut(&mut made.template);
    template.hostname = Some(made.name.name.clone());
    Arc::make_mut(&mut template.labels).extend(own.map(|(key, value)| (key.to_owned(), value)));
    made
}

/// What a specification says of any pod.
fn bare(spec: &PodSpec, labels: Arc<Labels>, annotations: Arc<Labels>, owner: (String, String)) -> Template {
    Template {
        labels,
        annotations,
        service_account: spec.service_account.clone(),
        owner,
        subdomain: spec.subdomain.clone(),
        hostname: spec.hostname.as_deref().map(Arc::from),
        host_network: spec.host_network,
        init_containers: spec.init_containers.clone(),
        containers: spec.containers.clone(),
    }
}

/// The single owner of what owns pods, or itself.
fn controller(kind: &str, meta: &Meta) -> (String, String) {
    match meta.owners.as_slice() {
        [owner] => (owner.kind.to_lowercase(), owner.name.clone()),
        _ => (kind.to_owned(), meta.name.name.to_string()),
    }
}

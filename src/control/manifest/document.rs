//! The head that every object has, and which body belongs to which kind.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use super::labelled::Labels;
use super::reader::Reader;
use super::route::{self, RouteKind};
use super::yaml::{Key, Node, Value};
use super::{
    Place, authorization, egress, external, fields, link, names, node, policy, profile, rate_limit, service,
    slice, stateful, workload,
};
use crate::model::service_profile::ServiceProfile;

/// Namespace and name, in the order in which everything is sorted. Copies share the texts: one object is known
/// under its name in many places.
#[derive(Clone, Debug, Eq)]
pub struct ObjectName {
    /// Empty for objects that lie in no namespace.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

thread_local! {
    /// The namespace of the latest name that was made.
    static LATEST: RefCell<Arc<str>> = RefCell::new(Arc::from(""));
}

impl ObjectName {
    /// Objects that are read one after the other mostly lie in one namespace: they share its name.
    pub fn new(namespace: &str, name: &str) -> Self {
        let namespace = LATEST.with_borrow_mut(|latest| {
            if **latest != *namespace {
                *latest = namespace.into();
            }
            latest.clone()
        });
        Self { namespace, name: name.into() }
    }

    /// Another object of the same namespace.
    pub fn beside(&self, name: &str) -> Self {
        Self { namespace: self.namespace.clone(), name: name.into() }
    }
}

/// Texts that are shared are the same without a look at them, which would be in memory far away.
fn compare(a: &Arc<str>, b: &Arc<str>) -> Ordering {
    if Arc::ptr_eq(a, b) { Ordering::Equal } else { a.cmp(b) }
}

impl Ord for ObjectName {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.namespace, &other.namespace).then_with(|| compare(&self.name, &other.name))
    }
}

impl PartialOrd for ObjectName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ObjectName {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Arc<str>, b: &Arc<str>| Arc::ptr_eq(a, b) || a == b;
        same(&self.name, &other.name) && same(&self.namespace, &other.namespace)
    }
}

impl Hash for ObjectName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.name.hash(state);
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What `metadata` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub at: Place,
    pub name: ObjectName,
    pub labels: Arc<Labels>,
    pub annotations: Arc<Labels>,
    /// `None` sorts first.
    pub created: Option<SystemTime>,
    /// It is being deleted, and there until that is done.
    pub terminating: bool,
    pub uid: Option<String>,
    /// The API server's, or a hash of the content, so that it changes when the object does.
    pub resource_version: String,
    pub owners: Vec<Owner>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

/// What is read once is shared by all that is made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub meta: Arc<Meta>,
    pub body: Body,
}

/// An object's head and what its kind says.
pub type Object<T> = (Arc<Meta>, Arc<T>);

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Namespace,
    ServiceAccount,
    Node(Arc<node::Node>),
    Deployment(Arc<workload::Deployment>),
    ReplicaSet(Arc<workload::Deployment>),
    DaemonSet(Arc<workload::Deployment>),
    Job(Arc<workload::Deployment>),
    /// Its Jobs.
    CronJob(Arc<workload::Deployment>),
    StatefulSet(Arc<stateful::StatefulSet>),
    Pod(Arc<workload::Pod>),
    Service(Arc<service::Service>),
    EndpointSlice(Arc<slice::EndpointSlice>),
    /// As slices.
    Endpoints(Arc<Vec<slice::EndpointSlice>>),
    ExternalWorkload(Arc<external::ExternalWorkload>),
    ServiceProfile(Arc<ServiceProfile>),
    Secret(Arc<link::Secret>),
    Server(Arc<policy::Server>),
    AuthorizationPolicy(Arc<policy::AuthorizationPolicy>),
    MeshTlsAuthentication(Arc<policy::MeshTlsAuthentication>),
    NetworkAuthentication(Arc<policy::NetworkAuthentication>),
    ServerAuthorization(Arc<authorization::ServerAuthorization>),
    RateLimitPolicy(Arc<rate_limit::RateLimitPolicy>),
    EgressNetwork(Arc<egress::EgressNetwork>),
    Route(Arc<route::Route>),
    Link(Arc<link::Link>),
}

impl Body {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::Node(_) => "Node",
            Self::Deployment(_) => "Deployment",
            Self::ReplicaSet(_) => "ReplicaSet",
            Self::DaemonSet(_) => "DaemonSet",
            Self::Job(_) => "Job",
            Self::CronJob(_) => "CronJob",
            Self::StatefulSet(_) => "StatefulSet",
            Self::Pod(_) => "Pod",
            Self::Service(_) => "Service",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::Endpoints(_) => "Endpoints",
            Self::ExternalWorkload(_) => "ExternalWorkload",
            Self::ServiceProfile(_) => "ServiceProfile",
            Self::Secret(_) => "Secret",
            Self::Server(_) => "Server",
            Self::AuthorizationPolicy(_) => "AuthorizationPolicy",
            Self::MeshTlsAuthentication(_) => "MeshTLSAuthentication",
            Self::NetworkAuthentication(_) => "NetworkAuthentication",
            Self::ServerAuthorization(_) => "ServerAuthorization",
            Self::RateLimitPolicy(_) => "HTTPLocalRateLimitPolicy",
            Self::EgressNetwork(_) => "EgressNetwork",
            Self::Route(route) => route.kind.name(),
            Self::Link(_) => "Link",
        }
    }
}

/// Group, kind and the versions that are read (controlplane 1.1, 3.1).
const KINDS: [(&str, &str, &[&str]); 29] = [
    ("", "Namespace", &["v1"]),
    ("", "ServiceAccount", &["v1"]),
    ("", "Pod", &["v1"]),
    ("", "Service", &["v1"]),
    ("", "Secret", &["v1"]),
    ("", "Endpoints", &["v1"]),
    ("", "Node", &["v1"]),
    ("apps", "Deployment", &["v1"]),
    ("apps", "ReplicaSet", &["v1"]),
    ("apps", "DaemonSet", &["v1"]),
    ("apps", "StatefulSet", &["v1"]),
    ("batch", "Job", &["v1"]),
    ("batch", "CronJob", &["v1beta1", "v1"]),
    ("discovery.k8s.io", "EndpointSlice", &["v1", "v1beta1"]),
    ("policy.linkerd.io", "Server", &["v1alpha1", "v1beta1", "v1beta2", "v1beta3"]),
    ("policy.linkerd.io", "AuthorizationPolicy", &["v1alpha1"]),
    ("policy.linkerd.io", "MeshTLSAuthentication", &["v1alpha1"]),
    ("policy.linkerd.io", "NetworkAuthentication", &["v1alpha1"]),
    ("policy.linkerd.io", "ServerAuthorization", &["v1alpha1", "v1beta1"]),
    ("policy.linkerd.io", "HTTPLocalRateLimitPolicy", &["v1alpha1"]),
    ("policy.linkerd.io", "HTTPRoute", &["v1alpha1", "v1beta1", "v1beta2", "v1beta3"]),
    ("gateway.networking.k8s.io", "HTTPRoute", &["v1beta1", "v1"]),
    ("gateway.networking.k8s.io", "GRPCRoute", &["v1alpha2", "v1"]),
    ("gateway.networking.k8s.io", "TLSRoute", &["v1alpha2"]),
    ("gateway.networking.k8s.io", "TCPRoute", &["v1alpha2"]),
    ("policy.linkerd.io", "EgressNetwork", &["v1alpha1"]),
    ("workload.linkerd.io", "ExternalWorkload", &["v1alpha1", "v1beta1"]),
    ("linkerd.io", "ServiceProfile", &["v1alpha1", "v1alpha2"]),
    ("multicluster.linkerd.io", "Link", &["v1alpha1", "v1alpha2", "v1alpha3"]),
];

/// Reads one object. `None` with a note for an unknown kind, with problems where too little is left. A
/// document with problems still counts as existing: what refers to it is not wrong too.
pub(super) fn read(reader: &mut Reader, node: &Node, api_version: &str, kind: &str) -> Option<Document> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let Some((_, _, versions)) = KINDS.iter().find(|(g, k, _)| *g == group && *k == kind) else {
        match mistaken(group, kind) {
            Some((group, meant, versions)) => {
                let at = node.get(if meant == kind { "apiVersion" } else { "kind" }).unwrap_or(node);
                let version = versions.last().copied().unwrap_or("v1");
                let expected = format!("kind {meant} of apiVersion {}", join_group(group, version));
                reader.problem(at, format!("there is no {kind:?} of {api_version}"), expected);
            }
            None if group.ends_with("linkerd.io") => {
                let of_group = KINDS.iter().filter(|(g, _, _)| *g == group).map(|(_, kind, _)| *kind);
                let expected = of_group.collect::<Vec<_>>().join(", ");
                reader.problem(
                    node.get("kind").unwrap_or(node),
                    format!("{group} has no {kind:?}"),
                    expected,
                );
            }
            None => reader.note(node, format!("{kind} of {api_version} is not used here")),
        }
        return None;
    };
    if !versions.contains(&version) {
        let at = node.get("apiVersion").unwrap_or(node);
        let expected = versions.iter().map(|v| join_group(group, v)).collect::<Vec<_>>().join(", ");
        reader.problem(at, format!("{kind} has no version {api_version}"), expected);
        return None;
    }
    let meta = read_meta(reader, node, kind);
    let body = read_body(reader, node, (group, kind), version);
    fields::look(reader, node, (group, kind), version);
    Some(Document { meta: Arc::new(meta?), body: body? })
}

/// The kind that was probably meant. Passing over a mistyped policy would let in whom it keeps out; a kind
/// of the same name in some other project's group is that project's own.
fn mistaken(group: &str, kind: &str) -> Option<(&'static str, &'static str, &'static [&'static str])> {
    let meant = KINDS.into_iter().find(|(_, known, _)| known.eq_ignore_ascii_case(kind))?;
    let ours = meant.0.ends_with("linkerd.io") || !group.contains('.');
    ours.then_some(meant)
}

fn join_group(group: &str, version: &str) -> String {
    if group.is_empty() { version.into() } else { format!("{group}/{version}") }
}

fn read_body(reader: &mut Reader, node: &Node, (group, kind): (&str, &str), version: &str) -> Option<Body> {
    Some(match kind {
        "Namespace" => Body::Namespace,
        "ServiceAccount" => Body::ServiceAccount,
        "Node" => Body::Node(Arc::new(node::read(reader, node))),
        "Deployment" => Body::Deployment(Arc::new(workload::read_deployment(reader, node)?)),
        "ReplicaSet" => Body::ReplicaSet(Arc::new(workload::read_deployment(reader, node)?)),
        "DaemonSet" => Body::DaemonSet(Arc::new(workload::read_deployment(reader, node)?)),
        "Job" => Body::Job(Arc::new(workload::read_job(reader, node)?)),
        "CronJob" => Body::CronJob(Arc::new(workload::read_cron_job(reader, node)?)),
        "StatefulSet" => Body::StatefulSet(Arc::new(stateful::read(reader, node)?)),
        "Pod" => Body::Pod(Arc::new(workload::read_pod(reader, node)?)),
        "Service" => Body::Service(Arc::new(service::read_service(reader, node)?)),
        "EndpointSlice" => Body::EndpointSlice(Arc::new(slice::read_slice(reader, node)?)),
        "Endpoints" => Body::Endpoints(Arc::new(slice::read_endpoints(reader, node))),
        "ExternalWorkload" => Body::ExternalWorkload(Arc::new(external::read(reader, node, version)?)),
        "ServiceProfile" => Body::ServiceProfile(Arc::new(profile::read(reader, node)?)),
        "Secret" => Body::Secret(Arc::new(link::read_secret(reader, node)?)),
        "Server" => Body::Server(Arc::new(policy::read_server(reader, node, version)?)),
        "AuthorizationPolicy" => {
            Body::AuthorizationPolicy(Arc::new(policy::read_authorization(reader, node)?))
        }
        "MeshTLSAuthentication" => {
            Body::MeshTlsAuthentication(Arc::new(policy::read_mesh_tls(reader, node)?))
        }
        "NetworkAuthentication" => {
            Body::NetworkAuthentication(Arc::new(policy::read_networks(reader, node)?))
        }
        "ServerAuthorization" => Body::ServerAuthorization(Arc::new(authorization::read(reader, node)?)),
        "HTTPLocalRateLimitPolicy" => Body::RateLimitPolicy(Arc::new(rate_limit::read(reader, node)?)),
        "EgressNetwork" => Body::EgressNetwork(Arc::new(egress::read(reader, node)?)),
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => {
            let kind = RouteKind::of(group, kind);
            Body::Route(Arc::new(route::read(reader, node, kind)?))
        }
        _ => Body::Link(Arc::new(link::read_link(reader, node, version)?)),
    })
}

fn read_meta(reader: &mut Reader, node: &Node, kind: &str) -> Option<Meta> {
    let meta = reader.required_mapping(node, "metadata")?;
    let name = read_name(reader, meta, kind);
    let namespace = read_namespace(reader, meta, kind);
    let labels = Arc::new(read_labels(reader, meta, "labels"));
    let annotations = Arc::new(reader.text_map(meta, "annotations"));
    let created = read_created(reader, meta);
    let uid = reader.text(meta, "uid");
    let version = reader.text(meta, "resourceVersion");
    let owners = read_owners(reader, meta);
    Some(Meta {
        at: reader.place(node),
        name: ObjectName::new(&namespace, &name?),
        labels,
        annotations,
        created,
        terminating: meta.get("deletionTimestamp").is_some(),
        uid,
        resource_version: version.unwrap_or_else(|| crate::control::hash::version(&node.canonical())),
        owners,
    })
}

fn read_name(reader: &mut Reader, meta: &Node, kind: &str) -> Option<String> {
    let name = reader.required_text(meta, "name")?;
    let (good, form) = match kind {
        "Namespace" | "Service" => (names::is_label(&name), names::LABEL_FORM),
        _ => (names::is_subdomain(&name), names::SUBDOMAIN_FORM),
    };
    if !good {
        reader.problem(meta.get("name").unwrap_or(meta), format!("{name:?} is no name for a {kind}"), form);
    }
    Some(name)
}

/// Empty for what lies in none.
fn read_namespace(reader: &mut Reader, meta: &Node, kind: &str) -> String {
    if ["Namespace", "Node"].contains(&kind) {
        return String::new();
    }
    let namespace = reader.text(meta, "namespace").unwrap_or_else(|| "default".into());
    if !names::is_label(&namespace) {
        let at = meta.get("namespace").unwrap_or(meta);
        reader.problem(at, format!("{namespace:?} is no name for a namespace"), names::LABEL_FORM);
    }
    namespace
}

/// As the API server prints it. Who is older has precedence: a time that cannot be read is no detail.
fn read_created(reader: &mut Reader, meta: &Node) -> Option<SystemTime> {
    let text = reader.text(meta, "creationTimestamp")?;
    let created = humantime::parse_rfc3339(&text).ok();
    if created.is_none() {
        let at = meta.get("creationTimestamp").unwrap_or(meta);
        let expected = "a time in UTC such as 2026-01-31T23:59:59Z";
        reader.problem(at, format!("`creationTimestamp` is {text:?}"), expected);
    }
    created
}

/// Labels, with the form of keys and values checked.
pub(super) fn read_labels(reader: &mut Reader, parent: &Node, key: &str) -> Labels {
    let labels = reader.text_map(parent, key);
    let entries = match parent.get(key).map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    for (Key { text: name, .. }, at) in entries {
        let Some(value) = labels.get(name) else { continue };
        if !names::is_qualified_key(name) {
            reader.problem(at, format!("{name:?} is no key for a label"), names::KEY_FORM);
        }
        if !names::is_label_value(value) {
            reader.problem(at, format!("{value:?} is no value for the label {name}"), names::VALUE_FORM);
        }
    }
    labels
}

fn read_owners(reader: &mut Reader, meta: &Node) -> Vec<Owner> {
    let mut owners = Vec::new();
    for owner in reader.mappings(meta, "ownerReferences") {
        let (kind, name) = (reader.required_text(owner, "kind"), reader.required_text(owner, "name"));
        if let (Some(kind), Some(name)) = (kind, name) {
            owners.push(Owner { kind, name });
        }
    }
    owners
}

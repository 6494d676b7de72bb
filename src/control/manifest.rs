//! YAML to typed documents: what each manifest says, and everything that is wrong with it.
//!
//! Fields that are not used are ignored, as Kubernetes ignores them, but in label selectors, which would
//! select more without them; kinds that are not used are noted. What `kubectl get -o yaml` prints is valid input, `kind: List` included.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::control::ordered::Ordered;
use crate::model::service_profile::ServiceProfile;
use reader::Reader;
use yaml::{Node, Value};

mod annotations;
pub mod authorization;
mod base64;
mod document;
pub mod egress;
pub mod external;
mod fields;
mod filter;
pub mod gateway;
mod kubeconfig;
pub mod labelled;
mod labels;
pub mod link;
pub mod names;
pub mod node;
mod order;
pub mod policy;
mod profile;
pub mod rate_limit;
mod reader;
pub(in crate::control) mod references;
pub mod route;
pub mod selector;
pub mod service;
pub mod slice;
pub mod stateful;
pub(in crate::control) mod status;
pub mod workload;
mod yaml;

pub use annotations::Annotated;
pub use authorization::ServerAuthorization;
pub use document::{Body, Document, Meta, Object, ObjectName, Owner};
pub use egress::{EgressNetwork, TrafficPolicy};
pub use external::ExternalWorkload;
pub use gateway::{Gateway, GatewayAddress, GatewayProbe};
pub use kubeconfig::{folder_of, url_of};
pub use link::{Exclusions, Link, Secret};
pub use policy::{AuthorizationPolicy, MeshTlsAuthentication, NetworkAuthentication, Server};
pub use rate_limit::RateLimitPolicy;
pub use route::{Route, RouteKind};
pub use selector::Selector;
pub use service::Service;
pub use slice::EndpointSlice;
pub use stateful::StatefulSet;
pub use workload::{Deployment, Pod, PodTemplate};

/// Where something stands in a file; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<Path>,
    pub line: u32,
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A mistake that keeps a folder from taking effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub at: Place,
    pub message: String,
    /// The form that would have been right.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, message, expected } = self;
        write!(f, "{at}: {}; expected {}", printable(message), printable(expected))
    }
}

/// Something worth telling that hinders nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub at: Place,
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, printable(&self.message))
    }
}

/// Text from a manifest, fit for a terminal and a log line.
pub(super) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// What one file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
    pub notes: Vec<Note>,
    pub unknown: Vec<Problem>,
}

/// Reads one file's text; `file` is used in places only.
pub fn parse(file: &Arc<Path>, text: &str) -> Parsed {
    let mut reader = Reader::new(file.clone());
    let mut documents = Vec::new();
    for parsed in yaml::documents(text) {
        match parsed {
            Ok(node) => read_object(&mut reader, &node, &mut documents),
            Err(broken) => reader.problems.push(Problem {
                at: Place { file: file.clone(), line: broken.line, column: broken.column },
                message: format!("this is not YAML: {}", broken.message),
                expected: "a well-formed YAML document".into(),
            }),
        }
    }
    let Reader { problems, notes, unknown, .. } = reader;
    Parsed { documents, problems, notes, unknown }
}

/// One object, or the items of a list of them.
fn read_object(reader: &mut Reader, node: &Node, documents: &mut Vec<Document>) {
    if !matches!(node.value, Value::Map(_)) {
        reader.problem(
            node,
            format!("this document is {}", node.sort()),
            "a mapping with apiVersion and kind",
        );
        return;
    }
    let (version, kind) = (reader.required_text(node, "apiVersion"), reader.required_text(node, "kind"));
    let (Some(version), Some(kind)) = (version, kind) else { return };
    if kind.ends_with("List") && node.get("metadata").is_none_or(|meta| meta.get("name").is_none()) {
        for item in reader.list(node, "items") {
            read_item(reader, item, kind.strip_suffix("List").unwrap_or_default(), &version, documents);
        }
        return;
    }
    documents.extend(document::read(reader, node, &version, &kind));
}

/// An item of a typed list may leave out its own apiVersion and kind.
fn read_item(reader: &mut Reader, item: &Node, kind: &str, version: &str, documents: &mut Vec<Document>) {
    if kind.is_empty() || item.get("kind").is_some() {
        read_object(reader, item, documents);
    } else if reader.is_mapping(item, "items") {
        documents.extend(document::read(reader, item, version, kind));
    }
}

/// All documents of one cluster, by kind, namespace and name: independent of files and their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// Objects that only exist: their own metadata is all there is to them.
    pub namespaces: Ordered<String, Arc<Meta>>,
    pub service_accounts: Ordered<ObjectName, Arc<Meta>>,
    pub nodes: Ordered<String, Object<node::Node>>,
    pub deployments: Ordered<ObjectName, Object<Deployment>>,
    pub replica_sets: Ordered<ObjectName, Object<Deployment>>,
    pub daemon_sets: Ordered<ObjectName, Object<Deployment>>,
    pub jobs: Ordered<ObjectName, Object<Deployment>>,
    /// Nothing runs by them; policy may be meant for what will.
    pub cron_jobs: Ordered<ObjectName, Object<Deployment>>,
    pub stateful_sets: Ordered<ObjectName, Object<StatefulSet>>,
    pub pods: Ordered<ObjectName, Object<Pod>>,
    pub services: Ordered<ObjectName, Object<Service>>,
    pub endpoint_slices: Ordered<ObjectName, Object<EndpointSlice>>,
    /// As slices, one for each subset.
    pub endpoints: Ordered<ObjectName, Object<Vec<EndpointSlice>>>,
    pub external_workloads: Ordered<ObjectName, Object<ExternalWorkload>>,
    pub service_profiles: Ordered<ObjectName, Object<ServiceProfile>>,
    pub secrets: Ordered<ObjectName, Object<Secret>>,
    pub servers: Ordered<ObjectName, Object<Server>>,
    pub authorization_policies: Ordered<ObjectName, Object<AuthorizationPolicy>>,
    pub mesh_tls_authentications: Ordered<ObjectName, Object<MeshTlsAuthentication>>,
    pub network_authentications: Ordered<ObjectName, Object<NetworkAuthentication>>,
    pub server_authorizations: Ordered<ObjectName, Object<ServerAuthorization>>,
    pub rate_limits: Ordered<ObjectName, Object<RateLimitPolicy>>,
    pub routes: Ordered<(ObjectName, RouteKind), Object<Route>>,
    pub egress_networks: Ordered<ObjectName, Object<EgressNetwork>>,
    pub links: Ordered<ObjectName, Object<Link>>,
}

/// The documents of a folder with everything found on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assembled {
    pub documents: Documents,
    pub problems: Vec<Problem>,
    pub notes: Vec<Note>,
    /// Fields of policy and Links that there are not. They hinder nothing, and may have been meant to.
    pub unknown: Vec<Problem>,
}

/// Puts the files of one folder together and checks what they say of each other. Links count in
/// `mirror_namespace` only.
pub fn assemble<'p>(files: impl IntoIterator<Item = &'p Parsed>, mirror_namespace: &str) -> Assembled {
    let mut all = Assembled::default();
    let files: Vec<&Parsed> = files.into_iter().collect();
    let mut documents = Vec::with_capacity(files.iter().map(|parsed| parsed.documents.len()).sum());
    for parsed in files {
        all.problems.extend(parsed.problems.iter().cloned());
        all.notes.extend(parsed.notes.iter().cloned());
        all.unknown.extend(parsed.unknown.iter().cloned());
        documents.extend(&parsed.documents);
    }
    order::sort(&mut documents);
    for document in documents {
        all.problems.extend(all.documents.insert(document));
    }
    references::check(&all.documents, mirror_namespace, &mut all.problems, &mut all.notes);
    all.problems.sort();
    all.notes.sort();
    all.unknown.sort();
    all
}

impl Documents {
    /// Everything that makes pods of a template.
    pub fn workloads(&self) -> impl Iterator<Item = (&Arc<Meta>, &PodTemplate)> {
        let plain = [&self.deployments, &self.replica_sets, &self.daemon_sets, &self.jobs];
        let plain = plain.into_iter().flat_map(Ordered::values).map(|(meta, body)| (meta, &body.template));
        plain.chain(self.stateful_sets.values().map(|(meta, body)| (meta, &body.pods.template)))
    }

    /// Their names.
    pub(in crate::control) fn workload_names(&self) -> impl Iterator<Item = &ObjectName> {
        let plain = [&self.deployments, &self.replica_sets, &self.daemon_sets, &self.jobs];
        plain.into_iter().flat_map(Ordered::keys).chain(self.stateful_sets.keys())
    }

    /// Takes a document in; the second of one kind and name is a problem at its own place.
    fn insert(&mut self, document: &Document) -> Option<Problem> {
        let meta = &document.meta;
        let other = match &document.body {
            Body::Namespace => earlier(self.namespaces.insert(meta.name.name.to_string(), meta.clone())),
            Body::ServiceAccount => earlier(self.service_accounts.insert(meta.name.clone(), meta.clone())),
            Body::Node(body) => {
                let object = (meta.clone(), body.clone());
                earlier(self.nodes.insert(meta.name.name.to_string(), object).map(|(meta, _)| meta))
            }
            Body::Deployment(body) => take(&mut self.deployments, meta, body),
            Body::ReplicaSet(body) => take(&mut self.replica_sets, meta, body),
            Body::DaemonSet(body) => take(&mut self.daemon_sets, meta, body),
            Body::Job(body) => take(&mut self.jobs, meta, body),
            Body::CronJob(body) => take(&mut self.cron_jobs, meta, body),
            Body::StatefulSet(body) => take(&mut self.stateful_sets, meta, body),
            Body::Pod(body) => take(&mut self.pods, meta, body),
            Body::Service(body) => take(&mut self.services, meta, body),
            Body::EndpointSlice(body) => take(&mut self.endpoint_slices, meta, body),
            Body::Endpoints(body) => take(&mut self.endpoints, meta, body),
            Body::ExternalWorkload(body) => take(&mut self.external_workloads, meta, body),
            Body::ServiceProfile(body) => take(&mut self.service_profiles, meta, body),
            Body::Secret(body) => take(&mut self.secrets, meta, body),
            Body::Server(body) => take(&mut self.servers, meta, body),
            Body::AuthorizationPolicy(body) => take(&mut self.authorization_policies, meta, body),
            Body::MeshTlsAuthentication(body) => take(&mut self.mesh_tls_authentications, meta, body),
            Body::NetworkAuthentication(body) => take(&mut self.network_authentications, meta, body),
            Body::ServerAuthorization(body) => take(&mut self.server_authorizations, meta, body),
            Body::RateLimitPolicy(body) => take(&mut self.rate_limits, meta, body),
            Body::Route(body) => {
                let (name, object) = ((meta.name.clone(), body.kind), (meta.clone(), body.clone()));
                earlier(self.routes.insert(name, object).map(|(meta, _)| meta))
            }
            Body::EgressNetwork(body) => take(&mut self.egress_networks, meta, body),
            Body::Link(body) => take(&mut self.links, meta, body),
        };
        let (here, there) = (document.meta.at.clone(), other?);
        let (at, first) = if here < there { (there, here) } else { (here, there) };
        let (kind, name) = (document.body.kind(), &document.meta.name);
        Some(Problem {
            at,
            message: format!("{kind} {name} is given twice; also at {first}"),
            expected: "one document for each object".into(),
        })
    }
}

/// Shares the object; tells where the one stood that had the name before.
fn take<T>(objects: &mut Ordered<ObjectName, Object<T>>, meta: &Arc<Meta>, body: &Arc<T>) -> Option<Place> {
    earlier(objects.insert(meta.name.clone(), (meta.clone(), body.clone())).map(|(meta, _)| meta))
}

fn earlier(replaced: Option<Arc<Meta>>) -> Option<Place> {
    replaced.map(|meta| meta.at.clone())
}

#[cfg(test)]
mod tests;

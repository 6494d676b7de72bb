//! YAML to typed documents: what each manifest says, and everything that is wrong with it.
//!
//! Fields that are not used are ignored, as Kubernetes ignores them; kinds that are not used are
//! noted. What `kubectl get -o yaml` prints is valid input, `kind: List` included.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::model::service_profile::ServiceProfile;
use reader::Reader;
use yaml::{Node, Value};

mod base64;
mod document;
pub mod external;
pub mod gateway;
mod kubeconfig;
pub mod link;
pub mod names;
pub mod node;
pub mod policy;
mod profile;
mod reader;
pub(in crate::control) mod references;
pub mod selector;
pub mod service;
pub mod slice;
pub mod stateful;
pub mod workload;
mod yaml;

pub use document::{Body, Document, Meta, ObjectName, Owner};
pub use external::ExternalWorkload;
pub use gateway::{Gateway, GatewayAddress, GatewayProbe};
pub use kubeconfig::{folder_of, url_of};
pub use link::{Link, Secret};
pub use policy::{AuthorizationPolicy, MeshTlsAuthentication, NetworkAuthentication, Server};
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
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// What one file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
    pub notes: Vec<Note>,
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
    Parsed { documents, problems: reader.problems, notes: reader.notes }
}

/// One object, or the items of a list of them.
fn read_object(reader: &mut Reader, node: &Node, documents: &mut Vec<Document>) {
    if !matches!(node.value, Value::Map(_)) {
        reader.problem(
            node,
            format!("this document is {}", node.what()),
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
    pub namespaces: BTreeMap<String, Document>,
    pub service_accounts: BTreeMap<ObjectName, Document>,
    pub nodes: BTreeMap<String, (Meta, node::Node)>,
    pub deployments: BTreeMap<ObjectName, (Meta, Deployment)>,
    pub replica_sets: BTreeMap<ObjectName, (Meta, Deployment)>,
    pub daemon_sets: BTreeMap<ObjectName, (Meta, Deployment)>,
    pub jobs: BTreeMap<ObjectName, (Meta, Deployment)>,
    pub stateful_sets: BTreeMap<ObjectName, (Meta, StatefulSet)>,
    pub pods: BTreeMap<ObjectName, (Meta, Pod)>,
    pub services: BTreeMap<ObjectName, (Meta, Service)>,
    pub endpoint_slices: BTreeMap<ObjectName, (Meta, EndpointSlice)>,
    /// As slices, one for each subset.
    pub endpoints: BTreeMap<ObjectName, (Meta, Vec<EndpointSlice>)>,
    pub external_workloads: BTreeMap<ObjectName, (Meta, ExternalWorkload)>,
    pub service_profiles: BTreeMap<ObjectName, (Meta, ServiceProfile)>,
    pub secrets: BTreeMap<ObjectName, (Meta, Secret)>,
    pub servers: BTreeMap<ObjectName, (Meta, Server)>,
    pub authorization_policies: BTreeMap<ObjectName, (Meta, AuthorizationPolicy)>,
    pub mesh_tls_authentications: BTreeMap<ObjectName, (Meta, MeshTlsAuthentication)>,
    pub network_authentications: BTreeMap<ObjectName, (Meta, NetworkAuthentication)>,
    pub links: BTreeMap<ObjectName, (Meta, Link)>,
}

/// The documents of a folder with everything found on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assembled {
    pub documents: Documents,
    pub problems: Vec<Problem>,
    pub notes: Vec<Note>,
}

/// Puts the files of one folder together and checks what they say of each other. Links count in
/// `mirror_namespace` only.
pub fn assemble<'p>(files: impl IntoIterator<Item = &'p Parsed>, mirror_namespace: &str) -> Assembled {
    let mut all = Assembled::default();
    for parsed in files {
        all.problems.extend(parsed.problems.iter().cloned());
        all.notes.extend(parsed.notes.iter().cloned());
        for document in &parsed.documents {
            if let Some(twice) = all.documents.insert(document) {
                all.problems.push(twice);
            }
        }
    }
    references::check(&all.documents, mirror_namespace, &mut all.problems, &mut all.notes);
    all.problems.sort();
    all.notes.sort();
    all
}

impl Documents {
    /// Everything that makes pods of a template.
    pub fn workloads(&self) -> impl Iterator<Item = (&Meta, &PodTemplate)> {
        let plain = [&self.deployments, &self.replica_sets, &self.daemon_sets, &self.jobs];
        let plain = plain.into_iter().flat_map(BTreeMap::values).map(|(meta, body)| (meta, &body.template));
        plain.chain(self.stateful_sets.values().map(|(meta, body)| (meta, &body.pods.template)))
    }

    /// Takes a document in; the second of one kind and name is a problem at its own place.
    fn insert(&mut self, document: &Document) -> Option<Problem> {
        let meta = document.meta.clone();
        let name = meta.name.clone();
        let other = match &document.body {
            Body::Namespace => earlier(self.namespaces.insert(name.name, document.clone())),
            Body::ServiceAccount => earlier(self.service_accounts.insert(name, document.clone())),
            Body::Node(body) => place(self.nodes.insert(name.name, (meta, body.clone()))),
            Body::Deployment(body) => place(self.deployments.insert(name, (meta, (**body).clone()))),
            Body::ReplicaSet(body) => place(self.replica_sets.insert(name, (meta, (**body).clone()))),
            Body::DaemonSet(body) => place(self.daemon_sets.insert(name, (meta, (**body).clone()))),
            Body::Job(body) => place(self.jobs.insert(name, (meta, (**body).clone()))),
            Body::StatefulSet(body) => place(self.stateful_sets.insert(name, (meta, (**body).clone()))),
            Body::Pod(body) => place(self.pods.insert(name, (meta, (**body).clone()))),
            Body::Service(body) => place(self.services.insert(name, (meta, body.clone()))),
            Body::EndpointSlice(body) => place(self.endpoint_slices.insert(name, (meta, body.clone()))),
            Body::Endpoints(body) => place(self.endpoints.insert(name, (meta, body.clone()))),
            Body::ExternalWorkload(body) => {
                place(self.external_workloads.insert(name, (meta, (**body).clone())))
            }
            Body::ServiceProfile(body) => place(self.service_profiles.insert(name, (meta, (**body).clone()))),
            Body::Secret(body) => place(self.secrets.insert(name, (meta, body.clone()))),
            Body::Server(body) => place(self.servers.insert(name, (meta, body.clone()))),
            Body::AuthorizationPolicy(body) => {
                place(self.authorization_policies.insert(name, (meta, body.clone())))
            }
            Body::MeshTlsAuthentication(body) => {
                place(self.mesh_tls_authentications.insert(name, (meta, body.clone())))
            }
            Body::NetworkAuthentication(body) => {
                place(self.network_authentications.insert(name, (meta, body.clone())))
            }
            Body::Link(body) => place(self.links.insert(name, (meta, (**body).clone()))),
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

fn earlier(replaced: Option<Document>) -> Option<Place> {
    replaced.map(|document| document.meta.at)
}

fn place<T>(replaced: Option<(Meta, T)>) -> Option<Place> {
    replaced.map(|(meta, _)| meta.at)
}

#[cfg(test)]
mod tests;

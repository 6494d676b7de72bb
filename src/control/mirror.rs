//! What a service-mirror controller would write: Services, Endpoints and namespaces for what linked
//! clusters export.
//!
//! A pure function of this cluster's documents, its Links, the other clusters' documents and what is known of
//! their gateways. So
//! nothing is left behind: without its Link, its label or its target a mirror is gone, and so is a
//! member of a federated Service (the controller leaves both, controlplane 1.11, 8.10). Nothing that
//! was mirrored is exported again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::index::{
    Definition, EndpointsInOrder, ObjectName, Service, ServiceEndpoint, Settings, World, inject,
};
use super::manifest::service::{ServiceKind, ServicePort};
use super::manifest::slice::SlicePort;
use super::manifest::{self, Documents, Gateway, Link, Meta, Note, names};
use super::ordered::Ordered;

mod copied;
mod export;
mod federated;
mod gateway;
mod headless;
mod metadata;
pub(in crate::control) mod mode;
pub mod print;

pub use copied::{Metadata, Texts};
use copied::{Origin, Source};
use federated::Member;
pub use gateway::Gateways;
pub use metadata::MIRRORED;
pub(in crate::control) use metadata::PARENT;

/// What is to be added to a cluster, and why other things are not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirrored {
    pub services: Ordered<ObjectName, Service>,
    /// What the webhook makes of those that it changes.
    pub(in crate::control) admitted: Ordered<ObjectName, Arc<Definition>>,
    /// By the name of their Service.
    pub endpoints: Ordered<ObjectName, Arc<Endpoints>>,
    /// Namespaces that are made, with the cluster whose Services need them first.
    pub namespaces: BTreeMap<String, String>,
    pub notes: Vec<Note>,
}

/// A Service's addresses, as a controller writes them by hand: no pod is behind any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub metadata: Metadata,
    pub subsets: Vec<Subset>,
}

/// Addresses that share their ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    pub addresses: Arc<[Address]>,
    /// Those of a gateway that is believed dead.
    pub not_ready: Arc<[Address]>,
    ports: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ports {
    Listed(Vec<SlicePort>),
    /// Every port of a Service, at this one of a gateway.
    At(u16, Arc<Vec<ServicePort>>),
}

impl Subset {
    pub fn ports(&self) -> Vec<SlicePort> {
        match &self.ports {
            Ports::Listed(ports) => ports.clone(),
            Ports::At(number, ports) => ports.iter().map(|port| port.at(*number)).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub hostname: Option<Arc<str>>,
    pub at: AddressOf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressOf {
    Ip(IpAddr),
    /// The cluster IP that this Service is given.
    Service(ObjectName),
}

/// A cluster that a Link leads to.
#[derive(Clone, Copy)]
pub(in crate::control) struct Target<'a> {
    pub(in crate::control) documents: &'a Documents,
    pub(in crate::control) world: &'a World,
}

/// By the URL that credentials Secrets spell.
pub(in crate::control) type Targets<'a> = BTreeMap<&'a str, Target<'a>>;

/// Works out every mirror, for every Link of the mirror namespace whose credentials lead to a known
/// cluster, the oldest Link first.
pub(in crate::control) fn derive(
    documents: &Documents,
    targets: &Targets<'_>,
    gateways: &Gateways,
    settings: &Settings,
) -> Mirrored {
    let mut cluster = Cluster {
        documents,
        gateways,
        settings,
        namespaces: super::index::namespaces(documents, settings),
        taken: documents.services.keys().map(|name| (name.clone(), "given by hand")).collect(),
        services: Vec::new(),
        admitted: Vec::new(),
        endpoints: Vec::new(),
        members: Vec::new(),
        mirrored: Mirrored::default(),
    };
    let links = usable_links(documents, targets, settings, &mut cluster.mirrored.notes);
    federated::own_members(&mut cluster);
    for (meta, link, target) in links {
        export::mirrors(&mut cluster, meta, link, target);
    }
    federated::unions(&mut cluster);
    let mut mirrored = cluster.mirrored;
    mirrored.services = cluster.services.into_iter().collect();
    mirrored.admitted = cluster.admitted.into_iter().collect();
    mirrored.endpoints = cluster.endpoints.into_iter().collect();
    mirrored.notes.sort();
    mirrored.notes.dedup();
    mirrored
}

/// A Link's gateway, for whoever finds out what no Link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedGateway {
    pub target_cluster: String,
    /// `None`: the Link has none.
    pub gateway: Option<Gateway>,
}

/// Of every Link of the mirror namespace, whether or not its cluster can be read.
pub(in crate::control) fn linked_gateways(
    documents: &Documents,
    settings: &Settings,
) -> BTreeMap<ObjectName, LinkedGateway> {
    let gateways = documents.links_in(&settings.mirror_namespace).map(|(meta, link)| {
        let (target_cluster, gateway) = (link.target_cluster_name.clone(), link.gateway.clone());
        (meta.name.clone(), LinkedGateway { target_cluster, gateway })
    });
    gateways.collect()
}

type UsableLink<'a> = (&'a Meta, &'a Arc<Link>, Target<'a>);

/// Oldest first; of one age, by name.
fn usable_links<'a>(
    documents: &'a Documents,
    targets: &Targets<'a>,
    settings: &Settings,
    notes: &mut Vec<Note>,
) -> Vec<UsableLink<'a>> {
    let mut links = Vec::new();
    for (meta, link) in documents.links.values() {
        if *meta.name.namespace != *settings.mirror_namespace {
            let message = format!("a Link outside {} does nothing", settings.mirror_namespace);
            notes.push(Note { at: meta.at.clone(), message });
            continue;
        }
        let remote = documents.remote(&meta.name, link);
        let target = remote.and_then(|remote| targets.get(remote.value.as_str()));
        links.extend(target.map(|target| (&**meta, link, *target)));
    }
    links.sort_by_key(|(meta, _, _)| (&meta.created, &meta.name));
    links
}

/// The cluster that mirrors are made in, and those made so far.
struct Cluster<'a> {
    documents: &'a Documents,
    gateways: &'a Gateways,
    settings: &'a Settings,
    namespaces: BTreeSet<String>,
    /// Names of Services, and why each is not free.
    taken: HashMap<ObjectName, &'static str>,
    /// Those made, each name once; put in order when all are there.
    services: Vec<(ObjectName, Service)>,
    admitted: Vec<(ObjectName, Arc<Definition>)>,
    endpoints: Vec<(ObjectName, Arc<Endpoints>)>,
    /// Those of federated Services, in the order in which they count.
    members: Vec<Member<'a>>,
    mirrored: Mirrored,
}

impl Cluster<'_> {
    /// Whether the namespace is there, or made now for `target` (controlplane 1.7).
    fn has_namespace(&mut self, namespace: &str, target: &str) -> bool {
        if self.namespaces.contains(namespace) {
            return true;
        }
        if self.settings.enable_namespace_creation {
            self.namespaces.insert(namespace.to_owned());
            self.mirrored.namespaces.insert(namespace.to_owned(), target.to_owned());
        }
        self.settings.enable_namespace_creation
    }

    /// Adds a Service unless its name is not free; then says why.
    fn add(&mut self, name: &ObjectName, service: Definition) -> Result<(), String> {
        if name.name.len() > 63 {
            return Err(format!("{name} is too long for a Service"));
        }
        // Beside what a label is, it begins with a letter: hosts need not.
        if !names::is_label(&name.name) || !name.name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(format!("{name} is no name for a Service"));
        }
        match self.taken.entry(name.clone()) {
            Entry::Occupied(taken) => Err(format!("{name} is {}", taken.get())),
            Entry::Vacant(free) => {
                free.insert("another one's mirror");
                let written = Arc::new(service);
                let mut admitted = written.clone();
                inject::admit_service(&mut admitted, name, self.documents, self.settings);
                if !Arc::ptr_eq(&written, &admitted) {
                    self.admitted.push((name.clone(), admitted));
                }
                let service = Service::new(name.clone(), [None; 2], written);
                self.services.push((name.clone(), service));
                Ok(())
            }
        }
    }
}

/// A Service of this cluster with another one's ports and nothing else of it (controlplane 1.5).
fn mirror_service(target: &manifest::Service) -> Definition {
    Definition {
        metadata: Metadata::default(),
        families: Vec::new(),
        headless: false,
        ports: copied_ports(&target.ports),
        external_name: None,
        selector: Arc::default(),
        local_traffic_only: false,
        publish_not_ready: false,
        same_zone: false,
        mirrored: true,
    }
}

fn copied_ports(ports: &Arc<Vec<ServicePort>>) -> Arc<Vec<ServicePort>> {
    if ports.iter().all(|port| port.app_protocol.is_none()) {
        return ports.clone();
    }
    Arc::new(ports.iter().map(|port| ServicePort { app_protocol: None, ..port.clone() }).collect())
}

#[cfg(test)]
mod tests;

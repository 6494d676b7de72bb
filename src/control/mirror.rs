//! What a service-mirror controller would write: Services for those that linked clusters export.
//!
//! A pure function of this cluster's documents, its Links and the other clusters' Services. It
//! mirrors for remote discovery; gateway mode and federated Services are noted and left out. Unlike
//! the controller it leaves nothing behind: without its Link a mirror is gone (controlplane 1.11).

use std::collections::{BTreeMap, BTreeSet};

use super::index::{LinkedClusters, ObjectName, Service, Settings};
use super::manifest::service::{ServiceKind, ServicePort};
use super::manifest::workload::PortRef;
use super::manifest::{self, Documents, Link, Meta, Note};

mod metadata;

/// The Services to add, and why others are not among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirrored {
    pub services: BTreeMap<ObjectName, Service>,
    pub notes: Vec<Note>,
}

/// Mirrors for every Link of the mirror namespace whose credentials lead to a known cluster.
pub fn services(documents: &Documents, linked: &LinkedClusters, settings: &Settings) -> Mirrored {
    let mut mirrored = Mirrored::default();
    let namespaces = super::index::namespaces(documents, settings);
    for (meta, link) in documents.links.values() {
        if meta.name.namespace != settings.mirror_namespace {
            let message = format!("a Link outside {} does nothing", settings.mirror_namespace);
            mirrored.notes.push(Note { at: meta.at.clone(), message });
            continue;
        }
        let secret = ObjectName::new(&meta.name.namespace, &link.credentials_secret.value);
        let remote = documents.secrets.get(&secret).and_then(|(_, secret)| secret.remote.as_ref());
        let Some(cluster) = remote.and_then(|remote| linked.get(&remote.value)) else { continue };
        let mut work = OneLink { meta, link, namespaces: &namespaces, documents, mirrored: &mut mirrored };
        for (target_meta, target) in cluster.documents.services.values() {
            work.consider(target_meta, target);
        }
    }
    mirrored.notes.sort();
    mirrored
}

struct OneLink<'a> {
    meta: &'a Meta,
    link: &'a Link,
    namespaces: &'a BTreeSet<String>,
    documents: &'a Documents,
    mirrored: &'a mut Mirrored,
}

impl OneLink<'_> {
    /// Looks at each selector independently (controlplane 1.4).
    fn consider(&mut self, target_meta: &Meta, target: &manifest::Service) {
        let selected =
            |selector: &manifest::Selector| !selector.is_empty() && selector.matches(&target_meta.labels);
        let target_name = &target_meta.name;
        if selected(&self.link.federated_selector) {
            self.note(format!("{target_name} is exported for federation, which is not done yet"));
        }
        if !selected(&self.link.remote_discovery_selector) {
            if selected(&self.link.selector) {
                self.note(format!("{target_name} is exported through a gateway, which is not done yet"));
            }
            return;
        }
        if !self.namespaces.contains(&target_name.namespace) {
            self.note(format!("{target_name} is not mirrored: MissingNamespace"));
            return;
        }
        if let ServiceKind::ExternalName(_) = target.kind {
            self.note(format!("{target_name} is not mirrored: it is an ExternalName"));
            return;
        }
        let mirror = mirror(self.link, target_meta, target);
        if self.documents.services.contains_key(&mirror.name) {
            self.note(format!("{target_name} is not mirrored: {} is given by hand", mirror.name));
            return;
        }
        self.mirrored.services.insert(mirror.name.clone(), mirror);
    }

    fn note(&mut self, message: String) {
        let message = format!("Link {}: {message}", self.link.target_cluster_name);
        self.mirrored.notes.push(Note { at: self.meta.at.clone(), message });
    }
}

/// One remote-discovery mirror (controlplane 1.5): a Service of this cluster without endpoints of
/// its own, whose labels say whom to ask instead.
fn mirror(link: &Link, target_meta: &Meta, target: &manifest::Service) -> Service {
    let ObjectName { namespace, name } = &target_meta.name;
    let ports = target.ports.iter().map(|port| ServicePort {
        app_protocol: None,
        target: match &port.target {
            PortRef::Number(number) => PortRef::Number(*number),
            PortRef::Name(name) => PortRef::Name(name.clone()),
        },
        ..port.clone()
    });
    Service {
        name: ObjectName::new(namespace, &format!("{name}-{}", link.target_cluster_name)),
        labels: metadata::labels(link, target_meta),
        annotations: metadata::annotations(link, target_meta),
        cluster_ip: None,
        ports: ports.collect(),
        external_name: None,
        selector: BTreeMap::new(),
        local_traffic_only: false,
        mirrored: true,
    }
}

#[cfg(test)]
mod tests;

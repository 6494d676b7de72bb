//! Federated Services: one Service for all of a name and namespace, wherever they run (controlplane 1.8).

use std::collections::HashMap;
use std::sync::Arc;

use super::metadata::{self, Exclusions};
use super::{Cluster, Documents, Link, Meta, Note, ObjectName, ServiceKind, manifest, mirror_service};
use crate::control::index::{LOCAL_DISCOVERY, REMOTE_DISCOVERY};

/// One of the Services that are joined.
pub(super) struct Member<'a> {
    /// `None` for this cluster's own.
    cluster: Option<&'a str>,
    /// Of that cluster.
    documents: &'a Documents,
    meta: &'a Meta,
    service: &'a manifest::Service,
    exclusions: Exclusions<'a>,
    /// The Link, or the Service itself.
    place: &'a Meta,
}

impl<'a> Member<'a> {
    /// Of the Link's target.
    pub(super) fn linked(
        place: &'a Meta,
        link: &'a Link,
        documents: &'a Documents,
        (meta, service): (&'a Meta, &'a manifest::Service),
    ) -> Self {
        let cluster = Some(link.target_cluster_name.as_str());
        Self { cluster, documents, meta, service, exclusions: Exclusions::of(link), place }
    }
}

/// Members of each union, in the order in which the first ones came.
#[derive(Default)]
struct Unions<'a> {
    members: Vec<Vec<Member<'a>>>,
    /// By the name that all members of a union have.
    places: HashMap<&'a ObjectName, usize>,
}

impl<'a> Unions<'a> {
    fn of(&mut self, name: &'a ObjectName) -> &mut Vec<Member<'a>> {
        let place = *self.places.entry(name).or_insert(self.members.len());
        if place == self.members.len() {
            self.members.push(Vec::new());
        }
        &mut self.members[place]
    }
}

/// Notes this cluster's own, which come first.
pub(super) fn own_members(cluster: &mut Cluster<'_>) {
    let Cluster { documents, settings, .. } = *cluster;
    let exclusions =
        Exclusions { labels: &settings.excluded_labels, annotations: &settings.excluded_annotations };
    for (meta, service) in documents.services.values() {
        if settings.federated_selector.chooses(&meta.labels) {
            cluster.members.push(Member { cluster: None, documents, meta, service, exclusions, place: meta });
        }
    }
}

/// Adds `<svc>-federated` for every name with a member: this cluster's own first, then by age of Link.
pub(super) fn unions(cluster: &mut Cluster<'_>) {
    let mut unions = Unions::default();
    for member in std::mem::take(&mut cluster.members) {
        join(cluster, &mut unions, member);
    }
    for members in unions.members {
        add(cluster, &members);
    }
}

fn join<'a>(cluster: &mut Cluster<'_>, unions: &mut Unions<'a>, member: Member<'a>) {
    let refused = match &member.service.kind {
        ServiceKind::Headless => Some("InvalidService, it is headless"),
        ServiceKind::ExternalName(_) => Some("it is an ExternalName"),
        ServiceKind::ClusterIp(_) => {
            let target = member.cluster.unwrap_or_default();
            let has = cluster.has_namespace(&member.meta.name.namespace, target);
            (!has).then_some("MissingNamespace")
        }
    };
    match refused {
        Some(why) => note(cluster, &member, why),
        None => {
            let members = unions.of(&member.meta.name);
            // Two Links to one cluster are one member.
            if members.iter().all(|known| known.cluster != member.cluster) {
                members.push(member);
            }
        }
    }
}

/// Labels, annotations and ports are the first member's, in whole.
fn add(cluster: &mut Cluster<'_>, members: &[Member<'_>]) {
    let Some(first) = members.first() else { return };
    let own = &first.meta.name;
    let name = own.beside(&format!("{}-federated", own.name));
    let mut service = mirror_service(first.service);
    service.labels = Arc::new(metadata::federated_labels(first.meta, first.exclusions));
    let mut annotations = metadata::copied_annotations(first.meta, first.documents, first.exclusions);
    let mut remote: Vec<String> = Vec::new();
    for member in members {
        let name = &member.meta.name.name;
        match member.cluster {
            None => drop(annotations.insert(LOCAL_DISCOVERY.into(), name.to_string())),
            Some(cluster) => remote.push(format!("{name}@{cluster}")),
        }
    }
    if !remote.is_empty() {
        annotations.insert(REMOTE_DISCOVERY.into(), remote.join(","));
    }
    service.annotations = Arc::new(annotations);
    if let Err(why) = cluster.add(&name, service) {
        note(cluster, first, &why);
    }
}

fn note(cluster: &mut Cluster<'_>, member: &Member<'_>, why: &str) {
    let of = member.cluster.map(|cluster| format!("Link {cluster}: ")).unwrap_or_default();
    let message = format!("{of}{} is not federated: {why}", member.meta.name);
    cluster.mirrored.notes.push(Note { at: member.place.at.clone(), message });
}

//! Federated Services: one Service for all of a name and namespace, wherever they run (controlplane 1.8).

use std::collections::HashMap;
use std::sync::Arc;

use super::copied::Union;
use super::{
    Cluster, Documents, Link, Meta, Metadata, Note, ObjectName, Settings, Source, Target, manifest, metadata,
    mirror_service, mode,
};
use crate::control::manifest::Exclusions;

/// One of the Services that are joined.
pub(super) struct Member<'a> {
    /// To its cluster; `None` for this cluster's own.
    link: Option<&'a Arc<Link>>,
    /// Of that cluster.
    documents: &'a Documents,
    settings: &'a Settings,
    meta: &'a Arc<Meta>,
    service: &'a manifest::Service,
    excluded: &'a Arc<Exclusions>,
    /// The Link, or the Service itself.
    place: &'a Meta,
}

impl<'a> Member<'a> {
    /// Of the Link's target.
    pub(super) fn linked(
        place: &'a Meta,
        link: &'a Arc<Link>,
        target: Target<'a>,
        (meta, service): (&'a Arc<Meta>, &'a manifest::Service),
    ) -> Self {
        let (documents, settings) = (target.documents, target.world.settings());
        Self { link: Some(link), documents, settings, meta, service, excluded: &link.excluded, place }
    }

    /// Its name; `None` for this one.
    fn cluster(&self) -> Option<&'a str> {
        self.link.map(|link| link.target_cluster_name.as_str())
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
    let excluded = &settings.excluded;
    for (meta, service) in documents.services.values() {
        if let Some(joins) = mode::joins(&settings.federated_selector, meta, service) {
            let member = Member { link: None, documents, settings, meta, service, excluded, place: meta };
            consider(cluster, member, joins);
        }
    }
}

/// Notes a Service that is to be a member, or why it cannot be one.
pub(super) fn consider<'a>(cluster: &mut Cluster<'a>, member: Member<'a>, joins: Result<(), &str>) {
    match joins {
        Ok(()) => cluster.members.push(member),
        Err(why) => note(cluster, &member, why),
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
    let target = member.cluster().unwrap_or_default();
    if !cluster.has_namespace(&member.meta.name.namespace, target) {
        return note(cluster, &member, "MissingNamespace");
    }
    let members = unions.of(&member.meta.name);
    // Two Links to one cluster are one member.
    if members.iter().all(|known| known.cluster() != member.cluster()) {
        members.push(member);
    }
}

/// Labels, annotations and ports are the first member's, in whole.
fn add(cluster: &mut Cluster<'_>, members: &[Member<'_>]) {
    let Some(first) = members.first() else { return };
    let name = mode::federated_name(&first.meta.name);
    let mut service = mirror_service(first.service);
    service.metadata = Metadata::copied(Source::Federated(Union {
        meta: first.meta.clone(),
        opaque: metadata::opaque_ports(first.meta, first.service, first.documents, first.settings),
        excluded: first.excluded.clone(),
        local: members.iter().any(|member| member.link.is_none()),
        links: members.iter().filter_map(|member| member.link.cloned()).collect(),
    }));
    if let Err(why) = cluster.add(&name, service) {
        note(cluster, first, &why);
    }
}

fn note(cluster: &mut Cluster<'_>, member: &Member<'_>, why: &str) {
    let of = member.cluster().map(|cluster| format!("Link {cluster}: ")).unwrap_or_default();
    let message = format!("{of}{} is not federated: {why}", member.meta.name);
    cluster.mirrored.notes.push(Note { at: member.place.at.clone(), message });
}

//! Mirrors that somebody wrote: the control plane makes them itself, and leaves alone what is there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cluster, Finding, Joined, MIRRORS, counting, exports};
use crate::control::index::{CLUSTER_NAME, ObjectName};
use crate::control::manifest::Meta;
use crate::control::mirror::mode::{federated_name, joins, mirror_name};
use crate::control::mirror::{MIRRORED, PARENT};

/// On what Linkerd writes for its gateways' own probes, which no Link names.
const MIRRORED_GATEWAY: &str = "mirror.linkerd.io/mirrored-gateway";

/// Services and Endpoints of a cluster that say that they are mirrors, or lie where one would be made (controlplane 7.1).
pub(super) fn given(cluster: &Cluster, joined: &[Joined<'_>], findings: &mut Vec<Finding>) {
    let joined: Vec<_> = joined.iter().filter(|joined| std::ptr::eq(joined.source, cluster)).collect();
    let links = Links {
        made: made(cluster, &joined),
        all: counting(cluster).map(|(_, link)| link.target_cluster_name.as_str()).collect(),
        known: joined.iter().map(|joined| joined.link.target_cluster_name.as_str()).collect(),
    };
    let documents = &cluster.assembled.documents;
    let services = documents.services.values().map(|(meta, _)| ("Service", meta));
    let endpoints = documents.endpoints.values().filter(|(meta, _)| is_mirror(meta));
    let mut told = BTreeSet::new();
    for (kind, meta) in services.chain(endpoints.map(|(meta, _)| ("Endpoints", meta))) {
        // Endpoints go with their Service.
        if !told.contains(&meta.name)
            && let Some(found) = links.fault(kind, meta)
        {
            told.insert(&meta.name);
            findings.push(MIRRORS.finding(found, &meta.at));
        }
    }
}

fn is_mirror(meta: &Meta) -> bool {
    meta.labels.contains_key(MIRRORED) && !meta.labels.contains_key(MIRRORED_GATEWAY)
}

/// What the mirror would write, with the cluster that it comes from.
fn made<'a>(cluster: &Cluster, joined: &[&Joined<'a>]) -> BTreeMap<ObjectName, &'a str> {
    let mut made = BTreeMap::new();
    for joined in joined {
        let Joined { link, target, .. } = joined;
        let of = link.target_cluster_name.as_str();
        for (meta, service) in target.assembled.documents.services.values() {
            if exports::mode(joined, meta, service).is_some() {
                made.entry(mirror_name(link, &meta.name)).or_insert(of);
            }
            if exports::is_member(link, meta, service) {
                made.entry(federated_name(&meta.name)).or_insert(of);
            }
        }
    }
    for (meta, service) in cluster.assembled.documents.services.values() {
        if joins(&cluster.settings.federated_selector, meta, service).is_some_and(|joins| joins.is_ok()) {
            made.entry(federated_name(&meta.name)).or_insert("this cluster");
        }
    }
    made
}

/// By the names of their clusters.
struct Links<'a> {
    made: BTreeMap<ObjectName, &'a str>,
    all: BTreeSet<&'a str>,
    /// Those whose clusters can be read.
    known: BTreeSet<&'a str>,
}

impl Links<'_> {
    fn fault(&self, kind: &str, meta: &Meta) -> Option<String> {
        let name = &meta.name;
        let parent = meta.labels.get(PARENT).map(|parent| name.beside(parent));
        if let Some(from) = self.made.get(name).or_else(|| self.made.get(&parent?)) {
            return Some(format!(
                "{kind} {name} is given by hand, in the place of the mirror from {from}: it follows nothing"
            ));
        }
        if !is_mirror(meta) {
            return None;
        }
        let orphan = match meta.labels.get(CLUSTER_NAME).map(String::as_str) {
            Some(of) if self.known.contains(of) => {
                return Some(format!("{kind} {name} is given by hand, and Link {of} makes no such mirror"));
            }
            Some(of) => !self.all.contains(of),
            // Of a federated Service, whose members may be anywhere.
            None => self.all == self.known,
        };
        orphan.then(|| format!("mirror {} {name} is not part of any Link", kind.to_lowercase()))
    }
}

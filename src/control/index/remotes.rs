//! Linked clusters: what can be seen of them, for the mirror and for remote discovery.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::control::manifest::{self, Documents};
use crate::control::mirror::{Mirrored, Target, Targets};

use super::world::World;
use super::{Allocations, LinkedClusters, ObjectName, Settings};

/// Label of a credentials Secret with the name of its cluster (controlplane 1.2).
const CLUSTER_NAME_OF_SECRET: &str = "multicluster.linkerd.io/cluster-name";

/// A linked cluster.
pub(super) struct Observed {
    world: Arc<World>,
    /// Until its own control plane has given out addresses: as if it had. The mirror asks who is ready and
    /// what hosts are called, never where.
    presumed: Option<World>,
}

/// Every linked cluster, by URL.
pub(super) fn observe(linked: &LinkedClusters, settings: &Settings) -> BTreeMap<String, Observed> {
    let observed = linked.iter().map(|(url, linked)| {
        let (documents, given) = (&linked.documents, linked.allocations.as_deref());
        let settings = given.map_or_else(|| settings.clone(), |given| given.settings(settings));
        let presumed = given.is_none().then(|| {
            World::build(documents, &Mirrored::default(), &settings, &mut Allocations::new(&settings))
        });
        let world = Arc::new(World::observed(documents, settings, given));
        (url.clone(), Observed { world, presumed })
    });
    observed.collect()
}

/// What the mirror looks at of them.
pub(super) fn targets<'a>(
    linked: &'a LinkedClusters,
    observed: &'a BTreeMap<String, Observed>,
) -> Targets<'a> {
    let targets = linked.iter().filter_map(|(url, linked)| {
        let Observed { world, presumed } = observed.get(url)?;
        let endpoints = &presumed.as_ref().unwrap_or(world).endpoints;
        Some((url.as_str(), Target { documents: &linked.documents, endpoints }))
    });
    targets.collect()
}

/// The clusters that credentials Secrets of the control plane's namespace lead to (controlplane 1.2).
pub(super) fn by_cluster(
    documents: &Documents,
    linked: &LinkedClusters,
    observed: &BTreeMap<String, Observed>,
    settings: &Settings,
) -> BTreeMap<String, Arc<World>> {
    let mut remotes = BTreeMap::new();
    for (name, (meta, secret)) in &documents.secrets {
        let cluster = meta.labels.get(CLUSTER_NAME_OF_SECRET);
        let trust_domain = meta.annotations.get("multicluster.linkerd.io/trust-domain");
        let domain = meta.annotations.get("multicluster.linkerd.io/cluster-domain");
        let (Some(cluster), Some(trust_domain), Some(domain), Some(remote)) =
            (cluster, trust_domain, domain, &secret.remote)
        else {
            continue;
        };
        if name.namespace != settings.control_namespace {
            continue;
        }
        let Some((linked, observed)) = linked.get(&remote.value).zip(observed.get(&remote.value)) else {
            continue;
        };
        let world = &observed.world;
        // The Secret's word counts, not the other cluster's.
        let base = world.settings.clone();
        let said = Settings { trust_domain: trust_domain.clone(), cluster_domain: domain.clone(), ..base };
        let world = match said == world.settings {
            true => world.clone(),
            false => Arc::new(World::observed(&linked.documents, said, linked.allocations.as_deref())),
        };
        remotes.insert(cluster.clone(), world);
    }
    remotes
}

/// What clusters are called, with their URLs: by Links, and by the Secrets of remote discovery.
pub(in crate::control) fn cluster_names(documents: &Documents) -> BTreeMap<&str, &str> {
    let links = documents.links.values().filter_map(|(meta, link)| {
        let secret = ObjectName::new(&meta.name.namespace, &link.credentials_secret.value);
        Some((link.target_cluster_name.as_str(), &documents.secrets.get(&secret)?.1))
    });
    let labelled = documents
        .secrets
        .values()
        .filter_map(|(meta, secret)| Some((meta.labels.get(CLUSTER_NAME_OF_SECRET)?.as_str(), secret)));
    let named = links.chain(labelled);
    named.filter_map(|(name, secret)| Some((name, secret.remote.as_ref()?.value.as_str()))).collect()
}

/// The folder URLs that a cluster's Secrets name: those of Links and those of remote discovery.
pub(in crate::control) fn remote_urls(documents: &Documents) -> BTreeSet<String> {
    let remotes = documents.secrets.values().filter_map(|(_, secret)| secret.remote.as_ref());
    let urls = remotes.filter(|remote| manifest::folder_of(&remote.value, Path::new("")).is_some());
    urls.map(|remote| remote.value.clone()).collect()
}

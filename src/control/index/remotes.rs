//! Linked clusters: what can be seen of them, for the mirror and for remote discovery.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::control::manifest::link::{CLUSTER_DOMAIN, CLUSTER_NAME, TRUST_DOMAIN};
use crate::control::manifest::{self, Documents};
use crate::control::mirror::{Mirrored, Target, Targets};

use super::world::World;
use super::{Allocations, Settings};

/// Another cluster, as its folder shows it, worked out once for all that is made of it.
#[derive(Clone, Debug)]
pub struct Linked {
    documents: Arc<Documents>,
    allocations: Option<Arc<Allocations>>,
    world: Arc<World>,
    /// Until its own control plane has given out addresses: as if it had. The mirror asks who is ready and
    /// what hosts are called, never where.
    presumed: Option<Arc<World>>,
    /// Whether every pod has an address.
    settled: bool,
}

/// Linked clusters by the URL that credentials Secrets spell.
pub type LinkedClusters = BTreeMap<String, Linked>;

impl Linked {
    /// `allocations` are `None` until that cluster's own control plane has given out addresses: its pods have
    /// none. `settings` are those of the cluster that looks.
    pub fn observe(
        documents: Arc<Documents>,
        allocations: Option<Arc<Allocations>>,
        settings: &Settings,
    ) -> Self {
        let given = allocations.as_deref();
        let settings = given.map_or_else(|| settings.clone(), |given| given.settings(settings));
        let presumed = given.is_none().then(|| {
            let mut given = Allocations::new(&settings);
            Arc::new(World::build(&documents, &Mirrored::default(), &settings, &mut given))
        });
        let (world, settled) = World::observed(&documents, settings, given);
        Self { documents, allocations, world: Arc::new(world), presumed, settled }
    }

    /// Whether there are pods that its control plane has not given an address yet, though it gives some out.
    pub fn awaits_addresses(&self) -> bool {
        self.allocations.is_some() && !self.settled
    }

    /// What the mirror looks at.
    fn target(&self) -> Target<'_> {
        Target { documents: &self.documents, world: self.presumed.as_ref().unwrap_or(&self.world) }
    }

    /// As a Secret describes it: its word counts, not the other cluster's.
    fn described(&self, trust_domain: &str, cluster_domain: &str) -> Arc<World> {
        let known = &self.world.settings;
        if known.trust_domain == trust_domain && known.cluster_domain == cluster_domain {
            return self.world.clone();
        }
        let (trust_domain, cluster_domain) = (trust_domain.to_owned(), cluster_domain.to_owned());
        let said = Settings { trust_domain, cluster_domain, ..known.clone() };
        Arc::new(World::observed(&self.documents, said, self.allocations.as_deref()).0)
    }
}

pub(super) fn targets(linked: &LinkedClusters) -> Targets<'_> {
    linked.iter().map(|(url, linked)| (url.as_str(), linked.target())).collect()
}

/// The clusters that credentials Secrets of the control plane's namespace lead to (controlplane 1.2).
pub(super) fn by_cluster(
    documents: &Documents,
    linked: &LinkedClusters,
    settings: &Settings,
) -> BTreeMap<String, Arc<World>> {
    let mut remotes = BTreeMap::new();
    for (name, (meta, secret)) in &documents.secrets {
        let cluster = meta.labels.get(CLUSTER_NAME);
        let trust_domain = meta.annotations.get(TRUST_DOMAIN);
        let domain = meta.annotations.get(CLUSTER_DOMAIN);
        let (Some(cluster), Some(trust_domain), Some(domain), Some(remote)) =
            (cluster, trust_domain, domain, &secret.remote)
        else {
            continue;
        };
        if *name.namespace != *settings.control_namespace {
            continue;
        }
        if let Some(linked) = linked.get(&remote.value) {
            remotes.insert(cluster.clone(), linked.described(trust_domain, domain));
        }
    }
    remotes
}

/// What clusters are called, with their URLs: by Links, and by the Secrets of remote discovery.
pub(in crate::control) fn cluster_names(documents: &Documents) -> BTreeMap<&str, &str> {
    let links = documents.links.values();
    let links =
        links.map(|(meta, link)| (Some(&link.target_cluster_name), documents.remote(&meta.name, link)));
    let secrets = documents.secrets.values();
    let labelled = secrets.map(|(meta, secret)| (meta.labels.get(CLUSTER_NAME), secret.remote.as_ref()));
    links
        .chain(labelled)
        .filter_map(|(name, remote)| Some((name?.as_str(), remote?.value.as_str())))
        .collect()
}

/// The folder URLs that a cluster's Secrets name: those of Links and those of remote discovery.
pub(in crate::control) fn remote_urls(documents: &Documents) -> BTreeSet<String> {
    let remotes = documents.secrets.values().filter_map(|(_, secret)| secret.remote.as_ref());
    let urls = remotes.filter(|remote| manifest::folder_of(&remote.value, Path::new("")).is_some());
    urls.map(|remote| remote.value.clone()).collect()
}

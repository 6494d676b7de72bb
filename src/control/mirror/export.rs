//! One Link: which of the target's Services are mirrored, and in which mode (controlplane 1.4, 1.5).

use std::borrow::Cow;
use std::sync::Arc;

use super::{
    Cluster, Endpoints, EndpointsInOrder, Gateway, Labels, Link, Member, Meta, Note, ObjectName,
    ServiceEndpoint, ServiceKind, Target, headless, manifest, metadata, mirror_service,
};
use crate::control::index::REMOTE_DISCOVERY;

/// Adds the mirrors that a Link asks for. For federation, which has a selector of its own, members are noted while they
/// are at hand.
pub(super) fn mirrors<'c>(cluster: &mut Cluster<'c>, meta: &'c Meta, link: &'c Link, target: Target<'c>) {
    let mut export = Export { cluster, meta, link, target, endpoints: target.world.endpoints_in_order() };
    for (target_meta, service) in target.documents.services.values() {
        if link.federated_selector.chooses(&target_meta.labels) {
            export.cluster.members.push(Member::linked(meta, link, target.documents, (target_meta, service)));
        }
        export.consider(Exported { meta: target_meta, service });
    }
}

/// A Service of the target cluster.
#[derive(Clone, Copy)]
pub(super) struct Exported<'a> {
    pub(super) meta: &'a Meta,
    pub(super) service: &'a manifest::Service,
}

/// A Service that was added.
pub(super) struct Mirror {
    pub(super) name: ObjectName,
    labels: Arc<Labels>,
}

pub(super) struct Export<'e, 'c> {
    pub(super) cluster: &'e mut Cluster<'c>,
    pub(super) meta: &'c Meta,
    pub(super) link: &'c Link,
    pub(super) target: Target<'c>,
    endpoints: EndpointsInOrder<'c>,
}

impl<'c> Export<'_, 'c> {
    /// Looks at both selectors independently; remote discovery wins over the gateway.
    fn consider(&mut self, exported: Exported<'c>) {
        let (meta, link) = (exported.meta, self.link);
        let by_gateway = link.selector.chooses(&meta.labels);
        let remotely = link.remote_discovery_selector.chooses(&meta.labels);
        if !by_gateway && !remotely {
            return;
        }
        if let ServiceKind::ExternalName(_) = exported.service.kind {
            return self.left_out(exported, "it is an ExternalName");
        }
        if exported.service.ports.is_empty() {
            return self.left_out(exported, "it has no ports");
        }
        if self.cluster.settings.enable_headless_services && exported.service.kind == ServiceKind::Headless {
            return headless::mirror(self, exported, by_gateway, remotely);
        }
        if !self.has_namespace(exported) {
            return;
        }
        if let Some(mirror) = self.add_mirror(exported, false).filter(|_| !remotely) {
            let ready = self.target_endpoints(exported).any(|endpoint| endpoint.ready);
            self.add_gateway_endpoints(exported, mirror, ready);
        }
    }

    /// Whether the mirror can have the namespace that its target has (controlplane 1.7).
    pub(super) fn has_namespace(&mut self, exported: Exported<'_>) -> bool {
        let namespace = &exported.meta.name.namespace;
        let has = self.cluster.has_namespace(namespace, &self.link.target_cluster_name);
        if !has {
            self.left_out(exported, "MissingNamespace");
        }
        has
    }

    /// Adds `<svc>-<cluster>`, if it can.
    pub(super) fn add_mirror(&mut self, exported: Exported<'_>, headless: bool) -> Option<Mirror> {
        let name = self.mirror_name(&exported.meta.name);
        let mut service = mirror_service(exported.service);
        service.labels = Arc::new(metadata::mirror_labels(self.link, exported.meta));
        let annotations = metadata::mirror_annotations(self.link, exported.meta, self.target.documents);
        service.annotations = Arc::new(annotations);
        service.headless = headless;
        let labels = service.labels.clone();
        match self.cluster.add(&name, service) {
            Ok(()) => Some(Mirror { name, labels }),
            Err(why) => {
                self.left_out(exported, &why);
                None
            }
        }
    }

    /// The addresses of the gateway; none while the target has no ready endpoint, whose gateway could
    /// do nothing with a connection.
    pub(super) fn add_gateway_endpoints(&mut self, exported: Exported<'_>, mirror: Mirror, ready: bool) {
        let Some(found) = self.gateway(exported) else { return };
        let known = self.cluster.gateways;
        let subsets = ready.then(|| known.subset(&self.meta.name, found, exported.service));
        let endpoints = Endpoints {
            labels: self.endpoints_labels(exported, mirror.labels),
            annotations: Arc::new(metadata::endpoints_annotations(self.link, exported.meta, None)),
            subsets: subsets.flatten().into_iter().collect(),
        };
        self.cluster.endpoints.push((mirror.name, endpoints));
    }

    /// The mirror's own, where these ask for no remote discovery.
    fn endpoints_labels(&self, exported: Exported<'_>, own: Arc<Labels>) -> Arc<Labels> {
        match own.contains_key(REMOTE_DISCOVERY) {
            true => Arc::new(metadata::endpoints_labels(self.link, exported.meta)),
            false => own,
        }
    }

    /// The Link's gateway; notes what of it cannot be used.
    pub(super) fn gateway(&mut self, exported: Exported<'_>) -> Option<&'c Gateway> {
        let Some(found) = &self.link.gateway else {
            self.note(format!("{} has no endpoints: the Link has no gateway", exported.meta.name));
            return None;
        };
        for name in self.cluster.gateways.unresolved(found) {
            self.note(format!("the gateway {name} is left out: its name is not resolved"));
        }
        Some(found)
    }

    /// To be asked once for each.
    pub(super) fn target_endpoints(
        &mut self,
        exported: Exported<'_>,
    ) -> impl Iterator<Item = Cow<'c, ServiceEndpoint>> + use<'c> {
        self.endpoints.of(&exported.meta.name)
    }

    /// `<name>-<cluster>`, in the same namespace.
    pub(super) fn mirror_name(&self, target: &ObjectName) -> ObjectName {
        target.beside(&format!("{}-{}", target.name, self.link.target_cluster_name))
    }

    pub(super) fn left_out(&mut self, exported: Exported<'_>, why: &str) {
        self.note(format!("{} is not mirrored: {why}", exported.meta.name));
    }

    pub(super) fn note(&mut self, message: String) {
        let message = format!("Link {}: {message}", self.link.target_cluster_name);
        self.cluster.mirrored.notes.push(Note { at: self.meta.at.clone(), message });
    }
}

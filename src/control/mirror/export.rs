//! One Link: the mirrors of the target's Services (controlplane 1.4, 1.5).

use std::borrow::Cow;
use std::sync::Arc;

use super::gateway::At;
use super::mode::{self, Mode};
use super::{
    Cluster, Endpoints, EndpointsInOrder, Link, Member, Meta, Metadata, Note, ObjectName, Origin,
    ServiceEndpoint, ServiceKind, Source, Subset, Target, federated, headless, manifest, metadata,
    mirror_service,
};

/// Adds the mirrors that a Link asks for. For federation, which has a selector of its own, members are noted while they
/// are at hand.
pub(super) fn mirrors<'c>(
    cluster: &mut Cluster<'c>,
    meta: &'c Meta,
    link: &'c Arc<Link>,
    target: Target<'c>,
) {
    let endpoints = target.world.endpoints_in_order();
    let gateway = link.gateway.as_ref().and_then(|found| cluster.gateways.at(&meta.name, found));
    let mut export = Export { cluster, meta, link, target, endpoints, gateway };
    for (target_meta, service) in target.documents.services.values() {
        if let Some(joins) = mode::joins(&link.federated_selector, target_meta, service) {
            let member = Member::linked(meta, link, target, (target_meta, service));
            federated::consider(export.cluster, member, joins);
        }
        export.consider(Exported { meta: target_meta, service });
    }
}

/// A Service of the target cluster.
#[derive(Clone, Copy)]
pub(super) struct Exported<'a> {
    pub(super) meta: &'a Arc<Meta>,
    pub(super) service: &'a manifest::Service,
}

pub(super) struct Export<'e, 'c> {
    pub(super) cluster: &'e mut Cluster<'c>,
    pub(super) meta: &'c Meta,
    pub(super) link: &'c Arc<Link>,
    pub(super) target: Target<'c>,
    endpoints: EndpointsInOrder<'c>,
    /// `None` without an address.
    gateway: Option<At>,
}

impl<'c> Export<'_, 'c> {
    fn consider(&mut self, exported: Exported<'c>) {
        let headless = self.cluster.settings.enable_headless_services;
        let mode = match Mode::of(self.link, exported.meta, exported.service, headless) {
            None => return,
            Some(Err(why)) => return self.left_out(exported, why),
            Some(Ok(Mode::Headless { remotely })) => return headless::mirror(self, exported, remotely),
            Some(Ok(mode)) => mode,
        };
        if !self.has_namespace(exported) {
            return;
        }
        let Some(mirror) = self.add_mirror(exported, false) else { return };
        // Nobody can be behind it.
        if let ServiceKind::ExternalName(_) = exported.service.kind {
            let name = &exported.meta.name;
            self.note(format!("{name} is mirrored, but its mirror leads nowhere: it is an ExternalName"));
        }
        if mode == Mode::Gateway {
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

    /// Adds `<svc>-<cluster>`, if it can; then its name.
    pub(super) fn add_mirror(&mut self, exported: Exported<'_>, headless: bool) -> Option<ObjectName> {
        let name = mode::mirror_name(self.link, &exported.meta.name);
        let mut service = mirror_service(exported.service);
        let Target { documents, world } = self.target;
        let opaque = metadata::opaque_ports(exported.meta, exported.service, documents, world.settings());
        service.metadata = Metadata::copied(Source::Service(self.origin(exported), opaque));
        service.headless = headless;
        match self.cluster.add(&name, service) {
            Ok(()) => Some(name),
            Err(why) => {
                self.left_out(exported, &why);
                None
            }
        }
    }

    pub(super) fn origin(&self, exported: Exported<'_>) -> Origin {
        Origin { link: self.link.clone(), meta: exported.meta.clone() }
    }

    /// The addresses of the gateway; none while the target has no ready endpoint, whose gateway could
    /// do nothing with a connection.
    pub(super) fn add_gateway_endpoints(&mut self, exported: Exported<'_>, name: ObjectName, ready: bool) {
        if !self.has_gateway(exported) {
            return;
        }
        let metadata = Metadata::copied(Source::Endpoints(self.origin(exported)));
        let subsets = self.gateway_subset(exported).filter(|_| ready).into_iter().collect();
        self.cluster.endpoints.push((name, Arc::new(Endpoints { metadata, subsets })));
    }

    pub(super) fn gateway_subset(&self, exported: Exported<'_>) -> Option<Subset> {
        self.gateway.as_ref().map(|gateway| gateway.subset(exported.service))
    }

    /// Whether the Link has one; notes what of it cannot be used.
    pub(super) fn has_gateway(&mut self, exported: Exported<'_>) -> bool {
        let Some(found) = &self.link.gateway else {
            self.note(format!("{} has no endpoints: the Link has no gateway", exported.meta.name));
            return false;
        };
        for name in self.cluster.gateways.unresolved(found) {
            self.note(format!("the gateway {name} is left out: its name is not resolved"));
        }
        true
    }

    /// To be asked once for each.
    pub(super) fn target_endpoints(
        &mut self,
        exported: Exported<'_>,
    ) -> impl Iterator<Item = Cow<'c, ServiceEndpoint>> + use<'c> {
        self.endpoints.of(&exported.meta.name)
    }

    pub(super) fn left_out(&mut self, exported: Exported<'_>, why: &str) {
        self.note(format!("{} is not mirrored: {why}", exported.meta.name));
    }

    pub(super) fn note(&mut self, message: String) {
        let message = format!("Link {}: {message}", self.link.target_cluster_name);
        self.cluster.mirrored.notes.push(Note { at: self.meta.at.clone(), message });
    }
}

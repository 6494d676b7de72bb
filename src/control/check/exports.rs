//! What is mirrored over a Link, of what its cluster exports now.

use super::{EXPORTS, Extent, Finding, Joined};
use crate::control::index;
use crate::control::manifest::{Link, Meta, Object, Service};
use crate::control::mirror::mode::{Mode, joins};

/// Whether any pods are reached without the gateway over this Link. Selectors alone reach nobody.
pub(super) fn is_flat(joined: &Joined<'_>) -> bool {
    let flat = |(meta, service): &Object<Service>| {
        mode(joined, meta, service).is_some_and(Mode::is_remote) || is_member(joined.link, meta, service)
    };
    joined.target.assembled.documents.services.values().any(flat)
}

pub(super) fn nothing_flat(joined: &Joined<'_>) -> String {
    format!("nothing of {} is reached pod to pod from {}", joined.target.name, joined.source.name)
}

/// Services that a Link selects and that find no namespace to be mirrored into (controlplane 1.7).
pub(super) fn namespaces(joined: &Joined<'_>, extent: &mut Extent, findings: &mut Vec<Finding>) {
    let Joined { source, meta, link, target } = joined;
    extent.compared(EXPORTS);
    if source.settings.enable_namespace_creation {
        return;
    }
    let there = index::namespaces(&source.assembled.documents, &source.settings);
    for (service, body) in target.assembled.documents.services.values() {
        let mirrored = mode(joined, service, body).is_some() || is_member(link, service, body);
        if mirrored && !there.contains(&*service.name.namespace) {
            let found = format!(
                "{} exports {}, and {} has no namespace {}: it is not mirrored by Link {}",
                target.name, service.name, source.name, service.name.namespace, meta.name.name
            );
            findings.push(EXPORTS.finding(found, &service.at));
        }
    }
}

/// How it gets a mirror of its own; `None` where it gets none.
pub(super) fn mode(joined: &Joined<'_>, meta: &Meta, service: &Service) -> Option<Mode> {
    let headless = joined.source.settings.enable_headless_services;
    Mode::of(joined.link, meta, service, headless)?.ok()
}

/// Of a federated Service.
pub(super) fn is_member(link: &Link, meta: &Meta, service: &Service) -> bool {
    joins(&link.federated_selector, meta, service).is_some_and(|joins| joins.is_ok())
}

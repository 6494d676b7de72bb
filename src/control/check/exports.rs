//! What is mirrored over a Link, of what its cluster exports now.

use super::{EXPORTS, Extent, Finding, Joined};
use crate::control::index;
use crate::control::manifest::service::ServiceKind;
use crate::control::manifest::{Link, Meta, Object, Selector, Service};

/// Whether any pods are reached without the gateway over this Link. Selectors alone reach nobody.
pub(super) fn is_flat(joined: &Joined<'_>) -> bool {
    let flat = |(meta, service): &Object<Service>| {
        let remotely = joined.link.remote_discovery_selector.chooses(&meta.labels);
        remotely && can_be_mirrored(service) || is_member(&joined.link.federated_selector, meta, service)
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
        if is_mirrored(link, service, body) && !there.contains(&*service.name.namespace) {
            let found = format!(
                "{} exports {}, and {} has no namespace {}: it is not mirrored by Link {}",
                target.name, service.name, source.name, service.name.namespace, meta.name.name
            );
            findings.push(EXPORTS.finding(found, &service.at));
        }
    }
}

/// In any mode.
fn is_mirrored(link: &Link, meta: &Meta, service: &Service) -> bool {
    has_mirror(link, meta, service) || is_member(&link.federated_selector, meta, service)
}

/// One of its own, through a gateway or not.
pub(super) fn has_mirror(link: &Link, meta: &Meta, service: &Service) -> bool {
    let selectors = [&link.selector, &link.remote_discovery_selector];
    selectors.iter().any(|selector| selector.chooses(&meta.labels)) && can_be_mirrored(service)
}

/// (controlplane 1.4)
fn can_be_mirrored(service: &Service) -> bool {
    !service.ports.is_empty()
}

/// Of a federated Service (controlplane 1.8).
pub(super) fn is_member(selector: &Selector, meta: &Meta, service: &Service) -> bool {
    service.kind != ServiceKind::Headless && !service.ports.is_empty() && selector.chooses(&meta.labels)
}

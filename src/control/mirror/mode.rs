//! Which of a cluster's Services are mirrored, in which mode, and what the mirrors are called.
//!
//! Plain decisions, for the mirror that acts on them and for the checks that foresee what it does.

use super::{Link, Meta, ObjectName, ServiceKind, manifest};
use crate::control::manifest::Selector;

/// How a Service of a linked cluster gets a mirror of its own (controlplane 1.4, 1.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Mode {
    Gateway,
    /// Pod to pod.
    RemoteDiscovery,
    /// By its endpoints: headless itself where they have host names, else as in one of the other modes.
    Headless {
        remotely: bool,
    },
}

/// Whether it is asked for: `None`, it is not; an error, why it cannot be had.
pub(in crate::control) type Asked<T> = Option<Result<T, &'static str>>;

impl Mode {
    /// Looks at both selectors independently; remote discovery wins over the gateway. `headless`: mirrors of headless
    /// Services are to be headless, which the selector for remote discovery alone does not ask for.
    pub(in crate::control) fn of(
        link: &Link,
        meta: &Meta,
        service: &manifest::Service,
        headless: bool,
    ) -> Asked<Self> {
        let (by_gateway, remotely) = (link.selector.chooses(&meta.labels), is_remote(link, meta));
        if !by_gateway && !remotely {
            return None;
        }
        // Linkerd asks for no type: an ExternalName is mirrored like any other.
        let headless = headless && service.kind == ServiceKind::Headless;
        Some(match headless {
            _ if service.ports.is_empty() => Err("it has no ports"),
            true if !by_gateway => Err("headless Services are mirrored through a gateway only"),
            true => Ok(Self::Headless { remotely }),
            false if remotely => Ok(Self::RemoteDiscovery),
            false => Ok(Self::Gateway),
        })
    }

    /// Whether proxies look for the pods themselves: a headless mirror carries the labels too (controlplane 1.5).
    pub(in crate::control) fn is_remote(self) -> bool {
        matches!(self, Self::RemoteDiscovery | Self::Headless { remotely: true })
    }
}

/// Whether a mirror of this, if there is one, carries the labels that ask for remote discovery.
pub(super) fn is_remote(link: &Link, meta: &Meta) -> bool {
    link.remote_discovery_selector.chooses(&meta.labels)
}

/// Whether a Service joins a federated one (controlplane 1.8), whatever mirror it has beside that.
pub(in crate::control) fn joins(selector: &Selector, meta: &Meta, service: &manifest::Service) -> Asked<()> {
    selector.chooses(&meta.labels).then(|| match &service.kind {
        ServiceKind::Headless => Err("InvalidService, it is headless"),
        ServiceKind::ExternalName(_) if service.ports.is_empty() => Err("it has no ports"),
        ServiceKind::ClusterIp(_) | ServiceKind::ExternalName(_) => Ok(()),
    })
}

/// `<name>-<cluster>`, of a Service or one of its hosts (controlplane 1.5).
pub(in crate::control) fn mirror_name(link: &Link, target: &ObjectName) -> ObjectName {
    target.beside(&format!("{}-{}", target.name, link.target_cluster_name))
}

/// `<name>-federated`, of all its members.
pub(in crate::control) fn federated_name(member: &ObjectName) -> ObjectName {
    member.beside(&format!("{}-federated", member.name))
}

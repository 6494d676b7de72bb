//! Which Services and EgressNetworks accept which routes: what the policy controller would write into statuses
//! (controlplane 3.6). A folder need not hold any.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::manifest::route::{Leads, Parent, RouteKind, TargetKind};
use crate::control::manifest::workload::At;
use crate::control::manifest::{Documents, Meta, Note, Object, Place, Route};

use super::world::Services;
use super::{ObjectName, Settings, egress};

/// Routes of traffic to Services and out of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attached {
    /// Those that count, in the order in which they do, by what they are for.
    by_parent: BTreeMap<(TargetKind, ObjectName), Vec<OfPort>>,
    /// Of all of them.
    pub(super) statuses: Vec<RouteStatus>,
    /// EgressNetworks that are not accepted.
    overlapping: Vec<Arc<Meta>>,
}

/// A route, with the port of the parent that it names; `None` for each.
type OfPort = (Option<u16>, Object<Route>);

/// What is to be said of a route and one of its parents.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteStatus {
    pub name: ObjectName,
    pub kind: RouteKind,
    /// Where it names the parent.
    pub at: Place,
    pub parent: Parent,
    pub accepted: Result<(), Refusal>,
    pub resolved: Result<(), Unresolved>,
}

/// Why a parent does not accept a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoMatchingParent,
    /// The Service is headless or an ExternalName.
    NoClusterIp,
    /// The EgressNetwork is not accepted itself.
    NotAccepted,
    Conflicted,
}

/// Why a part of a route's requests fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    BackendNotFound(String),
    InvalidKind(String),
}

impl Refusal {
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoMatchingParent | Self::NoClusterIp | Self::NotAccepted => "NoMatchingParent",
            Self::Conflicted => "RouteReasonConflicted",
        }
    }

    pub fn message(self) -> &'static str {
        match self {
            Self::NoMatchingParent => "it does not exist",
            Self::NoClusterIp => "the parent Service must have a ClusterIP",
            Self::NotAccepted => "the parent EgressNetwork is not accepted",
            Self::Conflicted => "it has a route of a kind that comes first",
        }
    }
}

impl Unresolved {
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BackendNotFound(_) => "BackendNotFound",
            Self::InvalidKind(_) => "InvalidKind",
        }
    }

    pub fn message(&self) -> &str {
        let (Self::BackendNotFound(message) | Self::InvalidKind(message)) = self;
        message
    }
}

impl RouteStatus {
    /// What does not hold.
    fn faults(&self) -> impl Iterator<Item = String> {
        let Self { name, kind, parent, .. } = self;
        let (kind, of) = (kind.name(), parent.kind.name());
        let refused = self.accepted.err().map(|why| {
            let (reason, message) = (why.reason(), why.message());
            format!("{kind} {name} is not accepted by {of} {}: {reason}, {message}", parent.name)
        });
        let lost = self.resolved.as_ref().err().filter(|_| self.accepted.is_ok()).map(|why| {
            format!("a backend of {kind} {name} fails its requests: {}, {}", why.reason(), why.message())
        });
        refused.into_iter().chain(lost)
    }
}

impl Attached {
    pub(super) fn of(documents: &Documents, services: &Services, settings: &Settings) -> Self {
        let strongest = strongest(documents);
        let mut attached = Self::default();
        for object in documents.routes.values() {
            for At { value: parent, at } in &object.1.parents {
                let conflicts = strongest.get(parent).is_some_and(|of| *of > strength(object.1.kind));
                let accepted = accepts(documents, services, settings, parent, conflicts);
                if accepted.is_ok() {
                    let routes = attached.by_parent.entry((parent.kind, parent.name.clone())).or_default();
                    routes.push((parent.port, object.clone()));
                }
                attached.statuses.push(RouteStatus {
                    name: object.0.name.clone(),
                    kind: object.1.kind,
                    at: at.clone(),
                    parent: parent.clone(),
                    accepted,
                    resolved: resolves(documents, services, &object.1, parent),
                });
            }
        }
        let networks = documents.egress_networks.values();
        let overlapping = networks.filter(|(_, network)| !egress::is_accepted(network, settings));
        attached.overlapping = overlapping.map(|(meta, _)| meta.clone()).collect();
        for routes in attached.by_parent.values_mut() {
            routes.sort_by(|(_, a), (_, b)| order(a).cmp(&order(b)));
        }
        attached
    }

    /// What is not accepted, and what fails, each at its place.
    pub(super) fn faults(&self) -> impl Iterator<Item = Note> {
        let networks = self.overlapping.iter().map(|meta| {
            let why = "EgressReasonNetworkOverlap, its networks overlap the cluster's";
            let message = format!("EgressNetwork {} is not accepted: {why}", meta.name);
            Note { at: meta.at.clone(), message }
        });
        let routes = self
            .statuses
            .iter()
            .flat_map(|status| status.faults().map(|message| Note { at: status.at.clone(), message }));
        networks.chain(routes)
    }

    /// Those for a port, as clients of a namespace see them: routes of the parent's own namespace, and of their own.
    pub(super) fn routes<'a>(
        &'a self,
        kind: TargetKind,
        name: &ObjectName,
        port: u16,
        client: &str,
    ) -> Vec<&'a Object<Route>> {
        let all = self.by_parent.get(&(kind, name.clone())).map(Vec::as_slice).unwrap_or_default();
        let visible = |object: &Object<Route>| {
            let namespace = &object.0.name.namespace;
            *namespace == name.namespace || &**namespace == client
        };
        let for_port = all.iter().filter(|(of, object)| of.is_none_or(|of| of == port) && visible(object));
        let mut routes: Vec<&Object<Route>> = for_port.map(|(_, object)| object).collect();
        // Once, however often it names the parent.
        routes.dedup_by(|a, b| std::ptr::eq(&*a.0, &*b.0));
        routes
    }
}

/// Oldest first, those that do not say it last; then by name.
fn order((meta, route): &Object<Route>) -> impl Ord + use<'_> {
    let age = (meta.created.is_none(), meta.created);
    (age, &meta.name.name, &meta.name.namespace, route.kind)
}

/// A route gives way to any of a stronger kind that names the same parent in the same way.
fn strength(kind: RouteKind) -> u8 {
    match kind {
        RouteKind::Grpc => 3,
        RouteKind::Http | RouteKind::PolicyHttp => 2,
        RouteKind::Tls => 1,
        RouteKind::Tcp => 0,
    }
}

fn strongest(documents: &Documents) -> BTreeMap<&Parent, u8> {
    let mut strongest = BTreeMap::new();
    for (_, route) in documents.routes.values() {
        for parent in &route.parents {
            let held = strongest.entry(&parent.value).or_default();
            *held = strength(route.kind).max(*held);
        }
    }
    strongest
}

fn accepts(
    documents: &Documents,
    services: &Services,
    settings: &Settings,
    parent: &Parent,
    conflicts: bool,
) -> Result<(), Refusal> {
    match parent.kind {
        TargetKind::Service => {
            let service = services.get(&parent.name).ok_or(Refusal::NoMatchingParent)?;
            service.cluster_ip.ok_or(Refusal::NoClusterIp)?;
        }
        TargetKind::EgressNetwork => {
            let network = documents.egress_networks.get(&parent.name).ok_or(Refusal::NoMatchingParent)?;
            if !egress::is_accepted(&network.1, settings) {
                return Err(Refusal::NotAccepted);
            }
        }
    }
    if conflicts { Err(Refusal::Conflicted) } else { Ok(()) }
}

/// Whether each backend is something that requests can be sent to.
fn resolves(
    documents: &Documents,
    services: &Services,
    route: &Route,
    parent: &Parent,
) -> Result<(), Unresolved> {
    for backend in route.rules.iter().flat_map(|rule| &rule.backends) {
        let (kind, name, namespace) = match &backend.leads {
            Leads::Nowhere { group, kind } => {
                return Err(Unresolved::InvalidKind(format!("no requests are sent to a {kind} of {group}")));
            }
            Leads::To { kind, name, namespace, .. } => (kind, name, namespace),
        };
        let name = ObjectName::new(namespace.as_deref().unwrap_or(&parent.name.namespace), name);
        let exists = match kind {
            TargetKind::Service => services.contains_key(&name),
            TargetKind::EgressNetwork => documents.egress_networks.contains_key(&name),
        };
        if !exists {
            return Err(Unresolved::BackendNotFound(format!("{} {name} does not exist", kind.name())));
        }
        if *kind == TargetKind::EgressNetwork && (parent.kind != *kind || parent.name != name) {
            let message = format!("EgressNetwork {name} is no parent of the route");
            return Err(Unresolved::InvalidKind(message));
        }
    }
    Ok(())
}

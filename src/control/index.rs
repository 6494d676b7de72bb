//! Documents in, answers out: one cluster's whole desired state, immutable.
//!
//! [`Snapshot::build`] is a pure function, run again on every change; nothing is patched. The queries
//! speak in [`crate::model`]; which gRPC message or status an answer becomes is the server's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::control::hash;
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::{Documents, Note};
use crate::control::mirror::{self, Gateways, LinkedGateway, Metadata, Mirrored};
use crate::model::endpoint::{self, Endpoint};
use crate::model::{OutboundPolicy, Profile, ResourceRef, ServerPolicy};

mod address;
mod addresses;
mod allocate;
mod attached;
mod authorizations;
mod behind;
mod dns;
mod egress;
mod endpoints;
mod env;
mod external;
mod federated;
pub mod inject;
mod lookup;
mod outbound;
mod pods;
pub mod ports;
mod profile;
mod remotes;
mod routes;
mod server;
pub mod settings;
mod slices;
mod workloads;
mod world;

pub use allocate::{Allocations, Given};
pub use attached::{Refusal, RouteStatus, Unresolved};
pub use dns::{Records, Resolved, ServiceRecord};
pub use lookup::{Context, LookupError, Target, Workload};
pub use ports::PortSet;
pub use remotes::{Linked, LinkedClusters};
pub use settings::{DefaultPolicy, Settings, Transport};

pub use super::manifest::ObjectName;
pub use super::manifest::service::{Family, ServicePort};
pub use super::manifest::workload::{
    Container, ContainerPort, EnvValue, EnvVar, PortRef, Probe, ProbeAction,
};

pub(in crate::control) use behind::EndpointsInOrder;
pub(in crate::control) use endpoints::{
    CLUSTER_NAME, GATEWAY_IDENTITY, REMOTE_DISCOVERY, REMOTE_FQ_NAME, REMOTE_SERVICE,
};
pub(in crate::control) use federated::LOCAL_DISCOVERY;
pub(in crate::control) use remotes::{cluster_names, remote_urls};
pub(in crate::control) use slices::ServiceEndpoint;
pub(in crate::control) use world::{World, namespaces};

/// The whole desired state of one cluster, with the parts of others that it can see.
#[derive(Clone, Debug)]
pub struct Snapshot {
    own: World,
    /// By the cluster name on the credentials Secret (controlplane 1.2).
    remotes: BTreeMap<String, Arc<World>>,
    mirrored: Mirrored,
    gateways: BTreeMap<ObjectName, LinkedGateway>,
}

impl PartialEq for Snapshot {
    /// Clusters that were not worked out anew are not compared, nor is what the mirror wrote before it was admitted:
    /// it is among the own objects.
    fn eq(&self, other: &Self) -> bool {
        let Self { own, remotes, mirrored, gateways } = self;
        let same = |name: &String, world: &Arc<World>| {
            other.remotes.get(name).is_some_and(|other| Arc::ptr_eq(world, other) || world == other)
        };
        *gateways == other.gateways
            && mirrored.notes == other.mirrored.notes
            && remotes.len() == other.remotes.len()
            && remotes.iter().all(|(name, world)| same(name, world))
            && *own == other.own
    }
}

impl Snapshot {
    /// Works everything out. The second value is `given` with what is new: to be kept for next time.
    pub fn build(
        documents: &Documents,
        linked: &LinkedClusters,
        gateways: &Gateways,
        settings: &Settings,
        given: &Allocations,
    ) -> (Self, Allocations) {
        let mut given = given.clone();
        given.describe(settings);
        let mirrored = mirror::derive(documents, &remotes::targets(linked), gateways, settings);
        let own = World::build(documents, &mirrored, settings, &mut given);
        let remotes = remotes::by_cluster(documents, linked, settings);
        let gateways = mirror::linked_gateways(documents, settings);
        (Self { own, remotes, mirrored, gateways }, given)
    }

    pub fn settings(&self) -> &Settings {
        &self.own.settings
    }

    /// What was left out on the way, and why.
    pub fn notes(&self) -> &[Note] {
        &self.mirrored.notes
    }

    /// What Links say of gateways, by Link.
    pub fn gateways(&self) -> &BTreeMap<ObjectName, LinkedGateway> {
        &self.gateways
    }

    /// What Links added to the documents, before addresses were given.
    pub fn mirrored(&self) -> &Mirrored {
        &self.mirrored
    }

    /// Answers `Destination.Get` for `path` (`host[:port]`, controlplane 2.2-2.6).
    pub fn destination(&self, path: &str, context: &Context) -> Result<EndpointSet, LookupError> {
        endpoints::destination(self, path, context)
    }

    /// Answers `GetProfile` for `path` (name or IP, `host[:port]`, controlplane 2.9).
    pub fn profile(&self, path: &str, context: &Context) -> Result<ProfileAnswer, LookupError> {
        profile::profile(self, path, context)
    }

    /// Answers `OutboundPolicies.Watch` (controlplane 3.8, 3.9) to clients of a namespace.
    pub fn outbound(
        &self,
        source_namespace: &str,
        target: Target<'_>,
    ) -> Result<OutboundPolicy, LookupError> {
        outbound::policy(&self.own, source_namespace, target)
    }

    /// What is to be said of each route and each Service and EgressNetwork that it is for (controlplane 3.6).
    pub fn route_statuses(&self) -> &[RouteStatus] {
        &self.own.outbound.statuses
    }

    /// What of that does not hold, with EgressNetworks that are not accepted.
    pub fn route_faults(&self) -> impl Iterator<Item = Note> {
        self.own.outbound.faults()
    }

    /// Answers `WatchPort` (controlplane 3.4, 3.5); `None` for a workload that is not known or not
    /// meshed. The localhost authorization is the proxy's to append.
    pub fn server(&self, workload: &Workload, port: u16) -> Option<ServerPolicy> {
        server::policy(&self.own, workload, port)
    }

    /// Every pod, by namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.own.pods.iter()
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.own.pods.get(&ObjectName::new(namespace, name))
    }

    /// Every Service, mirrors included, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.own.services.values()
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.own.services.get(&ObjectName::new(namespace, name))
    }

    /// The address that a Service of its own was given.
    pub fn cluster_ip(&self, name: &ObjectName) -> Option<IpAddr> {
        self.own.services.get(name)?.cluster_ip
    }

    /// Names of the clusters that remote discovery can reach.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        self.remotes.keys().map(String::as_str)
    }

    /// What a fully qualified name leads to, with or without trailing dot, in any case.
    pub fn resolve(&self, name: &str) -> Resolved {
        dns::resolve(&self.own, name)
    }

    /// The addresses that a name resolves to; none where it does not.
    pub fn dns(&self, name: &str) -> Vec<IpAddr> {
        match self.resolve(name) {
            Resolved::Known(records) => records.addresses,
            Resolved::Foreign | Resolved::Unknown => Vec::new(),
        }
    }

    /// Whether a manifest (or the cluster by itself, for `default`) makes this service account.
    pub fn has_service_account(&self, namespace: &str, name: &str) -> bool {
        let listed = self.own.service_accounts.contains(&ObjectName::new(namespace, name));
        listed || (name == "default" && self.own.namespaces.contains(namespace))
    }
}

/// The endpoints of one authority at one moment (controlplane 2.3-2.6). Streams send the difference
/// of two of these; an empty set is not sent at the start (controlplane 2.8).
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSet {
    /// Labels of the set: `service`, `namespace`. Not repeated in the endpoints' own labels.
    pub labels: endpoint::Labels,
    /// By address; [`Endpoint::labels`] holds the address's own labels only.
    pub endpoints: BTreeMap<SocketAddr, Endpoint>,
    /// Of a federated Service: streams end when it stops being one (controlplane 2.7).
    pub federated: bool,
}

/// What `GetProfile` answers (controlplane 2.9). The empty profile is an answer, not an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileAnswer {
    pub profile: Profile,
    /// The Service, with its port, when the profile is a Service's.
    pub parent: Option<ResourceRef>,
    /// The ServiceProfile that speaks for it.
    pub source: Option<ResourceRef>,
}

/// A Service, its own or a mirror. What it has of its definition is read as if it were its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: ObjectName,
    /// `None` for headless and ExternalName Services.
    pub cluster_ip: Option<IpAddr>,
    pub definition: Arc<Definition>,
}

/// What a manifest, or the mirror, says of a Service, after admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub metadata: Metadata,
    /// A second one, of the other family.
    pub other_ip: Option<IpAddr>,
    /// Families of its endpoints; empty for that of the pods' first addresses.
    pub families: Vec<Family>,
    /// `clusterIP: None`.
    pub headless: bool,
    pub ports: Arc<Vec<ServicePort>>,
    pub external_name: Option<String>,
    /// Empty: endpoints come from EndpointSlices, from Endpoints or from another cluster.
    pub selector: Arc<Labels>,
    /// `internalTrafficPolicy: Local`.
    pub local_traffic_only: bool,
    /// Pods that are not ready count as if they were.
    pub publish_not_ready: bool,
    /// Each endpoint is for clients of its own zone.
    pub same_zone: bool,
    /// Written by the mirror, not by a manifest.
    pub mirrored: bool,
}

impl Definition {
    pub fn labels(&self) -> &Arc<Labels> {
        self.metadata.labels()
    }

    pub fn annotations(&self) -> &Arc<Labels> {
        self.metadata.annotations()
    }
}

impl Deref for Service {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

impl Service {
    /// Whether it has a selector, and that takes these labels.
    fn selects(&self, labels: &Labels) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The port of that number; anything but TCP does not count.
    pub fn tcp_port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port && p.protocol == "TCP")
    }

    /// The Service's own opaque ports: its annotation (port names count), else the defaults.
    fn opaque_ports(&self, settings: &Settings) -> PortSet {
        let named = |name: &str| self.ports.iter().find(|port| port.name == name).map(|port| port.port);
        match self.annotations().get(inject::OPAQUE_PORTS) {
            Some(text) => PortSet::parse_lenient(text, named),
            None => settings.default_opaque_ports.clone(),
        }
    }
}

/// A pod as it would run: derived from a Deployment or given, injected where it should be. What it has of its
/// template is read as if it were its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: ObjectName,
    /// `None` until one is given out.
    pub ip: Option<IpAddr>,
    /// That is what a manifest says, or its node's: no other is given out.
    given_ip: bool,
    printed: Option<Arc<Printed>>,
    pub host: Arc<Host>,
    pub ready: bool,
    pub phase: Phase,
    /// It is being deleted.
    pub terminating: bool,
    pub template: Arc<Template>,
}

/// What only an API server says of a pod. Few have it, and all of a cluster's pods are gone through often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Printed {
    /// `None`: it follows from the name.
    uid: Option<String>,
    /// A second address, of the other family.
    other_ip: Option<IpAddr>,
}

/// Where pods run: a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Empty while no node has taken a pod.
    pub name: Arc<str>,
    pub ips: Arc<[IpAddr]>,
}

/// What all pods of a workload have in common, after admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub labels: Arc<Labels>,
    pub annotations: Arc<Labels>,
    pub service_account: String,
    /// Lower-case kind and name, through ReplicaSets: `("deployment", "bb")`; a lone pod is its own.
    pub owner: (String, String),
    pub subdomain: Option<String>,
    /// The pod's name under the headless Service `subdomain`.
    pub hostname: Option<Arc<str>>,
    pub host_network: bool,
    pub init_containers: Arc<Vec<Container>>,
    pub containers: Arc<Vec<Container>>,
}

impl Deref for Pod {
    type Target = Template;

    fn deref(&self) -> &Template {
        &self.template
    }
}

/// How far a pod's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    /// Succeeded or failed.
    Finished,
}

/// Name by which every reader finds the proxy in a pod (controlplane 2.5).
pub const PROXY_CONTAINER: &str = "linkerd-proxy";

impl Pod {
    fn is_same_but_for_template(&self, other: &Self) -> bool {
        let Self { name, ip, given_ip, printed, host, ready, phase, terminating, template: _ } = self;
        *name == other.name
            && (*ip, *given_ip) == (other.ip, other.given_ip)
            && (*ready, *phase, *terminating) == (other.ready, other.phase, other.terminating)
            && *host == other.host
            && *printed == other.printed
    }

    /// A second address, of the other family.
    pub fn other_ip(&self) -> Option<IpAddr> {
        self.printed.as_ref()?.other_ip
    }

    /// As an API server gave it; else in the form of a UUID, from the name alone.
    pub fn uid(&self) -> String {
        let given = self.printed.as_ref().and_then(|printed| printed.uid.clone());
        given.unwrap_or_else(|| hash::uid(&self.name.to_string()))
    }

    /// A container's environment with downward fields filled in and `$(…)` expanded, in order.
    pub fn env(&self, container: &Container) -> Vec<(String, String)> {
        env::resolved(self, container)
    }

    /// The proxy's whole environment as the injector renders it (controlplane 5.4); empty if not
    /// injected.
    pub fn proxy_env(&self) -> Vec<(String, String)> {
        self.proxy().map(|proxy| self.env(proxy)).unwrap_or_default()
    }
}

impl Template {
    /// Marked by the injector: its label names a control plane (controlplane 2.5).
    pub fn meshed(&self) -> bool {
        self.labels.get(inject::CONTROL_PLANE_NS).is_some_and(|namespace| !namespace.is_empty())
    }

    /// Application containers, without the proxy.
    pub fn applications(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.name != PROXY_CONTAINER)
    }

    /// The proxy's container, wherever the injector put it (controlplane 5.3).
    pub fn proxy(&self) -> Option<&Container> {
        self.all_containers().find(|container| container.name == PROXY_CONTAINER)
    }

    fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(self.containers.iter())
    }

    /// The number of a TCP port that some container names so.
    fn named_port(&self, name: &str) -> Option<u16> {
        self.all_containers().find_map(|container| container.tcp_port(name))
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests;

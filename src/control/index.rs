//! Documents in, answers out: one cluster's whole desired state, immutable.
//!
//! [`Snapshot::build`] is a pure function, run again on every change; nothing is patched. The queries
//! speak in [`crate::model`]; which gRPC message or status an answer becomes is the server's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::control::manifest::{Documents, Note};
use crate::control::mirror::{self, Gateways, LinkedGateway, Mirrored};
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
mod objects;
mod outbound;
mod pods;
pub mod ports;
mod profile;
mod remotes;
mod routes;
mod server;
pub mod settings;
mod slices;
mod unaddressed;
mod workloads;
mod world;

pub use allocate::{Allocations, Given};
pub use attached::{Refusal, RouteStatus, Unresolved};
pub use dns::{Records, Resolved, ServiceRecord};
pub use lookup::{Context, LookupError, Target, Workload};
pub use objects::{Definition, Host, PROXY_CONTAINER, Phase, Pod, Service, Template};
pub use ports::PortSet;
pub use remotes::{Linked, LinkedClusters};
pub use settings::{DefaultPolicy, Settings, Transport};

pub use super::manifest::ObjectName;
pub use super::manifest::service::{Family, ServicePort};
pub use super::manifest::workload::{
    Container, ContainerPort, EnvValue, EnvVar, PortRef, Probe, ProbeAction,
};

pub(in crate::control) use behind::EndpointsInOrder;
pub use endpoints::CLUSTER_NAME;
pub(in crate::control) use endpoints::{GATEWAY_IDENTITY, REMOTE_DISCOVERY, REMOTE_FQ_NAME, REMOTE_SERVICE};
pub(in crate::control) use federated::{LOCAL_DISCOVERY, is_federated};
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
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.mirrored.notes.iter().chain(&self.own.unaddressed)
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

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests;

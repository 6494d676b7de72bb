//! One cluster's objects as its controllers would leave them, addresses given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::control::manifest::service::ServiceKind;
use crate::control::manifest::{
    Documents, ExternalWorkload, Note, Object, RateLimitPolicy, Route, Server, status,
};
use crate::control::mirror::{Endpoints, Metadata, Mirrored, Texts};
use crate::control::ordered::{InOrder, Ordered};
use crate::model::service_profile::ServiceProfile;

use super::addresses::ByAddress;
use super::attached::Attached;
use super::pods::Pods;
use super::slices::{self, ByService};
use super::workloads::pods;
use super::{Allocations, Definition, ObjectName, Pod, Service, Settings, inject, unaddressed};

/// Services by name.
pub(super) type Services = Ordered<ObjectName, Service>;

/// One cluster, its own or one that is linked.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::control) struct World {
    pub(super) settings: Settings,
    pub(super) namespaces: BTreeSet<String>,
    pub(super) service_accounts: BTreeSet<ObjectName>,
    pub(super) pods: Pods,
    pub(super) services: Services,
    /// Of Services, by their places.
    addresses: ByAddress,
    pub(super) endpoints: ByService,
    /// Not of another cluster, like profiles: they are not watched there (controlplane 1.2).
    pub(super) external_workloads: Ordered<ObjectName, Object<ExternalWorkload>>,
    pub(super) service_profiles: Ordered<ObjectName, Object<ServiceProfile>>,
    /// Zones of nodes.
    pub(super) zones: BTreeMap<Arc<str>, Arc<str>>,
    /// By namespace; oldest first, then by name: the first that matches wins (controlplane 3.5).
    pub(super) servers: BTreeMap<Arc<str>, Vec<Object<Server>>>,
    /// By Server, in the order in which they count.
    pub(super) routes: BTreeMap<ObjectName, Vec<Object<Route>>>,
    /// Of Services and EgressNetworks. Not of another cluster either.
    pub(super) outbound: Attached,
    pub(super) rate_limits: BTreeMap<ObjectName, Object<RateLimitPolicy>>,
    pub(super) policies: Documents,
    /// What has no address, and why.
    pub(super) unaddressed: Vec<Note>,
}

impl World {
    pub(in crate::control) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Those with this cluster IP, by name.
    pub(super) fn services_at(&self, ip: IpAddr) -> impl Iterator<Item = &Service> {
        let places = self.addresses.at(ip);
        places.filter_map(|place| self.services.at(place as usize)).map(|(_, service)| service)
    }

    /// Living pods with this address, which is no node's.
    pub(super) fn pods_at(&self, ip: IpAddr) -> impl Iterator<Item = &Pod> {
        self.pods.of_ip(ip)
    }

    /// Living pods that take ports of the node with this address.
    pub(super) fn pods_on_host(&self, ip: IpAddr) -> impl Iterator<Item = &Pod> {
        self.pods.on_host(ip)
    }

    pub(super) fn servers_of(&self, namespace: &str) -> &[Object<Server>] {
        self.servers.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }

    /// `mirrored` is what the mirror writes beside the documents' own.
    pub(super) fn build(
        documents: &Documents,
        mirrored: &Mirrored,
        settings: &Settings,
        given: &mut Allocations,
    ) -> Self {
        let (mut pods, known) = pods(documents, settings, Some(&given.pods));
        let mut services = services(documents, settings);
        if !mirrored.services.is_empty() {
            services.extend(mirrors(mirrored));
        }
        let other = allocate((&mut pods, &known), &mut services, settings, given);
        // Where all have what they had before, none is without.
        let unaddressed =
            if other { unaddressed::notes(documents, &pods, &services, settings) } else { Vec::new() };
        let mut world = Self::assemble(documents, &mirrored.endpoints, pods, services, settings.clone());
        world.unaddressed = unaddressed;
        world.namespaces.extend(mirrored.namespaces.keys().cloned());
        world.external_workloads.clone_from(&documents.external_workloads);
        world.service_profiles.clone_from(&documents.service_profiles);
        world.policies.egress_networks.clone_from(&documents.egress_networks);
        world.outbound = Attached::of(documents, &world.services, settings);
        world
    }

    /// A cluster whose addresses are another process's to give: what it did not give is not there. Also whether it gave
    /// every pod one.
    pub(super) fn observed(
        documents: &Documents,
        settings: Settings,
        given: Option<&Allocations>,
    ) -> (Self, bool) {
        let (pods, known) = pods(documents, &settings, given.map(|given| &given.pods));
        let mut services = services(documents, &settings);
        if let Some(given) = given {
            let known: Vec<_> = given.services.of(services.keys()).collect();
            for (service, ip) in services.values_mut().zip(known) {
                service.cluster_ip = service.cluster_ip.or(ip);
            }
        }
        let world = Self::assemble(documents, &Ordered::default(), pods, services, settings);
        (world, known.iter().all(Option::is_some))
    }

    fn assemble(
        documents: &Documents,
        mirrored: &Ordered<ObjectName, Arc<Endpoints>>,
        pods: Pods,
        services: Services,
        settings: Settings,
    ) -> Self {
        let mut servers: BTreeMap<Arc<str>, Vec<Object<Server>>> = BTreeMap::new();
        for server in documents.servers.values() {
            servers.entry(server.0.name.namespace.clone()).or_default().push(server.clone());
        }
        for servers in servers.values_mut() {
            servers.sort_by(|a, b| (&a.0.created, &a.0.name).cmp(&(&b.0.created, &b.0.name)));
        }
        let mut policies = Documents::default();
        policies.authorization_policies.clone_from(&documents.authorization_policies);
        policies.mesh_tls_authentications.clone_from(&documents.mesh_tls_authentications);
        policies.network_authentications.clone_from(&documents.network_authentications);
        policies.server_authorizations.clone_from(&documents.server_authorizations);
        let accepted = status::accepted(documents);
        Self {
            namespaces: namespaces(documents, &settings),
            service_accounts: service_accounts(documents, &settings),
            endpoints: slices::endpoints(documents, &services, &pods, mirrored),
            addresses: ByAddress::of_services(&services),
            external_workloads: Ordered::default(),
            service_profiles: Ordered::default(),
            zones: slices::zones(documents),
            settings,
            pods,
            services,
            servers,
            routes: accepted.routes,
            outbound: Attached::default(),
            rate_limits: accepted.rate_limits,
            policies,
            unaddressed: Vec::new(),
        }
    }
}

/// Namespaces that exist: given ones, those something lies in, and those of the installation.
pub(in crate::control) fn namespaces(documents: &Documents, settings: &Settings) -> BTreeSet<String> {
    let installed = ["default", &settings.control_namespace, &settings.mirror_namespace];
    let given = documents.namespaces.keys().map(String::as_str);
    let mut all: BTreeSet<&str> = installed.into_iter().chain(given).collect();
    let used = (documents.service_accounts.keys())
        .chain(documents.workload_names())
        .chain(documents.pods.keys())
        .chain(documents.services.keys())
        .chain(documents.external_workloads.keys());
    // Most share their namespace's name with the one before.
    let mut last = None;
    for name in used.map(|name| &name.namespace) {
        if !last.is_some_and(|last| Arc::ptr_eq(last, name)) {
            all.insert(name);
        }
        last = Some(name);
    }
    all.into_iter().map(str::to_owned).collect()
}

fn service_accounts(documents: &Documents, settings: &Settings) -> BTreeSet<ObjectName> {
    let own = ["linkerd-destination", "linkerd-identity"]
        .map(|name| ObjectName::new(&settings.control_namespace, name));
    documents.service_accounts.keys().cloned().chain(own).collect()
}

/// Those of the documents. The webhook writes opaque ports on each, but not on what an API server printed: that went
/// through it already.
fn services(documents: &Documents, settings: &Settings) -> Services {
    let made = documents.services.values().map(|(meta, service)| {
        let (cluster_ip, external_name) = match &service.kind {
            ServiceKind::ClusterIp(ip) => (*ip, None),
            ServiceKind::Headless => (None, None),
            ServiceKind::ExternalName(name) => (None, Some(name.clone())),
        };
        let mut definition = Arc::new(Definition {
            metadata: Metadata::Given(Texts::of(meta)),
            families: service.families.clone(),
            headless: service.kind == ServiceKind::Headless,
            ports: service.ports.clone(),
            external_name,
            selector: service.selector.clone(),
            local_traffic_only: service.local_traffic_only,
            publish_not_ready: service.publish_not_ready,
            same_zone: service.same_zone,
            mirrored: false,
        });
        if meta.uid.is_none() {
            inject::admit_service(&mut definition, &meta.name, documents, settings);
        }
        let name = meta.name.clone();
        (name.clone(), Service::new(name, [cluster_ip, service.other_ip], definition))
    });
    made.collect()
}

/// As the webhook leaves them, which sees them as it does any other.
fn mirrors(mirrored: &Mirrored) -> impl Iterator<Item = (ObjectName, Service)> {
    let mut admitted = InOrder::of(&mirrored.admitted);
    mirrored.services.iter().map(move |(name, service)| {
        let mut service = service.clone();
        if let Some(definition) = admitted.get(name) {
            service.definition = definition.clone();
        }
        (name.clone(), service)
    })
}

/// `known` is what pods have of what was given out before. Tells whether any has another address than before, or none.
fn allocate(
    (pods, known): (&mut Pods, &[Option<IpAddr>]),
    services: &mut Services,
    settings: &Settings,
    given: &mut Allocations,
) -> bool {
    let mut taken = pods.claimed().clone();
    taken.extend(services.values().filter_map(|service| service.cluster_ip));
    taken.insert(settings.control_addr);
    let other_pods = given.pods.fill(pods.bare(), known, settings.pod_network, &taken);
    if other_pods {
        pods.settle(&given.pods);
    }
    let names = services.iter().filter(|(_, service)| service.wants_ip).map(|(name, _)| name);
    let mut known: Vec<Option<IpAddr>> = given.services.of(names.clone()).collect();
    let other_services = given.services.fill(names.clone(), &known, settings.service_network, &taken);
    if other_services {
        known = given.services.of(names).collect();
    }
    for (service, ip) in services.values_mut().filter(|service| service.wants_ip).zip(known) {
        service.cluster_ip = ip;
    }
    other_pods || other_services
}

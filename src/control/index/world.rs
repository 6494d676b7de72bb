//! One cluster's objects as its controllers would leave them: addresses given, endpoints drawn from
//! selectors and readiness.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use crate::control::manifest::service::ServiceKind;
use crate::control::manifest::{self, Documents, Meta, Server};

use super::workloads::pods;
use super::{Allocations, LinkedClusters, ObjectName, Pod, PortRef, Service, Settings, inject};

/// One cluster, its own or one that is linked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) namespaces: BTreeSet<String>,
    pub(super) service_accounts: BTreeSet<ObjectName>,
    pub(super) pods: BTreeMap<ObjectName, Pod>,
    pub(super) services: BTreeMap<ObjectName, Service>,
    /// By Service. A Service without endpoints has no entry.
    pub(super) endpoints: BTreeMap<ObjectName, Vec<ServiceEndpoint>>,
    /// Oldest first, then by name: the first that matches wins (controlplane 3.5).
    pub(super) servers: Vec<(Meta, Server)>,
    pub(super) policies: Documents,
}

/// One address of a Service, before it is known which port is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ServiceEndpoint {
    pub(super) ip: IpAddr,
    pub(super) ready: bool,
    pub(super) hostname: Option<String>,
    /// `None` for a plain address.
    pub(super) pod: Option<ObjectName>,
    /// By name of the Service port.
    pub(super) ports: BTreeMap<String, u16>,
    /// Annotations of the slice (controlplane 2.4): who answers at a gateway, and for which name.
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl World {
    /// `mirrored` are Services that the mirror writes beside the documents' own.
    pub(super) fn build(
        documents: &Documents,
        mirrored: &BTreeMap<ObjectName, Service>,
        settings: &Settings,
        given: &mut Allocations,
    ) -> Self {
        let mut pods = pods(documents, settings);
        let mut services = services(documents);
        services.extend(mirrored.clone());
        inherit_opaque_ports(&mut services, documents);
        allocate(&mut pods, &mut services, documents, settings, given);
        Self::assemble(documents, pods, services, settings.clone())
    }

    /// A cluster whose addresses are another process's to give: what it did not give is not there.
    fn observed(documents: &Documents, settings: Settings, given: Option<&Allocations>) -> Self {
        let mut pods = pods(documents, &settings);
        let mut services = services(documents);
        inherit_opaque_ports(&mut services, documents);
        for (name, pod) in &mut pods {
            pod.ip = pod.ip.or_else(|| given?.pods.get(&name.to_string()).copied());
        }
        for (name, service) in &mut services {
            let own = service.cluster_ip;
            service.cluster_ip = own.or_else(|| given?.services.get(&name.to_string()).copied());
        }
        Self::assemble(documents, pods, services, settings)
    }

    fn assemble(
        documents: &Documents,
        pods: BTreeMap<ObjectName, Pod>,
        services: BTreeMap<ObjectName, Service>,
        settings: Settings,
    ) -> Self {
        let mut servers: Vec<_> = documents.servers.values().cloned().collect();
        servers.sort_by(|a, b| (&a.0.created, &a.0.name).cmp(&(&b.0.created, &b.0.name)));
        let mut policies = Documents::default();
        policies.authorization_policies.clone_from(&documents.authorization_policies);
        policies.mesh_tls_authentications.clone_from(&documents.mesh_tls_authentications);
        policies.network_authentications.clone_from(&documents.network_authentications);
        Self {
            namespaces: namespaces(documents, &settings),
            service_accounts: service_accounts(documents, &settings),
            endpoints: endpoints(documents, &services, &pods),
            settings,
            pods,
            services,
            servers,
            policies,
        }
    }
}

/// The clusters that credentials Secrets of the control plane's namespace lead to (controlplane 1.2).
pub(super) fn remotes(
    documents: &Documents,
    linked: &LinkedClusters,
    settings: &Settings,
) -> BTreeMap<String, World> {
    let mut remotes = BTreeMap::new();
    for (name, (meta, secret)) in &documents.secrets {
        let cluster = meta.labels.get("multicluster.linkerd.io/cluster-name");
        let trust_domain = meta.annotations.get("multicluster.linkerd.io/trust-domain");
        let domain = meta.annotations.get("multicluster.linkerd.io/cluster-domain");
        let (Some(cluster), Some(trust_domain), Some(domain), Some(remote)) =
            (cluster, trust_domain, domain, &secret.remote)
        else {
            continue;
        };
        if name.namespace != settings.control_namespace {
            continue;
        }
        let Some(linked) = linked.get(&remote.value) else { continue };
        let base = linked.allocations.as_ref().map_or_else(|| settings.clone(), |a| a.settings(settings));
        let settings =
            Settings { trust_domain: trust_domain.clone(), cluster_domain: domain.clone(), ..base };
        let world = World::observed(&linked.documents, settings, linked.allocations.as_ref());
        remotes.insert(cluster.clone(), world);
    }
    remotes
}

/// Namespaces that exist: given ones, those something lies in, and those of the installation.
pub(in crate::control) fn namespaces(documents: &Documents, settings: &Settings) -> BTreeSet<String> {
    let installed = ["default", &settings.control_namespace, &settings.mirror_namespace];
    let used = (documents.service_accounts.keys())
        .chain(documents.deployments.keys())
        .chain(documents.stateful_sets.keys())
        .chain(documents.pods.keys())
        .chain(documents.services.keys())
        .map(|name| &*name.namespace);
    let given = documents.namespaces.keys().map(String::as_str);
    installed.into_iter().chain(used).chain(given).map(str::to_owned).collect()
}

fn service_accounts(documents: &Documents, settings: &Settings) -> BTreeSet<ObjectName> {
    let own = ["linkerd-destination", "linkerd-identity"]
        .map(|name| ObjectName::new(&settings.control_namespace, name));
    documents.service_accounts.keys().cloned().chain(own).collect()
}

fn services(documents: &Documents) -> BTreeMap<ObjectName, Service> {
    let made = documents.services.values().map(|(meta, service)| {
        let (cluster_ip, external_name) = match &service.kind {
            ServiceKind::ClusterIp(ip) => (*ip, None),
            ServiceKind::Headless => (None, None),
            ServiceKind::ExternalName(name) => (None, Some(name.clone())),
        };
        let made = Service {
            name: meta.name.clone(),
            labels: meta.labels.clone(),
            annotations: meta.annotations.clone(),
            cluster_ip,
            ports: service.ports.clone(),
            external_name,
            selector: service.selector.clone(),
            local_traffic_only: service.local_traffic_only,
            mirrored: false,
        };
        (meta.name.clone(), made)
    });
    made.collect()
}

/// The webhook copies a namespace's opaque ports onto its Services, mirrors too (controlplane 5.1).
fn inherit_opaque_ports(services: &mut BTreeMap<ObjectName, Service>, documents: &Documents) {
    for (name, service) in services {
        let namespace = documents.namespaces.get(&name.namespace);
        let value = namespace.and_then(|namespace| namespace.meta.annotations.get(inject::OPAQUE_PORTS));
        if let Some(value) = value {
            service.annotations.entry(inject::OPAQUE_PORTS.into()).or_insert_with(|| value.clone());
        }
    }
}

fn allocate(
    pods: &mut BTreeMap<ObjectName, Pod>,
    services: &mut BTreeMap<ObjectName, Service>,
    documents: &Documents,
    settings: &Settings,
    given: &mut Allocations,
) {
    let mut taken: BTreeSet<IpAddr> = pods.values().filter_map(|pod| pod.ip).collect();
    taken.extend(services.values().filter_map(|service| service.cluster_ip));
    taken.insert(settings.control_addr);
    let bare = pods.iter().filter(|(_, pod)| pod.ip.is_none()).map(|(name, _)| name);
    given.fill_pods(bare, settings.pod_network, &taken);
    let wants_ip = |name: &ObjectName, service: &Service| {
        let kind = documents.services.get(name).map(|(_, service)| &service.kind);
        service.cluster_ip.is_none() && matches!(kind, None | Some(ServiceKind::ClusterIp(_)))
    };
    let bare: Vec<_> =
        services.iter().filter(|(n, s)| wants_ip(n, s)).map(|(name, _)| name.clone()).collect();
    given.fill_services(bare.iter(), settings.service_network, &taken);
    for (name, pod) in pods.iter_mut() {
        pod.ip = pod.ip.or_else(|| given.pods.get(&name.to_string()).copied());
    }
    for name in bare {
        if let Some(service) = services.get_mut(&name) {
            service.cluster_ip = given.services.get(&name.to_string()).copied();
        }
    }
}

fn endpoints(
    documents: &Documents,
    services: &BTreeMap<ObjectName, Service>,
    pods: &BTreeMap<ObjectName, Pod>,
) -> BTreeMap<ObjectName, Vec<ServiceEndpoint>> {
    let mut all: BTreeMap<ObjectName, Vec<ServiceEndpoint>> = BTreeMap::new();
    for (name, service) in services {
        if !service.selector.is_empty() {
            let selected = pods.values().filter(|pod| selects(service, pod));
            all.entry(name.clone())
                .or_default()
                .extend(selected.filter_map(|pod| pod_endpoint(service, pod)));
        }
    }
    for (meta, slice) in documents.endpoint_slices.values() {
        let Some(service) = service_of(meta) else { continue };
        // What the endpoint controller printed is worked out above from the same pods.
        let derived = services.get(&service).is_some_and(|service| !service.selector.is_empty());
        if derived && meta.labels.get(MANAGED_BY).is_some_and(|by| by == "endpointslice-controller.k8s.io") {
            continue;
        }
        all.entry(service).or_default().extend(slice_endpoints(meta, slice));
    }
    all.retain(|_, endpoints| !endpoints.is_empty());
    all
}

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

fn selects(service: &Service, pod: &Pod) -> bool {
    pod.name.namespace == service.name.namespace
        && pod.running
        && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

fn pod_endpoint(service: &Service, pod: &Pod) -> Option<ServiceEndpoint> {
    let number = |target: &PortRef| match target {
        PortRef::Number(port) => Some(*port),
        PortRef::Name(name) => pod.named_port(name),
    };
    let tcp = service.ports.iter().filter(|port| port.protocol == "TCP");
    let ports = tcp.filter_map(|port| Some((port.name.clone(), number(&port.target)?)));
    Some(ServiceEndpoint {
        ip: pod.ip?,
        ready: pod.ready,
        hostname: pod.hostname.clone().filter(|_| pod.subdomain.as_ref() == Some(&service.name.name)),
        pod: Some(pod.name.clone()),
        ports: ports.collect(),
        annotations: BTreeMap::new(),
        labels: BTreeMap::new(),
    })
}

/// The Service of a slice: its label, else an owner (controlplane 2.4).
fn service_of(meta: &Meta) -> Option<ObjectName> {
    let owner = || meta.owners.iter().find(|owner| owner.kind == "Service").map(|owner| &owner.name);
    let name = meta.labels.get("kubernetes.io/service-name").or_else(owner)?;
    Some(ObjectName::new(&meta.name.namespace, name))
}

fn slice_endpoints(meta: &Meta, slice: &manifest::EndpointSlice) -> Vec<ServiceEndpoint> {
    let ports: BTreeMap<_, _> = slice.ports.iter().map(|port| (port.name.clone(), port.port)).collect();
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let pod = match &endpoint.target {
            None => None,
            Some(target) if target.kind == "Pod" => {
                let namespace = target.namespace.as_ref().unwrap_or(&meta.name.namespace);
                Some(ObjectName::new(namespace, &target.name))
            }
            Some(_) => continue,
        };
        endpoints.extend(endpoint.addresses.iter().map(|ip| ServiceEndpoint {
            ip: *ip,
            ready: endpoint.ready,
            hostname: endpoint.hostname.clone(),
            pod: pod.clone(),
            ports: ports.clone(),
            annotations: meta.annotations.clone(),
            labels: meta.labels.clone(),
        }));
    }
    endpoints
}

/// The folder URLs that a cluster's Secrets name: those of Links and those of remote discovery.
pub(in crate::control) fn remote_urls(documents: &Documents) -> BTreeSet<String> {
    let remotes = documents.secrets.values().filter_map(|(_, secret)| secret.remote.as_ref());
    let urls = remotes.filter(|remote| manifest::folder_of(&remote.value, Path::new("")).is_some());
    urls.map(|remote| remote.value.clone()).collect()
}

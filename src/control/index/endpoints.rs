//! `Destination.Get`: from a name to the addresses behind it that a client should use
//! (controlplane 2.2-2.6).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::endpoint::{Endpoint, Labels};

use super::lookup::{PathHost, parse_path};
use super::slices::{Backing, ServiceEndpoint};
use super::world::World;
use super::{Context, EndpointSet, LookupError, ObjectName, Service, Settings, Snapshot, address, federated};

/// Label of remote-discovery mirrors with the cluster to ask (controlplane 1.5).
pub(in crate::control) const REMOTE_DISCOVERY: &str = "multicluster.linkerd.io/remote-discovery";
pub(in crate::control) const REMOTE_SERVICE: &str = "multicluster.linkerd.io/remote-service";
pub(in crate::control) const REMOTE_FQ_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";
pub(in crate::control) const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";
pub const CLUSTER_NAME: &str = "mirror.linkerd.io/cluster-name";

pub(super) fn destination(
    snapshot: &Snapshot,
    path: &str,
    context: &Context,
) -> Result<EndpointSet, LookupError> {
    let own = &snapshot.own;
    let (host, port) = parse_path(path, &own.settings)?;
    let PathHost::Service { instance, name, namespace } = host else {
        return Err(LookupError::InvalidArgument(format!("{path:?}: addresses have no endpoints")));
    };
    let name = ObjectName::new(&namespace, &name);
    let service = own.services.get(&name);
    let service = service.ok_or_else(|| LookupError::NotFound(format!("Service {name} does not exist")))?;
    let client = Client::of(own, context);
    let query = Query { port, instance, client, settings: &own.settings };
    if federated::is_federated(service) {
        return Ok(federated::union(snapshot, service, &query));
    }
    if service.external_name.is_some() {
        return Err(LookupError::InvalidArgument(format!("Service {name} is an ExternalName")));
    }
    let Some(cluster) = service.labels().get(REMOTE_DISCOVERY) else {
        return Ok(query.near(own, service));
    };
    let remote_name = service.labels().get(REMOTE_SERVICE).ok_or_else(|| {
        LookupError::FailedPrecondition(format!("Service {name} has no label {REMOTE_SERVICE}"))
    })?;
    let remote = snapshot.remotes.get(cluster);
    let remote =
        remote.ok_or_else(|| LookupError::NotFound(format!("no credentials for cluster {cluster}")))?;
    let remote_name = ObjectName::new(&name.namespace, remote_name);
    match remote.services.get(&remote_name) {
        Some(service) if service.external_name.is_some() => Err(LookupError::InvalidArgument(format!(
            "Service {remote_name} of {cluster} is an ExternalName"
        ))),
        Some(service) => Ok(query.far(remote, service)),
        // It may come back: an empty set keeps the stream open (controlplane 2.3).
        None => Ok(EndpointSet::empty(set_labels(&remote_name, None))),
    }
}

impl EndpointSet {
    fn empty(labels: Labels) -> Self {
        Self { labels, endpoints: BTreeMap::new(), federated: false }
    }
}

/// Where the asking proxy runs.
#[derive(Clone, Copy)]
struct Client<'a> {
    node: &'a str,
    zone: Option<&'a str>,
}

impl<'a> Client<'a> {
    fn of(own: &'a World, context: &'a Context) -> Self {
        let node = context.node_name.as_str();
        Self { node, zone: own.zones.get(node).map(|zone| &**zone) }
    }
}

/// What is asked of one Service, in the cluster where it lives.
pub(super) struct Query<'a> {
    port: u16,
    instance: Option<String>,
    client: Client<'a>,
    /// The asking cluster's: its control-plane namespace and opaque ports apply (controlplane 2.6).
    settings: &'a Settings,
}

impl Query<'_> {
    /// Endpoints of a Service of this cluster: those that are for the client's node and zone.
    pub(super) fn near(&self, world: &World, service: &Service) -> EndpointSet {
        let mut candidates = self.candidates(world, service);
        if service.local_traffic_only {
            candidates.retain(|candidate| self.on_clients_node(world, &candidate.from));
        } else {
            keep_zone(&mut candidates, self.client.zone);
        }
        self.set(world, service, candidates)
    }

    /// Endpoints of another cluster's Service: all of them.
    pub(super) fn far(&self, world: &World, service: &Service) -> EndpointSet {
        self.set(world, service, self.candidates(world, service))
    }

    /// Those that are ready, have the port, and are the instance that was asked for.
    fn candidates<'w>(&self, world: &'w World, service: &Service) -> Vec<Candidate<'w>> {
        let port_name = service.port(self.port).map(|port| port.name.as_str());
        let asked = |from: &Cow<'_, ServiceEndpoint>| {
            let instance =
                self.instance.as_ref().is_none_or(|name| from.hostname.as_deref() == Some(name.as_str()));
            from.ready && instance && is_known(world, &from.backing)
        };
        let port = |from: &ServiceEndpoint| match port_name {
            Some(name) => from.port(name),
            None => Some(self.port),
        };
        let all = world.endpoints_of(&service.name).filter(asked);
        let candidate = |from: Cow<'w, ServiceEndpoint>| {
            let addr = SocketAddr::new(from.ip, port(&from)?);
            Some(Candidate { from, addr })
        };
        all.filter_map(candidate).collect()
    }

    fn on_clients_node(&self, world: &World, from: &ServiceEndpoint) -> bool {
        let Backing::Pod(name) = &from.backing else { return false };
        world.pods.get(name).is_some_and(|pod| *pod.host.name == *self.client.node)
    }

    fn set(&self, world: &World, service: &Service, mut candidates: Vec<Candidate<'_>>) -> EndpointSet {
        keep_family(&mut candidates, world.settings.ipv6());
        let labels = set_labels(&service.name, world.endpoints_of(&service.name).next().as_deref());
        let endpoints = candidates.into_iter().filter_map(|candidate| self.endpoint(world, candidate));
        let endpoints = endpoints.map(|endpoint| (endpoint.addr, endpoint)).collect();
        EndpointSet { labels, endpoints, federated: false }
    }

    fn endpoint(&self, world: &World, Candidate { from, addr }: Candidate<'_>) -> Option<Endpoint> {
        let zone = from.zone.as_deref();
        let mut endpoint = match &from.backing {
            Backing::Plain => address::plain(&from.slice, addr, self.port, self.settings)?,
            Backing::Pod(name) => address::of_pod(world, world.pods.get(name)?, addr, zone, self.settings)?,
            Backing::External(name) => {
                let workload = world.external_workloads.get(name)?;
                address::of_external(world, workload, addr, zone, self.settings)
            }
        };
        // The zone of an address without a pod is not read.
        let zone = zone.filter(|_| from.backing != Backing::Plain);
        let locality = match self.client.zone.zip(zone) {
            Some((client, zone)) if client == zone => "local",
            Some(_) => "remote",
            None => "unknown",
        };
        if locality == "local" && self.settings.transport.zone_weights {
            endpoint.weight *= 10;
        }
        Arc::make_mut(&mut endpoint.labels).insert("zone_locality".into(), locality.into());
        Some(endpoint)
    }
}

/// An endpoint with the address that the asked port has there.
struct Candidate<'w> {
    from: Cow<'w, ServiceEndpoint>,
    addr: SocketAddr,
}

/// What a slice names and the cluster does not have is no endpoint.
fn is_known(world: &World, backing: &Backing) -> bool {
    match backing {
        Backing::Plain => true,
        Backing::Pod(name) => world.pods.get(name).is_some(),
        Backing::External(name) => world.external_workloads.contains_key(name),
    }
}

/// Only what is meant for the client's zone; everything where one has no hints, or none is for that zone.
fn keep_zone(candidates: &mut Vec<Candidate<'_>>, zone: Option<&str>) {
    let meant =
        |candidate: &Candidate<'_>| candidate.from.for_zones.iter().any(|meant| Some(&**meant) == zone);
    let hinted = candidates.iter().all(|candidate| !candidate.from.for_zones.is_empty());
    if hinted && candidates.iter().any(meant) {
        candidates.retain(meant);
    }
}

/// Of pods only: no IPv6 unless it is on; then a pod that has both is reached by IPv6.
fn keep_family(candidates: &mut Vec<Candidate<'_>>, ipv6: bool) {
    if candidates.iter().all(|candidate| candidate.addr.is_ipv4()) {
        return;
    }
    let pod = |candidate: &Candidate<'_>| match &candidate.from.backing {
        Backing::Pod(name) => Some(name.clone()),
        _ => None,
    };
    let with_ipv6: BTreeSet<ObjectName> =
        candidates.iter().filter(|candidate| candidate.addr.is_ipv6()).filter_map(pod).collect();
    candidates.retain(|candidate| match pod(candidate) {
        None => true,
        Some(_) if candidate.addr.is_ipv6() => ipv6,
        Some(name) => !ipv6 || !with_ipv6.contains(&name),
    });
}

/// Labels of a whole set; those of another cluster's gateway come from its slice.
pub(super) fn set_labels(service: &ObjectName, slice: Option<&ServiceEndpoint>) -> Labels {
    let mut labels = BTreeMap::from([
        ("namespace".to_owned(), service.namespace.to_string()),
        ("service".to_owned(), service.name.to_string()),
    ]);
    let cluster = slice.and_then(|from| Some((&from.slice, from.slice.labels.get(CLUSTER_NAME)?)));
    if let Some((slice, cluster)) = cluster {
        labels.insert("target_cluster".into(), cluster.clone());
        let mut parts =
            slice.annotations.get(REMOTE_FQ_NAME).map(|name| name.split('.')).into_iter().flatten();
        if let (Some(name), Some(namespace)) = (parts.next(), parts.next()) {
            labels.insert("target_service".into(), name.into());
            labels.insert("target_service_namespace".into(), namespace.into());
        }
    }
    Arc::new(labels)
}

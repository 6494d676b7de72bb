//! `Destination.Get`: from a name to addresses with everything needed to reach them
//! (controlplane 2.2-2.6).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::model::WorkloadId;
use crate::model::endpoint::{Endpoint, EndpointTls, Http2Params, KeepAlive, Labels, ProtocolHint};

use super::federated;
use super::inject::{CONTROL_PLANE_NS, OPAQUE_PORTS, SKIP_INBOUND_PORTS};
use super::lookup::{PathHost, parse_path};
use super::slices::ServiceEndpoint;
use super::world::World;
use super::{
    Context, EndpointSet, LookupError, ObjectName, PROXY_CONTAINER, Pod, PortSet, Service, Settings, Snapshot,
};
use crate::control::manifest::policy::ServerKind;

/// Label of remote-discovery mirrors with the cluster to ask (controlplane 1.5).
pub(in crate::control) const REMOTE_DISCOVERY: &str = "multicluster.linkerd.io/remote-discovery";
pub(in crate::control) const REMOTE_SERVICE: &str = "multicluster.linkerd.io/remote-service";
pub(in crate::control) const REMOTE_FQ_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";
pub(in crate::control) const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";
pub(in crate::control) const CLUSTER_NAME: &str = "mirror.linkerd.io/cluster-name";

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
    let name = ObjectName { namespace, name };
    let service = own.services.get(&name);
    let service = service.ok_or_else(|| LookupError::NotFound(format!("Service {name} does not exist")))?;
    let query = Query { port, instance, node: None, settings: &own.settings };
    if federated::is_federated(service) {
        return Ok(federated::union(snapshot, service, &query, context));
    }
    if service.external_name.is_some() {
        return Err(LookupError::InvalidArgument(format!("Service {name} is an ExternalName")));
    }
    let Some(cluster) = service.labels.get(REMOTE_DISCOVERY) else {
        let node = service.local_traffic_only.then_some(context.node_name.as_str());
        return Ok(query.on_node(node).endpoints(own, service));
    };
    let remote_name = service.labels.get(REMOTE_SERVICE).ok_or_else(|| {
        LookupError::FailedPrecondition(format!("Service {name} has no label {REMOTE_SERVICE}"))
    })?;
    let remote = snapshot.remotes.get(cluster);
    let remote =
        remote.ok_or_else(|| LookupError::NotFound(format!("no credentials for cluster {cluster}")))?;
    let remote_name = ObjectName::new(&name.namespace, remote_name);
    match remote.services.get(&remote_name) {
        Some(service) => Ok(query.endpoints(remote, service)),
        // It may come back: an empty set keeps the stream open (controlplane 2.3).
        None => Ok(EndpointSet::empty(set_labels(&remote_name, None))),
    }
}

impl EndpointSet {
    fn empty(labels: Labels) -> Self {
        Self { labels, endpoints: BTreeMap::new(), federated: false }
    }
}

/// What is asked of one Service, in the cluster where it lives.
#[derive(Clone)]
pub(super) struct Query<'a> {
    port: u16,
    instance: Option<String>,
    /// Only pods of this node count.
    node: Option<&'a str>,
    /// The asking cluster's: its control-plane namespace and opaque ports apply (controlplane 2.6).
    settings: &'a Settings,
}

impl<'a> Query<'a> {
    pub(super) fn on_node(&self, node: Option<&'a str>) -> Self {
        Self { node, ..self.clone() }
    }

    pub(super) fn endpoints(&self, world: &World, service: &Service) -> EndpointSet {
        let none = Vec::new();
        let all = world.endpoints.get(&service.name).unwrap_or(&none);
        let port_name = service.tcp_port(self.port).map(|port| port.name.as_str());
        let mut endpoints = BTreeMap::new();
        for candidate in all.iter().filter(|candidate| self.admits(world, candidate)) {
            let port = match port_name {
                Some(name) => candidate.ports.get(name).copied(),
                None => Some(self.port),
            };
            let Some(port) = port else { continue };
            let made = match &candidate.pod {
                None => Some(self.plain(candidate, port)),
                Some(name) => world.pods.get(name).and_then(|pod| {
                    pod_endpoint(world, pod, SocketAddr::new(candidate.ip, port), self.settings)
                }),
            };
            if let Some(endpoint) = made {
                endpoints.insert(endpoint.addr, endpoint);
            }
        }
        EndpointSet { labels: set_labels(&service.name, all.first()), endpoints, federated: false }
    }

    fn admits(&self, world: &World, candidate: &ServiceEndpoint) -> bool {
        let instance = self.instance.as_ref().is_none_or(|name| candidate.hostname.as_ref() == Some(name));
        let node = self.node.is_none_or(|node| {
            let pod = candidate.pod.as_ref().and_then(|name| world.pods.get(name));
            pod.is_some_and(|pod| pod.node_name == node)
        });
        candidate.ready && instance && node && family_counts(candidate.ip, &world.settings)
    }

    /// An address without a pod, such as a gateway's.
    fn plain(&self, candidate: &ServiceEndpoint, port: u16) -> Endpoint {
        let mut endpoint = Endpoint::plain(SocketAddr::new(candidate.ip, port));
        endpoint.labels = Labels::new(BTreeMap::from([("zone_locality".into(), "unknown".into())]));
        let identity = candidate.annotations.get(GATEWAY_IDENTITY).and_then(|id| id.parse().ok());
        if let Some(tls) = identity.and_then(endpoint_tls) {
            endpoint.tls = Some(tls);
            endpoint.hint = ProtocolHint::H2;
            endpoint.http2 = meshed_http2();
        }
        let name = candidate.annotations.get(REMOTE_FQ_NAME);
        endpoint.authority_override = name.and_then(|name| format!("{name}:{}", self.port).parse().ok());
        endpoint
    }
}

/// The chart leaves IPv6 off; a cluster whose pods have IPv6 addresses means it.
fn family_counts(ip: IpAddr, settings: &Settings) -> bool {
    ip.is_ipv4() || settings.pod_network.addr().is_ipv6()
}

/// Labels of a whole set; those of another cluster's gateway come from its slice.
pub(super) fn set_labels(service: &ObjectName, slice: Option<&ServiceEndpoint>) -> Labels {
    let mut labels = BTreeMap::from([
        ("namespace".to_owned(), service.namespace.clone()),
        ("service".to_owned(), service.name.clone()),
    ]);
    let cluster = slice.and_then(|slice| Some((slice, slice.labels.get(CLUSTER_NAME)?)));
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

/// A pod's address as clients should treat it (controlplane 2.5). `None` for a meshed pod whose proxy
/// does not say where it listens: such endpoints are dropped.
pub(super) fn pod_endpoint(
    world: &World,
    pod: &Pod,
    addr: SocketAddr,
    asking: &Settings,
) -> Option<Endpoint> {
    let mut endpoint = Endpoint::plain(addr);
    endpoint.labels = Arc::new(labels(pod));
    let skipped = port_set(pod, SKIP_INBOUND_PORTS).is_some_and(|ports| ports.contains(addr.port()));
    if !pod.meshed() || skipped {
        return Some(endpoint);
    }
    let opaque = is_opaque(world, pod, addr.port(), &asking.default_opaque_ports);
    endpoint.hint = if opaque { ProtocolHint::Opaque } else { ProtocolHint::H2 };
    endpoint.http2 = meshed_http2();
    let listen = ListenPorts::of(pod)?;
    endpoint.inbound_port = (!listen.meta.contains(&addr.port())).then_some(listen.inbound);
    let control = pod.labels.get(CONTROL_PLANE_NS)?;
    if *control == asking.control_namespace {
        let (account, namespace) = (&pod.service_account, &pod.name.namespace);
        let id = WorkloadId::service_account(account, namespace, control, &world.settings.trust_domain);
        endpoint.tls = id.ok().and_then(endpoint_tls);
    }
    Some(endpoint)
}

/// Whether clients should treat a pod's port as opaque: its own annotation, else the defaults; or a
/// Server says so.
pub(super) fn is_opaque(world: &World, pod: &Pod, port: u16, defaults: &PortSet) -> bool {
    let annotated = port_set(pod, OPAQUE_PORTS);
    annotated.as_ref().unwrap_or(defaults).contains(port)
        || world.servers.iter().any(|(meta, server)| {
            server.protocol == ServerKind::Opaque
                && meta.name.namespace == pod.name.namespace
                && server.pods.as_ref().is_some_and(|pods| pods.matches(&pod.labels))
                && pod.port_numbers(&server.port).contains(&port)
        })
}

fn port_set(pod: &Pod, annotation: &str) -> Option<PortSet> {
    let text = pod.annotations.get(annotation)?;
    Some(PortSet::parse_lenient(text, |name| pod.named_port(name)))
}

fn labels(pod: &Pod) -> BTreeMap<String, String> {
    let (kind, owner) = &pod.owner;
    let kind = if kind == "job" { "k8s_job" } else { kind };
    let mut labels = BTreeMap::from([
        ("pod".to_owned(), pod.name.name.clone()),
        ("serviceaccount".to_owned(), pod.service_account.clone()),
        ("zone".to_owned(), String::new()),
        ("zone_locality".to_owned(), "unknown".to_owned()),
    ]);
    labels.insert(kind.to_owned(), owner.clone());
    for (label, key) in [("control_plane_ns", CONTROL_PLANE_NS), ("pod_template_hash", "pod-template-hash")] {
        if let Some(value) = pod.labels.get(key) {
            labels.insert(label.into(), value.clone());
        }
    }
    labels
}

fn endpoint_tls(id: WorkloadId) -> Option<EndpointTls> {
    let WorkloadId::Dns(name) = &id else { return None };
    Some(EndpointTls { server_name: name.clone(), id })
}

/// The chart's meshed client parameters (controlplane 2.1).
fn meshed_http2() -> Http2Params {
    let keep_alive =
        KeepAlive { interval: Duration::from_secs(10), timeout: Duration::from_secs(3), while_idle: true };
    Http2Params { keep_alive: Some(keep_alive), ..Http2Params::default() }
}

/// Ports of the proxy by the literal values of its variables (controlplane 2.5).
struct ListenPorts {
    inbound: u16,
    meta: [u16; 2],
}

impl ListenPorts {
    fn of(pod: &Pod) -> Option<Self> {
        let proxy = pod.all_containers().find(|container| container.name == PROXY_CONTAINER)?;
        let port = |side: &str| {
            let name = format!("LINKERD2_PROXY_{side}_LISTEN_ADDR");
            let var = proxy.env.iter().find(|var| var.name == name)?;
            match &var.value {
                super::EnvValue::Literal(text) => text.parse::<SocketAddr>().ok().map(|addr| addr.port()),
                _ => None,
            }
        };
        Some(Self { inbound: port("INBOUND")?, meta: [port("ADMIN")?, port("CONTROL")?] })
    }
}

//! One address as clients should treat it: a pod's, an external workload's, or one of which nothing is
//! known (controlplane 2.5).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::control::manifest::policy::ServerKind;
use crate::control::manifest::{ExternalWorkload, Meta, Object, Selector};
use crate::control::mirror::Texts;
use crate::model::WorkloadId;
use crate::model::endpoint::{Endpoint, EndpointTls, ProtocolHint};

use super::endpoints::{GATEWAY_IDENTITY, REMOTE_FQ_NAME};
use super::inject::{CONTROL_PLANE_NS, INBOUND_PORT, OPAQUE_PORTS, SKIP_INBOUND_PORTS};
use super::world::World;
use super::{PROXY_CONTAINER, Pod, PortRef, PortSet, Settings};

/// An address without a pod, such as a gateway's; `port` is the one that the client asked for. `None` where the identity
/// that it should have cannot be used: without it, what should have been mutual TLS would go in plaintext.
pub(super) fn plain(slice: &Texts, addr: SocketAddr, port: u16, asking: &Settings) -> Option<Endpoint> {
    let mut endpoint = Endpoint::plain(addr);
    if let Some(identity) = slice.annotations.get(GATEWAY_IDENTITY) {
        let tls = dns_like(identity.parse().ok()?)?;
        endpoint.tls = Some(tls);
        endpoint.hint = if asking.transport.h2_upgrade { ProtocolHint::H2 } else { ProtocolHint::Unknown };
        endpoint.http2 = asking.transport.http2.clone();
    }
    let name = slice.annotations.get(REMOTE_FQ_NAME);
    endpoint.authority_override = name.and_then(|name| format!("{name}:{port}").parse().ok());
    Some(endpoint)
}

/// `None` for a meshed pod whose proxy does not say where it listens: such endpoints are dropped.
pub(super) fn of_pod(
    world: &World,
    pod: &Pod,
    addr: SocketAddr,
    zone: Option<&str>,
    asking: &Settings,
) -> Option<Endpoint> {
    let mut endpoint = Endpoint::plain(addr);
    endpoint.labels = Arc::new(pod_labels(pod, zone));
    // By number: a name means nothing there, and must not cost the connection its mutual TLS.
    let skipped = pod.annotations.get(SKIP_INBOUND_PORTS).map(|text| PortSet::parse_lenient(text, |_| None));
    let skipped = skipped.is_some_and(|ports| ports.contains(addr.port()));
    if !pod.meshed() || skipped {
        return Some(endpoint);
    }
    let opaque = is_opaque_pod(world, pod, addr.port(), &asking.default_opaque_ports);
    endpoint.hint = match opaque {
        true => ProtocolHint::Opaque,
        false if asking.transport.h2_upgrade => ProtocolHint::H2,
        false => ProtocolHint::Unknown,
    };
    endpoint.http2 = asking.transport.http2.clone();
    let listen = ListenPorts::of(pod)?;
    let by_header = asking.transport.header_always || opaque;
    endpoint.inbound_port = (by_header && !listen.meta.contains(&addr.port())).then_some(listen.inbound);
    let control = pod.labels.get(CONTROL_PLANE_NS)?;
    if *control == asking.control_namespace {
        let (account, namespace) = (&pod.service_account, &pod.name.namespace);
        let id = WorkloadId::service_account(account, namespace, control, &world.settings.trust_domain);
        endpoint.tls = id.ok().and_then(dns_like);
    }
    Some(endpoint)
}

/// An external workload takes part in the mesh by definition, and HTTP/2 whatever the flag says.
pub(super) fn of_external(
    world: &World,
    (meta, workload): &Object<ExternalWorkload>,
    addr: SocketAddr,
    zone: Option<&str>,
    asking: &Settings,
) -> Endpoint {
    let mut endpoint = Endpoint::plain(addr);
    let opaque = is_opaque_external(world, meta, workload, addr.port(), &asking.default_opaque_ports);
    endpoint.hint = if opaque { ProtocolHint::Opaque } else { ProtocolHint::H2 };
    endpoint.http2 = asking.transport.http2.clone();
    let inbound = workload.named_port("linkerd-proxy").unwrap_or(INBOUND_PORT);
    endpoint.inbound_port = (asking.transport.header_always || opaque).then_some(inbound);
    let (id, server_name) = (workload.identity.clone(), workload.server_name.clone());
    endpoint.tls = Some(EndpointTls { id, server_name });
    let mut labels = BTreeMap::from([
        ("external_workload".to_owned(), meta.name.name.to_string()),
        ("zone".to_owned(), zone.unwrap_or_default().to_owned()),
    ]);
    if let [owner] = meta.owners.as_slice() {
        labels.insert(owner.kind.to_lowercase(), owner.name.clone());
    }
    endpoint.labels = Arc::new(labels);
    endpoint
}

/// Whether clients should treat a pod's port as opaque: its own annotation, else the defaults; or a
/// Server says so.
pub(super) fn is_opaque_pod(world: &World, pod: &Pod, port: u16, defaults: &PortSet) -> bool {
    let named = |name: &str| {
        let ports = pod.all_containers().flat_map(|container| &container.ports);
        ports.into_iter().any(|p| p.name == name && (p.port == port || p.host_port == Some(port)))
    };
    port_set(pod, OPAQUE_PORTS).as_ref().unwrap_or(defaults).contains(port)
        || opaque_server(world, &pod.name.namespace, port, named, |server| {
            server.pods.as_ref().is_some_and(|pods| pods.matches(&pod.labels))
        })
}

pub(super) fn is_opaque_external(
    world: &World,
    meta: &Meta,
    workload: &ExternalWorkload,
    port: u16,
    defaults: &PortSet,
) -> bool {
    let annotated = meta.annotations.get(OPAQUE_PORTS);
    let annotated = annotated.map(|text| PortSet::parse_lenient(text, |name| workload.named_port(name)));
    let named = |name: &str| workload.ports.iter().any(|p| p.name == name && p.port == port);
    annotated.as_ref().unwrap_or(defaults).contains(port)
        || opaque_server(world, &meta.name.namespace, port, named, |server| {
            server.external.as_ref().is_some_and(|external: &Selector| external.matches(&meta.labels))
        })
}

/// Whether any opaque Server of the namespace, not only the oldest, is for the port.
fn opaque_server(
    world: &World,
    namespace: &str,
    port: u16,
    named: impl Fn(&str) -> bool,
    selects: impl Fn(&crate::control::manifest::Server) -> bool,
) -> bool {
    world.servers_of(namespace).iter().any(|(_, server)| {
        let takes = match &server.port {
            PortRef::Number(number) => *number == port,
            PortRef::Name(name) => named(name),
        };
        server.protocol == ServerKind::Opaque && takes && selects(server)
    })
}

fn port_set(pod: &Pod, annotation: &str) -> Option<PortSet> {
    let text = pod.annotations.get(annotation)?;
    Some(PortSet::parse_lenient(text, |name| pod.named_port(name)))
}

fn pod_labels(pod: &Pod, zone: Option<&str>) -> BTreeMap<String, String> {
    let (kind, owner) = &pod.owner;
    let kind = if kind == "job" { "k8s_job" } else { kind };
    let mut labels = BTreeMap::from([
        ("pod".to_owned(), pod.name.name.to_string()),
        ("serviceaccount".to_owned(), pod.service_account.clone()),
        ("zone".to_owned(), zone.unwrap_or_default().to_owned()),
    ]);
    labels.insert(kind.to_owned(), owner.clone());
    for (label, key) in [("control_plane_ns", CONTROL_PLANE_NS), ("pod_template_hash", "pod-template-hash")] {
        if let Some(value) = pod.labels.get(key) {
            labels.insert(label.into(), value.clone());
        }
    }
    labels
}

fn dns_like(id: WorkloadId) -> Option<EndpointTls> {
    let WorkloadId::Dns(name) = &id else { return None };
    Some(EndpointTls { server_name: name.clone(), id })
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

//! `InboundServerPolicies`: who may reach a workload's port, and how it speaks (controlplane 3.4, 3.5).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::control::manifest::labelled::Labels;
use crate::control::manifest::policy::ServerKind;
use crate::control::manifest::{Object, RateLimitPolicy, RouteKind, Selector, Server};
use crate::model::inbound::{RateLimit, RateOverride, ServerProtocol};
use crate::model::{ResourceRef, ServerPolicy};

use super::inject::{CONTROL_PLANE_NS, DEFAULT_INBOUND_POLICY, OPAQUE_PORTS, REQUIRE_IDENTITY_PORTS};
use super::world::World;
use super::{DefaultPolicy, PortRef, PortSet, Workload, authorizations, routes};

pub(super) const GROUP: &str = "policy.linkerd.io";
/// How long detection may take (controlplane 3.3).
const DETECT: Duration = Duration::from_secs(10);

/// `None` for a workload that is not known or not meshed.
pub(super) fn policy(world: &World, workload: &Workload, port: u16) -> Option<ServerPolicy> {
    let asked = Asked::of(world, workload, port).filter(|_| port > 0)?;
    let mut policy = match asked.server(world) {
        Some(server) => by_server(world, &asked, server),
        None => by_default(world, &asked),
    };
    append_server_authorizations(&mut policy);
    Some(policy)
}

/// Each route's own authorizations come first, then the server's.
fn append_server_authorizations(policy: &mut ServerPolicy) {
    use ServerProtocol as P;
    if let P::Detect { routes, .. } | P::Http1(routes) | P::Http2(routes) | P::Grpc(routes) =
        &mut policy.protocol
    {
        for route in routes {
            route.authorizations.extend(policy.authorizations.iter().cloned());
        }
    }
}

/// A workload's port, with all that policy may say of it.
struct Asked<'a> {
    namespace: &'a str,
    labels: &'a Labels,
    annotations: &'a Labels,
    port: u16,
    /// Which of a Server's two selectors is for it.
    selector: fn(&Server) -> Option<&Selector>,
    /// Names that the port has.
    names: BTreeSet<&'a str>,
    /// Paths of the HTTP probes that come to it.
    probes: BTreeSet<String>,
}

impl<'a> Asked<'a> {
    fn of(world: &'a World, workload: &Workload, port: u16) -> Option<Self> {
        match workload {
            Workload::Pod(name) => {
                let pod = world.pods.get(name).filter(|pod| pod.labels.contains_key(CONTROL_PLANE_NS))?;
                let ports = pod.all_containers().flat_map(|container| &container.ports);
                let named = ports.filter(|declared| declared.protocol == "TCP" && declared.port == port);
                Some(Self {
                    namespace: &pod.name.namespace,
                    labels: &pod.labels,
                    annotations: &pod.annotations,
                    port,
                    selector: |server| server.pods.as_ref(),
                    names: named.map(|declared| declared.name.as_str()).collect(),
                    probes: routes::probe_paths(pod, port),
                })
            }
            Workload::External(name) => {
                let (meta, workload) = world.external_workloads.get(name)?;
                let ports = workload.ports.iter();
                let named = ports.filter(|declared| declared.protocol == "TCP" && declared.port == port);
                Some(Self {
                    namespace: &meta.name.namespace,
                    labels: &meta.labels,
                    annotations: &meta.annotations,
                    port,
                    selector: |server| server.external.as_ref(),
                    names: named.map(|declared| declared.name.as_str()).collect(),
                    probes: BTreeSet::new(),
                })
            }
        }
    }

    /// The oldest Server that selects the workload and the port.
    fn server<'w>(&self, world: &'w World) -> Option<&'w Object<Server>> {
        world.servers_of(self.namespace).iter().find(|(_, server)| {
            let takes = match &server.port {
                PortRef::Number(number) => *number == self.port,
                PortRef::Name(name) => self.names.contains(name.as_str()),
            };
            takes && (self.selector)(server).is_some_and(|selector| selector.matches(self.labels))
        })
    }

    /// Numbers and ranges only on this side: a name, or any mistake, empties the set.
    fn is_listed(&self, annotation: &str) -> bool {
        let ports = self.annotations.get(annotation).and_then(|text| PortSet::parse(text));
        ports.is_some_and(|ports| ports.contains(self.port))
    }
}

fn by_server(world: &World, asked: &Asked<'_>, (meta, server): &Object<Server>) -> ServerPolicy {
    let authorizations = authorizations::of_server(world, meta, server);
    let attached = || {
        let attached = routes::attached(world, &meta.name, |kind| kind != RouteKind::Grpc);
        if attached.is_empty() { routes::default(&world.settings, &asked.probes) } else { attached }
    };
    let protocol = match server.protocol {
        ServerKind::Unknown => ServerProtocol::Detect { timeout: DETECT, routes: attached() },
        ServerKind::Http1 => ServerProtocol::Http1(attached()),
        ServerKind::Http2 => ServerProtocol::Http2(attached()),
        ServerKind::Grpc => {
            let attached = routes::attached(world, &meta.name, |kind| kind == RouteKind::Grpc);
            ServerProtocol::Grpc(if attached.is_empty() { vec![routes::grpc_default()] } else { attached })
        }
        ServerKind::Opaque => ServerProtocol::Opaque,
        ServerKind::Tls => ServerProtocol::Tls,
    };
    // Limits go with HTTP routes (controlplane 3.5).
    let limited = matches!(server.protocol, ServerKind::Unknown | ServerKind::Http1 | ServerKind::Http2);
    let rate_limit = world.rate_limits.get(&meta.name).filter(|_| limited);
    ServerPolicy {
        meta: ResourceRef::object(GROUP, "server", &meta.name.name),
        protocol,
        authorizations,
        rate_limit: rate_limit.map(|limit| Arc::new(rate_limit_of(world, limit))),
    }
}

fn rate_limit_of(world: &World, (meta, policy): &Object<RateLimitPolicy>) -> RateLimit {
    let overrides = policy.overrides.iter().map(|of| {
        let clients = of.clients.iter().filter_map(|account| {
            let namespace = account.namespace.as_deref().unwrap_or(&meta.name.namespace);
            authorizations::account(world, &account.name, namespace)
        });
        RateOverride { rate: of.rate, clients: clients.collect() }
    });
    RateLimit {
        meta: Some(ResourceRef::object(GROUP, "HTTPLocalRateLimitPolicy", &meta.name.name)),
        total: policy.total,
        identity: policy.identity,
        overrides: overrides.collect(),
    }
}

fn by_default(world: &World, asked: &Asked<'_>) -> ServerPolicy {
    let annotated = asked.annotations.get(DEFAULT_INBOUND_POLICY).and_then(|text| DefaultPolicy::parse(text));
    let mut policy = annotated.unwrap_or(world.settings.default_policy);
    if asked.is_listed(REQUIRE_IDENTITY_PORTS) {
        policy = policy.authenticated();
    }
    let protocol = if asked.is_listed(OPAQUE_PORTS) {
        ServerProtocol::Opaque
    } else {
        ServerProtocol::Detect { timeout: DETECT, routes: routes::default(&world.settings, &asked.probes) }
    };
    ServerPolicy {
        meta: ResourceRef::default_named(policy.as_str()),
        protocol,
        authorizations: authorizations::by_default(policy, &world.settings).into_iter().collect(),
        rate_limit: None,
    }
}

//! `InboundServerPolicies`: who may reach a pod's port, and how it speaks (controlplane 3.4, 3.5).

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;

use crate::control::manifest::policy::{
    AuthenticationKind, AuthorizationPolicy, AuthorizationTarget, IdentityRef, ServerKind,
};
use crate::control::manifest::{MeshTlsAuthentication, Meta, Object, Server};
use crate::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use crate::model::matching::{PathMatch, RequestMatch};
use crate::model::{ResourceRef, ServerPolicy, WorkloadId};

use super::inject::{CONTROL_PLANE_NS, DEFAULT_INBOUND_POLICY, OPAQUE_PORTS, REQUIRE_IDENTITY_PORTS};
use super::world::World;
use super::{DefaultPolicy, ObjectName, Pod, PortRef, PortSet, ProbeAction, Settings, Workload};

const GROUP: &str = "policy.linkerd.io";
/// How long detection may take (controlplane 3.3).
const DETECT: Duration = Duration::from_secs(10);

pub(super) fn policy(world: &World, workload: &Workload, port: u16) -> Option<ServerPolicy> {
    let pod = world.pods.get(&ObjectName::new(&workload.namespace, &workload.pod))?;
    if port == 0 || !pod.labels.contains_key(CONTROL_PLANE_NS) {
        return None;
    }
    let mut policy = match server_of(world, pod, port) {
        Some((meta, server)) => by_server(world, pod, port, meta, server),
        None => by_default(world, pod, port),
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

/// The oldest Server that selects the pod and the port.
fn server_of<'w>(world: &'w World, pod: &Pod, port: u16) -> Option<&'w Object<Server>> {
    world.servers_of(&pod.name.namespace).iter().find(|(_, server)| {
        server.pods.as_ref().is_some_and(|pods| pods.matches(&pod.labels))
            && pod.port_numbers(&server.port).contains(&port)
    })
}

fn by_server(world: &World, pod: &Pod, port: u16, meta: &Meta, server: &Server) -> ServerPolicy {
    let mut authorizations = Vec::new();
    for (policy_meta, policy) in world.policies.authorization_policies.values() {
        let applies = match &policy.target.value {
            AuthorizationTarget::Server(name) => **name == *meta.name.name,
            AuthorizationTarget::Namespace => true,
            AuthorizationTarget::Route(..) => false,
        };
        if applies && policy_meta.name.namespace == meta.name.namespace {
            authorizations.extend(authorization(world, policy_meta, policy));
        }
    }
    authorizations
        .extend(server.access_policy.and_then(|policy| default_authorization(policy, &world.settings)));
    let routes = || default_routes(world, pod, port);
    let protocol = match server.protocol {
        ServerKind::Unknown => ServerProtocol::Detect { timeout: DETECT, routes: routes() },
        ServerKind::Http1 => ServerProtocol::Http1(routes()),
        ServerKind::Http2 => ServerProtocol::Http2(routes()),
        ServerKind::Grpc => ServerProtocol::Grpc(vec![route("default", vec![Vec::new()], Vec::new())]),
        ServerKind::Opaque => ServerProtocol::Opaque,
        ServerKind::Tls => ServerProtocol::Tls,
    };
    let meta = ResourceRef::object(GROUP, "server", &meta.name.name);
    ServerPolicy { meta, protocol, authorizations, rate_limit: None }
}

fn by_default(world: &World, pod: &Pod, port: u16) -> ServerPolicy {
    let annotated = pod.annotations.get(DEFAULT_INBOUND_POLICY).and_then(|text| DefaultPolicy::parse(text));
    let mut policy = annotated.unwrap_or(world.settings.default_policy);
    // Numbers and ranges only on this side: a name, or any mistake, empties the set.
    let listed = |key: &str| {
        let ports = pod.annotations.get(key).and_then(|text| PortSet::parse(text));
        ports.is_some_and(|ports| ports.contains(port))
    };
    if listed(REQUIRE_IDENTITY_PORTS) {
        policy = policy.authenticated();
    }
    let protocol = if listed(OPAQUE_PORTS) {
        ServerProtocol::Opaque
    } else {
        ServerProtocol::Detect { timeout: DETECT, routes: default_routes(world, pod, port) }
    };
    let authorizations = default_authorization(policy, &world.settings).into_iter().collect();
    let meta = ResourceRef::default_named(policy.as_str());
    ServerPolicy { meta, protocol, authorizations, rate_limit: None }
}

fn default_authorization(policy: DefaultPolicy, settings: &Settings) -> Option<Authorization> {
    use DefaultPolicy as P;
    let networks = match policy {
        P::Deny => return None,
        P::AllUnauthenticated | P::AllAuthenticated | P::Audit => anywhere(),
        P::ClusterUnauthenticated | P::ClusterAuthenticated => plain_networks(&settings.cluster_networks),
    };
    let authentication = match policy {
        P::AllAuthenticated | P::ClusterAuthenticated => {
            Authentication::Identities(vec![IdentityMatch::Suffix(Vec::new())])
        }
        _ => Authentication::Unauthenticated,
    };
    Some(Authorization { meta: ResourceRef::default_named(policy.as_str()), networks, authentication })
}

/// `None` where a reference does not resolve: such a policy allows nobody (controlplane 3.5).
fn authorization(world: &World, meta: &Meta, policy: &AuthorizationPolicy) -> Option<Authorization> {
    let mut networks = anywhere();
    let mut authentication = Authentication::Unauthenticated;
    for reference in &policy.authentications {
        let namespace = reference.value.namespace.as_deref().unwrap_or(&meta.name.namespace);
        let name = ObjectName::new(namespace, &reference.value.name);
        match reference.value.kind {
            AuthenticationKind::Network => {
                networks.clone_from(&world.policies.network_authentications.get(&name)?.1.networks);
            }
            AuthenticationKind::MeshTls => {
                let (meta, found) = world.policies.mesh_tls_authentications.get(&name)?;
                authentication = Authentication::Identities(identities(world, meta, found));
            }
            AuthenticationKind::ServiceAccount => {
                authentication =
                    Authentication::Identities(vec![account(world, &name.name, &name.namespace)]);
            }
        }
    }
    let meta = ResourceRef::object(GROUP, "authorizationpolicy", &meta.name.name);
    Some(Authorization { meta, networks, authentication })
}

fn identities(world: &World, meta: &Meta, from: &MeshTlsAuthentication) -> Vec<IdentityMatch> {
    let named = from.identity_refs.iter().map(|reference| match reference {
        IdentityRef::ServiceAccount(name, namespace) => {
            account(world, name, namespace.as_deref().unwrap_or(&meta.name.namespace))
        }
        IdentityRef::Namespace(namespace) => {
            let Settings { control_namespace, trust_domain, .. } = &world.settings;
            let suffix = format!("{namespace}.serviceaccount.identity.{control_namespace}.{trust_domain}");
            IdentityMatch::Suffix(suffix.split('.').map(str::to_owned).collect())
        }
    });
    from.identities.iter().cloned().chain(named).collect()
}

/// References are always expanded with this cluster's own names (controlplane 3.5).
fn account(world: &World, name: &str, namespace: &str) -> IdentityMatch {
    let Settings { control_namespace, trust_domain, .. } = &world.settings;
    match WorkloadId::service_account(name, namespace, control_namespace, trust_domain) {
        Ok(id) => IdentityMatch::Exact(id),
        Err(_) => IdentityMatch::Never(format!("{name}.{namespace}")),
    }
}

/// Everything for whom the server lets in; and the kubelet's probes from the probe networks.
fn default_routes(world: &World, pod: &Pod, port: u16) -> Vec<InboundRoute> {
    let path = |path| RequestMatch { path: Some(path), ..RequestMatch::default() };
    let everything = path(PathMatch::Prefix("/".into()));
    let mut routes = vec![route("default", vec![vec![everything]], Vec::new())];
    let paths = probe_paths(pod, port);
    if !paths.is_empty() && !world.settings.probe_networks.is_empty() {
        let matches = paths
            .into_iter()
            .map(|exact| RequestMatch { method: Some(Method::GET), ..path(PathMatch::Exact(exact)) });
        let authorization = Authorization {
            meta: ResourceRef::default_named("probe"),
            networks: plain_networks(&world.settings.probe_networks),
            authentication: Authentication::Unauthenticated,
        };
        routes.push(route("probe", vec![matches.collect()], vec![authorization]));
    }
    routes
}

/// Paths of the `httpGet` probes that a port gets, the proxy's own included.
fn probe_paths(pod: &Pod, port: u16) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for container in pod.all_containers() {
        for probe in container.probes() {
            let ProbeAction::HttpGet { path, port: target, .. } = &probe.action else { continue };
            let number = match target {
                PortRef::Number(number) => Some(*number),
                PortRef::Name(name) => container.tcp_port(name),
            };
            if number == Some(port) {
                let path = path.split('?').next().unwrap_or_default();
                paths.insert(if path.is_empty() { "/".into() } else { path.to_owned() });
            }
        }
    }
    paths
}

fn route(name: &str, rules: Vec<Vec<RequestMatch>>, authorizations: Vec<Authorization>) -> InboundRoute {
    let rules = rules.into_iter().map(Into::into).collect();
    InboundRoute { meta: ResourceRef::default_named(name), hosts: Vec::new(), rules, authorizations }
}

fn anywhere() -> Vec<NetworkMatch> {
    plain_networks(&[ipnet::Ipv4Net::default().into(), ipnet::Ipv6Net::default().into()])
}

fn plain_networks(networks: &[ipnet::IpNet]) -> Vec<NetworkMatch> {
    networks.iter().map(|net| NetworkMatch { net: *net, except: Vec::new() }).collect()
}

//! Who is let in: default policies, and what the policy objects of a namespace say (controlplane 3.5).

use std::sync::Arc;

use crate::control::manifest::authorization::{Clients, Servers};
use crate::control::manifest::policy::{
    AuthenticationKind, AuthorizationPolicy, AuthorizationTarget, IdentityRef,
};
use crate::control::manifest::{MeshTlsAuthentication, Meta, Object, RouteKind, Server, ServerAuthorization};
use crate::control::ordered::Ordered;
use crate::model::inbound::{Authentication, Authorization, IdentityMatch, NetworkMatch};
use crate::model::{ResourceRef, WorkloadId};

use super::server::GROUP;
use super::world::World;
use super::{DefaultPolicy, ObjectName, Settings};

/// Of a Server: what names it, what is for its whole namespace, and its own `accessPolicy`.
pub(super) fn of_server(world: &World, meta: &Meta, server: &Server) -> Vec<Authorization> {
    let namespace = &meta.name.namespace;
    let older = of_namespace(&world.policies.server_authorizations, namespace);
    let older = older.filter(|(_, from)| names(from, meta));
    let mut all: Vec<_> = older.map(|(at, from)| server_authorization(world, at, from)).collect();
    all.extend(policies(world, namespace, |target| match target {
        AuthorizationTarget::Server(name) => **name == *meta.name.name,
        AuthorizationTarget::Namespace => true,
        AuthorizationTarget::Route(..) => false,
    }));
    all.extend(server.access_policy.and_then(|policy| by_default(policy, &world.settings)));
    all
}

/// Of a route: what names it.
pub(super) fn of_route(world: &World, meta: &Meta, of: RouteKind) -> Vec<Authorization> {
    let target = AuthorizationTarget::Route(of, meta.name.name.to_string());
    policies(world, &meta.name.namespace, |named| *named == target).collect()
}

/// AuthorizationPolicies of a namespace for a target.
fn policies<'w>(
    world: &'w World,
    namespace: &'w Arc<str>,
    targets: impl Fn(&AuthorizationTarget) -> bool + 'w,
) -> impl Iterator<Item = Authorization> + 'w {
    of_namespace(&world.policies.authorization_policies, namespace)
        .filter(move |(_, policy)| targets(&policy.target.value))
        .filter_map(|(meta, policy)| authorization(world, meta, policy))
}

fn of_namespace<'w, T>(
    objects: &'w Ordered<ObjectName, Object<T>>,
    namespace: &'w Arc<str>,
) -> impl Iterator<Item = &'w Object<T>> {
    let first = ObjectName { namespace: namespace.clone(), name: "".into() };
    let from = objects.starting(&first);
    from.take_while(move |(name, _)| name.namespace == *namespace).map(|(_, object)| object)
}

fn names(from: &ServerAuthorization, server: &Meta) -> bool {
    match &from.servers {
        Servers::Named(name) => *name.value == *server.name.name,
        Servers::Selected(selector) => selector.matches(&server.labels),
    }
}

fn server_authorization(world: &World, meta: &Meta, from: &ServerAuthorization) -> Authorization {
    let networks = match from.networks.as_slice() {
        [] => plain_networks(&world.settings.cluster_networks),
        given => given.to_vec(),
    };
    let authentication = match &from.clients {
        Clients::Unauthenticated => Authentication::Unauthenticated,
        Clients::TlsUnauthenticated => Authentication::TlsUnauthenticated,
        Clients::Identified { identities, accounts } => {
            let accounts = accounts.iter().map(|of| {
                let namespace = of.namespace.as_deref().unwrap_or(&meta.name.namespace);
                account_match(world, &of.name, namespace)
            });
            Authentication::Identities(identities.iter().cloned().chain(accounts).collect())
        }
    };
    let meta = ResourceRef::object(GROUP, "serverauthorization", &meta.name.name);
    Authorization { meta, networks, authentication }
}

/// What a default policy, or an `accessPolicy`, lets in.
pub(super) fn by_default(policy: DefaultPolicy, settings: &Settings) -> Option<Authorization> {
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

/// `None` where a reference does not resolve: such a policy allows nobody.
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
                let account = account_match(world, &name.name, &name.namespace);
                authentication = Authentication::Identities(vec![account]);
            }
        }
    }
    let meta = ResourceRef::object(GROUP, "authorizationpolicy", &meta.name.name);
    Some(Authorization { meta, networks, authentication })
}

fn identities(world: &World, meta: &Meta, from: &MeshTlsAuthentication) -> Vec<IdentityMatch> {
    let named = from.identity_refs.iter().map(|reference| match reference {
        IdentityRef::ServiceAccount(name, namespace) => {
            account_match(world, name, namespace.as_deref().unwrap_or(&meta.name.namespace))
        }
        IdentityRef::Namespace(namespace) => {
            let Settings { control_namespace, trust_domain, .. } = &world.settings;
            let suffix = format!("{namespace}.serviceaccount.identity.{control_namespace}.{trust_domain}");
            IdentityMatch::Suffix(suffix.split('.').map(str::to_owned).collect())
        }
    });
    from.identities.iter().cloned().chain(named).collect()
}

fn account_match(world: &World, name: &str, namespace: &str) -> IdentityMatch {
    let never = || IdentityMatch::Never(format!("{name}.{namespace}"));
    account(world, name, namespace).map_or_else(never, IdentityMatch::Exact)
}

/// References are always expanded with this cluster's own names.
pub(super) fn account(world: &World, name: &str, namespace: &str) -> Option<WorkloadId> {
    let Settings { control_namespace, trust_domain, .. } = &world.settings;
    WorkloadId::service_account(name, namespace, control_namespace, trust_domain).ok()
}

fn anywhere() -> Vec<NetworkMatch> {
    plain_networks(&[ipnet::Ipv4Net::default().into(), ipnet::Ipv6Net::default().into()])
}

pub(super) fn plain_networks(networks: &[ipnet::IpNet]) -> Vec<NetworkMatch> {
    networks.iter().map(|net| NetworkMatch { net: *net, except: Vec::new() }).collect()
}

//! `InboundServerPolicies`: who may reach a port (contract 4.3).

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use linkerd2_proxy_api::{inbound as pb, net};
use pb::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
use pb::authn::{Permit, PermitMeshTls, PermitUnauthenticated};
use pb::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};

use super::{InvalidPolicy, duration, encode_duration, encode_resource, filter, matching, resource};
use crate::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, InboundRule, NetworkMatch, RateLimit,
    RateOverride, ServerProtocol,
};
use crate::model::{ResourceRef, ServerPolicy};

/// Reads the policy of a port.
///
/// The localhost authorization is appended to the server's, and the server's to each route's. A
/// port without routes gets one that takes everything.
pub fn server(pb: pb::Server) -> Result<ServerPolicy, InvalidPolicy> {
    let mut authorizations =
        pb.authorizations.into_iter().map(authorization).collect::<Result<Vec<_>, _>>()?;
    authorizations.push(localhost());
    let http = |routes: Vec<pb::HttpRoute>| {
        let routes: Result<Vec<_>, _> = routes.into_iter().map(|r| http_route(r, &authorizations)).collect();
        Ok::<_, InvalidPolicy>(or_default(routes?, &authorizations))
    };
    let (protocol, limit) =
        match pb.protocol.and_then(|p| p.kind).ok_or(InvalidPolicy::Missing("protocol"))? {
            Kind::Detect(detect) => {
                let timeout = duration("detect timeout", detect.timeout)?;
                let routes = http(detect.http_routes)?;
                (ServerProtocol::Detect { timeout, routes }, detect.http_local_rate_limit)
            }
            Kind::Http1(h1) => (ServerProtocol::Http1(http(h1.routes)?), h1.local_rate_limit),
            Kind::Http2(h2) => (ServerProtocol::Http2(http(h2.routes)?), h2.local_rate_limit),
            Kind::Grpc(grpc) => {
                let routes = grpc.routes.into_iter().map(|r| grpc_route(r, &authorizations));
                (ServerProtocol::Grpc(or_default(routes.collect::<Result<_, _>>()?, &authorizations)), None)
            }
            Kind::Opaque(_) => (ServerProtocol::Opaque, None),
            Kind::Tls(_) => (ServerProtocol::Tls, None),
        };
    let rate_limit = limit.map(rate_limit).transpose()?.map(Arc::new);
    Ok(ServerPolicy { meta: labelled(pb.labels, "server")?, protocol, authorizations, rate_limit })
}

/// The pod's own processes are always let in (contract 4.3).
pub fn localhost() -> Authorization {
    let host = |ip: std::net::IpAddr| NetworkMatch { net: ip.into(), except: Vec::new() };
    Authorization {
        meta: ResourceRef::default_named("localhost"),
        networks: vec![host(Ipv4Addr::LOCALHOST.into()), host(Ipv6Addr::LOCALHOST.into())],
        authentication: Authentication::Unauthenticated,
    }
}

fn or_default(routes: Vec<InboundRoute>, server: &[Authorization]) -> Vec<InboundRoute> {
    if !routes.is_empty() {
        return routes;
    }
    vec![InboundRoute::everything(ResourceRef::default_named("default"), server.to_vec())]
}

/// Reads the old way of naming a resource. Controllers before kinds were sent put them into the
/// name, as in `default:deny`.
fn labelled(mut labels: HashMap<String, String>, kind: &str) -> Result<ResourceRef, InvalidPolicy> {
    let name = labels.remove("name").ok_or(InvalidPolicy::Missing("label name"))?;
    let group = labels.remove("group").unwrap_or_else(|| "policy.linkerd.io".to_owned());
    Ok(match (labels.remove("kind"), name.split_once(':')) {
        (Some(kind), _) if group.is_empty() && kind == "default" => ResourceRef::default_named(&name),
        (Some(kind), _) => ResourceRef::object(&group, &kind, &name),
        (None, Some(("default", name))) => ResourceRef::default_named(name),
        (None, Some((kind, name))) => ResourceRef::object(&group, kind, name),
        (None, None) => ResourceRef::object(&group, kind, &name),
    })
}

fn http_route(pb: pb::HttpRoute, server: &[Authorization]) -> Result<InboundRoute, InvalidPolicy> {
    let rule = |rule: pb::http_route::Rule| {
        Ok(InboundRule {
            matches: rule.matches.into_iter().map(matching::http).collect::<Result<_, _>>()?,
            filters: rule.filters.into_iter().map(filter::http).collect::<Result<_, _>>()?,
        })
    };
    Ok(InboundRoute {
        meta: resource(pb.metadata)?,
        hosts: pb.hosts.into_iter().map(matching::host).collect::<Result<_, _>>()?,
        rules: pb.rules.into_iter().map(rule).collect::<Result<_, InvalidPolicy>>()?,
        authorizations: with_server(pb.authorizations, server)?,
    })
}

fn grpc_route(pb: pb::GrpcRoute, server: &[Authorization]) -> Result<InboundRoute, InvalidPolicy> {
    let rule = |rule: pb::grpc_route::Rule| {
        Ok(InboundRule {
            matches: rule.matches.into_iter().map(matching::grpc).collect::<Result<_, _>>()?,
            filters: rule.filters.into_iter().map(filter::grpc).collect::<Result<_, _>>()?,
        })
    };
    Ok(InboundRoute {
        meta: resource(pb.metadata)?,
        hosts: pb.hosts.into_iter().map(matching::host).collect::<Result<_, _>>()?,
        rules: pb.rules.into_iter().map(rule).collect::<Result<_, InvalidPolicy>>()?,
        authorizations: with_server(pb.authorizations, server)?,
    })
}

/// Reads a rate limit: zero is no limit, and an override that limits nothing, or nobody, is none (contract 4.5).
fn rate_limit(pb: pb::HttpLocalRateLimit) -> Result<RateLimit, InvalidPolicy> {
    let rate = |limit: Option<pb::http_local_rate_limit::Limit>| NonZeroU32::new(limit?.requests_per_second);
    let one = |from: pb::http_local_rate_limit::Override| {
        let clients = from.clients.unwrap_or_default().identities.into_iter();
        let clients: Vec<_> = clients.filter_map(|identity| identity.name.parse().ok()).collect();
        Some(RateOverride { rate: rate(from.limit)?, clients }).filter(|one| !one.clients.is_empty())
    };
    Ok(RateLimit {
        meta: pb.metadata.map(|meta| resource(Some(meta))).transpose()?,
        total: rate(pb.total),
        identity: rate(pb.identity),
        overrides: pb.overrides.into_iter().filter_map(one).collect(),
    })
}

fn with_server(own: Vec<pb::Authz>, server: &[Authorization]) -> Result<Vec<Authorization>, InvalidPolicy> {
    own.into_iter().map(authorization).chain(server.iter().cloned().map(Ok)).collect()
}

fn authorization(pb: pb::Authz) -> Result<Authorization, InvalidPolicy> {
    if pb.networks.is_empty() {
        return Err(InvalidPolicy::Missing("authorization networks"));
    }
    let networks = pb.networks.into_iter().map(network).collect::<Result<_, _>>()?;
    let meta = match pb.metadata {
        Some(meta) => resource(Some(meta))?,
        None => labelled(pb.labels, "serverauthorization")?,
    };
    Ok(Authorization { meta, networks, authentication: authentication(pb.authentication)? })
}

fn network(pb: pb::Network) -> Result<NetworkMatch, InvalidPolicy> {
    let read = |net: net::IpNetwork| {
        net.try_into().map_err(|_| InvalidPolicy::Field { field: "network", expected: "an IP network" })
    };
    Ok(NetworkMatch {
        net: read(pb.net.ok_or(InvalidPolicy::Missing("network"))?)?,
        except: pb.except.into_iter().map(read).collect::<Result<_, _>>()?,
    })
}

fn authentication(pb: Option<pb::Authn>) -> Result<Authentication, InvalidPolicy> {
    let missing = InvalidPolicy::Missing("authentication");
    let clients = match pb.and_then(|a| a.permit).ok_or_else(|| missing.clone())? {
        Permit::Unauthenticated(_) => return Ok(Authentication::Unauthenticated),
        Permit::MeshTls(PermitMeshTls { clients }) => clients.ok_or(missing)?,
    };
    let PermitClientIdentities { identities, suffixes } = match clients {
        Clients::Unauthenticated(_) => return Ok(Authentication::TlsUnauthenticated),
        Clients::Identities(identities) => identities,
    };
    let literals = identities.into_iter().map(|identity| match identity.name.parse() {
        Ok(id) => IdentityMatch::Exact(id),
        Err(_) => IdentityMatch::Never(identity.name),
    });
    let suffixes = suffixes.into_iter().map(|suffix| suffix_of(&suffix.parts));
    Ok(Authentication::Identities(literals.chain(suffixes).collect()))
}

/// Parts are joined before they are read, so a part that holds a dot means two labels. An empty
/// part can end no name; only no parts at all mean every name.
fn suffix_of(parts: &[String]) -> IdentityMatch {
    let joined = parts.join(".").to_ascii_lowercase();
    if parts.is_empty() {
        return IdentityMatch::Suffix(Vec::new());
    }
    let labels: Vec<String> = joined.split('.').map(str::to_owned).collect();
    if labels.iter().any(String::is_empty) {
        return IdentityMatch::Never(format!("*.{joined}"));
    }
    IdentityMatch::Suffix(labels)
}

/// Writes the policy of a port. What [`server`] appends is not sent: the localhost authorization
/// at the end of the server's list, and the server's list at the end of a route's.
pub fn encode_server(from: &ServerPolicy) -> pb::Server {
    let all = from.authorizations.as_slice();
    let localhost = localhost();
    let own = all.strip_suffix(std::slice::from_ref(&localhost)).unwrap_or(all);
    let appended: Vec<_> = own.iter().cloned().chain([localhost]).collect();
    let of_route = |route: &InboundRoute| {
        let list = route.authorizations.as_slice();
        let list = list.strip_suffix(appended.as_slice()).or_else(|| list.strip_suffix(own)).unwrap_or(list);
        list.iter().map(encode_authorization).collect::<Vec<_>>()
    };
    let http = |routes: &[InboundRoute]| {
        routes.iter().map(|r| encode_http_route(r, of_route(r))).collect::<Vec<_>>()
    };
    let limit = from.rate_limit.as_deref().map(encode_rate_limit);
    let kind = match &from.protocol {
        ServerProtocol::Detect { timeout, routes } => Kind::Detect(Detect {
            timeout: encode_duration(*timeout),
            http_routes: http(routes),
            http_local_rate_limit: limit,
        }),
        ServerProtocol::Http1(routes) => Kind::Http1(Http1 { routes: http(routes), local_rate_limit: limit }),
        ServerProtocol::Http2(routes) => Kind::Http2(Http2 { routes: http(routes), local_rate_limit: limit }),
        ServerProtocol::Grpc(routes) => {
            Kind::Grpc(Grpc { routes: routes.iter().map(|r| encode_grpc_route(r, of_route(r))).collect() })
        }
        ServerProtocol::Opaque => Kind::Opaque(Opaque {}),
        ServerProtocol::Tls => Kind::Tls(Tls {}),
    };
    pb::Server {
        protocol: Some(pb::ProxyProtocol { kind: Some(kind) }),
        server_ips: Vec::new(),
        authorizations: own.iter().map(encode_authorization).collect(),
        labels: encode_labels(&from.meta),
    }
}

fn encode_labels(meta: &ResourceRef) -> HashMap<String, String> {
    [("group", meta.group()), ("kind", meta.kind()), ("name", meta.name())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn encode_http_route(from: &InboundRoute, authorizations: Vec<pb::Authz>) -> pb::HttpRoute {
    let rules = from.rules.iter().map(|rule| pb::http_route::Rule {
        matches: rule.matches.iter().map(matching::encode_http).collect(),
        filters: rule.filters.iter().map(filter::encode_http).collect(),
    });
    let hosts = from.hosts.iter().map(matching::encode_host).collect();
    pb::HttpRoute { metadata: encode_resource(&from.meta), hosts, authorizations, rules: rules.collect() }
}

fn encode_grpc_route(from: &InboundRoute, authorizations: Vec<pb::Authz>) -> pb::GrpcRoute {
    let rules = from.rules.iter().map(|rule| pb::grpc_route::Rule {
        matches: rule.matches.iter().map(matching::encode_grpc).collect(),
        filters: rule.filters.iter().map(filter::encode_grpc).collect(),
    });
    let hosts = from.hosts.iter().map(matching::encode_host).collect();
    pb::GrpcRoute { metadata: encode_resource(&from.meta), hosts, authorizations, rules: rules.collect() }
}

fn encode_rate_limit(from: &RateLimit) -> pb::HttpLocalRateLimit {
    let limit = |rate: NonZeroU32| pb::http_local_rate_limit::Limit { requests_per_second: rate.get() };
    let overrides = from.overrides.iter().map(|one| {
        let identities = one.clients.iter().map(|id| pb::Identity { name: id.to_string() }).collect();
        let clients = pb::http_local_rate_limit::r#override::ClientIdentities { identities };
        pb::http_local_rate_limit::Override { limit: Some(limit(one.rate)), clients: Some(clients) }
    });
    pb::HttpLocalRateLimit {
        metadata: from.meta.as_ref().and_then(encode_resource),
        total: from.total.map(limit),
        identity: from.identity.map(limit),
        overrides: overrides.collect(),
    }
}

fn encode_authorization(from: &Authorization) -> pb::Authz {
    let networks = from.networks.iter().map(|n| pb::Network {
        net: Some(n.net.into()),
        except: n.except.iter().map(|net| (*net).into()).collect(),
    });
    let permit = match &from.authentication {
        Authentication::Unauthenticated => Permit::Unauthenticated(PermitUnauthenticated {}),
        Authentication::TlsUnauthenticated => Permit::MeshTls(PermitMeshTls {
            clients: Some(Clients::Unauthenticated(PermitUnauthenticated {})),
        }),
        Authentication::Identities(matches) => {
            Permit::MeshTls(PermitMeshTls { clients: Some(Clients::Identities(encode_identities(matches))) })
        }
    };
    pb::Authz {
        networks: networks.collect(),
        authentication: Some(pb::Authn { permit: Some(permit) }),
        labels: encode_labels(&from.meta),
        metadata: encode_resource(&from.meta),
    }
}

/// Literals and suffixes are two lists on the wire; which comes first does not matter to a match.
fn encode_identities(matches: &[IdentityMatch]) -> PermitClientIdentities {
    let mut pb = PermitClientIdentities::default();
    for one in matches {
        match one {
            IdentityMatch::Exact(id) => pb.identities.push(pb::Identity { name: id.to_string() }),
            IdentityMatch::Never(name) => pb.identities.push(pb::Identity { name: name.clone() }),
            IdentityMatch::Suffix(parts) => pb.suffixes.push(pb::IdentitySuffix { parts: parts.clone() }),
        }
    }
    pb
}

#[cfg(test)]
mod tests;

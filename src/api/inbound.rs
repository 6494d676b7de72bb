//! `InboundServerPolicies`: who may reach a port (contract 4.3).

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use linkerd2_proxy_api::{inbound as pb, net};
use pb::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
use pb::authn::{Permit, PermitMeshTls, PermitUnauthenticated};
use pb::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};

use super::{InvalidPolicy, duration, encode_duration, encode_resource, matching, resource};
use crate::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use crate::model::{ResourceRef, ServerPolicy};

/// Reads the policy of a port.
///
/// The localhost authorization is appended to the server's, and the server's to each route's. A
/// port without routes gets one that takes everything. Filters, rate limits and host matches are
/// refused, since a policy without them would let more in.
pub fn server(pb: pb::Server) -> Result<ServerPolicy, InvalidPolicy> {
    let mut authorizations =
        pb.authorizations.into_iter().map(authorization).collect::<Result<Vec<_>, _>>()?;
    authorizations.push(localhost());
    let http = |routes: Vec<pb::HttpRoute>, limit: Option<pb::HttpLocalRateLimit>| {
        if limit.is_some() {
            return Err(InvalidPolicy::Unsupported("a rate limit"));
        }
        let routes: Result<Vec<_>, _> = routes.into_iter().map(|r| http_route(r, &authorizations)).collect();
        Ok(or_default(routes?, &authorizations))
    };
    let protocol = match pb.protocol.and_then(|p| p.kind).ok_or(InvalidPolicy::Missing("protocol"))? {
        Kind::Detect(detect) => ServerProtocol::Detect {
            timeout: duration("detect timeout", detect.timeout)?,
            routes: http(detect.http_routes, detect.http_local_rate_limit)?,
        },
        Kind::Http1(h1) => ServerProtocol::Http1(http(h1.routes, h1.local_rate_limit)?),
        Kind::Http2(h2) => ServerProtocol::Http2(http(h2.routes, h2.local_rate_limit)?),
        Kind::Grpc(grpc) => {
            let routes = grpc.routes.into_iter().map(|r| grpc_route(r, &authorizations));
            ServerProtocol::Grpc(or_default(routes.collect::<Result<_, _>>()?, &authorizations))
        }
        Kind::Opaque(_) => ServerProtocol::Opaque,
        Kind::Tls(_) => ServerProtocol::Tls,
    };
    Ok(ServerPolicy { meta: labelled(pb.labels, "server")?, protocol, authorizations })
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
    let meta = ResourceRef::default_named("default");
    vec![InboundRoute { meta, rules: vec![Vec::new()], authorizations: server.to_vec() }]
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
    if !pb.hosts.is_empty() {
        return Err(InvalidPolicy::Unsupported("a host match"));
    }
    let rule = |rule: pb::http_route::Rule| {
        if !rule.filters.is_empty() {
            return Err(InvalidPolicy::Unsupported("a route filter"));
        }
        rule.matches.into_iter().map(matching::http).collect()
    };
    let rules = pb.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    let authorizations = with_server(pb.authorizations, server)?;
    Ok(InboundRoute { meta: resource(pb.metadata)?, rules, authorizations })
}

fn grpc_route(pb: pb::GrpcRoute, server: &[Authorization]) -> Result<InboundRoute, InvalidPolicy> {
    if !pb.hosts.is_empty() {
        return Err(InvalidPolicy::Unsupported("a host match"));
    }
    let rule = |rule: pb::grpc_route::Rule| {
        if !rule.filters.is_empty() {
            return Err(InvalidPolicy::Unsupported("a route filter"));
        }
        rule.matches.into_iter().map(matching::grpc).collect()
    };
    let rules = pb.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    let authorizations = with_server(pb.authorizations, server)?;
    Ok(InboundRoute { meta: resource(pb.metadata)?, rules, authorizations })
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
    let kind = match &from.protocol {
        ServerProtocol::Detect { timeout, routes } => Kind::Detect(Detect {
            timeout: encode_duration(*timeout),
            http_routes: http(routes),
            http_local_rate_limit: None,
        }),
        ServerProtocol::Http1(routes) => Kind::Http1(Http1 { routes: http(routes), local_rate_limit: None }),
        ServerProtocol::Http2(routes) => Kind::Http2(Http2 { routes: http(routes), local_rate_limit: None }),
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
    let rules = from.rules.iter().map(|matches| pb::http_route::Rule {
        matches: matches.iter().map(matching::encode_http).collect(),
        filters: Vec::new(),
    });
    let rules = rules.collect();
    pb::HttpRoute { metadata: encode_resource(&from.meta), hosts: Vec::new(), authorizations, rules }
}

fn encode_grpc_route(from: &InboundRoute, authorizations: Vec<pb::Authz>) -> pb::GrpcRoute {
    let rules = from.rules.iter().map(|matches| pb::grpc_route::Rule {
        matches: matches.iter().map(matching::encode_grpc).collect(),
        filters: Vec::new(),
    });
    let rules = rules.collect();
    pb::GrpcRoute { metadata: encode_resource(&from.meta), hosts: Vec::new(), authorizations, rules }
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

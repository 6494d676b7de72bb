//! May they? The decision on one request or connection, pure (contract 4.3, 4.4).
//!
//! What is asked is whether a policy lets a peer at an address do this; rate limits, filters and answers
//! to the peer are others' business. A permit names what granted it, a refusal what refused.

use std::net::IpAddr;

use http::Method;

use crate::model::inbound::{Authentication, Authorization, InboundRoute, ServerProtocol};
use crate::model::matching::best_rank;
use crate::model::{Peer, ResourceRef, ServerPolicy};

mod path;

/// A request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpPermit<'p> {
    pub route: &'p ResourceRef,
    pub authz: &'p ResourceRef,
}

/// A connection that is not HTTP may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPermit<'p> {
    pub authz: &'p ResourceRef,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal<'p> {
    /// The policy has no route for it, or does not expect HTTP at all: 404.
    #[error("no route of the policy matches the request")]
    RouteNotFound,
    /// The route lets others in: 403.
    #[error("no authorization of {} {} lets the client in", route.kind(), route.name())]
    Denied { route: &'p ResourceRef },
}

/// No authorization lets the connection in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no authorization lets the client in")]
pub struct Denied;

/// Judges one request. `path` is the path as it came, without query.
///
/// An application may read a path otherwise than by its bytes: `/a/%2e%2e/b` as `/b`. So whatever it may
/// be read as has to be allowed too, lest a narrow route be walked around.
pub fn http<'p>(
    policy: &'p ServerPolicy,
    client: IpAddr,
    peer: &Peer,
    method: &Method,
    path: &str,
) -> Result<HttpPermit<'p>, Refusal<'p>> {
    let routes = policy.protocol.routes().ok_or(Refusal::RouteNotFound)?;
    let permit = judge(routes, client, peer, method, path)?;
    for reading in path::readings(path) {
        judge(routes, client, peer, method, &reading)?;
    }
    Ok(permit)
}

/// Judges a connection that is not HTTP, or not to be taken for it.
pub fn tcp<'p>(policy: &'p ServerPolicy, client: IpAddr, peer: &Peer) -> Result<TcpPermit<'p>, Denied> {
    match policy.protocol {
        ServerProtocol::Http1(_) | ServerProtocol::Http2(_) | ServerProtocol::Grpc(_) => Err(Denied),
        ServerProtocol::Detect { .. } | ServerProtocol::Opaque | ServerProtocol::Tls => {
            let authorization = first_allowing(&policy.authorizations, client, peer).ok_or(Denied)?;
            Ok(TcpPermit { authz: &authorization.meta })
        }
    }
}

fn judge<'p>(
    routes: &'p [InboundRoute],
    client: IpAddr,
    peer: &Peer,
    method: &Method,
    path: &str,
) -> Result<HttpPermit<'p>, Refusal<'p>> {
    let route = &best_route(routes, method, path).ok_or(Refusal::RouteNotFound)?;
    let authorization =
        first_allowing(&route.authorizations, client, peer).ok_or(Refusal::Denied { route: &route.meta })?;
    Ok(HttpPermit { route: &route.meta, authz: &authorization.meta })
}

/// The route of the best-ranked rule; of equals, the first.
fn best_route<'p>(routes: &'p [InboundRoute], method: &Method, path: &str) -> Option<&'p InboundRoute> {
    let mut best = None;
    for route in routes {
        for rank in route.rules.iter().filter_map(|matches| best_rank(matches, method, path)) {
            if best.is_none_or(|(highest, _)| rank > highest) {
                best = Some((rank, route));
            }
        }
    }
    best.map(|(_, route)| route)
}

fn first_allowing<'p>(
    authorizations: &'p [Authorization],
    client: IpAddr,
    peer: &Peer,
) -> Option<&'p Authorization> {
    // On a socket for both families, IPv4 clients come as `::ffff:…`.
    let client = client.to_canonical();
    authorizations.iter().find(|authorization| {
        authorization.networks.iter().any(|network| network.contains(client))
            && is_authenticated(&authorization.authentication, peer)
    })
}

fn is_authenticated(wanted: &Authentication, peer: &Peer) -> bool {
    match wanted {
        Authentication::Unauthenticated => true,
        Authentication::TlsUnauthenticated => matches!(peer, Peer::Identified(_) | Peer::Anonymous),
        Authentication::Identities(matches) => {
            peer.id().is_some_and(|id| matches.iter().any(|wanted| wanted.matches(id)))
        }
    }
}

#[cfg(test)]
mod tests;

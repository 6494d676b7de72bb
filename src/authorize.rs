//! May they? The decision on one request or connection, pure (contract 4.3, 4.4).
//!
//! What is asked is whether a policy lets a peer at an address do this; rate limits, filters and answers
//! to the peer are others' business. A permit names what granted it, a refusal what refused; [`explain`]
//! tells the whole of it.

use std::net::IpAddr;

use crate::model::inbound::{Authorization, InboundRoute, InboundRule};
use crate::model::matching::{self, Head, RequestMatch};
use crate::model::{Peer, ResourceRef, ServerPolicy};

pub mod condition;
pub mod explain;
mod path;
mod readings;

/// A request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpPermit<'p> {
    pub route: &'p ResourceRef,
    pub authz: &'p ResourceRef,
    /// The rule of the route that takes the request as it came.
    pub rule: &'p InboundRule,
    /// Its match; `None` where the rule has none.
    pub matched: Option<&'p RequestMatch>,
}

/// A connection that is not HTTP may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPermit<'p> {
    pub authz: &'p ResourceRef,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'p> {
    /// The policy has no route for it, or does not expect HTTP at all: 404.
    RouteNotFound,
    /// The route lets others in: 403.
    Denied { route: &'p ResourceRef },
    /// It would be let in as it came, but what else it may be read as is more than is judged: 403.
    Unjudged { route: &'p ResourceRef },
}

/// No authorization lets the connection in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

/// Judges one request.
///
/// An application may read a path otherwise than by its bytes: `/a/%2e%2e/b` as `/b`; and of a header that came twice
/// either value. So whatever the request may be read as has to be allowed too, lest a narrow route be walked around.
pub fn http<'p>(
    policy: &'p ServerPolicy,
    client: IpAddr,
    peer: &Peer,
    head: &Head<'_>,
) -> Result<HttpPermit<'p>, Refusal<'p>> {
    let routes = policy.protocol.routes().ok_or(Refusal::RouteNotFound)?;
    let permit = judge(routes, client, peer, head)?;
    let readings = readings::of(routes, head).ok_or(Refusal::Unjudged { route: permit.route })?;
    for reading in readings {
        judge(routes, client, peer, &reading.of(head))?;
    }
    Ok(permit)
}

/// Judges a connection that is not HTTP, or not to be taken for it.
pub fn tcp<'p>(policy: &'p ServerPolicy, client: IpAddr, peer: &Peer) -> Result<TcpPermit<'p>, Denied> {
    if policy.protocol.is_http_alone() {
        return Err(Denied);
    }
    let authorization = first_allowing(&policy.authorizations, client, peer).ok_or(Denied)?;
    Ok(TcpPermit { authz: &authorization.meta })
}

/// Whether any request of this peer may pass: some route lets it in.
pub fn any_request(policy: &ServerPolicy, client: IpAddr, peer: &Peer) -> bool {
    let lets_in = |route: &InboundRoute| first_allowing(&route.authorizations, client, peer).is_some();
    policy.protocol.routes().is_some_and(|routes| routes.iter().any(lets_in))
}

fn judge<'p>(
    routes: &'p [InboundRoute],
    client: IpAddr,
    peer: &Peer,
    head: &Head<'_>,
) -> Result<HttpPermit<'p>, Refusal<'p>> {
    let Best { route, rule, matched } = best(routes, head).ok_or(Refusal::RouteNotFound)?;
    let authorization =
        first_allowing(&route.authorizations, client, peer).ok_or(Refusal::Denied { route: &route.meta })?;
    Ok(HttpPermit { route: &route.meta, authz: &authorization.meta, rule, matched })
}

#[derive(Clone, Copy)]
struct Best<'p> {
    route: &'p InboundRoute,
    rule: &'p InboundRule,
    matched: Option<&'p RequestMatch>,
}

/// The best-ranked rule, by its route's host first; of equals, the first (contract 3.11).
fn best<'p>(routes: &'p [InboundRoute], head: &Head<'_>) -> Option<Best<'p>> {
    let mut best = None;
    for route in routes {
        let host = matching::best_host(&route.hosts, || head.host());
        if host.is_none() && !route.hosts.is_empty() {
            continue;
        }
        for rule in &route.rules {
            let Some((rank, matched)) = matching::best(&rule.matches, head) else { continue };
            if best.is_none_or(|(highest, _)| (host, rank) > highest) {
                best = Some(((host, rank), Best { route, rule, matched }));
            }
        }
    }
    best.map(|(_, best)| best)
}

fn first_allowing<'p>(
    authorizations: &'p [Authorization],
    client: IpAddr,
    peer: &Peer,
) -> Option<&'p Authorization> {
    authorizations.iter().find(|authorization| condition::check(authorization, client, peer).is_ok())
}

#[cfg(test)]
pub(crate) mod tests;

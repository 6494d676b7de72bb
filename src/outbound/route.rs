//! Which backend does this request, or connection, belong to? Decisions only, no I/O.

use std::sync::Arc;

use http::Request;

use crate::discover::{Backend, Policy, Profiled, Routing};
use crate::error::{Fault, Reason};
use crate::model::matching::{self, Effort, Head, HostRank, Rank, RequestMatch, TooCostly};
use crate::model::outbound::{
    Distribution, HttpRoute, HttpRoutes, HttpRule, OpaqueRefusal, OpaqueRoute, OutboundProtocol,
};
use crate::model::{DnsName, ResourceRef};
use crate::telemetry::streams::Spoken;

mod backends;

pub use backends::Others;
pub(super) use backends::choose;

/// The route that a request takes, and what its rule says.
pub struct Taken<'a> {
    pub parent: &'a ResourceRef,
    pub route: &'a ResourceRef,
    /// What the policy says that the route's requests are.
    pub spoken: Spoken,
    pub rule: &'a HttpRule<Arc<Backend>>,
    /// The match that led there.
    pub matched: Option<&'a RequestMatch>,
}

/// The route that an opaque connection takes.
pub struct TakenOpaque<'a> {
    pub parent: &'a ResourceRef,
    pub route: &'a ResourceRef,
    refusal: Option<OpaqueRefusal>,
    backends: &'a Distribution<Arc<Backend>>,
}

/// The route of a request: the best-ranked rule, by its route's host first; of equals, the first (contract 3.11).
pub fn http<'a, B>(routing: &'a Routing, req: &Request<B>) -> Result<Taken<'a>, Fault> {
    let policy = usable(routing)?;
    let http2 = req.version() == ::http::Version::HTTP_2;
    let http = http_routes(policy, http2).ok_or(Reason::NotHttp)?;
    let Best { route, rule, matched } = best(http, &Head::of(req))?;
    let spoken = match policy.policy.protocol {
        OutboundProtocol::Grpc(_) => Spoken::Grpc,
        _ => Spoken::Http,
    };
    Ok(Taken { parent: &policy.policy.parent, route: &route.meta, spoken, rule, matched })
}

/// What a service profile says of requests, where one speaks for them: it comes before policy (contract 3.3).
pub fn profile(routing: &Routing) -> Option<&Profiled> {
    match routing {
        Routing::Policy(policy) => policy.profile.as_deref(),
        _ => None,
    }
}

/// A rule of a route, and which of its matches led there.
pub struct Best<'a, B> {
    pub route: &'a HttpRoute<B>,
    pub rule: &'a HttpRule<B>,
    pub matched: Option<&'a RequestMatch>,
}

type Ranked = (Option<HostRank>, Rank);

/// The best-ranked rule, by its route's host first; of equals, the first.
///
/// # Errors
/// None takes the request, or finding it would take too long.
pub fn best<'a, B>(http: &'a HttpRoutes<B>, head: &Head<'_>) -> Result<Best<'a, B>, Reason> {
    let mut effort = Effort::default();
    let mut best: Option<(Ranked, Best<'a, B>)> = None;
    for route in &http.routes {
        let host = matching::best_host_within(&route.hosts, || head.host(), &mut effort);
        let host = host.map_err(|TooCostly| Reason::RouteTooCostly)?;
        let held = best.as_ref().map(|(held, _)| *held);
        if (host.is_none() && !route.hosts.is_empty()) || held.is_some_and(|(held, _)| host < held) {
            continue;
        }
        for rule in &route.rules {
            let held = best.as_ref().map(|(held, _)| *held).filter(|(held, _)| *held == host);
            let above = held.map(|(_, rank)| rank);
            let found = matching::best_above(&rule.matches, head, above, &mut effort);
            if let Some((rank, matched)) = found.map_err(|TooCostly| Reason::RouteTooCostly)? {
                best = Some(((host, rank), Best { route, rule, matched }));
            }
        }
    }
    best.map(|(_, best)| best).ok_or(Reason::NoRoute)
}

/// The route of an opaque connection: a service profile's, if it has one, whatever policy speaks; else the first.
pub fn opaque(routing: &Routing) -> Result<TakenOpaque<'_>, Fault> {
    let policy = usable(routing)?;
    if let Some(profile) = &policy.profile
        && let Some(route) = &profile.opaque
    {
        return Ok(taken(&profile.parent, route));
    }
    let (OutboundProtocol::Detect { opaque: routes, .. } | OutboundProtocol::Opaque(routes)) =
        &policy.policy.protocol
    else {
        return Err(Reason::OtherProtocol.into());
    };
    Ok(taken(&policy.policy.parent, routes.first().ok_or(Reason::NoRoute)?))
}

/// The route of a connection that asks for a server of this name: the best-ranked, of equals the first.
pub fn tls<'a>(routing: &'a Routing, name: &DnsName) -> Result<TakenOpaque<'a>, Fault> {
    let policy = usable(routing)?;
    let OutboundProtocol::Tls(routes) = &policy.policy.protocol else { return Err(Reason::NoRoute.into()) };
    let mut best = None;
    for route in routes {
        let rank = matching::best_host(&route.snis, || Some(name.as_str()));
        if rank.is_none() && !route.snis.is_empty() {
            continue;
        }
        if best.as_ref().is_none_or(|(held, _)| rank > *held) {
            best = Some((rank, route));
        }
    }
    Ok(taken(&policy.policy.parent, best.ok_or(Reason::NoRoute)?.1))
}

fn taken<'a>(parent: &'a ResourceRef, route: &'a OpaqueRoute<Arc<Backend>>) -> TakenOpaque<'a> {
    TakenOpaque { parent, route: &route.meta, refusal: route.refusal, backends: &route.backends }
}

fn usable(routing: &Routing) -> Result<&Policy, Fault> {
    match routing {
        Routing::Policy(policy) => Ok(policy),
        Routing::Invalid => Err(Reason::InvalidPolicy.into()),
        Routing::Refused(_) => Err(Reason::Discovery.into()),
        Routing::Nowhere | Routing::Unprofiled => Err(Reason::GatewayDomain.into()),
    }
}

fn http_routes(policy: &Policy, is_http2: bool) -> Option<&HttpRoutes<Arc<Backend>>> {
    match &policy.policy.protocol {
        OutboundProtocol::Detect { http1, http2, .. } => Some(if is_http2 { http2 } else { http1 }),
        OutboundProtocol::Http1(http) | OutboundProtocol::Http2(http) | OutboundProtocol::Grpc(http) => {
            Some(http)
        }
        OutboundProtocol::Opaque(_) | OutboundProtocol::Tls(_) => None,
    }
}

#[cfg(test)]
mod tests;

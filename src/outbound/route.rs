//! Which backend does this request, or connection, belong to? Decisions only, no I/O.

use std::sync::Arc;

use http::Request;

use crate::discover::{Backend, Policy, Routing};
use crate::error::{Fault, Reason};
use crate::model::matching::{self, Head, RequestMatch};
use crate::model::outbound::{
    Distribution, HttpRoutes, HttpRule, OpaqueRefusal, OpaqueRoute, OutboundProtocol, RouteBackend,
};
use crate::model::{DnsName, ResourceRef};
use crate::telemetry::streams::Spoken;

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
    let head = Head::of(req);
    let mut best = None;
    for route in &http.routes {
        let host = matching::best_host(&route.hosts, || head.host());
        if host.is_none() && !route.hosts.is_empty() {
            continue;
        }
        for rule in &route.rules {
            let Some((rank, matched)) = matching::best(&rule.matches, &head) else { continue };
            if best.as_ref().is_none_or(|(held, _, _, _)| (host, rank) > *held) {
                best = Some(((host, rank), route, rule, matched));
            }
        }
    }
    let (_, route, rule, matched) = best.ok_or(Reason::NoRoute)?;
    let spoken = match policy.policy.protocol {
        OutboundProtocol::Grpc(_) => Spoken::Grpc,
        _ => Spoken::Http,
    };
    Ok(Taken { parent: &policy.policy.parent, route: &route.meta, spoken, rule, matched })
}

/// The route of an opaque connection: the first.
pub fn opaque(routing: &Routing) -> Result<TakenOpaque<'_>, Fault> {
    let policy = usable(routing)?;
    let (OutboundProtocol::Detect { opaque: routes, .. } | OutboundProtocol::Opaque(routes)) =
        &policy.policy.protocol
    else {
        return Err(Reason::NoRoute.into());
    };
    Ok(taken(policy, routes.first().ok_or(Reason::NoRoute)?))
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
    Ok(taken(policy, best.ok_or(Reason::NoRoute)?.1))
}

fn taken<'a>(policy: &'a Policy, route: &'a OpaqueRoute<Arc<Backend>>) -> TakenOpaque<'a> {
    TakenOpaque {
        parent: &policy.policy.parent,
        route: &route.meta,
        refusal: route.refusal,
        backends: &route.backends,
    }
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

impl<'a> Taken<'a> {
    /// The backend to use now: one that has a ready endpoint, where there is a choice (contract 3.4).
    ///
    /// # Errors
    /// The rule has no backend.
    pub fn backend(&self) -> Result<&'a RouteBackend<Arc<Backend>>, Fault> {
        choose(&self.rule.backends, |to| to.backend.is_ready()).ok_or_else(|| Reason::LoadShed.into())
    }

    /// Whether any of its backends has a ready endpoint.
    pub fn is_ready(&self) -> bool {
        let ready = |to: &RouteBackend<Arc<Backend>>| to.backend.is_ready();
        match &self.rule.backends {
            Distribution::Empty => false,
            Distribution::FirstAvailable(all) => all.iter().any(ready),
            Distribution::RandomAvailable(all) => all.iter().any(|(to, _)| ready(to)),
        }
    }
}

impl<'a> TakenOpaque<'a> {
    /// The backend to use now, as for requests.
    ///
    /// # Errors
    /// The route refuses everything, or has no backend.
    pub fn backend(&self) -> Result<&'a Arc<Backend>, Fault> {
        match self.refusal {
            Some(OpaqueRefusal::Forbidden) => Err(Reason::Forbidden.into()),
            Some(OpaqueRefusal::Invalid) => Err(Reason::InvalidPolicy.into()),
            None => {
                choose(self.backends, |backend| backend.is_ready()).ok_or_else(|| Reason::LoadShed.into())
            }
        }
    }
}

fn choose<B>(among: &Distribution<B>, is_ready: impl Fn(&B) -> bool) -> Option<&B> {
    match among {
        Distribution::Empty => None,
        Distribution::FirstAvailable(all) => all.iter().find(|to| is_ready(to)).or_else(|| all.first()),
        Distribution::RandomAvailable(all) => weighted(all, is_ready).or_else(|| weighted(all, |_| true)),
    }
}

fn weighted<B>(all: &[(B, u32)], is_open: impl Fn(&B) -> bool) -> Option<&B> {
    let open = || all.iter().filter(|(to, _)| is_open(to));
    let total: u64 = open().map(|(_, weight)| u64::from(*weight)).sum();
    if total == 0 {
        return None;
    }
    let mut at = fastrand::u64(..total);
    open()
        .find(|(_, weight)| match at.checked_sub(u64::from(*weight)) {
            Some(rest) => {
                at = rest;
                false
            }
            None => true,
        })
        .map(|(to, _)| to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares_among_those_that_are_ready() {
        let all = Distribution::RandomAvailable(vec![("a", 9), ("b", 1), ("c", 10)]);
        let mut seen = [0_u32; 3];
        for _ in 0..10_000 {
            match choose(&all, |to| *to != "c") {
                Some(&"a") => seen[0] += 1,
                Some(&"b") => seen[1] += 1,
                _ => seen[2] += 1,
            }
        }
        assert!((8_700..9_300).contains(&seen[0]) && seen[2] == 0, "{seen:?}");
        let first = Distribution::FirstAvailable(vec!["a", "b"]);
        assert_eq!((choose(&first, |to| *to == "b"), choose(&first, |_| false)), (Some(&"b"), Some(&"a")));
        assert_eq!(choose(&Distribution::<u8>::Empty, |_| true), None);
        assert!(choose(&all, |_| false).is_some(), "one that is not ready is waited for");
    }
}

//! Which backend does this request, or connection, belong to? Decisions only, no I/O.

use std::sync::Arc;

use http::Request;

use crate::discover::{Backend, Policy, Routing};
use crate::error::{Fault, Reason};
use crate::model::ResourceRef;
use crate::model::matching::{self, Head};
use crate::model::outbound::{Distribution, HttpRoute, OpaqueRefusal, OpaqueRoute, OutboundProtocol};
use crate::telemetry::streams::Spoken;

/// The route taken, and the backends it offers.
pub struct Taken<'a> {
    pub parent: &'a ResourceRef,
    pub route: &'a ResourceRef,
    /// What the policy says that the route's requests are.
    pub spoken: Spoken,
    refusal: Option<OpaqueRefusal>,
    backends: &'a Distribution<Arc<Backend>>,
}

/// The route of a request: the best-ranked rule, the first of equals (contract 3.11).
pub fn http<'a, B>(routing: &'a Routing, req: &Request<B>) -> Result<Taken<'a>, Fault> {
    let policy = usable(routing)?;
    let http2 = req.version() == ::http::Version::HTTP_2;
    let routes = http_routes(policy, http2).ok_or(Reason::NotHttp)?;
    let head = Head::of(req);
    let mut best = None;
    for route in routes {
        for rule in &route.rules {
            let Some((rank, _)) = matching::best(&rule.matches, &head) else { continue };
            if best.as_ref().is_none_or(|(held, _, _)| rank > *held) {
                best = Some((rank, route, rule));
            }
        }
    }
    let (_, route, rule) = best.ok_or(Reason::NoRoute)?;
    let spoken = match policy.policy.protocol {
        OutboundProtocol::Grpc(_) => Spoken::Grpc,
        _ => Spoken::Http,
    };
    let (parent, route) = (&policy.policy.parent, &route.meta);
    Ok(Taken { parent, route, spoken, refusal: None, backends: &rule.backends })
}

/// The route of an opaque connection: the first.
pub fn opaque(routing: &Routing) -> Result<Taken<'_>, Fault> {
    let policy = usable(routing)?;
    let route = opaque_routes(policy).and_then(|routes| routes.first()).ok_or(Reason::NoRoute)?;
    Ok(Taken {
        parent: &policy.policy.parent,
        route: &route.meta,
        spoken: Spoken::Http,
        refusal: route.refusal,
        backends: &route.backends,
    })
}

fn usable(routing: &Routing) -> Result<&Policy, Fault> {
    match routing {
        Routing::Policy(policy) => Ok(policy),
        Routing::Invalid => Err(Reason::InvalidPolicy.into()),
        Routing::Refused(_) => Err(Reason::Discovery.into()),
        Routing::Nowhere | Routing::Unprofiled => Err(Reason::GatewayDomain.into()),
    }
}

fn http_routes(policy: &Policy, is_http2: bool) -> Option<&[HttpRoute<Arc<Backend>>]> {
    match &policy.policy.protocol {
        OutboundProtocol::Detect { http1, http2, .. } => Some(if is_http2 { http2 } else { http1 }),
        OutboundProtocol::Http1(routes)
        | OutboundProtocol::Http2(routes)
        | OutboundProtocol::Grpc(routes) => Some(routes),
        OutboundProtocol::Opaque(_) | OutboundProtocol::Tls(_) => None,
    }
}

fn opaque_routes(policy: &Policy) -> Option<&[OpaqueRoute<Arc<Backend>>]> {
    match &policy.policy.protocol {
        OutboundProtocol::Detect { opaque, .. } | OutboundProtocol::Opaque(opaque) => Some(opaque),
        _ => None,
    }
}

impl Taken<'_> {
    /// The backend to use now: one that has a ready endpoint, where there is a choice (contract 3.4).
    ///
    /// # Errors
    /// The route refuses everything, or has no backend.
    pub fn backend(&self) -> Result<&Arc<Backend>, Fault> {
        match self.refusal {
            Some(OpaqueRefusal::Forbidden) => return Err(Reason::Forbidden.into()),
            Some(OpaqueRefusal::Invalid) => return Err(Reason::InvalidPolicy.into()),
            None => {}
        }
        let backend = match self.backends {
            Distribution::Empty => return Err(Reason::LoadShed.into()),
            Distribution::FirstAvailable(all) => all.iter().find(|b| b.is_ready()).or_else(|| all.first()),
            Distribution::RandomAvailable(all) => weighted(all, true).or_else(|| weighted(all, false)),
        };
        backend.ok_or_else(|| Reason::LoadShed.into())
    }
}

fn weighted(all: &[(Arc<Backend>, u32)], ready_only: bool) -> Option<&Arc<Backend>> {
    let open = || all.iter().filter(|(backend, _)| !ready_only || backend.is_ready());
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
        .map(|(backend, _)| backend)
}

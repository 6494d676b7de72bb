//! `OutboundPolicies`: how a target's traffic is to be treated (contract 3.2 to 3.4).
//!
//! Timeouts, retries, failure accrual and queue sizes are read past; filters, host and SNI
//! matches are refused, since a route without them would send traffic elsewhere.

mod backend;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use linkerd2_proxy_api::outbound as pb;
use pb::opaque_route::filter::Kind as OpaqueFilter;
use pb::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};
use pb::tls_route::filter::Kind as TlsFilter;

use super::{InvalidPolicy, duration, encode_duration, encode_resource, matching, resource};
use crate::model::matching::RequestMatch;
use crate::model::outbound::{HttpRoute, HttpRule, OpaqueRefusal, OpaqueRoute, OutboundProtocol};
use crate::model::{Authority, OutboundPolicy};
use backend::{grpc_route, http_route, opaque_route, tls_route};

/// What a policy is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Addr(SocketAddr),
    Authority(Authority),
}

/// A request for the policy of `target`; `workload` is passed on byte for byte (contract 1.3).
pub fn encode_request(workload: &str, target: &Target) -> pb::TrafficSpec {
    let target = match target {
        Target::Addr(addr) => pb::traffic_spec::Target::Addr((*addr).into()),
        Target::Authority(authority) => pb::traffic_spec::Target::Authority(authority.to_string()),
    };
    pb::TrafficSpec { source_workload: workload.into(), target: Some(target) }
}

/// Reads what a policy is asked for.
pub fn target(pb: Option<pb::traffic_spec::Target>) -> Result<Target, InvalidPolicy> {
    match pb.ok_or(InvalidPolicy::Missing("target"))? {
        pb::traffic_spec::Target::Addr(addr) => {
            let ip = addr.ip.and_then(|ip| IpAddr::try_from(ip).ok());
            let port = u16::try_from(addr.port).ok().filter(|port| *port > 0);
            match (ip, port) {
                (Some(ip), Some(port)) => Ok(Target::Addr(SocketAddr::new(ip, port))),
                _ => Err(InvalidPolicy::Field { field: "target address", expected: "an IP and a port" }),
            }
        }
        pb::traffic_spec::Target::Authority(authority) => authority
            .parse()
            .map(Target::Authority)
            .map_err(|_| InvalidPolicy::Field { field: "target authority", expected: "host[:port]" }),
    }
}

/// Reads a policy.
pub fn policy(pb: pb::OutboundPolicy) -> Result<OutboundPolicy, InvalidPolicy> {
    let parent = resource(pb.metadata)?;
    let protocol = match pb.protocol.and_then(|p| p.kind).ok_or(InvalidPolicy::Missing("protocol"))? {
        Kind::Detect(detect) => {
            duration("detect timeout", detect.timeout)?;
            OutboundProtocol::Detect {
                http1: http1(detect.http1.ok_or(InvalidPolicy::Missing("detect http1"))?)?,
                http2: http2(detect.http2.ok_or(InvalidPolicy::Missing("detect http2"))?)?,
                opaque: opaque(detect.opaque.ok_or(InvalidPolicy::Missing("detect opaque"))?)?,
            }
        }
        Kind::Http1(http) => OutboundProtocol::Http1(http1(http)?),
        Kind::Http2(http) => OutboundProtocol::Http2(http2(http)?),
        Kind::Grpc(grpc) => {
            ignore("failure accrual", grpc.failure_accrual.is_some());
            OutboundProtocol::Grpc(grpc.routes.into_iter().map(grpc_call_route).collect::<Result<_, _>>()?)
        }
        Kind::Opaque(routes) => OutboundProtocol::Opaque(opaque(routes)?),
        Kind::Tls(tls) => {
            OutboundProtocol::Tls(tls.routes.into_iter().map(sni_route).collect::<Result<_, _>>()?)
        }
    };
    Ok(OutboundPolicy { parent, protocol })
}

fn ignore(what: &'static str, present: bool) {
    if present {
        tracing::debug!(what, "part of the policy ignored");
    }
}

fn http1(pb: Http1) -> Result<Vec<HttpRoute>, InvalidPolicy> {
    ignore("failure accrual", pb.failure_accrual.is_some());
    pb.routes.into_iter().map(request_route).collect()
}

fn http2(pb: Http2) -> Result<Vec<HttpRoute>, InvalidPolicy> {
    ignore("failure accrual", pb.failure_accrual.is_some());
    pb.routes.into_iter().map(request_route).collect()
}

fn refuse(what: &'static str, present: bool) -> Result<(), InvalidPolicy> {
    if present { Err(InvalidPolicy::Unsupported(what)) } else { Ok(()) }
}

fn request_route(pb: pb::HttpRoute) -> Result<HttpRoute, InvalidPolicy> {
    refuse("a host match", !pb.hosts.is_empty())?;
    let rule = |rule: pb::http_route::Rule| {
        refuse("a route filter", !rule.filters.is_empty())?;
        ignore("timeouts", rule.timeouts.is_some());
        ignore("retries", rule.retry.is_some() || rule.allow_l5d_request_headers);
        let matches = rule.matches.into_iter().map(matching::http).collect::<Result<_, _>>()?;
        Ok(HttpRule { matches, backends: http_route::distribution(rule.backends)? })
    };
    let rules = pb.rules.into_iter().map(rule).collect::<Result<_, InvalidPolicy>>()?;
    Ok(HttpRoute { meta: resource(pb.metadata)?, rules })
}

fn grpc_call_route(pb: pb::GrpcRoute) -> Result<HttpRoute, InvalidPolicy> {
    refuse("a host match", !pb.hosts.is_empty())?;
    let rule = |rule: pb::grpc_route::Rule| {
        refuse("a route filter", !rule.filters.is_empty())?;
        ignore("timeouts", rule.timeouts.is_some());
        ignore("retries", rule.retry.is_some() || rule.allow_l5d_request_headers);
        let matches = rule.matches.into_iter().map(matching::grpc).collect::<Result<_, _>>()?;
        Ok(HttpRule { matches, backends: grpc_route::distribution(rule.backends)? })
    };
    let rules = pb.rules.into_iter().map(rule).collect::<Result<_, InvalidPolicy>>()?;
    Ok(HttpRoute { meta: resource(pb.metadata)?, rules })
}

/// Opaque connections have nothing to match on, so there is one route with one rule at most.
fn opaque(pb: Opaque) -> Result<Vec<OpaqueRoute>, InvalidPolicy> {
    if pb.routes.len() > 1 {
        return Err(InvalidPolicy::Field { field: "opaque routes", expected: "at most one route" });
    }
    pb.routes.into_iter().map(opaque_route_from).collect()
}

fn opaque_route_from(pb: pb::OpaqueRoute) -> Result<OpaqueRoute, InvalidPolicy> {
    let rule = only_rule(pb.rules)?;
    let kinds = rule.filters.into_iter().next().map(|f| f.kind.ok_or(InvalidPolicy::Missing("filter")));
    let refusal = kinds.transpose()?.map(|kind| match kind {
        OpaqueFilter::Forbidden(_) => OpaqueRefusal::Forbidden,
        OpaqueFilter::Invalid(_) => OpaqueRefusal::Invalid,
    });
    let backends = opaque_route::distribution(rule.backends)?;
    Ok(OpaqueRoute { meta: resource(pb.metadata)?, refusal, backends })
}

fn sni_route(pb: pb::TlsRoute) -> Result<OpaqueRoute, InvalidPolicy> {
    refuse("an SNI match", !pb.snis.is_empty())?;
    let rule = only_rule(pb.rules)?;
    let kinds = rule.filters.into_iter().next().map(|f| f.kind.ok_or(InvalidPolicy::Missing("filter")));
    let refusal = kinds.transpose()?.map(|kind| match kind {
        TlsFilter::Forbidden(_) => OpaqueRefusal::Forbidden,
        TlsFilter::Invalid(_) => OpaqueRefusal::Invalid,
    });
    let backends = tls_route::distribution(rule.backends)?;
    Ok(OpaqueRoute { meta: resource(pb.metadata)?, refusal, backends })
}

fn only_rule<T>(rules: Vec<T>) -> Result<T, InvalidPolicy> {
    <[T; 1]>::try_from(rules)
        .map(|[rule]| rule)
        .map_err(|_| InvalidPolicy::Field { field: "route rules", expected: "exactly one rule" })
}

/// What the reference's controller sends; no reference proxy uses it (contract 3.2).
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

pub fn encode_policy(from: &OutboundPolicy) -> pb::OutboundPolicy {
    let kind = match &from.protocol {
        OutboundProtocol::Detect { http1, http2, opaque } => Kind::Detect(Detect {
            timeout: encode_duration(DETECT_TIMEOUT),
            opaque: Some(encode_opaque(opaque)),
            http1: Some(encode_http1(http1)),
            http2: Some(encode_http2(http2)),
        }),
        OutboundProtocol::Http1(routes) => Kind::Http1(encode_http1(routes)),
        OutboundProtocol::Http2(routes) => Kind::Http2(encode_http2(routes)),
        OutboundProtocol::Grpc(routes) => {
            Kind::Grpc(Grpc { routes: routes.iter().map(encode_grpc_route).collect(), failure_accrual: None })
        }
        OutboundProtocol::Opaque(routes) => Kind::Opaque(encode_opaque(routes)),
        OutboundProtocol::Tls(routes) => Kind::Tls(Tls { routes: routes.iter().map(encode_tls).collect() }),
    };
    pb::OutboundPolicy {
        protocol: Some(pb::ProxyProtocol { kind: Some(kind) }),
        metadata: encode_resource(&from.parent),
    }
}

fn encode_http1(routes: &[HttpRoute]) -> Http1 {
    Http1 { routes: routes.iter().map(encode_http_route).collect(), failure_accrual: None }
}

fn encode_http2(routes: &[HttpRoute]) -> Http2 {
    Http2 { routes: routes.iter().map(encode_http_route).collect(), failure_accrual: None }
}

fn encode_matches<T>(from: &[RequestMatch], encode: impl Fn(&RequestMatch) -> T) -> Vec<T> {
    from.iter().map(encode).collect()
}

fn encode_http_route(from: &HttpRoute) -> pb::HttpRoute {
    let rule = |rule: &HttpRule| pb::http_route::Rule {
        matches: encode_matches(&rule.matches, matching::encode_http),
        backends: http_route::encode(&rule.backends),
        ..Default::default()
    };
    let rules = from.rules.iter().map(rule).collect();
    pb::HttpRoute { metadata: encode_resource(&from.meta), hosts: Vec::new(), rules }
}

fn encode_grpc_route(from: &HttpRoute) -> pb::GrpcRoute {
    let rule = |rule: &HttpRule| pb::grpc_route::Rule {
        matches: encode_matches(&rule.matches, matching::encode_grpc),
        backends: grpc_route::encode(&rule.backends),
        ..Default::default()
    };
    let rules = from.rules.iter().map(rule).collect();
    pb::GrpcRoute { metadata: encode_resource(&from.meta), hosts: Vec::new(), rules }
}

fn encode_opaque(routes: &[OpaqueRoute]) -> Opaque {
    let route = |from: &OpaqueRoute| {
        let kind = from.refusal.map(|refusal| match refusal {
            OpaqueRefusal::Forbidden => OpaqueFilter::Forbidden(Default::default()),
            OpaqueRefusal::Invalid => OpaqueFilter::Invalid(Default::default()),
        });
        let filters = kind.map(|kind| pb::opaque_route::Filter { kind: Some(kind) }).into_iter().collect();
        let rule = pb::opaque_route::Rule { backends: opaque_route::encode(&from.backends), filters };
        pb::OpaqueRoute { metadata: encode_resource(&from.meta), rules: vec![rule] }
    };
    Opaque { routes: routes.iter().map(route).collect() }
}

fn encode_tls(from: &OpaqueRoute) -> pb::TlsRoute {
    let kind = from.refusal.map(|refusal| match refusal {
        OpaqueRefusal::Forbidden => TlsFilter::Forbidden(Default::default()),
        OpaqueRefusal::Invalid => TlsFilter::Invalid(Default::default()),
    });
    let filters = kind.map(|kind| pb::tls_route::Filter { kind: Some(kind) }).into_iter().collect();
    let rule = pb::tls_route::Rule { backends: tls_route::encode(&from.backends), filters };
    pb::TlsRoute { metadata: encode_resource(&from.meta), snis: Vec::new(), rules: vec![rule] }
}

#[cfg(test)]
mod tests;

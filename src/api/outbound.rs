//! `OutboundPolicies`: how a target's traffic is to be treated (contract 3.2 to 3.4, 3.10, 3.11).

mod backend;
mod breaker;
mod routes;
mod terms;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use linkerd2_proxy_api::outbound as pb;
use pb::proxy_protocol::{Detect, Grpc, Http1, Http2, Kind, Opaque, Tls};

use super::{InvalidPolicy, duration, encode_duration, encode_resource, resource};
use crate::model::outbound::{HttpRoute, HttpRoutes, OpaqueRoute, OutboundProtocol};
use crate::model::{Authority, OutboundPolicy};

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
            OutboundProtocol::Grpc(http_routes(grpc.routes, routes::grpc, grpc.failure_accrual)?)
        }
        Kind::Opaque(routes) => OutboundProtocol::Opaque(opaque(routes)?),
        Kind::Tls(tls) => {
            OutboundProtocol::Tls(tls.routes.into_iter().map(routes::tls).collect::<Result<_, _>>()?)
        }
    };
    Ok(OutboundPolicy { parent, protocol })
}

fn http1(pb: Http1) -> Result<HttpRoutes, InvalidPolicy> {
    http_routes(pb.routes, routes::http, pb.failure_accrual)
}

fn http2(pb: Http2) -> Result<HttpRoutes, InvalidPolicy> {
    http_routes(pb.routes, routes::http, pb.failure_accrual)
}

fn http_routes<T>(
    pb: Vec<T>,
    read: fn(T) -> Result<HttpRoute, InvalidPolicy>,
    accrual: Option<pb::FailureAccrual>,
) -> Result<HttpRoutes, InvalidPolicy> {
    let breaker = accrual.map(breaker::breaker).transpose()?;
    Ok(HttpRoutes { routes: pb.into_iter().map(read).collect::<Result<_, _>>()?, breaker })
}

/// Opaque connections have nothing to match on, so there is one route with one rule at most.
fn opaque(pb: Opaque) -> Result<Vec<OpaqueRoute>, InvalidPolicy> {
    if pb.routes.len() > 1 {
        return Err(InvalidPolicy::Field { field: "opaque routes", expected: "at most one route" });
    }
    pb.routes.into_iter().map(routes::opaque).collect()
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
        OutboundProtocol::Grpc(from) => Kind::Grpc(Grpc {
            routes: from.routes.iter().map(routes::encode_grpc).collect(),
            failure_accrual: accrual(from),
        }),
        OutboundProtocol::Opaque(routes) => Kind::Opaque(encode_opaque(routes)),
        OutboundProtocol::Tls(all) => Kind::Tls(Tls { routes: all.iter().map(routes::encode_tls).collect() }),
    };
    pb::OutboundPolicy {
        protocol: Some(pb::ProxyProtocol { kind: Some(kind) }),
        metadata: encode_resource(&from.parent),
    }
}

fn accrual(from: &HttpRoutes) -> Option<pb::FailureAccrual> {
    from.breaker.as_ref().map(breaker::encode)
}

fn encode_http1(from: &HttpRoutes) -> Http1 {
    Http1 { routes: from.routes.iter().map(routes::encode_http).collect(), failure_accrual: accrual(from) }
}

fn encode_http2(from: &HttpRoutes) -> Http2 {
    Http2 { routes: from.routes.iter().map(routes::encode_http).collect(), failure_accrual: accrual(from) }
}

fn encode_opaque(routes: &[OpaqueRoute]) -> Opaque {
    Opaque { routes: routes.iter().map(routes::encode_opaque).collect() }
}

#[cfg(test)]
mod tests;

//! Backends of outbound routes, and how a route chooses among them.

use std::collections::HashMap;
use std::time::Duration;

use linkerd2_proxy_api::outbound as pb;
use pb::backend::endpoint_discovery::{DestinationGet, Kind as Discovery};
use pb::backend::{BalanceP2c, EndpointDiscovery, Kind, balance_p2c};

use crate::api::{InvalidPolicy, destination, duration, encode_duration, encode_resource, filter, resource};
use crate::model::Authority;
use crate::model::outbound::{Backend, BackendKind, Distribution, Load, Penalty, RouteBackend};

fn backend(pb: Option<pb::Backend>) -> Result<Backend, InvalidPolicy> {
    let pb = pb.ok_or(InvalidPolicy::Missing("backend"))?;
    let meta = resource(pb.metadata)?;
    let queue = pb.queue.ok_or(InvalidPolicy::Missing("queue"))?;
    duration("queue failfast timeout", queue.failfast_timeout)?;
    let kind = match pb.kind {
        None => BackendKind::Fail,
        Some(Kind::Forward(addr)) => {
            BackendKind::Forward(destination::endpoint(addr, &HashMap::new())?.into())
        }
        Some(Kind::Balancer(balancer)) => balance(balancer)?,
    };
    Ok(Backend { meta, kind })
}

fn of_http(pb: pb::http_route::RouteBackend) -> Result<RouteBackend, InvalidPolicy> {
    let filters = pb.filters.into_iter().map(filter::outbound_http).collect::<Result<_, _>>()?;
    Ok(RouteBackend { filters, backend: backend(pb.backend)? })
}

fn of_grpc(pb: pb::grpc_route::RouteBackend) -> Result<RouteBackend, InvalidPolicy> {
    let filters = pb.filters.into_iter().map(filter::outbound_grpc).collect::<Result<_, _>>()?;
    Ok(RouteBackend { filters, backend: backend(pb.backend)? })
}

fn of_opaque(pb: pb::opaque_route::RouteBackend) -> Result<Backend, InvalidPolicy> {
    Ok(closed(backend(pb.backend)?, !pb.filters.is_empty()))
}

fn of_tls(pb: pb::tls_route::RouteBackend) -> Result<Backend, InvalidPolicy> {
    Ok(closed(backend(pb.backend)?, !pb.filters.is_empty()))
}

/// Every kind of filter that there is on such a backend closes connections, as one that always fails does.
fn closed(backend: Backend, filtered: bool) -> Backend {
    if filtered { Backend { kind: BackendKind::Fail, ..backend } } else { backend }
}

fn encode_of_http(from: &RouteBackend) -> pb::http_route::RouteBackend {
    let filters = from.filters.iter().map(filter::encode_outbound_http).collect();
    pb::http_route::RouteBackend { backend: encode_backend(&from.backend), filters, ..Default::default() }
}

fn encode_of_grpc(from: &RouteBackend) -> pb::grpc_route::RouteBackend {
    let filters = from.filters.iter().map(filter::encode_outbound_grpc).collect();
    pb::grpc_route::RouteBackend { backend: encode_backend(&from.backend), filters, ..Default::default() }
}

fn encode_of_opaque(from: &Backend) -> pb::opaque_route::RouteBackend {
    let invalid = || pb::opaque_route::filter::Kind::Invalid(nowhere());
    let filters = fails(from).then(|| pb::opaque_route::Filter { kind: Some(invalid()) });
    pb::opaque_route::RouteBackend { backend: encode_backend(from), filters: filters.into_iter().collect() }
}

fn encode_of_tls(from: &Backend) -> pb::tls_route::RouteBackend {
    let invalid = || pb::tls_route::filter::Kind::Invalid(nowhere());
    let filters = fails(from).then(|| pb::tls_route::Filter { kind: Some(invalid()) });
    pb::tls_route::RouteBackend { backend: encode_backend(from), filters: filters.into_iter().collect() }
}

/// Told by a filter beside the backend that is missing, as there (controlplane 3.9).
fn fails(backend: &Backend) -> bool {
    backend.kind == BackendKind::Fail
}

fn nowhere() -> linkerd2_proxy_api::opaque_route::Invalid {
    linkerd2_proxy_api::opaque_route::Invalid { message: "the backend cannot be used".into() }
}

fn balance(pb: BalanceP2c) -> Result<BackendKind, InvalidPolicy> {
    let discovery = pb.discovery.and_then(|d| d.kind);
    let Discovery::Dst(DestinationGet { path }) = discovery.ok_or(InvalidPolicy::Missing("discovery"))?;
    let authority = path.parse::<Authority>().ok().filter(|a| a.name().is_some() && a.port.is_some());
    let authority =
        authority.ok_or(InvalidPolicy::Field { field: "discovery path", expected: "name:port" })?;
    let load = match pb.load.ok_or(InvalidPolicy::Missing("balancer load"))? {
        balance_p2c::Load::PeakEwma(ewma) => Load {
            default_rtt: duration("default RTT", ewma.default_rtt)?,
            decay: duration("decay", ewma.decay)?,
            penalty: None,
        },
        balance_p2c::Load::PenaltyPeakEwma(ewma) => {
            let or_default = |field, value: Option<_>, default| match value {
                Some(_) => duration(field, value),
                None => Ok(default),
            };
            let (default, penalty) = (Load::default(), Penalty::default());
            Load {
                default_rtt: or_default("default RTT", ewma.default_rtt, default.default_rtt)?,
                decay: or_default("decay", ewma.decay, default.decay)?,
                penalty: Some(Penalty {
                    latency: or_default("penalty", ewma.penalty, penalty.latency)?,
                    max_retry_after: or_default(
                        "longest retry-after",
                        ewma.max_retry_after,
                        penalty.max_retry_after,
                    )?,
                }),
            }
        }
    };
    Ok(BackendKind::Balance { authority, load })
}

/// Settings that reference proxies require and ignore (contract 3.2, controlplane 3.9).
const QUEUE_CAPACITY: u32 = 100;
const QUEUE_FAILFAST: Duration = Duration::from_secs(3);

fn encode_backend(from: &Backend) -> Option<pb::Backend> {
    let kind = match &from.kind {
        BackendKind::Fail => None,
        BackendKind::Forward(endpoint) => Some(Kind::Forward(destination::encode_endpoint(endpoint))),
        BackendKind::Balance { authority, load } => {
            let path = authority.to_string();
            let discovery = EndpointDiscovery { kind: Some(Discovery::Dst(DestinationGet { path })) };
            Some(Kind::Balancer(BalanceP2c { discovery: Some(discovery), load: Some(encode_load(load)) }))
        }
    };
    let queue = pb::Queue { capacity: QUEUE_CAPACITY, failfast_timeout: encode_duration(QUEUE_FAILFAST) };
    Some(pb::Backend { metadata: encode_resource(&from.meta), queue: Some(queue), kind })
}

fn encode_load(load: &Load) -> balance_p2c::Load {
    let (default_rtt, decay) = (encode_duration(load.default_rtt), encode_duration(load.decay));
    match load.penalty {
        None => balance_p2c::Load::PeakEwma(balance_p2c::PeakEwma { default_rtt, decay }),
        // Its own decay is not used (contract 3.9).
        Some(penalty) => balance_p2c::Load::PenaltyPeakEwma(balance_p2c::PenaltyPeakEwma {
            default_rtt,
            decay,
            penalty: encode_duration(penalty.latency),
            max_retry_after: encode_duration(penalty.max_retry_after),
            penalty_decay: None,
        }),
    }
}

/// The four kinds of route have each a `Distribution` of their own, equal but for the name.
macro_rules! distribution_of {
    ($route:ident, $item:ident, $one:ident, $encode_one:ident) => {
        pub(super) mod $route {
            use linkerd2_proxy_api::outbound::$route as pb;
            use pb::distribution::{Empty, FirstAvailable, Kind, RandomAvailable};

            use super::{Distribution, InvalidPolicy, $encode_one as encode_one, $item as Item, $one as one};

            /// Backends of weight 0 are dropped; with nothing left, the route serves nobody.
            pub(in super::super) fn distribution(
                pb: Option<pb::Distribution>,
            ) -> Result<Distribution<Item>, InvalidPolicy> {
                let empty = InvalidPolicy::Field { field: "distribution", expected: "at least one backend" };
                match pb.and_then(|d| d.kind).ok_or(InvalidPolicy::Missing("distribution"))? {
                    Kind::Empty(_) => Ok(Distribution::Empty),
                    Kind::FirstAvailable(f) if f.backends.is_empty() => Err(empty),
                    Kind::RandomAvailable(r) if r.backends.is_empty() => Err(empty),
                    Kind::FirstAvailable(f) => {
                        let backends = f.backends.into_iter().map(one);
                        Ok(Distribution::FirstAvailable(backends.collect::<Result<_, _>>()?))
                    }
                    Kind::RandomAvailable(r) => {
                        let mut backends = Vec::new();
                        for weighted in r.backends {
                            let inner = weighted.backend.ok_or(InvalidPolicy::Missing("backend"))?;
                            backends.push((one(inner)?, weighted.weight));
                        }
                        backends.retain(|(_, weight)| *weight > 0);
                        if backends.is_empty() {
                            return Ok(Distribution::Empty);
                        }
                        Ok(Distribution::RandomAvailable(backends))
                    }
                }
            }

            pub(in super::super) fn encode(from: &Distribution<Item>) -> Option<pb::Distribution> {
                let kind = match from {
                    Distribution::Empty => Kind::Empty(Empty {}),
                    Distribution::FirstAvailable(backends) => Kind::FirstAvailable(FirstAvailable {
                        backends: backends.iter().map(encode_one).collect(),
                    }),
                    Distribution::RandomAvailable(backends) => {
                        let weighted = |(from, weight): &(Item, u32)| pb::WeightedRouteBackend {
                            backend: Some(encode_one(from)),
                            weight: *weight,
                        };
                        let backends = backends.iter().map(weighted).collect();
                        Kind::RandomAvailable(RandomAvailable { backends })
                    }
                };
                Some(pb::Distribution { kind: Some(kind) })
            }
        }
    };
}

distribution_of!(http_route, RouteBackend, of_http, encode_of_http);
distribution_of!(grpc_route, RouteBackend, of_grpc, encode_of_grpc);
distribution_of!(opaque_route, Backend, of_opaque, encode_of_opaque);
distribution_of!(tls_route, Backend, of_tls, encode_of_tls);

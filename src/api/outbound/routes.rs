//! Routes of each protocol.

use linkerd2_proxy_api::{outbound as pb, tls_route};
use pb::opaque_route::filter::Kind as OpaqueFilter;
use pb::tls_route::filter::Kind as TlsFilter;
use tls_route::sni_match;

use super::backend::{grpc_route, http_route, opaque_route, tls_route as tls_backends};
use super::terms;
use crate::api::{InvalidPolicy, encode_duration, encode_resource, filter, matching, resource};
use crate::model::matching::HostMatch;
use crate::model::outbound::{HttpRoute, HttpRule, OpaqueRefusal, OpaqueRoute, Terms};

pub(super) fn http(pb: pb::HttpRoute) -> Result<HttpRoute, InvalidPolicy> {
    Ok(HttpRoute {
        meta: resource(pb.metadata)?,
        hosts: pb.hosts.into_iter().map(matching::host).collect::<Result<_, _>>()?,
        rules: pb.rules.into_iter().map(http_rule).collect::<Result<_, _>>()?,
    })
}

#[allow(deprecated)] // The older way to limit requests still counts.
fn http_rule(pb: pb::http_route::Rule) -> Result<HttpRule, InvalidPolicy> {
    let timeouts = terms::timeouts(pb.timeouts, pb.request_timeout)?;
    let retry = pb.retry.map(terms::http_retry).transpose()?;
    Ok(HttpRule {
        matches: pb.matches.into_iter().map(matching::http).collect::<Result<_, _>>()?,
        filters: pb.filters.into_iter().map(filter::outbound_http).collect::<Result<_, _>>()?,
        backends: http_route::distribution(pb.backends)?,
        terms: Terms { timeouts, retry },
        allow_headers: pb.allow_l5d_request_headers,
    })
}

pub(super) fn grpc(pb: pb::GrpcRoute) -> Result<HttpRoute, InvalidPolicy> {
    Ok(HttpRoute {
        meta: resource(pb.metadata)?,
        hosts: pb.hosts.into_iter().map(matching::host).collect::<Result<_, _>>()?,
        rules: pb.rules.into_iter().map(grpc_rule).collect::<Result<_, _>>()?,
    })
}

#[allow(deprecated)] // As above.
fn grpc_rule(pb: pb::grpc_route::Rule) -> Result<HttpRule, InvalidPolicy> {
    let timeouts = terms::timeouts(pb.timeouts, pb.request_timeout)?;
    let retry = pb.retry.map(terms::grpc_retry).transpose()?;
    Ok(HttpRule {
        matches: pb.matches.into_iter().map(matching::grpc).collect::<Result<_, _>>()?,
        filters: pb.filters.into_iter().map(filter::outbound_grpc).collect::<Result<_, _>>()?,
        backends: grpc_route::distribution(pb.backends)?,
        terms: Terms { timeouts, retry },
        allow_headers: pb.allow_l5d_request_headers,
    })
}

pub(super) fn opaque(pb: pb::OpaqueRoute) -> Result<OpaqueRoute, InvalidPolicy> {
    let rule = only_rule(pb.rules)?;
    let kinds = rule.filters.into_iter().next().map(|f| f.kind.ok_or(InvalidPolicy::Missing("filter")));
    let refusal = kinds.transpose()?.map(|kind| match kind {
        OpaqueFilter::Forbidden(_) => OpaqueRefusal::Forbidden,
        OpaqueFilter::Invalid(_) => OpaqueRefusal::Invalid,
    });
    let backends = opaque_route::distribution(rule.backends)?;
    Ok(OpaqueRoute { meta: resource(pb.metadata)?, snis: Vec::new(), refusal, backends })
}

pub(super) fn tls(pb: pb::TlsRoute) -> Result<OpaqueRoute, InvalidPolicy> {
    let rule = only_rule(pb.rules)?;
    let kinds = rule.filters.into_iter().next().map(|f| f.kind.ok_or(InvalidPolicy::Missing("filter")));
    let refusal = kinds.transpose()?.map(|kind| match kind {
        TlsFilter::Forbidden(_) => OpaqueRefusal::Forbidden,
        TlsFilter::Invalid(_) => OpaqueRefusal::Invalid,
    });
    let snis = pb.snis.into_iter().map(sni).collect::<Result<_, _>>()?;
    let backends = tls_backends::distribution(rule.backends)?;
    Ok(OpaqueRoute { meta: resource(pb.metadata)?, snis, refusal, backends })
}

fn sni(pb: tls_route::SniMatch) -> Result<HostMatch, InvalidPolicy> {
    Ok(match pb.r#match.ok_or(InvalidPolicy::Missing("SNI match"))? {
        sni_match::Match::Exact(name) => HostMatch::Exact(name),
        sni_match::Match::Suffix(suffix) => HostMatch::Suffix(suffix.reverse_labels),
    })
}

fn only_rule<T>(rules: Vec<T>) -> Result<T, InvalidPolicy> {
    <[T; 1]>::try_from(rules)
        .map(|[rule]| rule)
        .map_err(|_| InvalidPolicy::Field { field: "route rules", expected: "exactly one rule" })
}

#[allow(deprecated)] // For proxies that know no other way.
pub(super) fn encode_http(from: &HttpRoute) -> pb::HttpRoute {
    let rule = |rule: &HttpRule| pb::http_route::Rule {
        matches: rule.matches.iter().map(matching::encode_http).collect(),
        filters: rule.filters.iter().map(filter::encode_outbound_http).collect(),
        backends: http_route::encode(&rule.backends),
        timeouts: terms::encode_timeouts(&rule.terms.timeouts),
        request_timeout: rule.terms.timeouts.request.and_then(encode_duration),
        retry: rule.terms.retry.as_ref().map(terms::encode_http_retry),
        allow_l5d_request_headers: rule.allow_headers,
    };
    pb::HttpRoute {
        metadata: encode_resource(&from.meta),
        hosts: from.hosts.iter().map(matching::encode_host).collect(),
        rules: from.rules.iter().map(rule).collect(),
    }
}

#[allow(deprecated)] // As above.
pub(super) fn encode_grpc(from: &HttpRoute) -> pb::GrpcRoute {
    let rule = |rule: &HttpRule| pb::grpc_route::Rule {
        matches: rule.matches.iter().map(matching::encode_grpc).collect(),
        filters: rule.filters.iter().map(filter::encode_outbound_grpc).collect(),
        backends: grpc_route::encode(&rule.backends),
        timeouts: terms::encode_timeouts(&rule.terms.timeouts),
        request_timeout: rule.terms.timeouts.request.and_then(encode_duration),
        retry: rule.terms.retry.as_ref().map(terms::encode_grpc_retry),
        allow_l5d_request_headers: rule.allow_headers,
    };
    pb::GrpcRoute {
        metadata: encode_resource(&from.meta),
        hosts: from.hosts.iter().map(matching::encode_host).collect(),
        rules: from.rules.iter().map(rule).collect(),
    }
}

pub(super) fn encode_opaque(from: &OpaqueRoute) -> pb::OpaqueRoute {
    let kind = from.refusal.map(|refusal| match refusal {
        OpaqueRefusal::Forbidden => OpaqueFilter::Forbidden(Default::default()),
        OpaqueRefusal::Invalid => OpaqueFilter::Invalid(Default::default()),
    });
    let filters = kind.map(|kind| pb::opaque_route::Filter { kind: Some(kind) }).into_iter().collect();
    let rule = pb::opaque_route::Rule { backends: opaque_route::encode(&from.backends), filters };
    pb::OpaqueRoute { metadata: encode_resource(&from.meta), rules: vec![rule] }
}

pub(super) fn encode_tls(from: &OpaqueRoute) -> pb::TlsRoute {
    let kind = from.refusal.map(|refusal| match refusal {
        OpaqueRefusal::Forbidden => TlsFilter::Forbidden(Default::default()),
        OpaqueRefusal::Invalid => TlsFilter::Invalid(Default::default()),
    });
    let filters = kind.map(|kind| pb::tls_route::Filter { kind: Some(kind) }).into_iter().collect();
    let rule = pb::tls_route::Rule { backends: tls_backends::encode(&from.backends), filters };
    let snis = from.snis.iter().map(encode_sni).collect();
    pb::TlsRoute { metadata: encode_resource(&from.meta), snis, rules: vec![rule] }
}

fn encode_sni(from: &HostMatch) -> tls_route::SniMatch {
    let matched = match from {
        HostMatch::Exact(name) => sni_match::Match::Exact(name.clone()),
        HostMatch::Suffix(labels) => {
            sni_match::Match::Suffix(sni_match::Suffix { reverse_labels: labels.clone() })
        }
    };
    tls_route::SniMatch { r#match: Some(matched) }
}

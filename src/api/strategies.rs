//! Arbitrary model values, for the round trips of each service.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::backoff::Backoff;
use crate::model::endpoint::{EndpointTls, FlowControl, Http2Params, KeepAlive, ProtocolHint};
use crate::model::filter::{Failure, FailureKind, Filter, HeaderChange, PathChange, Ratio, Redirect};
use crate::model::inbound::{NetworkMatch, RateLimit, RateOverride};
use crate::model::matching::{
    HeaderMatch, HostMatch, PathMatch, Pattern, QueryMatch, RequestMatch, ValueMatch,
};
use crate::model::{Authority, Endpoint, ResourceRef, WorkloadId};

pub(super) fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,8}(\\.[a-z][a-z0-9]{0,5}){0,3}"
}

pub(super) fn addr() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), 1u16..).prop_map(SocketAddr::from)
}

pub(super) fn workload_id() -> impl Strategy<Value = WorkloadId> {
    prop_oneof![
        name().prop_map(|n| n.parse().unwrap()),
        name().prop_map(|n| format!("spiffe://{n}/x").parse().unwrap())
    ]
}

pub(super) fn duration() -> impl Strategy<Value = Duration> {
    (0u64..1_000_000, 0u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n))
}

pub(super) fn authority() -> impl Strategy<Value = Authority> {
    (name(), 1u16..).prop_map(|(name, port)| Authority::named(name.parse().unwrap(), port))
}

/// As outbound policy names resources.
pub(super) fn resource() -> impl Strategy<Value = ResourceRef> {
    let object = (name(), name(), name(), option::of(name()), any::<u16>());
    prop_oneof![
        name().prop_map(|n| ResourceRef::default_named(&n)),
        object.prop_map(|(kind, name, namespace, section, port)| ResourceRef::Resource {
            group: "core".into(),
            kind: kind.into(),
            name: name.into(),
            namespace: namespace.into(),
            section: section.unwrap_or_default().into(),
            port,
        }),
    ]
}

/// As inbound policy names resources.
pub(super) fn object() -> impl Strategy<Value = ResourceRef> {
    prop_oneof![
        name().prop_map(|n| ResourceRef::default_named(&n)),
        (name(), name()).prop_map(|(kind, name)| ResourceRef::object("policy.linkerd.io", &kind, &name)),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    "[a-z]{1,4}(\\.\\*)?".prop_map(|text| Pattern::new(&text).unwrap())
}

fn path() -> impl Strategy<Value = PathMatch> {
    let text = "(/[a-z.]{1,5}){0,3}/?";
    prop_oneof![
        text.prop_map(PathMatch::Exact),
        text.prop_map(PathMatch::Prefix),
        pattern().prop_map(PathMatch::Regex)
    ]
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        "[a-z ]{0,4}".prop_map(|text| ValueMatch::Exact(text.into_bytes())),
        pattern().prop_map(ValueMatch::Regex)
    ]
}

fn header_name() -> impl Strategy<Value = HeaderName> {
    "[a-z]{1,3}".prop_map(|name| name.parse().unwrap())
}

fn headers() -> impl Strategy<Value = Vec<HeaderMatch>> {
    vec((header_name(), value()).prop_map(|(name, value)| HeaderMatch { name, value }), 0..3)
}

pub(super) fn http_matches() -> impl Strategy<Value = Vec<RequestMatch>> {
    let method = prop_oneof![
        Just(Method::GET),
        Just(Method::DELETE),
        Just(Method::CONNECT),
        Just(Method::from_bytes(b"PURGE").unwrap())
    ];
    let query = vec(("[a-z]{1,3}", value()).prop_map(|(name, value)| QueryMatch { name, value }), 0..3);
    let one = (option::of(path()), headers(), query, option::of(method));
    vec(one.prop_map(|(path, headers, query, method)| RequestMatch { path, headers, query, method }), 0..3)
}

pub(super) fn grpc_matches() -> impl Strategy<Value = Vec<RequestMatch>> {
    let rpc = (option::of("[a-z.]{1,9}"), option::of("[A-Z]{1,4}"));
    let path = rpc.prop_map(|(service, method)| PathMatch::Rpc { service, method });
    let one = (path, headers()).prop_map(|(path, headers)| RequestMatch {
        path: Some(path),
        headers,
        query: Vec::new(),
        method: Some(Method::POST),
    });
    vec(one, 0..3)
}

pub(super) fn hosts() -> impl Strategy<Value = Vec<HostMatch>> {
    let one =
        prop_oneof![name().prop_map(HostMatch::Exact), vec("[a-z]{1,4}", 1..3).prop_map(HostMatch::Suffix)];
    vec(one, 0..3)
}

fn failure(kind: impl Strategy<Value = FailureKind>) -> impl Strategy<Value = Filter> {
    (kind, "[a-z ]{0,9}", 0..9u32, 9..99u32).prop_map(|(kind, message, numerator, denominator)| {
        Filter::Failure(Failure { kind, message, ratio: Ratio::new(numerator, denominator).unwrap() })
    })
}

fn header_change(of: fn(HeaderChange) -> Filter) -> impl Strategy<Value = Filter> {
    let pairs = || vec((header_name(), "[a-z]{0,4}".prop_map(|v| HeaderValue::try_from(v).unwrap())), 0..3);
    (pairs(), pairs(), vec(header_name(), 0..3))
        .prop_map(move |(add, set, remove)| of(HeaderChange { add, set, remove }))
}

fn redirect() -> impl Strategy<Value = Filter> {
    let path =
        prop_oneof!["/[a-z]{0,4}".prop_map(PathChange::Full), "/[a-z]{0,4}".prop_map(PathChange::Prefix)];
    let scheme = prop_oneof![Just("http"), Just("https"), Just("other")];
    let status = (300u16..=308).prop_map(|status| StatusCode::from_u16(status).unwrap());
    let parts =
        (option::of(scheme), option::of(name()), option::of(1u16..), option::of(path), option::of(status));
    parts.prop_map(|(scheme, host, port, path, status)| {
        let scheme = scheme.map(|scheme| scheme.parse().unwrap());
        let host = host.map(|host| host.parse().unwrap());
        Filter::Redirect(Redirect { scheme, host, port, path, status })
    })
}

fn http_failure() -> impl Strategy<Value = Filter> {
    failure((100u16..1000).prop_map(|status| FailureKind::Http(StatusCode::from_u16(status).unwrap())))
}

fn grpc_failure() -> impl Strategy<Value = Filter> {
    failure(any::<u16>().prop_map(FailureKind::Grpc))
}

pub(super) fn http_filters() -> impl Strategy<Value = Vec<Filter>> {
    let change = header_change(Filter::RequestHeaders);
    vec(prop_oneof![Just(Filter::Unknown), http_failure(), change, redirect()], 0..3)
}

pub(super) fn grpc_filters() -> impl Strategy<Value = Vec<Filter>> {
    vec(prop_oneof![Just(Filter::Unknown), grpc_failure(), header_change(Filter::RequestHeaders)], 0..3)
}

pub(super) fn outbound_http_filters() -> impl Strategy<Value = Vec<Filter>> {
    let changes = prop_oneof![header_change(Filter::RequestHeaders), header_change(Filter::ResponseHeaders)];
    vec(prop_oneof![http_failure(), changes, redirect()], 0..3)
}

pub(super) fn outbound_grpc_filters() -> impl Strategy<Value = Vec<Filter>> {
    vec(prop_oneof![grpc_failure(), header_change(Filter::RequestHeaders)], 0..3)
}

pub(super) fn backoff() -> impl Strategy<Value = Backoff> {
    let times = (0u64..1_000, 1u64..1_000_000);
    (times, 0u8..=100).prop_map(|((min, more), jitter)| {
        let ms = Duration::from_millis;
        Backoff::new(ms(min), ms(min + more), jitter.into()).unwrap()
    })
}

pub(super) fn rate_limit() -> impl Strategy<Value = RateLimit> {
    let rate = || (1u32..).prop_map(|rate| rate.try_into().unwrap());
    let one = (rate(), vec(workload_id(), 1..3)).prop_map(|(rate, clients)| RateOverride { rate, clients });
    (option::of(resource()), option::of(rate()), option::of(rate()), vec(one, 0..3))
        .prop_map(|(meta, total, identity, overrides)| RateLimit { meta, total, identity, overrides })
}

pub(super) fn network() -> impl Strategy<Value = NetworkMatch> {
    let net = || (any::<IpAddr>(), 0u8..=32).prop_map(|(ip, bits)| IpNet::new(ip, bits).unwrap());
    (net(), vec(net(), 0..3)).prop_map(|(net, except)| NetworkMatch { net, except })
}

fn http2() -> impl Strategy<Value = Http2Params> {
    let flow = prop_oneof![
        Just(FlowControl::Adaptive),
        (1u32.., 1u32..).prop_map(|(connection_window, stream_window)| FlowControl::Fixed {
            connection_window,
            stream_window
        }),
    ];
    let alive = (duration(), duration(), any::<bool>());
    let alive = alive.prop_map(|(interval, timeout, while_idle)| KeepAlive { interval, timeout, while_idle });
    let size = || option::of(1u32..);
    (option::of(flow), option::of(alive), size(), size(), size()).prop_map(
        |(flow_control, keep_alive, max_frame_size, max_send_buf_size, max_concurrent_reset_streams)| {
            Http2Params {
                flow_control,
                keep_alive,
                max_frame_size,
                max_send_buf_size,
                max_concurrent_reset_streams,
            }
        },
    )
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop_oneof![Just("service".to_owned()), Just("namespace".to_owned()), name()];
    btree_map(key, prop_oneof![Just("same".to_owned()), name()], 0..4)
}

pub(super) fn endpoint() -> impl Strategy<Value = Endpoint> {
    let tls = (workload_id(), name());
    let tls = tls.prop_map(|(id, sni)| EndpointTls { id, server_name: sni.parse().unwrap() });
    let hint = prop_oneof![Just(ProtocolHint::Unknown), Just(ProtocolHint::H2), Just(ProtocolHint::Opaque)];
    let first = (addr(), option::of(tls), hint, option::of(1..u16::MAX));
    let second = (option::of(authority()), http2(), any::<u32>(), labels());
    (first, second).prop_map(|((addr, tls, hint, inbound_port), (authority, http2, weight, labels))| {
        Endpoint {
            addr,
            // A gateway without identity is left out.
            authority_override: authority.filter(|_| tls.is_some()),
            tls,
            hint,
            inbound_port,
            http2,
            weight,
            labels: labels.into(),
        }
    })
}

//! Arbitrary model values, for the round trips of each service.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Method;
use ipnet::IpNet;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::model::endpoint::{EndpointTls, FlowControl, Http2Params, KeepAlive, ProtocolHint};
use crate::model::inbound::NetworkMatch;
use crate::model::matching::{PathMatch, RequestMatch};
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

fn path() -> impl Strategy<Value = PathMatch> {
    let text = "(/[a-z.]{1,5}){0,3}/?";
    prop_oneof![text.prop_map(PathMatch::Exact), text.prop_map(PathMatch::Prefix)]
}

pub(super) fn http_matches() -> impl Strategy<Value = Vec<RequestMatch>> {
    let method = prop_oneof![
        Just(Method::GET),
        Just(Method::DELETE),
        Just(Method::CONNECT),
        Just(Method::from_bytes(b"PURGE").unwrap())
    ];
    vec(
        (option::of(path()), option::of(method)).prop_map(|(path, method)| RequestMatch { path, method }),
        0..3,
    )
}

pub(super) fn grpc_matches() -> impl Strategy<Value = Vec<RequestMatch>> {
    let path = prop_oneof![
        Just(None),
        "[a-z.]{1,9}".prop_map(|s| Some(PathMatch::Prefix(format!("/{s}")))),
        "[a-z.]{1,9}/[A-Z]{1,4}".prop_map(|s| Some(PathMatch::Exact(format!("/{s}")))),
    ];
    vec(path.prop_map(|path| RequestMatch { path, method: Some(Method::POST) }), 0..3)
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

//! Opaque connections through a gateway.

use std::time::Duration;

use causeway::model::Profile;
use causeway::model::endpoint::ProtocolHint;
use causeway::model::service_profile::Override;
use linkerd2_proxy_api::outbound as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Gate, MIRROR, TARGET, asks_for, assert_has, profile};
use crate::application::App;
use crate::metrics::page;
use crate::policies::{Speaks, add, balance, identified, opaque, server};
use crate::raw::{read_to_end, read_until};
use crate::sandbox::{identity, until, within};

#[tokio::test]
async fn opaque_bytes_pass_both_ways_and_half_close_is_kept() {
    let gate = Gate::of(async |pod| App::reply_at_end(pod).await).await;
    gate.world.script().policy(gate.mirror, &opaque(balance(MIRROR)));
    gate.world.script().policy(TARGET, &opaque(balance(TARGET)));
    let mut endpoint = gate.bb.endpoint(gate.app.addr);
    endpoint.hint = ProtocolHint::Opaque;
    gate.world.script().endpoints(TARGET, &add(vec![endpoint]));
    let mut io = gate.web.connect(gate.mirror).await;
    io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"GET / HTTP/1.1\r\n\r\n");
    let page = page(&gate.gateway).await;
    let header = r#"inbound_tcp_transport_header_connections_total{session_protocol="",target_port="8080","#;
    assert_has(&page, header);
    assert_has(&page, "outbound_tcp_route_open_total{parent_group=\"core\",parent_kind=\"Service\",");
}

#[tokio::test]
async fn an_opaque_connection_ends_when_policy_no_longer_permits_it() {
    let gate = Gate::of(async |pod| App::echo(pod).await).await;
    gate.world.script().policy(gate.mirror, &opaque(balance(MIRROR)));
    let mut io = gate.web.connect(gate.mirror).await;
    io.write_all(b"one").await.unwrap();
    read_until(&mut io, "one").await;
    let own = gate.gateway.port(gate.gateway.inbound);
    gate.world.script().server(&own, &server(Speaks::Detected, vec![identified(&[&identity("x")])]));
    let mut rest = [0; 1];
    assert!(matches!(within("the end", io.read(&mut rest)).await, Ok(0) | Err(_)));
    let before = gate.app.connections();
    let mut io = gate.web.connect(gate.mirror).await;
    let _ = io.write_all(b"two").await;
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!(gate.app.connections(), before);
    assert_has(&page(&gate.gateway).await, "inbound_tcp_authz_terminate_total{");
}

#[tokio::test]
async fn an_invalid_policy_takes_no_opaque_bytes_wherever_the_profile_would_lead_them() {
    let gate = Gate::of(async |pod| App::echo(pod).await).await;
    let canary = "canary.demo.svc.cluster.local:81";
    let mut endpoint = gate.bb.endpoint(gate.app.addr);
    endpoint.hint = ProtocolHint::Opaque;
    gate.world.script().endpoints(canary, &add(vec![endpoint]));
    let overrides = vec![Override { authority: canary.parse().unwrap(), weight: 1 }];
    for opaque in [false, true] {
        let mut profile = Profile { opaque, ..profile(TARGET) };
        profile.service.overrides = overrides.clone();
        gate.world.script().profile(TARGET, &profile);
        gate.world.script().policies.set(TARGET, pb::OutboundPolicy::default());
        assert_eq!(gate.answer_to(&identity("raw"), &asks_for(TARGET, None), "bytes").await, "");
        assert_eq!(gate.app.connections(), 0);
    }
    // A policy that is none of its business leaves it to the profile.
    gate.world.script().policy(TARGET, &opaque(balance(TARGET)));
    until("the overrides", async || {
        let mut io = gate.told(&identity("raw"), &asks_for(TARGET, None), "bytes").await;
        let mut heard = [0; 5];
        io.read_exact(&mut heard).await.is_ok() && &heard == b"bytes"
    })
    .await;
}

#[tokio::test]
async fn a_port_that_nothing_declares_takes_no_opaque_bytes() {
    let gate = Gate::of(async |pod| App::greeting(pod, b"hello").await).await;
    gate.world.script().profile(TARGET, &Profile::default());
    assert_eq!(gate.answer_to(&identity("raw"), &asks_for(TARGET, None), "bytes").await, "");
    assert_eq!(gate.app.connections(), 0);
}

#[tokio::test]
async fn a_server_may_speak_first_behind_it() {
    let gate = Gate::of(async |pod| App::greeting(pod, b"220 ready\r\n").await).await;
    let mut io = gate.web.connect(gate.mirror).await;
    let greeting = tokio::time::timeout(Duration::from_secs(5), read_until(&mut io, "\r\n")).await;
    assert_eq!(greeting.expect("a greeting before detection ends"), "220 ready\r\n");
    io.write_all(b"HELO").await.unwrap();
    read_until(&mut io, "HELO").await;
}

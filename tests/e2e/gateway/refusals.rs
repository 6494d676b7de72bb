//! Whom a gateway leads nowhere, and whom it asks no control plane for: policy, names, loops.

use causeway::model::Profile;
use causeway::tls::Offer;
use tokio::io::AsyncWriteExt;
use tonic::Code;

use super::{GET, Gate, HTTP1, SUFFIXES, TARGET, asked_for, asks_for, assert_has, profile};
use crate::client::{Client, Kind, empty};
use crate::direct_port::shake_hands;
use crate::every_kind;
use crate::metrics::page;
use crate::pair::until_answer;
use crate::policies::{Speaks, add, balance, detect, identified, opaque, server};
use crate::raw::read_to_end;
use crate::sandbox::{identity, service_addr, until};

/// The Service of the mirror's own cluster that a mirror there leads back to.
const BACK: &str = "back.demo.svc.cluster.local:8080";

every_kind! {
    async fn the_policy_of_the_gateways_own_port_decides(kind: Kind) {
        let gate = Gate::new().await;
        let own = gate.gateway.port(gate.gateway.inbound);
        let admit = |id: &str| gate.world.script().server(&own, &server(Speaks::Detected, vec![identified(&[id])]));
        admit(&identity("somebody"));
        let mut client = gate.client(kind).await;
        until_answer(&mut client, "/", "a refusal", |answer| answer.is_refused(kind, 403, "7")).await;
        gate.app.seen();
        client.get("/").await.assert_refused(kind, 403, "7");
        assert!(gate.app.seen().is_empty());
        admit(&gate.web.id);
        until_answer(&mut client, "/", "an answer", |answer| answer.is_answered()).await;
    }

    async fn what_the_gateway_has_passed_on_before_is_refused(kind: Kind) {
        let gate = Gate::new().await;
        let mut client = gate.client(kind).await;
        let by = format!("by={};for=x;host=y;proto=https", gate.gateway.id);
        let req = client.request("/").header("forwarded", by).body(empty()).unwrap();
        client.send(req).await.assert_refused(kind, 508, "10");
        let mut client = gate.client(kind).await;
        let req = client.request("/").header("forwarded", "by=another").body(empty()).unwrap();
        client.send(req).await.assert_answered();
        let seen = gate.app.seen_once();
        assert_eq!(seen.headers.get_all("forwarded").iter().count(), 2);
        let page = page(&gate.gateway).await;
        assert_has(&page, "inbound_http_errors_total{error=\"gateway loop\",");
        assert_has(&page, r#"causeway_faults_total{direction="inbound",reason="gateway-loop"} 1"#);
    }

    async fn a_name_of_nothing_is_404_until_it_is_one_of_something(kind: Kind) {
        let gate = Gate::new().await;
        let absent = "absent.demo.svc.cluster.local:8080";
        gate.world.script().profiles.refuse(absent, Code::Unknown);
        gate.lead_to(absent);
        let mut client = gate.client(kind).await;
        client.get("/").await.assert_refused(kind, 404, "5");
        gate.world.script().profile(absent, &Profile::default());
        client.get("/").await.assert_refused(kind, 404, "5");
        gate.serve(absent);
        until_answer(&mut client, "/", "a Service", |answer| answer.is_answered()).await;
    }
}

#[tokio::test]
async fn names_beyond_the_suffixes_and_those_without_profile_end_the_connection() {
    let gate = Gate::new().await;
    let raw = identity("raw");
    gate.world.script().profiles.refuse("bad.demo.svc.cluster.local:80", Code::InvalidArgument);
    for session in [None, HTTP1] {
        for target in ["api.demo.svc.cluster.example:8080", "bad.demo.svc.cluster.local:80", "localhost:80"] {
            assert_eq!(gate.answer_to(&raw, &asks_for(target, session), GET).await, "", "{target}");
        }
    }
    // A pod that is no gateway leads nobody anywhere.
    let store = gate.world.ca.store(&raw);
    let mut io = shake_hands(&gate.bb, &store, &gate.bb.id, Offer::Transport).await.unwrap();
    let _ = io.write_all(&asks_for(TARGET, HTTP1).encode()).await;
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!(gate.app.connections(), 0);
    let page = page(&gate.gateway).await;
    assert_has(&page, "inbound_tcp_errors_total{error=\"gateway domain invalid\",");
    assert_has(&page, r#"causeway_faults_total{direction="inbound",reason="gateway-domain"} 6"#);
}

#[tokio::test]
async fn a_target_whose_policy_was_refused_ends_the_connection() {
    let gate = Gate::new().await;
    gate.world.script().policies.refuse(TARGET, Code::InvalidArgument);
    assert_eq!(gate.answer_to(&identity("raw"), &asks_for(TARGET, HTTP1), GET).await, "");
    assert_eq!(gate.app.connections(), 0);
}

#[tokio::test]
async fn whoever_has_the_gateways_own_identity_is_a_loop() {
    let gate = Gate::new().await;
    let own = gate.gateway.id.clone();
    let answer = gate.answer_to(&own, &asks_for(TARGET, HTTP1), GET).await;
    assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
    assert!(answer.contains("causeway-reason: gateway-loop\r\n"), "{answer}");
    assert_eq!(gate.answer_to(&own, &asks_for(TARGET, None), "bytes").await, "");
    assert_eq!(gate.app.connections(), 0);
}

#[tokio::test]
async fn two_gateways_that_lead_to_each_other_notice() {
    let gate = Gate::new().await;
    let other = gate.world.pod_with("gateway-west", &[SUFFIXES]).await;
    let script = gate.world.script();
    // The Service is itself a mirror, of a Service that is a mirror of it.
    script.endpoints(TARGET, &add(vec![asked_for(&other, BACK)]));
    script.profile(BACK, &profile(BACK));
    script.policy(BACK, &detect(balance(BACK)));
    script.endpoints(BACK, &add(vec![asked_for(&gate.gateway, TARGET)]));
    for kind in [Kind::Http1, Kind::Http2, Kind::Grpc] {
        gate.get(kind).await.assert_refused(kind, 508, "10");
    }
    assert_eq!(gate.app.connections(), 0);
}

#[tokio::test]
async fn names_of_nothing_are_forgotten_with_their_connections() {
    let gate = Gate::new().await;
    gate.get(Kind::Http1).await.assert_answered();
    let script = gate.world.script();
    let names = [0, 1, 2].map(|n| format!("absent{n}.demo.svc.cluster.local:80"));
    for name in &names {
        script.profile(name, &Profile::default());
        script.policy(name, &detect(balance(name)));
        let answer = gate.answer_to(&identity("raw"), &asks_for(name, HTTP1), GET).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    // A Service would be kept for five seconds.
    let open =
        || names.iter().map(|name| script.profiles.open(name) + script.policies.open(name)).sum::<usize>();
    until("nobody asks any more", async || open() == 0).await;
    assert_eq!(script.profiles.open(TARGET), 2, "what leads somewhere is, and where it leads to");
}

#[tokio::test]
async fn nobody_is_asked_about_what_a_client_wants_whom_policy_does_not_let_in() {
    let gate = Gate::new().await;
    let script = gate.world.script();
    let own = gate.gateway.port(gate.gateway.inbound);
    let admit = |id: &str| script.server(&own, &server(Speaks::Detected, vec![identified(&[id])]));
    admit(&identity("somebody"));
    let mut client = gate.client(Kind::Http2).await;
    until_answer(&mut client, "/", "a refusal", |answer| answer.is_refused(Kind::Http2, 403, "7")).await;
    let (mirror, wanted) = ("wanted-east.demo.svc.cluster.local:80", "wanted.demo.svc.cluster.local:80");
    script.endpoints(mirror, &add(vec![asked_for(&gate.gateway, wanted)]));
    let (http, bytes) = (service_addr(), service_addr());
    script.policy(http, &detect(balance(mirror)));
    script.policy(bytes, &opaque(balance(mirror)));
    for kind in [Kind::Http1, Kind::Http2, Kind::Grpc] {
        let mut client = Client::new(kind, gate.web.connect(http).await).await;
        client.get("/").await.assert_refused(kind, 403, "7");
    }
    let mut io = gate.web.connect(bytes).await;
    let _ = io.write_all(b"bytes").await;
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!((script.profiles.opened(wanted), script.policies.opened(wanted)), (0, 0));
    assert_has(&page(&gate.gateway).await, "inbound_tcp_authz_deny_total{");
    // A connection whose client is let in later leads there.
    let mut client = Client::new(Kind::Http2, gate.web.connect(http).await).await;
    client.get("/").await.assert_refused(Kind::Http2, 403, "7");
    gate.serve(wanted);
    admit(&gate.web.id);
    until_answer(&mut client, "/", "an answer", |answer| answer.is_answered()).await;
    assert!(script.profiles.opened(wanted) > 0);
}

#[tokio::test]
async fn a_client_that_gives_up_waiting_for_the_control_plane_is_let_go() {
    let gate = Gate::new().await;
    let target = "silent.demo.svc.cluster.local:80";
    gate.world.script().profiles.fall_silent(target);
    let mut io = gate.told(&identity("raw"), &asks_for(target, HTTP1), "").await;
    gate.world.script().profiles.until_opened(target, 1).await;
    // What comes while it waits is no reason to look away.
    let _ = io.write_all(GET.as_bytes()).await;
    let _ = io.flush().await;
    drop(io);
    until("nobody asks any more", async || gate.world.script().profiles.open(target) == 0).await;
}

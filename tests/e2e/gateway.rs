//! A gateway between two clusters, on both sides (contract 3.8, 4.9): `web` calls a mirror, whose endpoint is the gateway
//! of `bb`'s cluster.

use std::net::SocketAddr;
use std::time::Duration;

use causeway::model::endpoint::ProtocolHint;
use causeway::model::protocol::HttpVersion;
use causeway::model::service_profile::Override;
use causeway::model::{Endpoint, Profile};
use causeway::net::transport_header::TransportHeader;
use causeway::tls::Offer;
use linkerd2_proxy_api::outbound as pb;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::application::App;
use crate::client::{Answer, Client, HOST, Kind, empty};
use crate::direct_port::shake_hands;
use crate::every_kind;
use crate::pair::until_answer;
use crate::policies::{Speaks, add, balance, detect, identified, none, opaque, server};
use crate::raw::{exchange, read_to_end, read_until};
use crate::sandbox::{Pod, Sandbox, identity, service_addr, until, within};

/// The mirror, as `web`'s cluster calls it.
const MIRROR: &str = "api-east.demo.svc.cluster.local:8080";
/// The Service, as its own cluster calls it.
const TARGET: &str = "api.demo.svc.cluster.local:8080";

/// The Service of the mirror's own cluster that a mirror there leads back to.
const BACK: &str = "back.demo.svc.cluster.local:8080";
const SUFFIXES: (&str, &str) = ("LINKERD2_PROXY_INBOUND_GATEWAY_SUFFIXES", "svc.cluster.local.");

struct Gate {
    world: Sandbox,
    web: Pod,
    gateway: Pod,
    bb: Pod,
    app: App,
    mirror: SocketAddr,
}

impl Gate {
    async fn new() -> Self {
        Self::of(async |pod| App::http(pod).await).await
    }

    async fn of(app: impl AsyncFnOnce(&Pod) -> App) -> Self {
        let world = Sandbox::new().await;
        let (web, gateway, bb) =
            tokio::join!(world.pod("web"), world.pod_with("gateway", &[SUFFIXES]), world.pod("bb"));
        let (app, mirror) = (app(&bb).await, service_addr());
        let gate = Self { world, web, gateway, bb, app, mirror };
        gate.world.script().policy(mirror, &detect(balance(MIRROR)));
        gate.lead_to(TARGET);
        gate.serve(TARGET);
        gate
    }

    /// The mirror's endpoint is the gateway, asked for `target`.
    fn lead_to(&self, target: &str) {
        self.world.script().endpoints(MIRROR, &add(vec![asked_for(&self.gateway, target)]));
    }

    /// The gateway's cluster knows `target` as a Service of `bb`'s application.
    fn serve(&self, target: &str) {
        let script = self.world.script();
        script.profile(target, &profile(target));
        script.policy(target, &detect(balance(target)));
        script.endpoints(target, &add(vec![self.bb.endpoint(self.app.addr)]));
    }

    async fn client(&self, kind: Kind) -> Client {
        Client::new(kind, self.web.connect(self.mirror).await).await
    }

    async fn get(&self, kind: Kind) -> Answer {
        self.client(kind).await.get("/").await
    }

    /// What comes back for these bytes, after a header, from a client with this identity.
    async fn answer_to(&self, id: &str, header: &TransportHeader, bytes: &str) -> String {
        let store = self.world.ca.store(id);
        let mut io = shake_hands(&self.gateway, &store, &self.gateway.id, Offer::Transport).await.unwrap();
        let _ = io.write_all(&[&header.encode()[..], bytes.as_bytes()].concat()).await;
        String::from_utf8(read_to_end(&mut io).await).unwrap()
    }

    async fn metrics(&self, pod: &Pod) -> String {
        let io = TcpStream::connect(pod.admin).await.unwrap();
        exchange(io, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await
    }
}

/// How discovery describes a gateway to others (controlplane 2.6).
fn asked_for(gateway: &Pod, target: &str) -> Endpoint {
    let authority_override = Some(target.parse().unwrap());
    Endpoint { inbound_port: None, authority_override, ..gateway.endpoint(gateway.inbound) }
}

/// A Service's profile.
fn profile(target: &str) -> Profile {
    let (name, _) = target.split_once(':').unwrap();
    Profile { name: Some(name.parse().unwrap()), ..Profile::default() }
}

fn asks_for(target: &str, session: Option<HttpVersion>) -> TransportHeader {
    let (name, port) = target.split_once(':').unwrap();
    TransportHeader { port: port.parse().unwrap(), name: Some(name.parse().unwrap()), session }
}

const GET: &str = "GET / HTTP/1.1\r\nconnection: close\r\n\r\n";
const HTTP1: Option<HttpVersion> = Some(HttpVersion::Http1);

#[track_caller]
fn assert_has(page: &str, start: &str) {
    assert!(page.lines().any(|line| line.starts_with(start)), "{start}\nnot in\n{page}");
}

every_kind! {
    async fn a_gateway_goes_by_the_routes_and_overrides_of_a_profile(kind: Kind) {
        let gate = Gate::new().await;
        let other = App::http(&gate.bb).await;
        let canary = "canary.demo.svc.cluster.local:81";
        gate.world.script().endpoints(canary, &add(vec![gate.bb.endpoint(other.addr)]));
        let mut profile = profile(TARGET);
        profile.service.overrides = vec![Override { authority: canary.parse().unwrap(), weight: 1 }];
        gate.world.script().profile(TARGET, &profile);
        gate.get(kind).await.assert_answered();
        let seen = other.seen_once();
        assert_eq!(seen.header("l5d-client-id"), Some(gate.gateway.id.as_str()));
        assert_eq!((seen.header("l5d-dst-canonical"), gate.app.seen().len()), (Some(TARGET), 0));
        let page = gate.metrics(&gate.gateway).await;
        assert_has(&page, &format!("route_request_total{{direction=\"outbound\",dst=\"{TARGET}\"}} 1"));
    }

    async fn a_request_reaches_the_service_by_its_own_name(kind: Kind) {
        let gate = Gate::new().await;
        gate.get(kind).await.assert_answered();
        let seen = gate.app.seen_once();
        // The gateway calls as itself, and says for whom.
        assert_eq!(seen.header("l5d-client-id"), Some(gate.gateway.id.as_str()));
        let (by, client) = (&gate.gateway.id, &gate.web.id);
        let forwarded = format!("by={by};for={client};host={TARGET};proto=https");
        assert_eq!(seen.header("forwarded"), Some(forwarded.as_str()));
        assert_eq!(seen.header("l5d-dst-canonical"), Some(TARGET));
        assert_ne!(TARGET, HOST);
        match kind {
            Kind::Http1 => assert_eq!(seen.header("host"), Some(TARGET)),
            Kind::Http2 | Kind::Grpc => assert_eq!(seen.uri.authority().unwrap().as_str(), TARGET),
        }
        // HTTP/1 travels as HTTP/2 here, too.
        let page = gate.metrics(&gate.gateway).await;
        assert_has(&page, &format!(
            "inbound_tcp_transport_header_connections_total{{session_protocol=\"http/2\",target_port=\"8080\",\
             target_name=\"api.demo.svc.cluster.local\",client_id=\"{client}\"}} 1"
        ));
    }

    async fn a_service_that_has_no_endpoints_fails_fast_and_recovers(kind: Kind) {
        let gate = Gate::new().await;
        gate.world.script().endpoints(TARGET, &none());
        let answer = gate.get(kind).await;
        answer.assert_refused(kind, 504, "4");
        gate.serve(TARGET);
        let mut client = gate.client(kind).await;
        until_answer(&mut client, "/", "endpoints", |answer| answer.is_answered()).await;
    }

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
        let page = gate.metrics(&gate.gateway).await;
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
async fn port_80_goes_without_saying() {
    let gate = Gate::new().await;
    let target = "api.demo.svc.cluster.local:80";
    gate.lead_to(target);
    gate.serve(target);
    gate.get(Kind::Http1).await.assert_answered();
    let seen = gate.app.seen_once();
    assert_eq!(seen.header("host"), Some("api.demo.svc.cluster.local"));
    assert!(seen.header("forwarded").unwrap().ends_with(";host=api.demo.svc.cluster.local;proto=https"));
    assert_eq!(seen.header("l5d-dst-canonical"), Some(target));
}

#[tokio::test]
async fn an_absolute_target_names_the_service_too() {
    let gate = Gate::new().await;
    let io = gate.web.connect(gate.mirror).await;
    let answer =
        exchange(io, "GET http://elsewhere/a HTTP/1.1\r\nhost: elsewhere\r\nconnection: close\r\n\r\n");
    assert!(answer.await.starts_with("HTTP/1.1 200 "));
    let seen = gate.app.seen_once();
    assert_eq!((seen.uri.to_string(), seen.header("host")), (format!("http://{TARGET}/a"), Some(TARGET)));
}

#[tokio::test]
async fn a_connection_that_leaves_http_passes() {
    let gate = Gate::new().await;
    let mut io = gate.web.connect(gate.mirror).await;
    let ask =
        format!("GET /upgrade HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    io.write_all(ask.as_bytes()).await.unwrap();
    assert!(read_until(&mut io, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    io.write_all(b"frames").await.unwrap();
    assert_eq!(read_until(&mut io, "frames").await, "frames");
    let seen = gate.app.seen_once();
    assert_eq!((seen.header("host"), seen.header("upgrade")), (Some(TARGET), Some("websocket")));
    assert!(seen.header("forwarded").is_some());
}

#[tokio::test]
async fn trailers_and_bodies_pass_both_ways() {
    let gate = Gate::new().await;
    let mut client = gate.client(Kind::Grpc).await;
    let req = client.request("/").body(crate::client::with_trailers("message")).unwrap();
    let answer = client.send(req).await;
    answer.assert_answered();
    assert_eq!((&answer.body[..], answer.trailer("grpc-status")), (&b"message"[..], Some("0")));
    assert_eq!(answer.trailer("x-trailer"), Some("from the application"));
    assert_eq!(gate.app.seen_once().trailers.unwrap()["x-trailer"], "from the client");
}

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
    let page = gate.metrics(&gate.gateway).await;
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
    assert_has(&gate.metrics(&gate.gateway).await, "inbound_tcp_authz_terminate_total{");
}

#[tokio::test]
async fn requests_are_balanced_over_the_endpoints() {
    let gate = Gate::new().await;
    let other = App::http(&gate.bb).await;
    let both = vec![gate.bb.endpoint(gate.app.addr), gate.bb.endpoint(other.addr)];
    gate.world.script().endpoints(TARGET, &add(both));
    let mut client = gate.client(Kind::Http2).await;
    until("both have been called", async || {
        client.get("/").await.assert_answered();
        gate.app.connections() > 0 && other.connections() > 0
    })
    .await;
}

#[tokio::test]
async fn a_pods_own_name_leads_to_the_pod() {
    let gate = Gate::new().await;
    let target = "bb-0.api.demo.svc.cluster.local:8080";
    gate.lead_to(target);
    let endpoint = Some(gate.bb.endpoint(gate.app.addr));
    gate.world.script().profile(target, &Profile { endpoint, ..Profile::default() });
    // Policy does not know such names.
    gate.get(Kind::Http1).await.assert_answered();
    assert_eq!(gate.app.seen_once().header("host"), Some(target));
}

#[tokio::test]
async fn a_gateway_serves_its_own_pod_as_any_other() {
    let gate = Gate::new().await;
    let app = App::http(&gate.gateway).await;
    let service = service_addr();
    gate.world.script().policy(service, &detect(balance("gw.demo:80")));
    gate.world.script().endpoints("gw.demo:80", &add(vec![gate.gateway.endpoint(app.addr)]));
    Client::new(Kind::Http2, gate.web.connect(service).await).await.get("/").await.assert_answered();
    assert_eq!(app.seen_once().header("forwarded"), None);
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
    let page = gate.metrics(&gate.gateway).await;
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
    let store = gate.world.ca.store(&identity("raw"));
    until("the overrides", async || {
        let mut io = shake_hands(&gate.gateway, &store, &gate.gateway.id, Offer::Transport).await.unwrap();
        let _ = io.write_all(&[&asks_for(TARGET, None).encode()[..], b"bytes"].concat()).await;
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
async fn a_http1_request_without_host_is_for_the_headers_target() {
    let gate = Gate::new().await;
    let answer = gate.answer_to(&identity("raw"), &asks_for(TARGET, HTTP1), GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(gate.app.seen_once().header("host"), Some(TARGET));
    // Whom else it names does not matter.
    let evil = "GET http://evil/ HTTP/1.1\r\nhost: evil\r\nconnection: close\r\n\r\n";
    let answer = gate.answer_to(&identity("raw"), &asks_for(TARGET, HTTP1), evil).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(gate.app.seen_once().header("host"), Some(TARGET));
}

#[tokio::test]
async fn what_passes_is_counted_where_it_goes_out() {
    let gate = Gate::new().await;
    gate.get(Kind::Http2).await.assert_answered();
    let page = gate.metrics(&gate.gateway).await;
    let (ip, port) = (gate.gateway.ip, gate.gateway.inbound.port());
    assert_has(&page, &format!("inbound_http_authz_allow_total{{target_addr=\"{ip}:{port}\","));
    assert_has(&page, &format!("request_total{{direction=\"outbound\",authority=\"{TARGET}\","));
    let inbound = format!("request_total{{direction=\"inbound\",target_addr=\"{ip}:{port}\"");
    assert!(!page.contains(&inbound), "{page}");
    // On the client's side the gateway is the endpoint of the mirror.
    let page = gate.metrics(&gate.web).await;
    let endpoint =
        format!("request_total{{direction=\"outbound\",authority=\"{MIRROR}\",target_addr=\"{ip}:{port}\"");
    assert_has(&page, &endpoint);
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
    assert_has(&gate.metrics(&gate.gateway).await, "inbound_tcp_authz_deny_total{");
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
    let store = gate.world.ca.store(&identity("raw"));
    let mut io = shake_hands(&gate.gateway, &store, &gate.gateway.id, Offer::Transport).await.unwrap();
    let _ = io.write_all(&asks_for(target, HTTP1).encode()).await;
    gate.world.script().profiles.until_opened(target, 1).await;
    // What comes while it waits is no reason to look away.
    let _ = io.write_all(GET.as_bytes()).await;
    let _ = io.flush().await;
    drop(io);
    until("nobody asks any more", async || gate.world.script().profiles.open(target) == 0).await;
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

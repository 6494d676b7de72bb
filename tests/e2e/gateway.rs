//! A gateway between two clusters, on both sides (contract 3.8, 4.9): `web` calls a mirror, whose endpoint is the gateway
//! of `bb`'s cluster.

mod opaque;
mod refusals;

use std::net::SocketAddr;

use causeway::model::protocol::HttpVersion;
use causeway::model::service_profile::Override;
use causeway::model::{Endpoint, Profile};
use causeway::net::transport_header::TransportHeader;
use causeway::tls::Offer;
use causeway::tls::client::ClientStream;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::application::App;
use crate::client::{Answer, Client, HOST, Kind};
use crate::direct_port::shake_hands;
use crate::every_kind;
use crate::metrics::page;
use crate::pair::until_answer;
use crate::policies::{add, balance, detect, none};
use crate::raw::{exchange, read_to_end, read_until};
use crate::sandbox::{Pod, Sandbox, identity, service_addr, until};

/// The mirror, as `web`'s cluster calls it.
const MIRROR: &str = "api-east.demo.svc.cluster.local:8080";
/// The Service, as its own cluster calls it.
const TARGET: &str = "api.demo.svc.cluster.local:8080";
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
        String::from_utf8(read_to_end(&mut self.told(id, header, bytes).await).await).unwrap()
    }

    /// A connection to the gateway on which such a client has sent that.
    async fn told(&self, id: &str, header: &TransportHeader, bytes: &str) -> ClientStream<TcpStream> {
        let store = self.world.ca.store(id);
        let mut io = shake_hands(&self.gateway, &store, &self.gateway.id, Offer::Transport).await.unwrap();
        let _ = io.write_all(&[&header.encode()[..], bytes.as_bytes()].concat()).await;
        io
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
        let page = page(&gate.gateway).await;
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
        let page = page(&gate.gateway).await;
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
    let passed = page(&gate.gateway).await;
    let (ip, port) = (gate.gateway.ip, gate.gateway.inbound.port());
    assert_has(&passed, &format!("inbound_http_authz_allow_total{{target_addr=\"{ip}:{port}\","));
    assert_has(&passed, &format!("request_total{{direction=\"outbound\",authority=\"{TARGET}\","));
    let inbound = format!("request_total{{direction=\"inbound\",target_addr=\"{ip}:{port}\"");
    assert!(!passed.contains(&inbound), "{passed}");
    // On the client's side the gateway is the endpoint of the mirror.
    let sent = page(&gate.web).await;
    let endpoint =
        format!("request_total{{direction=\"outbound\",authority=\"{MIRROR}\",target_addr=\"{ip}:{port}\"");
    assert_has(&sent, &endpoint);
}

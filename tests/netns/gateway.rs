//! A gateway between two clusters, with real redirection, control planes and proxies: whoever's they are (contract 3.8,
//! 4.9), and while a label takes a Service from the gateway to the flat network and back.

mod liveness;
mod stage;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::drain::within;
use crate::load::{Kind, Load, Seen, Sender, serve};
use crate::mesh::DEADLINE;
use stage::{Asked, HTTP, OPAQUE, Proxy, Stage};

/// Identities of service accounts, in both clusters.
fn identity(account: &str, namespace: &str) -> String {
    format!("{account}.{namespace}.serviceaccount.identity.linkerd.cluster.local")
}

fn gateway() -> String {
    identity("linkerd-gateway", "linkerd-multicluster")
}

#[tokio::test(flavor = "multi_thread")]
async fn our_gateway_carries_all_that_applications_speak_whoever_is_on_its_sides() {
    carries_everything(Proxy::Ours).await;
}

/// So that what is asked of ours is what the reference does.
#[tokio::test(flavor = "multi_thread")]
async fn so_does_the_reference_s() {
    carries_everything(Proxy::Reference).await;
}

async fn carries_everything(gateway: Proxy) {
    let Some(stage) = Stage::set(gateway).await else { return };
    let mut combinations = 0;
    for server in stage.sides() {
        let asked = stage.serve(&format!("server-{server}"));
        for client in stage.sides() {
            let what = format!("{client} - {gateway} - {server}");
            for kind in Kind::ALL {
                carries_a_request(&stage, &what, client, server, kind, &asked).await;
                refuses_a_loop(&stage, &what, client, server, kind).await;
            }
            asked.nothing();
            carries_bytes(&stage, &what, client, server).await;
            combinations += 1;
            eprintln!("{what}: HTTP/1.1, HTTP/2, gRPC and opaque bytes");
        }
    }
    assert_eq!(combinations, stage.sides().len().pow(2));
    counts(&stage).await;
    refuses_whom_its_policy_does(&stage).await;
}

async fn carries_a_request(
    stage: &Stage,
    what: &str,
    client: Proxy,
    server: Proxy,
    kind: Kind,
    asked: &Asked,
) {
    let what = format!("{what}, {kind:?}");
    let (client, server) = (format!("client-{client}"), format!("server-{server}"));
    let to = stage.mirror(&server, HTTP).await;
    let mut sender = Sender::connect(stage.pod(&client), to, kind).await.unwrap();
    let rsp = sender.ask(request(kind)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(rsp.status(), 200, "{what}: {rsp:?}");
    let body = tokio::time::timeout(DEADLINE, rsp.into_body().collect()).await.unwrap().unwrap();
    let trailers = body.trailers().cloned();
    assert_eq!(body.to_bytes(), "what was sent", "{what}");
    let seen = asked.only();
    let target = format!("{server}.mc-demo.svc.cluster.local:{HTTP}");
    match kind {
        Kind::Http1 => {
            assert_eq!(seen.version, Version::HTTP_11, "{what}");
            assert_eq!(seen.uri, "/path?query", "{what}");
            assert_eq!(seen.headers["host"], *target, "{what}");
        }
        Kind::Http2 | Kind::Grpc => {
            assert_eq!(seen.version, Version::HTTP_2, "{what}");
            assert_eq!(seen.uri.to_string(), format!("http://{target}/path?query"), "{what}");
            assert_eq!(trailers.unwrap()["grpc-status"], "0", "{what}");
        }
    }
    let gateway = gateway();
    let forwarded = format!("by={gateway};for={};host={target};proto=https", identity(&client, "mc-demo"));
    for (name, value) in
        [("l5d-client-id", gateway.as_str()), ("forwarded", &forwarded), ("l5d-dst-canonical", &target)]
    {
        let all: Vec<_> = seen.headers.get_all(name).iter().collect();
        assert_eq!(all, [value], "{what}: {name}");
    }
}

/// A request that the gateway has passed on before.
async fn refuses_a_loop(stage: &Stage, what: &str, client: Proxy, server: Proxy, kind: Kind) {
    let to = stage.mirror(&format!("server-{server}"), HTTP).await;
    let mut sender = Sender::connect(stage.pod(&format!("client-{client}")), to, kind).await.unwrap();
    let mut req = request(kind);
    let by = format!("by={};for=somebody;host=here;proto=https", gateway());
    req.headers_mut().insert("forwarded", by.parse().unwrap());
    let rsp = sender.ask(req).await.unwrap();
    assert_eq!(outcome(kind, &rsp), if kind == Kind::Grpc { 10 } else { 508 }, "{what}, {kind:?}: {rsp:?}");
}

/// gRPC's status, or HTTP's.
fn outcome<B>(kind: Kind, rsp: &Response<B>) -> u16 {
    match rsp.headers().get("grpc-status") {
        Some(status) if kind == Kind::Grpc => status.to_str().unwrap().parse().unwrap(),
        _ => rsp.status().as_u16(),
    }
}

/// Only where they go out again, but for who was let in.
async fn counts(stage: &Stage) {
    let page = stage.metrics("linkerd-gateway").await;
    let target = "server-ours.mc-demo.svc.cluster.local";
    for series in [
        format!("request_total{{direction=\"outbound\",authority=\"{target}:9001\","),
        format!("tcp_open_total{{direction=\"outbound\",peer=\"dst\",authority=\"{target}:9002\","),
        "inbound_http_authz_allow_total{".to_owned(),
        "inbound_tcp_authz_allow_total{".to_owned(),
        "inbound_http_errors_total{error=\"gateway loop\",".to_owned(),
        format!(
            "inbound_tcp_transport_header_connections_total{{session_protocol=\"http/2\",target_port=\"9001\",\
             target_name=\"{target}\",client_id=\"{}\"",
            identity("client-ours", "mc-demo")
        ),
        "inbound_tcp_transport_header_connections_total{session_protocol=\"\",target_port=\"9002\","
            .to_owned(),
    ] {
        let known = page.lines().any(|line| line.starts_with(&series));
        assert!(known, "{series}\nnot in\n{page}");
    }
    let requests = page.lines().filter(|line| line.starts_with("request_total{direction=\"inbound\""));
    assert_eq!(requests.filter(|line| line.contains("srv_port=\"4143\"")).count(), 0, "{page}");
}

/// Its own port's: that of the `Server` for the container port `linkerd-proxy` (controlplane 6).
async fn refuses_whom_its_policy_does(stage: &Stage) {
    stage.edit("east", "01-gateway.yaml", "identities: ['*']", "identities: [nobody.example]");
    let to = stage.mirror("server-ours", HTTP).await;
    for kind in Kind::ALL {
        within("a refusal", async || {
            let mut sender = Sender::connect(stage.pod("client-ours"), to, kind).await.unwrap();
            let rsp = sender.ask(request(kind)).await.unwrap();
            outcome(kind, &rsp) == if kind == Kind::Grpc { 7 } else { 403 }
        })
        .await;
    }
    let to = stage.mirror("server-ours", OPAQUE).await;
    let mut io = stage.pod("client-ours").socket(to).unwrap().connect(to).await.unwrap();
    let _ = io.write_all(b"bytes").await;
    let mut came = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, io.read_to_end(&mut came)).await.unwrap();
    assert_eq!(came, b"");
}

fn request(kind: Kind) -> Request<Full<Bytes>> {
    let uri = if kind == Kind::Http1 { "/path?query" } else { "http://used-here:9001/path?query" };
    let mut req = Request::post(uri);
    if kind == Kind::Http1 {
        req = req.header("host", "used-here:9001");
    }
    if kind == Kind::Grpc {
        req = req.header("content-type", "application/grpc").header("te", "trailers");
    }
    req.body(Full::new(Bytes::from_static(b"what was sent"))).unwrap()
}

/// More than fits any buffer on the way, both ways, and each end apart.
async fn carries_bytes(stage: &Stage, what: &str, client: Proxy, server: Proxy) {
    let to = stage.mirror(&format!("server-{server}"), OPAQUE).await;
    let io = stage.pod(&format!("client-{client}")).socket(to).unwrap().connect(to).await.unwrap();
    let (mut read, mut write) = io.into_split();
    let sent: Vec<u8> = (0..1 << 20).map(|n: u32| (n / 5) as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut came = Vec::new();
    tokio::time::timeout(DEADLINE, read.read_to_end(&mut came)).await.unwrap().unwrap();
    assert!(came == expected, "{what}: {} of {} bytes came back", came.len(), expected.len());
    drop(writing.await.unwrap());
}

/// Requests a second, in all.
const RATE: u32 = 200;
/// Between two switches.
const REQUESTS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_label_takes_a_service_to_the_flat_network_and_back_and_no_request_fails() {
    let Some(stage) = Stage::set(Proxy::Ours).await else { return };
    let seen = Seen::default();
    serve(stage.pod("server-ours"), 0, HTTP, &seen);
    let to = stage.mirror("server-ours", HTTP).await;
    let load = Load::at(RATE / 4);
    let client = stage.pod("client-ours");
    let (tallies, fresh, ()) = tokio::join!(
        futures_util::future::join_all(Kind::ALL.map(|kind| load.run(client, to, kind))),
        load.run_fresh(client, to),
        switch(&stage, &load, &seen),
    );
    let mut answered = 0;
    for (what, tally) in Kind::ALL
        .iter()
        .map(|kind| format!("{kind:?}"))
        .zip(&tallies)
        .chain([("a connection each".to_owned(), &fresh)])
    {
        eprintln!("{what}: {} requests answered, {} failed", tally.answered.len(), tally.failed.len());
        assert!(tally.failed.is_empty() && tally.refused.is_empty(), "{what}: {tally:?}");
        assert!(!tally.answered.is_empty(), "{what}: nothing was asked");
        seen.assert_once(&tally.answered);
        answered += tally.answered.len();
    }
    eprintln!("{answered} requests at {RATE}/s over {SWITCHES} switches, none failed");
}

const SWITCHES: usize = 6;

/// Switches the label and waits until requests take the other way, several times.
async fn switch(stage: &Stage, load: &Load, seen: &Seen) {
    let gateway = gateway();
    let client = identity("client-ours", "mc-demo");
    let ways = [("'true'", &gateway), ("remote-discovery", &client)];
    load.more(REQUESTS).await;
    seen.until_called_by(&gateway).await;
    for turn in 0..SWITCHES {
        let (from, to) = (ways[turn % 2], ways[(turn + 1) % 2]);
        let label = |value: &str| format!("mirror.linkerd.io/exported: {value}");
        let began = Instant::now();
        stage.edit("east", "02-servers.yaml", &label(from.0), &label(to.0));
        seen.until_called_by(to.1).await;
        eprintln!("switch {turn}: the server is called by {} after {:?}", to.1, began.elapsed());
        load.more(REQUESTS).await;
    }
    load.end.cancel();
}

//! What becomes of a connection's first bytes, by what its port's policy says is spoken there (contract 4.1).

use std::time::Duration;

use causeway::model::endpoint::EndpointTls;
use causeway::tls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use crate::application::App;
use crate::callers::{Caller, Callers, Spoken};
use crate::client::Kind;
use crate::policies::{Speaks, everyone, server};
use crate::raw::{exchange, read_to_end};
use crate::sandbox::{Pod, identity, within};

const PING: &[u8] = b"PING\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: bb\r\nconnection: close\r\n\r\n";
const TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn at_a_port_of_http1_a_meshed_client_is_listened_to() {
    let timeout = [("LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT", "1s")];
    let mut callers = Callers::with("deny", &timeout).await;
    callers.enforce(server(Speaks::Http1, vec![everyone()])).await;
    for kind in [Kind::Http1, Kind::Http2, Kind::Grpc] {
        assert_eq!(callers.ask(&Caller::Anonymous, Spoken::Http(kind), "/").await, 200, "{kind:?}");
    }
    let connections = callers.pair.app.connections();
    let mut io = callers.connect(&Caller::Anonymous, Spoken::Opaque).await;
    io.write_all(PING).await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"", "what is not HTTP is denied");
    assert_eq!(callers.pair.app.connections(), connections);
    // Who says nothing for so long will speak HTTP/1.
    let io = callers.connect(&Caller::Anonymous, Spoken::Opaque).await;
    sleep(TIMEOUT + Duration::from_millis(200)).await;
    assert!(exchange(io, GET).await.starts_with("HTTP/1.1 200 "));
    // Without TLS nobody listens first: these bytes are a bad request.
    let mut io = callers.connect(&Caller::Plain, Spoken::Opaque).await;
    io.write_all(PING).await.unwrap();
    assert!(read_to_end(&mut io).await.starts_with(b"HTTP/1.1 400 "));
}

#[tokio::test]
async fn at_a_port_of_http2_nobody_is_listened_to() {
    let mut callers = Callers::new("deny").await;
    for speaks in [Speaks::Http2, Speaks::Grpc] {
        callers.enforce(server(speaks, vec![everyone()])).await;
        // A server of HTTP/2 sends its settings before it has heard anything.
        let mut io = callers.connect(&Caller::Anonymous, Spoken::Opaque).await;
        let mut head = [0; 9];
        within("settings", io.read_exact(&mut head)).await.unwrap();
        assert_eq!(head[3], 4, "{speaks:?}: {head:?}");
    }
}

#[tokio::test]
async fn at_a_port_of_tls_mesh_tls_ends_here_and_other_tls_at_the_application() {
    let mut callers = Callers::new("deny").await;
    callers.enforce(server(Speaks::Tls, vec![everyone()])).await;
    for caller in [Caller::Identified(identity("web")), Caller::Anonymous] {
        assert_eq!(callers.ask(&caller, Spoken::Opaque, "/").await, 200, "{caller:?}");
    }
    assert_eq!(callers.pair.app.seen().len(), 2);
    assert_untouched(&mut callers, Speaks::Tls, "somebody.example").await;
}

#[tokio::test]
async fn tls_that_asks_for_somebody_else_passes_untouched() {
    let mut callers = Callers::new("deny").await;
    assert_untouched(&mut callers, Speaks::Detected, "somebody.example").await;
}

#[tokio::test]
async fn an_opaque_port_hands_on_tls_whomever_it_is_for() {
    let mut callers = Callers::new("deny").await;
    for name in ["somebody.example".to_owned(), callers.pair.bb.id.clone()] {
        assert_untouched(&mut callers, Speaks::Opaque, &name).await;
    }
}

#[tokio::test]
async fn ports_without_detection_are_opaque_until_the_controller_speaks() {
    let all = [("LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "1-65535")];
    let mut callers = Callers::with("all-unauthenticated", &all).await;
    callers.pair.app = App::echo(&callers.pair.bb).await;
    let hello = hello(&callers.pair.bb, &callers.pair.bb.id).await;
    assert_echoed(&mut callers, &hello).await;
    let said = callers.explain(&Caller::Plain, Spoken::Opaque, "/").await;
    assert_eq!((&said["answered"], &said["protocol"]), (&false.into(), &"opaque".into()), "{said:#}");
    callers.enforce(server(Speaks::Detected, vec![everyone()])).await;
    let mut io = callers.connect(&Caller::Anonymous, Spoken::Opaque).await;
    io.write_all(PING).await.unwrap();
    let mut back = [0; PING.len()];
    within("the echo", io.read_exact(&mut back)).await.unwrap();
}

async fn assert_untouched(callers: &mut Callers, speaks: Speaks, name: &str) {
    callers.pair.app = App::echo(&callers.pair.bb).await;
    callers.enforce(server(speaks, vec![everyone()])).await;
    let hello = hello(&callers.pair.bb, name).await;
    assert_echoed(callers, &hello).await;
}

/// A client's first bytes come back as they are.
async fn assert_echoed(callers: &mut Callers, hello: &[u8]) {
    let mut io = callers.connect(&Caller::Plain, Spoken::Opaque).await;
    io.write_all(hello).await.unwrap();
    let mut back = vec![0; hello.len()];
    within("the echo", io.read_exact(&mut back)).await.unwrap();
    assert!(hello.len() > 1000 && back == hello);
}

/// What a client sends first that asks for TLS with this name.
async fn hello(pod: &Pod, name: &str) -> Vec<u8> {
    let store = tls::testing::TestCa::new("another").store(&identity("web"));
    let expect = EndpointTls { id: pod.id.parse().unwrap(), server_name: name.parse().unwrap() };
    let (near, mut far) = tokio::io::duplex(1 << 14);
    tokio::spawn(
        async move { tls::client::connect(&store, near, &expect, tls::Offer::Nothing).await.map(drop) },
    );
    let mut hello = vec![0; 1 << 14];
    let length = within("a ClientHello", far.read(&mut hello)).await.unwrap();
    hello.truncate(length);
    hello
}

//! Connections to an endpoint: when they are dialled, how many there are, and how they are set up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use causeway::model::Endpoint;
use causeway::model::endpoint::{FlowControl, Http2Params, KeepAlive, ProtocolHint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::application::App;
use crate::client::Kind;
use crate::metrics::{count, page};
use crate::pair::{BB, Pair};
use crate::policies::add;
use crate::raw::Wiretap;
use crate::sandbox::{Pod, Sandbox, until, within};

/// The endpoint of an application whose proxy is reached through this.
fn behind(tap: &Wiretap, pod: &Pod, app: &App) -> Endpoint {
    let addr = SocketAddr::new(tap.addr.ip(), app.addr.port());
    Endpoint { addr, inbound_port: Some(tap.addr.port()), ..pod.endpoint(app.addr) }
}

#[tokio::test]
async fn how_many_waited_for_an_endpoint_says_nothing_of_when_it_is_tried_again() {
    let pauses = [
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "20ms"),
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "60s"),
    ];
    let pair = Pair::with(Sandbox::new().await, &pauses, &[]).await;
    // Whoever listens there takes its time to hang up, so that all wait for one attempt.
    let port = pair.bb.listen().await;
    let addr = port.local_addr().unwrap();
    let hanging_up = tokio::spawn(async move {
        while let Ok((io, _)) = port.accept().await {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(io);
        }
    });
    let mut endpoint = pair.bb.endpoint(pair.app.addr);
    endpoint.inbound_port = Some(addr.port());
    pair.world.script().endpoints(BB, &add(vec![endpoint]));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut client = pair.client(Kind::Http2).await;
        clients.spawn(async move { assert!(!client.get("/").await.is_answered()) });
    }
    clients.join_all().await;
    hanging_up.abort();
    let _ = hanging_up.await;
    let _tap = Wiretap::at(addr, pair.bb.inbound).await;
    until("an answer", async || pair.get(Kind::Http2).await.is_answered()).await;
}

#[tokio::test]
async fn a_slow_first_connection_is_not_held_against_an_endpoint() {
    let pair = Pair::new().await;
    let second = pair.world.pod("bb").await;
    let app = App::http(&second).await;
    let slow = Wiretap::slow(second.inbound, Duration::from_millis(300)).await;
    let far = behind(&slow, &second, &app);
    pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(pair.app.addr), far]));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = pair.client(Kind::Http2).await;
        clients.spawn(async move {
            for _ in 0..50 {
                client.get("/").await.assert_answered();
            }
        });
    }
    clients.join_all().await;
    let counts = (pair.app.seen().len(), app.seen().len());
    assert!(counts.0 > 40 && counts.1 > 40, "{counts:?}");
}

#[tokio::test]
async fn who_gives_up_while_an_endpoint_is_dialled_has_not_dialled_in_vain() {
    let patient = [("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "5s")];
    let pair = Pair::with(Sandbox::new().await, &patient, &[]).await;
    let slow = Wiretap::slow(pair.bb.inbound, Duration::from_secs(1)).await;
    let far = Endpoint { hint: ProtocolHint::Unknown, ..behind(&slow, &pair.bb, &pair.app) };
    pair.world.script().endpoints(BB, &add(vec![far]));
    for _ in 0..5 {
        let mut client = pair.client(Kind::Http2).await;
        let given_up = tokio::time::timeout(Duration::from_millis(50), client.get("/")).await;
        assert!(given_up.is_err());
    }
    pair.get(Kind::Http2).await.assert_answered();
    assert_eq!(slow.connections(), 1);
}

#[tokio::test]
async fn where_streams_run_out_more_connections_are_opened_and_closed_when_nobody_needs_them() {
    let streams = [("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", "4")];
    let pair = Pair::with(Sandbox::new().await, &[], &streams).await;
    let open = async || {
        let page = page(&pair.web).await;
        let to_endpoints = ["direction=\"outbound\"", "peer=\"dst\""];
        count(&page, "tcp_open_connections", &to_endpoints)
    };
    // As long as somebody may use the service, its endpoints are kept.
    let mut client = pair.client(Kind::Http2).await;
    client.get("/").await.assert_answered();
    assert_eq!(open().await, 1);
    pair.app.seen();
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut client = pair.client(Kind::Http2).await;
        held.spawn(async move { client.get("/held").await.assert_answered() });
        // Each is with the application before the next is sent, and none of them is answered.
        until("a request at the application", async || pair.app.seen().len() == 1).await;
    }
    assert_eq!(open().await, 3, "four streams each");
    pair.app.state.release.notify_waiters();
    held.join_all().await;
    until("one connection", async || open().await == 1).await;
    client.get("/").await.assert_answered();
}

/// One frame of HTTP/2: kind, flags, stream, payload.
async fn frame(io: &mut TcpStream) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    io.read_exact(&mut head).await.unwrap();
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    io.read_exact(&mut payload).await.unwrap();
    (kind, flags, u32::from_be_bytes(stream), payload)
}

/// What a connection of HTTP/2 sets, and how far it opens its window, until it sends a PING.
async fn set_up(io: &mut TcpStream) -> (HashMap<u16, u32>, u32) {
    let (mut settings, mut window) = (HashMap::new(), 65_535);
    loop {
        match frame(io).await {
            (4, 0, 0, payload) => settings.extend(payload.chunks(6).map(|setting| {
                let [a, b, value @ ..] = <[u8; 6]>::try_from(setting).unwrap();
                (u16::from_be_bytes([a, b]), u32::from_be_bytes(value))
            })),
            (8, _, 0, payload) => window += u32::from_be_bytes(payload.try_into().unwrap()),
            (6, 0, 0, _) => return (settings, window),
            _ => {}
        }
    }
}

#[tokio::test]
async fn connections_of_http2_are_set_up_as_discovery_says() {
    let unasked = [("CAUSEWAY_OUTBOUND_PING_AFTER", "0")];
    let pair = Pair::with(Sandbox::new().await, &unasked, &[]).await;
    let listener = pair.bb.listen().await;
    let flow_control = FlowControl::Fixed { connection_window: 32 << 20, stream_window: 70_000 };
    let [interval, timeout] = [100, 500].map(Duration::from_millis);
    let http2 = Http2Params {
        flow_control: Some(flow_control),
        keep_alive: Some(KeepAlive { interval, timeout, while_idle: true }),
        max_frame_size: Some(20_000),
        ..Http2Params::default()
    };
    let endpoint = Endpoint { http2, ..Endpoint::plain(listener.local_addr().unwrap()) };
    pair.world.script().endpoints(BB, &add(vec![endpoint]));
    let mut client = pair.client(Kind::Http2).await;
    let server = async {
        let (mut io, _) = listener.accept().await.unwrap();
        io.read_exact(&mut [0; 24]).await.unwrap();
        // Settings of ours, which are none.
        io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let (settings, window) = set_up(&mut io).await;
        // INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE.
        assert_eq!((settings.get(&4), settings.get(&5)), (Some(&70_000), Some(&20_000)));
        assert_eq!(window, 32 << 20);
        // Whoever does not answer the PING is given up.
        while io.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! {
        answer = client.get("/") => panic!("nobody answers: {answer:?}"),
        () = within("the end of the connection", server) => {}
    }
}

//! Endpoints that come, go, and cannot be reached.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use causeway::model::endpoint::{FlowControl, Http2Params, KeepAlive, ProtocolHint};
use causeway::model::filter::{Filter, HeaderChange};
use causeway::model::outbound::{
    BackendKind, Distribution, HttpRule, Load, OutboundProtocol, Penalty, RouteBackend,
};
use causeway::model::{Endpoint, OutboundPolicy};
use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::application::App;
use crate::client::{Kind, empty};
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, detect, http_route, none, outbound, remove};
use crate::raw::Wiretap;
use crate::sandbox::{Pod, Sandbox, until};

/// A pair whose `web` does not wait long for endpoints.
async fn hasty() -> Pair {
    let failfast = [("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "300ms")];
    Pair::with(Sandbox::new().await, &failfast, &[]).await
}

/// An endpoint where nobody listens, which is otherwise like `pod`'s.
async fn dead(pod: &Pod, app: &App) -> Endpoint {
    let listener = TcpListener::bind((crate::sandbox::fresh_ip(), 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    Endpoint { addr, inbound_port: Some(addr.port()), ..pod.endpoint(app.addr) }
}

pub const CC: &str = "cc.demo.svc.cluster.local:8080";

/// A policy of the backend `cc`, which does this to its requests, and of `bb` where it has no endpoint.
fn either(of_cc: Vec<Filter>) -> OutboundPolicy {
    let to = |filters, backend| RouteBackend { filters, backend };
    let route = || {
        let mut route = http_route(balance(BB));
        let both = vec![to(of_cc.clone(), balance(CC)), to(vec![], balance(BB))];
        route.rules[0].backends = Distribution::FirstAvailable(both);
        vec![route].into()
    };
    outbound(OutboundProtocol::Detect { http1: route(), http2: route(), opaque: vec![] })
}

/// An endpoint that takes connections, ends them and counts them.
pub async fn hangs_up(pair: &Pair) -> (Endpoint, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((crate::sandbox::fresh_ip(), 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tried = Arc::<AtomicUsize>::default();
    let count = tried.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (Endpoint { addr, inbound_port: Some(addr.port()), ..pair.bb.endpoint(pair.app.addr) }, tried)
}

every_kind! {
    async fn no_endpoints_is_504_then_503_until_there_is_one(kind: Kind) {
        let pair = hasty().await;
        pair.world.script().endpoints(BB, &none());
        pair.get(kind).await.assert_refused(kind, 504, "4");
        pair.get(kind).await.assert_refused(kind, 503, "14");
        pair.get(kind).await.assert_refused(kind, 503, "14");
        pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
        until("an answer", async || pair.get(kind).await.is_answered()).await;
    }

    async fn a_request_waits_for_its_first_endpoint(kind: Kind) {
        let pair = Pair::new().await;
        pair.world.script().endpoints(BB, &none());
        let mut client = pair.client(kind).await;
        let (answer, ()) = tokio::join!(client.get("/"), async {
            pair.world.script().endpoints.until_opened(BB, 1).await;
            pair.world.script().change(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
        });
        answer.assert_answered();
    }

    async fn an_endpoint_that_cannot_be_reached_costs_no_request(kind: Kind) {
        let pair = Pair::new().await;
        let dead = [dead(&pair.bb, &pair.app).await, dead(&pair.bb, &pair.app).await];
        let [first, second] = dead;
        let all = vec![first, pair.bb.endpoint(pair.app.addr), second];
        pair.world.script().endpoints(BB, &add(all));
        for _ in 0..20 {
            pair.get(kind).await.assert_answered();
        }
        assert_eq!(pair.app.seen().len(), 20);
    }

    async fn endpoints_are_added_and_removed_under_an_open_connection(kind: Kind) {
        let pair = Pair::new().await;
        let second = pair.world.pod("bb").await;
        let app = App::http(&second).await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        pair.world.script().change(BB, &add(vec![second.endpoint(app.addr)]));
        until("the second to be used", async || {
            client.get("/").await.assert_answered();
            !app.seen().is_empty()
        })
        .await;
        pair.world.script().change(BB, &remove(pair.app.addr));
        until("the first to be left", async || {
            pair.app.seen();
            for _ in 0..10 {
                client.get("/").await.assert_answered();
            }
            pair.app.seen().is_empty()
        })
        .await;
    }

    async fn an_endpoint_that_fails_is_left_alone_where_failures_count(kind: Kind) {
        let pair = Pair::new().await;
        let second = pair.world.pod("bb").await;
        let failing = App::failing(&second).await;
        let mut backend = balance(BB);
        backend.kind = BackendKind::Balance {
            authority: BB.parse().unwrap(),
            load: Load { penalty: Some(Penalty::default()), ..Load::default() },
        };
        pair.world.script().policy(pair.service, &detect(backend));
        let both = vec![pair.bb.endpoint(pair.app.addr), second.endpoint(failing.addr)];
        pair.world.script().endpoints(BB, &add(both));
        let mut client = pair.client(kind).await;
        until("a failure", async || !client.get("/").await.is_answered()).await;
        pair.app.seen();
        for _ in 0..30 {
            client.get("/").await.assert_answered();
        }
        assert_eq!(pair.app.seen().len(), 30);
    }

    async fn a_backend_without_a_ready_endpoint_is_passed_over(kind: Kind) {
        let both = || (balance(BB), balance(CC));
        let first = |(bb, cc)| Distribution::FirstAvailable(vec![bb, cc]);
        let random = |(bb, cc)| Distribution::RandomAvailable(vec![(bb, 1), (cc, 1)]);
        for backends in [first(both()), random(both())] {
            let pair = hasty().await;
            let script = pair.world.script();
            let route = || {
                let mut route = http_route(balance(BB));
                route.rules = vec![HttpRule::new(vec![], backends.clone())];
                vec![route].into()
            };
            let protocol = OutboundProtocol::Detect { http1: route(), http2: route(), opaque: vec![] };
            script.policy(pair.service, &outbound(protocol));
            let (some, none) = (add(vec![pair.bb.endpoint(pair.app.addr)]), none());
            for (bb, cc) in [(&none, &some), (&some, &none)] {
                script.endpoints(BB, bb);
                script.endpoints(CC, cc);
                until("twenty answers in a row", async || {
                    for _ in 0..20 {
                        if !pair.get(kind).await.is_answered() {
                            return false;
                        }
                    }
                    true
                })
                .await;
            }
        }
    }

    async fn a_request_whose_backend_loses_its_last_endpoint_goes_to_another(kind: Kind) {
        let changes = |name: &str| {
            let set = vec![(name.parse().unwrap(), HeaderValue::from_static("1"))];
            vec![Filter::RequestHeaders(HeaderChange { set, ..HeaderChange::default() })]
        };
        for filters in [vec![], changes("x-of-cc")] {
            let pair = hasty().await;
            let (of_cc, tried) = hangs_up(&pair).await;
            let script = pair.world.script();
            script.policy(pair.service, &either(filters));
            script.endpoints(CC, &add(vec![of_cc]));
            until("the one that hangs up is tried", async || {
                let mut client = pair.client(kind).await;
                let required = client.request("/").header("x-mine", "1").body(empty()).unwrap();
                client.send(required).await.assert_answered();
                tried.load(Ordering::Relaxed) > 0
            })
            .await;
            for seen in pair.app.seen() {
                assert_eq!((seen.header("x-mine"), seen.header("x-of-cc")), (Some("1"), None));
            }
        }
    }

    async fn a_request_that_waits_is_for_the_first_backend_that_has_an_endpoint(kind: Kind) {
        let pair = Pair::new().await;
        let script = pair.world.script();
        script.policy(pair.service, &either(vec![]));
        script.endpoints(BB, &none());
        script.endpoints(CC, &none());
        let mut client = pair.client(kind).await;
        let (answer, ()) = tokio::join!(client.get("/"), async {
            script.endpoints.until_opened(BB, 1).await;
            script.endpoints.until_opened(CC, 1).await;
            script.change(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
        });
        answer.assert_answered();
    }

    async fn a_new_stream_begins_with_the_whole_set(kind: Kind) {
        let pair = Pair::new().await;
        let second = pair.world.pod("bb").await;
        let app = App::http(&second).await;
        pair.get(kind).await.assert_answered();
        // The stream ends, and its successor is silent: what was known stays in use.
        pair.world.script().endpoints.fall_silent(BB);
        pair.world.script().endpoints.end(BB, Code::Unavailable);
        pair.world.script().endpoints.until_opened(BB, 2).await;
        pair.get(kind).await.assert_answered();
        // Nor does it begin by taking away.
        pair.world.script().change(BB, &remove(pair.app.addr));
        pair.get(kind).await.assert_answered();
        assert_eq!(pair.app.seen().len(), 3);
        pair.world.script().change(BB, &add(vec![second.endpoint(app.addr)]));
        until("only the second to be used", async || {
            pair.app.seen();
            pair.get(kind).await.assert_answered();
            pair.app.seen().is_empty()
        })
        .await;
        for _ in 0..10 {
            pair.get(kind).await.assert_answered();
        }
        assert_eq!(pair.app.seen().len(), 0);
    }

    async fn an_endpoint_that_comes_back_is_used_again(kind: Kind) {
        let pair = hasty().await;
        let port = pair.bb.listen().await;
        let addr = port.local_addr().unwrap();
        drop(port);
        let mut endpoint = pair.bb.endpoint(pair.app.addr);
        endpoint.inbound_port = Some(addr.port());
        pair.world.script().endpoints(BB, &add(vec![endpoint]));
        pair.get(kind).await.assert_refused(kind, 504, "4");
        let _tap = Wiretap::at(addr, pair.bb.inbound).await;
        until("an answer", async || pair.get(kind).await.is_answered()).await;
    }
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
    let far = Endpoint {
        addr: SocketAddr::new(slow.addr.ip(), app.addr.port()),
        inbound_port: Some(slow.addr.port()),
        ..second.endpoint(app.addr)
    };
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
    let far = Endpoint {
        addr: SocketAddr::new(slow.addr.ip(), pair.app.addr.port()),
        inbound_port: Some(slow.addr.port()),
        hint: ProtocolHint::Unknown,
        ..pair.bb.endpoint(pair.app.addr)
    };
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
async fn an_endpoint_that_drains_fails_no_request() {
    let pair = Pair::new().await;
    let second = pair.world.pod("bb").await;
    let app = App::http(&second).await;
    let both = vec![pair.bb.endpoint(pair.app.addr), second.endpoint(app.addr)];
    pair.world.script().endpoints(BB, &add(both));
    let mut clients = tokio::task::JoinSet::new();
    for kind in [Kind::Http1, Kind::Http1, Kind::Http2, Kind::Grpc] {
        let mut client = pair.client(kind).await;
        clients.spawn(async move {
            for _ in 0..150 {
                client.get("/").await.assert_answered();
            }
        });
    }
    until("requests under way", async || pair.app.connections() > 0 && app.connections() > 0).await;
    pair.bb.shut_down();
    clients.join_all().await;
    assert!(!app.seen().is_empty());
}

#[tokio::test]
async fn where_streams_run_out_more_connections_are_opened_and_closed_when_nobody_needs_them() {
    let streams = [("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_MAX_CONCURRENT_STREAMS", "4")];
    let pair = Pair::with(Sandbox::new().await, &[], &streams).await;
    let open = async || {
        let page = crate::metrics::page(&pair.web).await;
        let to_endpoints = ["direction=\"outbound\"", "peer=\"dst\""];
        crate::metrics::count(&page, "tcp_open_connections", &to_endpoints)
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
        let (mut settings, mut window) = (HashMap::new(), 65_535);
        loop {
            match frame(&mut io).await {
                (4, 0, 0, payload) => settings.extend(payload.chunks(6).map(|setting| {
                    let [a, b, value @ ..] = <[u8; 6]>::try_from(setting).unwrap();
                    (u16::from_be_bytes([a, b]), u32::from_be_bytes(value))
                })),
                (8, _, 0, payload) => window += u32::from_be_bytes(payload.try_into().unwrap()),
                (6, 0, 0, _) => break,
                _ => {}
            }
        }
        // INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE.
        assert_eq!((settings.get(&4), settings.get(&5)), (Some(&70_000), Some(&20_000)));
        assert_eq!(window, 32 << 20);
        // Whoever does not answer the PING is given up.
        while io.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! {
        answer = client.get("/") => panic!("nobody answers: {answer:?}"),
        () = crate::sandbox::within("the end of the connection", server) => {}
    }
}

#[tokio::test]
async fn endpoints_that_the_control_plane_refuses_to_tell_are_none() {
    let pair = hasty().await;
    pair.world.script().endpoints.refuse(BB, Code::InvalidArgument);
    pair.get(Kind::Http1).await.assert_refused(Kind::Http1, 504, "4");
    pair.get(Kind::Http1).await.assert_refused(Kind::Http1, 503, "14");
    assert_eq!(pair.world.script().endpoints.opened(BB), 1, "it is not asked again");
}

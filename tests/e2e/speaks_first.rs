//! Ports of which nothing is declared, and on which the server may have the first word.

use std::time::Duration;

use causeway::model::outbound::OutboundProtocol;
use causeway::model::{Endpoint, ResourceRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::application::App;
use crate::client::{Client, Kind};
use crate::every_kind;
use crate::metrics::{count, page};
use crate::pair::{BB, Pair};
use crate::policies::{
    Speaks, add, balance, detect, everyone, http_route, identified, opaque_route, outbound, routed, server,
};
use crate::raw::{read_to_end, read_until};
use crate::sandbox::{Pod, Sandbox, until};

/// Long after a client's silence is over, long before detection is.
const LONG: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_secs(3);

const GREETING: &str = "5.7.0-greeting\n";

/// The pair, nothing of its port declared, and another application behind it.
async fn pair(app: impl AsyncFnOnce(&Pod) -> App) -> Pair {
    with(&[], app).await
}

async fn with(set: &[(&str, &str)], app: impl AsyncFnOnce(&Pod) -> App) -> Pair {
    let mut pair = Pair::with(Sandbox::new().await, set, set).await;
    pair.app = app(&pair.bb).await;
    pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
    pair.admit(&server(Speaks::Detected, vec![everyone()]));
    pair
}

/// The greeting comes, then both talk.
async fn greeted(mut io: TcpStream) {
    let text = timeout(SOON, read_until(&mut io, "\n")).await.expect("a greeting before detection ends");
    assert_eq!(text, GREETING);
    io.write_all(b"login").await.unwrap();
    read_until(&mut io, "login").await;
}

async fn greeting(pod: &Pod) -> App {
    App::greeting(pod, GREETING.as_bytes()).await
}

/// How often the application's side counted something, over all labels.
async fn counted(pod: &Pod, family: &str, label: &str) -> u64 {
    count(&page(pod).await, family, &[label])
}

/// Connections to the application's port that were let in as opaque, or not.
async fn authorized(pair: &Pair) -> (u64, u64) {
    let port = format!("srv_port=\"{}\"", pair.app.addr.port());
    let allowed = counted(&pair.bb, "inbound_tcp_authz_allow_total", &port).await;
    (allowed, counted(&pair.bb, "inbound_tcp_authz_deny_total", &port).await)
}

#[tokio::test]
async fn a_server_greets_a_silent_client_through_both_proxies() {
    let pair = pair(greeting).await;
    greeted(pair.web.connect(pair.service).await).await;
    assert_eq!(pair.app.connections(), 1);
    assert_eq!(authorized(&pair).await, (1, 0));
    let opaque = r#"direction="outbound",protocol="opaque",cause="server-first""#;
    assert_eq!(counted(&pair.web, "causeway_connections_total", opaque).await, 1);
}

#[tokio::test]
async fn a_server_without_a_proxy_greets_a_silent_client() {
    let pair = pair(greeting).await;
    let plain = Endpoint::plain(pair.app.addr);
    pair.world.script().endpoints(BB, &add(vec![plain]));
    greeted(pair.web.connect(pair.service).await).await;
}

#[tokio::test]
async fn a_server_greets_a_client_without_a_proxy() {
    let pair = pair(greeting).await;
    greeted(pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await).await;
    assert_eq!((pair.app.connections(), authorized(&pair).await), (1, (1, 0)));
    let opaque = r#"direction="inbound",protocol="opaque",cause="server-first""#;
    assert_eq!(counted(&pair.bb, "causeway_connections_total", opaque).await, 1);
}

every_kind! {
    async fn a_client_that_is_late_and_speaks_http_is_served_as_http(kind: Kind) {
        let pair = pair(async |pod| App::http(pod).await).await;
        for io in [
            pair.web.connect(pair.service).await,
            pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await,
        ] {
            sleep(LONG).await;
            Client::new(kind, io).await.get("/").await.assert_answered();
            pair.app.seen_once();
        }
        // Nothing was let in as opaque, by neither proxy.
        assert_eq!(authorized(&pair).await, (0, 0));
    }
}

#[tokio::test]
async fn an_opaque_client_that_is_late_has_the_connection_that_is_there() {
    let pair = pair(async |pod| App::echo(pod).await).await;
    for mut io in
        [pair.web.connect(pair.service).await, pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await]
    {
        sleep(LONG).await;
        io.write_all(b"PING\r\n").await.unwrap();
        assert_eq!(timeout(SOON, read_until(&mut io, "\n")).await.unwrap(), "PING\r\n");
    }
    assert_eq!((pair.app.connections(), authorized(&pair).await), (2, (2, 0)));
}

#[tokio::test]
async fn a_silent_client_is_opaque_when_detection_ends() {
    let set = [("LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT", "300ms")];
    let pair = with(&set, async |pod| App::echo(pod).await).await;
    let mut io = pair.web.connect(pair.service).await;
    sleep(Duration::from_millis(600)).await;
    io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    read_until(&mut io, "\r\n\r\n").await;
    assert_eq!((pair.app.connections(), authorized(&pair).await), (1, (1, 0)));
    let opaque = r#"direction="outbound",protocol="opaque",cause="silence""#;
    assert_eq!(counted(&pair.web, "causeway_connections_total", opaque).await, 1);
}

#[tokio::test]
async fn a_server_that_hangs_up_has_not_said_what_the_client_speaks() {
    let pair = pair(async |pod| {
        // The first connection is closed at once, as one that nobody used.
        App::serve(pod.listen().await, |mut io, _, state| async move {
            if state.connections() == 1 {
                return;
            }
            let mut head = vec![0; 1024];
            let n = io.read(&mut head).await.unwrap();
            assert!(head[..n].starts_with(b"GET /"));
            let _ = io.write_all(b"HTTP/1.1 200 OK\r\nx-app: bb\r\ncontent-length: 0\r\n\r\n").await;
        })
    })
    .await;
    let io = pair.web.connect(pair.service).await;
    until("the first connection", async || pair.app.connections() == 1).await;
    sleep(LONG).await;
    Client::new(Kind::Http1, io).await.get("/").await.assert_answered();
}

#[tokio::test]
async fn nobody_is_connected_to_where_http_is_declared() {
    let pair = pair(async |pod| App::echo(pod).await).await;
    let made = ResourceRef::object("gateway.networking.k8s.io", "HTTPRoute", "bb");
    let route = causeway::model::outbound::HttpRoute { meta: made, ..http_route(balance(BB)) };
    let routes = causeway::model::outbound::HttpRoutes::from(vec![route]);
    let opaque = vec![opaque_route(balance(BB))];
    let detected = OutboundProtocol::Detect { http1: routes.clone(), http2: routes.clone(), opaque };
    let mut held = Vec::new();
    for protocol in [detected, OutboundProtocol::Http1(routes.clone()), OutboundProtocol::Http2(routes)] {
        let service = crate::sandbox::service_addr();
        pair.world.script().policy(service, &outbound(protocol));
        held.push(pair.web.connect(service).await);
    }
    sleep(LONG).await;
    assert_eq!(pair.app.connections(), 0);
    pair.admit(&routed(Speaks::Detected, vec![("/made", vec![])], vec![everyone()]));
    until("the port's policy", async || {
        let port = format!("srv_port=\"{}\"", pair.app.addr.port());
        let mut io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
        io.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
        let _ = read_to_end(&mut io).await;
        counted(&pair.bb, "inbound_http_errors_total", &port).await > 0
    })
    .await;
    let before = pair.app.connections();
    held.push(pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await);
    sleep(LONG).await;
    assert_eq!(pair.app.connections(), before);
}

#[tokio::test]
async fn who_would_not_be_let_in_meets_no_server() {
    let pair = pair(greeting).await;
    let other = pair.world.pod("other").await;
    pair.admit(&server(Speaks::Detected, vec![identified(&[&pair.web.id])]));
    let denied = async || {
        let mut io = other.connect(pair.service).await;
        io.write_all(b"hello").await.unwrap();
        let _ = io.shutdown().await;
        read_to_end(&mut io).await.is_empty()
    };
    until("other is refused", denied).await;
    let before = (pair.app.connections(), authorized(&pair).await);
    let mut unmeshed = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    let mut meshed = other.connect(pair.service).await;
    let mut byte = [0; 1];
    assert!(timeout(LONG, unmeshed.read(&mut byte)).await.is_err());
    assert!(timeout(LONG, meshed.read(&mut byte)).await.is_err());
    assert_eq!((pair.app.connections(), authorized(&pair).await), before);
    greeted(pair.web.connect(pair.service).await).await;
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let pair = with(&[("CAUSEWAY_SERVER_FIRST_AFTER", "0")], greeting).await;
    let mut io = pair.web.connect(pair.service).await;
    let mut unmeshed = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    let mut byte = [0; 1];
    assert!(timeout(LONG, io.read(&mut byte)).await.is_err());
    assert!(timeout(LONG, unmeshed.read(&mut byte)).await.is_err());
    assert_eq!(pair.app.connections(), 0);
}

#[tokio::test]
async fn a_proxy_that_ends_waits_for_no_server() {
    let pair = pair(greeting).await;
    let mut io = pair.web.connect_unnoticed(pair.service);
    pair.web.shut_down();
    io.set_nonblocking(false).unwrap();
    io.set_read_timeout(Some(LONG)).unwrap();
    assert!(std::io::Read::read(&mut io, &mut [0; 1]).is_err());
    assert_eq!(pair.app.connections(), 0);
}

#[tokio::test]
async fn an_unprepared_endpoint_is_tried_once_and_not_again() {
    let pair = pair(async |pod| App::http(pod).await).await;
    let port = pair.bb.listen().await;
    let gone = port.local_addr().unwrap();
    drop(port);
    pair.world.script().policy(pair.service, &detect(crate::policies::forward(Endpoint::plain(gone))));
    let io = pair.web.connect(pair.service).await;
    sleep(LONG).await;
    let mut client = Client::new(Kind::Http1, io).await;
    client.get("/").await.assert_refused(Kind::Http1, 502, "14");
}

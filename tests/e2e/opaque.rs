//! Connections whose bytes are nobody's business.

use std::sync::atomic::Ordering;
use std::time::Duration;

use causeway::model::endpoint::ProtocolHint;
use causeway::model::outbound::{Distribution, OpaqueRoute, OutboundProtocol};
use causeway::model::{Endpoint, ResourceRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::application::App;
use crate::endpoints::{CC, hangs_up};
use crate::pair::{BB, Pair};
use crate::policies::{Speaks, add, balance, detect, everyone, identified, opaque, outbound, server};
use crate::raw::{exchange, read_to_end, read_until};
use crate::sandbox::{identity, until, within};

/// The pair, its service opaque and leading to another application of `bb`.
async fn opaque_pair(app: impl AsyncFnOnce(&crate::sandbox::Pod) -> App) -> Pair {
    let mut pair = Pair::new().await;
    pair.app = app(&pair.bb).await;
    let mut endpoint = pair.bb.endpoint(pair.app.addr);
    endpoint.hint = ProtocolHint::Opaque;
    pair.world.script().endpoints(BB, &add(vec![endpoint]));
    pair.world.script().policy(pair.service, &opaque(balance(BB)));
    pair
}

#[tokio::test]
async fn bytes_pass_both_ways_and_half_close_is_kept() {
    let pair = opaque_pair(async |pod| App::reply_at_end(pod).await).await;
    let sent: Vec<u8> = (0..3 << 20).map(|n: u32| (n / 7) as u8).collect();
    let (mut read, mut write) = pair.web.connect(pair.service).await.into_split();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    assert!(read_to_end(&mut read).await == expected);
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let pair = opaque_pair(async |pod| App::greeting(pod, b"220 ready\r\n").await).await;
    let mut io = pair.web.connect(pair.service).await;
    assert_eq!(read_until(&mut io, "\r\n").await, "220 ready\r\n");
    io.write_all(b"HELO").await.unwrap();
    assert_eq!(read_until(&mut io, "HELO").await, "HELO");
}

#[tokio::test]
async fn http_on_an_opaque_port_is_not_touched() {
    let pair = opaque_pair(async |pod| App::echo(pod).await).await;
    let mut io = pair.web.connect(pair.service).await;
    let text = "GET / HTTP/1.1\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";
    io.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut io, "\r\n\r\n").await, text);
}

#[tokio::test]
async fn what_is_detected_as_no_http_is_relayed() {
    let pair = opaque_pair(async |pod| App::echo(pod).await).await;
    pair.world.script().policy(pair.service, &detect(balance(BB)));
    pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
    let mut io = pair.web.connect(pair.service).await;
    for text in ["*1\r\n$4\r\nPING\r\n", "more"] {
        io.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut io, text).await, text);
    }
}

#[tokio::test]
async fn an_application_that_ends_ends_the_client() {
    let pair = opaque_pair(async |pod| App::greeting(pod, b"bye").await).await;
    let io = pair.web.connect(pair.service).await;
    let (mut read, mut write) = io.into_split();
    assert_eq!(read_until(&mut read, "bye").await, "bye");
    write.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut read).await, b"");
}

#[tokio::test]
async fn only_the_authorized_get_a_byte_through() {
    let pair = opaque_pair(async |pod| App::echo(pod).await).await;
    let other = pair.world.pod("other").await;
    pair.admit(&server(Speaks::Opaque, vec![identified(&[&pair.web.id])]));
    until("other is refused", async || {
        let mut io = other.connect(pair.service).await;
        let _ = io.write_all(b"hello").await;
        let _ = io.shutdown().await;
        read_to_end(&mut io).await.is_empty()
    })
    .await;
    let before = pair.app.connections();
    let mut io = other.connect(pair.service).await;
    let _ = io.write_all(b"hello").await;
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!(pair.app.connections(), before);
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(b"hello").await.unwrap();
    read_until(&mut io, "hello").await;
}

#[tokio::test]
async fn a_connection_ends_when_policy_no_longer_permits_it() {
    let pair = opaque_pair(async |pod| App::echo(pod).await).await;
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(b"one").await.unwrap();
    read_until(&mut io, "one").await;
    pair.admit(&server(Speaks::Opaque, vec![identified(&[&pair.web.id, &identity("x")])]));
    // A change that still permits it leaves it alone: the next one's refusal is the first end.
    io.write_all(b"two").await.unwrap();
    read_until(&mut io, "two").await;
    pair.admit(&server(Speaks::Opaque, vec![identified(&[&identity("x")])]));
    let mut rest = [0; 1];
    let end = within("the end", io.read(&mut rest)).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn an_opaque_port_does_not_look_for_tls() {
    let pair = opaque_pair(async |pod| App::greeting(pod, b"220 ready\r\n").await).await;
    pair.admit(&server(Speaks::Opaque, vec![everyone()]));
    until("the port is opaque", async || {
        let mut io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
        let mut first = [0; 3];
        let read = io.read_exact(&mut first);
        matches!(tokio::time::timeout(Duration::from_millis(300), read).await, Ok(Ok(_)))
    })
    .await;
}

#[tokio::test]
async fn other_bytes_on_an_http_port_are_refused() {
    let pair = opaque_pair(async |pod| App::echo(pod).await).await;
    pair.admit(&server(Speaks::Http1, vec![everyone()]));
    until("bytes are refused", async || {
        let mut io = pair.web.connect(pair.service).await;
        let _ = io.write_all(b"hello").await;
        let _ = io.shutdown().await;
        read_to_end(&mut io).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_client_without_a_proxy_reaches_a_port_that_admits_it() {
    let pair = opaque_pair(async |pod| App::reply_at_end(pod).await).await;
    let mut io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    io.write_all(b"plain bytes").await.unwrap();
    io.shutdown().await.unwrap();
    assert_eq!(exchange(io, "").await, "plain bytes");
}

#[tokio::test]
async fn a_connection_whose_backend_has_no_endpoint_left_goes_to_another() {
    let pair = opaque_pair(async |pod| App::echo(pod).await).await;
    let (of_cc, tried) = hangs_up(&pair).await;
    let both = Distribution::FirstAvailable(vec![balance(CC), balance(BB)]);
    let route = OpaqueRoute::new(ResourceRef::default_named("opaq"), both);
    let script = pair.world.script();
    script.policy(pair.service, &outbound(OutboundProtocol::Opaque(vec![route])));
    script.endpoints(CC, &add(vec![Endpoint { hint: ProtocolHint::Opaque, ..of_cc }]));
    until("the one that hangs up is tried", async || {
        let mut io = pair.web.connect(pair.service).await;
        io.write_all(b"ping").await.unwrap();
        assert_eq!(read_until(&mut io, "ping").await, "ping");
        tried.load(Ordering::Relaxed) > 0
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_waits_for_an_endpoint_goes_to_another_backend_that_has_one() {
    let pair = Pair::new().await;
    // Both are known, and nobody listens there.
    let free = async || pair.bb.listen().await.local_addr().unwrap();
    let (gone, addr) = (free().await, free().await);
    let script = pair.world.script();
    script.endpoints(BB, &add(vec![Endpoint::plain(gone)]));
    script.endpoints(CC, &add(vec![Endpoint::plain(addr)]));
    let routes = vec![OpaqueRoute::new(
        ResourceRef::default_named("opaque"),
        Distribution::FirstAvailable(vec![balance(BB), balance(CC)]),
    )];
    script.policy(pair.service, &outbound(OutboundProtocol::Opaque(routes)));
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(b"hello").await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let app = App::serve(TcpListener::bind(addr).await.unwrap(), |mut io, _, _| async move {
        let mut hello = [0; 5];
        // One that only looks whether it is back says nothing.
        if io.read_exact(&mut hello).await.is_ok() {
            io.write_all(&hello).await.unwrap();
        }
    });
    let began = Instant::now();
    assert_eq!(read_until(&mut io, "hello").await, "hello");
    // Less than the failfast timeout, after which it would have been closed.
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    drop(app);
}

//! Ending gracefully: what is under way finishes, nothing new begins (contract 7.3).

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::application::App;
use crate::client::{Client, Kind, empty};
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{balance, opaque};
use crate::raw::{read_to_end, read_until};
use crate::sandbox::{Pod, until, within};

/// The proxy's end: it is waited for, and was no failure.
async fn ended(pod: &mut Pod) {
    within("the proxy's end", &mut pod.running).await.unwrap().unwrap();
}

async fn listens(addr: std::net::SocketAddr) -> bool {
    TcpStream::connect(addr).await.is_ok()
}

every_kind! {
    async fn a_request_under_way_finishes_when_its_sender_drains(kind: Kind) {
        let mut pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/held").body(empty()).unwrap();
        let (rsp, ()) = tokio::join!(client.start(req), async {
            pair.app.state.held.notified().await;
            pair.web.shut_down();
            until("the listener is closed", async || !listens(pair.web.outbound).await).await;
            assert!(!pair.web.running.is_finished());
            pair.app.state.release.notify_one();
        });
        let body = within("the body", rsp.unwrap().into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), "released");
        // HTTP/1 is closed after its answer, HTTP/2 was told to go away.
        client.closed().await;
        ended(&mut pair.web).await;
    }

    async fn a_request_under_way_finishes_when_its_receiver_drains(kind: Kind) {
        let mut pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/held").body(empty()).unwrap();
        let (rsp, ()) = tokio::join!(client.start(req), async {
            pair.app.state.held.notified().await;
            pair.bb.shut_down();
            until("the listener is closed", async || !listens(pair.bb.inbound).await).await;
            assert!(!pair.bb.running.is_finished());
            pair.app.state.release.notify_one();
        });
        let body = within("the body", rsp.unwrap().into_body().collect()).await.unwrap();
        assert_eq!(body.to_bytes(), "released");
        ended(&mut pair.bb).await;
        drop(client);
    }

    async fn a_request_that_the_end_overtakes_is_answered(kind: Kind) {
        let mut pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        // It is on its way to an idle connection when the proxy is told to end.
        let req = client.request("/").body(empty()).unwrap();
        let (answer, ()) = tokio::join!(client.try_send(req), async { pair.web.shut_down() });
        let answer = answer.unwrap();
        answer.assert_answered();
        if kind == Kind::Http1 {
            assert_eq!(answer.header("connection"), Some("close"));
        }
        client.closed().await;
        ended(&mut pair.web).await;
    }

    async fn idle_connections_do_not_hold_a_proxy(kind: Kind) {
        let mut pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        pair.web.shut_down();
        ended(&mut pair.web).await;
        client.closed().await;
        pair.bb.shut_down();
        ended(&mut pair.bb).await;
    }
}

#[tokio::test]
async fn an_idle_http1_connection_gets_time_for_one_more_request() {
    let mut pair = Pair::new().await;
    let mut client = pair.client(Kind::Http1).await;
    client.get("/").await.assert_answered();
    pair.web.shut_down();
    until("the listener is closed", async || !listens(pair.web.outbound).await).await;
    let answer = client.get("/").await;
    answer.assert_answered();
    assert_eq!(answer.header("connection"), Some("close"));
    client.closed().await;
    ended(&mut pair.web).await;
}

#[tokio::test]
async fn connections_that_wait_to_be_accepted_are_served() {
    let mut pair = Pair::new().await;
    pair.get(Kind::Http1).await.assert_answered();
    // Nothing runs beside this test from here to the end of the proxy's serving.
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut io = pair.web.connect_unnoticed(pair.service);
            std::io::Write::write_all(&mut io, b"GET / HTTP/1.1\r\nhost: bb\r\n\r\n").unwrap();
            io
        })
        .collect();
    pair.web.shut_down();
    for io in waiting {
        io.set_nonblocking(true).unwrap();
        let mut io = TcpStream::from_std(io).unwrap();
        let answer = String::from_utf8(read_to_end(&mut io).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    }
    ended(&mut pair.web).await;
}

#[tokio::test]
async fn the_admin_port_drains_too_and_answers_until_then() {
    let mut pair = Pair::new().await;
    let mut held = pair.client(Kind::Http2).await;
    let mut admin = Client::new(Kind::Http1, TcpStream::connect(pair.web.admin).await.unwrap()).await;
    let mut second = Client::new(Kind::Http2, TcpStream::connect(pair.web.admin).await.unwrap()).await;
    let req = held.request("/held").body(empty()).unwrap();
    let (rsp, ()) = tokio::join!(held.start(req), async {
        pair.app.state.held.notified().await;
        assert_eq!(admin.get("/ready").await.body, "ready\n");
        assert_eq!(second.get("/live").await.body, "live\n");
        pair.web.shut_down();
        until("the admin listener is closed", async || !listens(pair.web.admin).await).await;
        // As the reference's: a proxy that drains is as live and as ready as before.
        let last = admin.get("/ready").await;
        assert_eq!((last.body.as_ref(), last.header("connection")), (b"ready\n".as_slice(), Some("close")));
        admin.closed().await;
        second.closed().await;
        assert!(!pair.web.running.is_finished());
        pair.app.state.release.notify_one();
    });
    assert_eq!(rsp.unwrap().status(), 200);
    drop(held);
    ended(&mut pair.web).await;
}

#[tokio::test]
async fn certificates_are_renewed_while_connections_finish() {
    let often =
        [("LINKERD2_PROXY_IDENTITY_MIN_REFRESH", "50ms"), ("LINKERD2_PROXY_IDENTITY_MAX_REFRESH", "50ms")];
    let mut pair = Pair::with(crate::sandbox::Sandbox::new().await, &often, &[]).await;
    let mut client = pair.client(Kind::Http2).await;
    let req = client.request("/held").body(empty()).unwrap();
    let (rsp, ()) = tokio::join!(client.start(req), async {
        pair.app.state.held.notified().await;
        pair.web.shut_down();
        until("the listener is closed", async || !listens(pair.web.outbound).await).await;
        let certified = || pair.world.script().certified(&pair.web.id);
        let before = certified();
        until("two more certificates", async || certified() > before + 1).await;
        pair.app.state.release.notify_one();
    });
    assert_eq!(rsp.unwrap().status(), 200);
    drop(client);
    ended(&mut pair.web).await;
}

#[tokio::test]
async fn opaque_connections_are_waited_for() {
    let mut pair = Pair::new().await;
    pair.app = App::echo(&pair.bb).await;
    pair.world.script().policy(pair.service, &opaque(balance(BB)));
    pair.world.script().endpoints(BB, &crate::policies::add(vec![pair.bb.endpoint(pair.app.addr)]));
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(b"one").await.unwrap();
    read_until(&mut io, "one").await;
    pair.web.shut_down();
    pair.bb.shut_down();
    until("the listeners are closed", async || {
        !listens(pair.web.outbound).await && !listens(pair.bb.inbound).await
    })
    .await;
    io.write_all(b"two").await.unwrap();
    read_until(&mut io, "two").await;
    io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"");
    ended(&mut pair.web).await;
    ended(&mut pair.bb).await;
}

#[tokio::test]
async fn the_grace_period_is_the_end() {
    let grace = [("LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD", "300ms")];
    let mut pair = Pair::with(crate::sandbox::Sandbox::new().await, &grace, &[]).await;
    let mut client = pair.client(Kind::Http2).await;
    let req = client.request("/held").body(empty()).unwrap();
    let (_, ()) = tokio::join!(
        async { tokio::time::timeout(std::time::Duration::from_secs(2), client.start(req)).await.is_ok() },
        async {
            pair.app.state.held.notified().await;
            pair.web.shut_down();
            ended(&mut pair.web).await;
        }
    );
}

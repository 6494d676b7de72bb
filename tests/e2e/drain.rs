//! Ending gracefully: what is under way finishes, nothing new begins (contract 7.3).

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::application::App;
use crate::client::{Kind, empty};
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

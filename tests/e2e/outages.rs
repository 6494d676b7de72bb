//! The control plane goes away, and comes back; and what nobody uses is forgotten.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Kind;
use crate::every_kind;
use crate::pair::{BB, Pair, until_answer};
use crate::policies::{Speaks, balance, detect, everyone, identified, none, server};
use crate::sandbox::{Sandbox, until};

/// A pair whose proxies forget what they discovered after a second without use, and whose `web` does
/// not wait long for endpoints.
async fn forgetful() -> Pair {
    let set = [
        ("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "1s"),
        ("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "1s"),
        ("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "200ms"),
    ];
    Pair::with(Sandbox::new().await, &set, &set).await
}

/// Longer than anything idle is kept: idle time, and the sweep after it.
const FORGOTTEN: Duration = Duration::from_millis(2_500);

every_kind! {
    async fn requests_go_on_without_a_control_plane_and_news_come_after_it(kind: Kind) {
        let mut pair = forgetful().await;
        pair.admit(&server(Speaks::Detected, vec![everyone()]));
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        let script = pair.world.script().clone();
        script.ports.until_opened(pair.bb.port(pair.app.addr), 1).await;
        pair.world.control.stop().await;
        let gone = Instant::now();
        while gone.elapsed() < Duration::from_millis(500) {
            client.get("/").await.assert_answered();
            pair.get(kind).await.assert_answered();
        }
        // Nobody uses the destination now, but nobody could say it again either.
        drop(client);
        sleep(FORGOTTEN).await;
        pair.get(kind).await.assert_answered();

        pair.world.control.restart().await;
        let mut client = pair.client(kind).await;
        pair.admit(&server(Speaks::Detected, vec![]));
        until_answer(&mut client, "/", "the new policy", |a| a.is_refused(kind, 403, "7")).await;
        pair.admit(&server(Speaks::Detected, vec![everyone()]));
        until_answer(&mut client, "/", "the policy of before", |a| a.is_answered()).await;
        script.endpoints(BB, &none());
        until("no endpoints", async || !pair.get(kind).await.is_answered()).await;
    }
}

/// The proxies' clock is put forward, minute by minute.
#[tokio::test]
async fn an_hour_without_a_control_plane_costs_known_services_nothing() {
    let mut pair = forgetful().await;
    pair.admit(&server(Speaks::Detected, vec![identified(&[pair.web.id.as_str()])]));
    let mut client = pair.client(Kind::Http2).await;
    client.get("/").await.assert_answered();
    let script = pair.world.script().clone();
    script.ports.until_opened(pair.bb.port(pair.app.addr), 1).await;
    pair.world.control.stop().await;
    for minute in 0..60 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(60)).await;
        tokio::time::resume();
        client.get("/").await.assert_answered();
        pair.get(Kind::Http1).await.assert_answered();
        for seen in pair.app.seen() {
            assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()), "minute {minute}");
        }
    }
    // What is not known is waited for, and is there as soon as somebody says so.
    let unknown = crate::sandbox::service_addr();
    script.policy(unknown, &detect(balance(BB)));
    let mut stranger = crate::client::Client::new(Kind::Http1, pair.web.connect(unknown).await).await;
    let (answer, ()) = tokio::join!(stranger.get("/"), async {
        sleep(Duration::from_millis(300)).await;
        assert_eq!(pair.app.seen().len(), 0);
        pair.world.control.restart().await;
    });
    answer.assert_answered();
    script.endpoints(BB, &none());
    until("no endpoints", async || !pair.get(Kind::Http1).await.is_answered()).await;
}

#[tokio::test]
async fn what_nobody_uses_is_forgotten() {
    let pair = forgetful().await;
    let script = pair.world.script();
    let mut client = pair.client(Kind::Http1).await;
    client.get("/").await.assert_answered();
    let port = pair.bb.port(pair.app.addr);
    let open = || (script.policies.open(pair.service), script.endpoints.open(BB), script.ports.open(&port));
    until("all watches", async || open() == (1, 1, 1)).await;
    // A connection that is open, though idle, is a use.
    sleep(FORGOTTEN).await;
    assert_eq!((open().0, open().1), (1, 1));
    client.get("/").await.assert_answered();
    assert_eq!((script.policies.opened(pair.service), script.endpoints.opened(BB)), (1, 1));
    drop(client);
    until("no watches", async || open() == (0, 0, 0)).await;
    pair.get(Kind::Http1).await.assert_answered();
    assert_eq!((script.policies.opened(pair.service), script.endpoints.opened(BB)), (2, 2));
}

#[tokio::test]
async fn pods_start_as_soon_as_they_are_certified() {
    let mut world = Sandbox::new().await;
    world.control.stop().await;
    let web = world.pod("web").await;
    let app = crate::application::App::http(&web).await;
    // Nobody accepts it yet; it waits in the kernel.
    let io = world.connect_unmeshed(app.addr, &web).await;
    let mut client = crate::client::Client::new(Kind::Http1, io).await;
    let (answer, ()) = tokio::join!(client.get("/"), async {
        sleep(Duration::from_millis(300)).await;
        assert_eq!(app.connections(), 0);
        world.control.restart().await;
    });
    answer.assert_answered();
}

//! Endpoints that come, go, and cannot be reached.

mod backends;
mod connections;

use causeway::model::Endpoint;
use causeway::model::outbound::{BackendKind, Load, Penalty};
use tokio::net::TcpListener;
use tonic::Code;

use crate::application::App;
use crate::client::Kind;
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, detect, none, remove};
use crate::raw::Wiretap;
use crate::sandbox::{Pod, Sandbox, fresh_ip, until};

pub use backends::{CC, hangs_up};

/// A pair whose `web` does not wait long for endpoints.
async fn hasty() -> Pair {
    let failfast = [("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "300ms")];
    Pair::with(Sandbox::new().await, &failfast, &[]).await
}

/// An endpoint where nobody listens, which is otherwise like `pod`'s.
async fn dead(pod: &Pod, app: &App) -> Endpoint {
    let listener = TcpListener::bind((fresh_ip(), 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    Endpoint { addr, inbound_port: Some(addr.port()), ..pod.endpoint(app.addr) }
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
async fn endpoints_that_the_control_plane_refuses_to_tell_are_none() {
    let pair = hasty().await;
    pair.world.script().endpoints.refuse(BB, Code::InvalidArgument);
    pair.get(Kind::Http1).await.assert_refused(Kind::Http1, 504, "4");
    pair.get(Kind::Http1).await.assert_refused(Kind::Http1, 503, "14");
    assert_eq!(pair.world.script().endpoints.opened(BB), 1, "it is not asked again");
}

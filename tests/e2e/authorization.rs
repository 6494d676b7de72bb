//! Who is let in, request by request, as policy changes under open connections.

use linkerd2_proxy_api::inbound as pb;

use crate::client::{Kind, empty};
use crate::every_kind;
use crate::pair::{Pair, until_answer};
use crate::policies::{Speaks, everyone, identified, routed, server};
use crate::sandbox::identity;

every_kind! {
    async fn the_authorized_identity_is_answered_and_another_is_refused(kind: Kind) {
        let pair = Pair::new().await;
        let other = pair.world.pod("other").await;
        let (mut web, mut other) = (pair.client(kind).await, pair.client_of(&other, kind).await);
        pair.admit(&server(Speaks::Detected, vec![identified(&[&pair.web.id])]));
        until_answer(&mut other, "/", "other is refused", |a| a.is_refused(kind, 403, "7")).await;
        web.get("/").await.assert_answered();
        pair.app.seen();
        other.get("/secret").await.assert_refused(kind, 403, "7");
        assert_eq!(pair.app.seen().len(), 0);
    }

    async fn policy_is_added_tightened_and_removed_under_an_open_connection(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        pair.admit(&server(Speaks::Detected, vec![identified(&[&identity("nobody")])]));
        until_answer(&mut client, "/", "refused", |a| a.is_refused(kind, 403, "7")).await;
        pair.admit(&server(Speaks::Detected, vec![identified(&[&identity("nobody"), &pair.web.id])]));
        until_answer(&mut client, "/", "let in", |a| a.is_answered()).await;
        pair.admit(&server(Speaks::Detected, vec![]));
        until_answer(&mut client, "/", "refused again", |a| a.is_refused(kind, 403, "7")).await;
        pair.admit(&server(Speaks::Detected, vec![everyone()]));
        until_answer(&mut client, "/", "everyone let in", |a| a.is_answered()).await;
        // All of it on one connection to the application.
        assert_eq!(pair.app.connections(), 1);
    }

    async fn a_request_that_no_route_takes_is_404(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        pair.admit(&routed(Speaks::Detected, vec![("/known", vec![])], vec![everyone()]));
        until_answer(&mut client, "/other", "no route", |a| a.is_refused(kind, 404, "5")).await;
        client.get("/known/too").await.assert_answered();
        client.get("/knownnot").await.assert_refused(kind, 404, "5");
    }

    async fn a_route_may_let_in_fewer_than_another(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let mine = || vec![identified(&[&pair.web.id])];
        let theirs = || vec![identified(&[&identity("nobody")])];
        pair.admit(&routed(Speaks::Detected, vec![("/", mine()), ("/admin", theirs())], vec![]));
        until_answer(&mut client, "/admin", "refused", |a| a.is_refused(kind, 403, "7")).await;
        client.get("/open").await.assert_answered();
        client.get("/admin/x").await.assert_refused(kind, 403, "7");
        // What the application may read as `/admin`.
        client.get("/open/%2e%2e/admin").await.assert_refused(kind, 403, "7");
    }

    async fn a_policy_that_cannot_be_understood_lets_nobody_in(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        pair.world.script().ports.set(pair.bb.port(pair.app.addr), pb::Server::default());
        until_answer(&mut client, "/", "refused", |a| a.is_refused(kind, 403, "7")).await;
        pair.admit(&server(Speaks::Detected, vec![everyone()]));
        until_answer(&mut client, "/", "let in", |a| a.is_answered()).await;
    }

    async fn a_port_that_turns_opaque_has_no_routes_for_open_connections(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        pair.admit(&server(Speaks::Opaque, vec![everyone()]));
        until_answer(&mut client, "/", "no routes", |a| a.is_refused(kind, 404, "5")).await;
    }

    async fn a_client_without_a_proxy_is_nobody(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.unmeshed(kind).await;
        let req = client.request("/").header("l5d-client-id", pair.web.id.as_str());
        client.send(req.body(empty()).unwrap()).await.assert_answered();
        let seen = pair.app.seen_once();
        assert_eq!(seen.header("l5d-client-id"), None);
        assert_eq!(seen.peer.ip(), pair.bb.ip);
        pair.admit(&server(Speaks::Detected, vec![identified(&[&pair.web.id])]));
        until_answer(&mut client, "/", "refused", |a| a.is_refused(kind, 403, "7")).await;
        let req = client.request("/").header("l5d-client-id", pair.web.id.as_str());
        let answer = client.send(req.body(empty()).unwrap()).await;
        answer.assert_refused(kind, 403, "7");
        for header in ["l5d-proxy-error", "l5d-proxy-connection", "grpc-message", "causeway-reason"] {
            assert_eq!(answer.header(header), None, "{header}");
        }
    }

    async fn ports_of_one_protocol_answer_it(kind: Kind) {
        let pair = Pair::new().await;
        let speaks = match kind {
            Kind::Http1 => Speaks::Http1,
            Kind::Http2 => Speaks::Http2,
            Kind::Grpc => Speaks::Grpc,
        };
        pair.admit(&server(speaks, vec![identified(&[&pair.web.id])]));
        let mut client = pair.unmeshed(kind).await;
        until_answer(&mut client, "/a/b", "refused", |a| a.is_refused(kind, 403, "7")).await;
        // Once with a connection that had been detected, once with one that was not.
        pair.unmeshed(kind).await.get("/a/b").await.assert_refused(kind, 403, "7");
        pair.client(kind).await.get("/a/b").await.assert_answered();
    }

}

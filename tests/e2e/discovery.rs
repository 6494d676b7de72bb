//! What the control plane's answers make of a connection (contract 3.2).

use std::net::SocketAddr;

use causeway::model::Profile;
use causeway::model::matching::{PathMatch, RequestMatch};
use causeway::model::outbound::{Backend, BackendKind, OpaqueRefusal, OutboundProtocol};
use linkerd2_proxy_api::outbound as pb;
use tokio::io::AsyncWriteExt;
use tonic::Code;

use crate::application::App;
use crate::client::{Client, Kind};
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{Speaks, balance, detect, http_route, identified, opaque_route, outbound, server};
use crate::raw::{exchange, read_to_end, read_until};
use crate::sandbox::{Sandbox, service_addr, until};

/// A pair whose `web` asks for profiles of every address.
async fn asking_for_profiles() -> Pair {
    let everywhere = [("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", "0.0.0.0/0")];
    Pair::with(Sandbox::new().await, &everywhere, &[]).await
}

async fn client(pair: &Pair, kind: Kind, target: SocketAddr) -> Client {
    Client::new(kind, pair.web.connect(target).await).await
}

every_kind! {
    async fn an_address_that_nobody_knows_is_reached_as_it_is(kind: Kind) {
        let pair = Pair::new().await;
        client(&pair, kind, pair.app.addr).await.get("/").await.assert_answered();
        let seen = pair.app.seen_once();
        assert_eq!((seen.header("l5d-client-id"), seen.header("l5d-orig-proto")), (None, None));
        assert_eq!(seen.peer.ip(), pair.web.ip);
        assert_eq!(pair.world.script().profiles.opened(pair.app.addr), 0);
    }

    async fn a_profile_without_endpoint_changes_nothing_of_that(kind: Kind) {
        let pair = asking_for_profiles().await;
        pair.world.script().profile(pair.app.addr, &Profile::default());
        client(&pair, kind, pair.app.addr).await.get("/").await.assert_answered();
        assert_eq!(pair.app.seen_once().peer.ip(), pair.web.ip);
    }

    async fn a_profiles_endpoint_is_reached_under_its_identity(kind: Kind) {
        let pair = asking_for_profiles().await;
        let endpoint = Some(pair.bb.endpoint(pair.app.addr));
        pair.world.script().profile(pair.app.addr, &Profile { endpoint, ..Profile::default() });
        client(&pair, kind, pair.app.addr).await.get("/").await.assert_answered();
        let seen = pair.app.seen_once();
        assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
    }

    async fn a_profiles_endpoint_may_change_under_an_open_connection(kind: Kind) {
        let pair = asking_for_profiles().await;
        let second = pair.world.pod("bb").await;
        let app = App::http(&second).await;
        let profile = |endpoint| Profile { endpoint: Some(endpoint), ..Profile::default() };
        let script = pair.world.script();
        script.profile(pair.app.addr, &profile(pair.bb.endpoint(pair.app.addr)));
        let mut client = client(&pair, kind, pair.app.addr).await;
        client.get("/").await.assert_answered();
        assert_eq!((pair.app.seen().len(), app.seen().len()), (1, 0));
        script.profile(pair.app.addr, &profile(second.endpoint(app.addr)));
        until("the second to be reached", async || {
            client.get("/").await.assert_answered();
            !app.seen().is_empty()
        })
        .await;
    }

    async fn a_profile_that_is_refused_is_none(kind: Kind) {
        let pair = asking_for_profiles().await;
        pair.world.script().profiles.refuse(pair.service, Code::InvalidArgument);
        pair.world.script().profiles.refuse(pair.app.addr, Code::InvalidArgument);
        pair.get(kind).await.assert_answered();
        assert_eq!(pair.app.seen_once().header("l5d-client-id"), Some(pair.web.id.as_str()));
        client(&pair, kind, pair.app.addr).await.get("/").await.assert_answered();
        assert_eq!(pair.app.seen_once().header("l5d-client-id"), None);
    }

    async fn each_member_of_a_stateful_set_is_reached_as_itself(kind: Kind) {
        let pair = asking_for_profiles().await;
        let second = pair.world.pod("bb").await;
        let app = App::http(&second).await;
        // Each has a name that leads to its own address, of which policy knows nothing.
        for (pod, app) in [(&pair.bb, &pair.app), (&second, &app)] {
            let endpoint = Some(pod.endpoint(app.addr));
            pair.world.script().profile(app.addr, &Profile { endpoint, ..Profile::default() });
        }
        let mut clients = [client(&pair, kind, pair.app.addr).await, client(&pair, kind, app.addr).await];
        for (member, client) in [&pair.app, &app].into_iter().zip(&mut clients) {
            for _ in 0..5 {
                client.get("/").await.assert_answered();
                let seen = member.seen_once();
                assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
            }
        }
    }

    async fn what_was_answered_stays_meshed_when_it_is_not_known_any_more(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        let policies = &pair.world.script().policies;
        policies.refuse(pair.service, Code::NotFound);
        policies.end(pair.service, Code::NotFound);
        policies.until_opened(pair.service, 2).await;
        client.get("/").await.assert_answered();
        pair.get(kind).await.assert_answered();
        for seen in pair.app.seen() {
            assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
        }
    }

    async fn an_opaque_profile_wins_over_policy(kind: Kind) {
        let pair = asking_for_profiles().await;
        pair.world.script().profile(pair.service, &Profile { opaque: true, ..Profile::default() });
        pair.client(kind).await.get("/").await.assert_answered();
        let seen = pair.app.seen_once();
        assert_eq!((seen.header("l5d-client-id"), seen.peer.ip()), (None, pair.bb.ip));
    }

    async fn an_invalid_policy_is_500(kind: Kind) {
        let pair = Pair::new().await;
        let service = service_addr();
        pair.world.script().policies.set(service, pb::OutboundPolicy::default());
        client(&pair, kind, service).await.get("/").await.assert_refused(kind, 500, "13");
    }

    async fn a_request_that_no_route_takes_is_404(kind: Kind) {
        let pair = Pair::new().await;
        let mut route = http_route(balance(BB));
        route.rules[0].matches =
            vec![RequestMatch { path: Some(PathMatch::Exact("/known".into())), ..RequestMatch::default() }];
        let opaque = vec![opaque_route(balance(BB))];
        let (http1, http2) = (vec![route.clone()].into(), vec![route].into());
        let protocol = OutboundProtocol::Detect { http1, http2, opaque };
        pair.world.script().policy(pair.service, &outbound(protocol));
        let mut client = pair.client(kind).await;
        client.get("/unknown").await.assert_refused(kind, 404, "5");
        client.get("/known").await.assert_answered();
    }

    async fn a_backend_without_dispatcher_is_502(kind: Kind) {
        let pair = Pair::new().await;
        let backend = Backend { kind: BackendKind::Fail, ..balance(BB) };
        pair.world.script().policy(pair.service, &detect(backend));
        pair.get(kind).await.assert_refused(kind, 502, "14");
    }

    async fn a_connection_waits_for_both_answers(kind: Kind) {
        let pair = asking_for_profiles().await;
        let script = pair.world.script();
        script.policies.fall_silent(pair.service);
        let mut client = pair.client(kind).await;
        let (answer, ()) = tokio::join!(client.get("/"), async {
            script.policies.until_opened(pair.service, 1).await;
            script.profiles.until_opened(pair.service, 1).await;
            assert_eq!(pair.app.seen().len(), 0);
            script.policy(pair.service, &detect(balance(BB)));
            script.profile(pair.service, &Profile::default());
        });
        answer.assert_answered();
    }

    async fn a_passing_failure_of_the_look_up_is_waited_out(kind: Kind) {
        let pair = Pair::new().await;
        let script = pair.world.script();
        script.policies.refuse(pair.service, Code::Unavailable);
        let mut client = pair.client(kind).await;
        let (answer, ()) = tokio::join!(client.get("/"), async {
            script.policies.until_opened(pair.service, 2).await;
            script.policy(pair.service, &detect(balance(BB)));
        });
        answer.assert_answered();
    }

    async fn routes_change_under_an_open_connection(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        let protocol = OutboundProtocol::Detect { http1: vec![].into(), http2: vec![].into(), opaque: vec![] };
        pair.world.script().policy(pair.service, &outbound(protocol));
        let gone = |a: &crate::client::Answer| a.is_refused(kind, 404, "5");
        crate::pair::until_answer(&mut client, "/", "no route", gone).await;
        pair.world.script().policy(pair.service, &detect(balance(BB)));
        crate::pair::until_answer(&mut client, "/", "a route", |a| a.is_answered()).await;
        // Neither endpoints nor connections were given up for it.
        assert_eq!(pair.app.connections(), 1);
    }

    async fn a_policy_of_one_protocol_needs_no_detection(kind: Kind) {
        let pair = Pair::new().await;
        let routes = vec![http_route(balance(BB))].into();
        let protocol = match kind {
            Kind::Http1 => OutboundProtocol::Http1(routes),
            Kind::Http2 => OutboundProtocol::Http2(routes),
            Kind::Grpc => OutboundProtocol::Grpc(routes),
        };
        pair.world.script().policy(pair.service, &outbound(protocol));
        let mut client = pair.client(kind).await;
        client.get("/a/b").await.assert_answered();
        assert_eq!(pair.app.seen_once().header("l5d-client-id"), Some(pair.web.id.as_str()));
    }
}

#[tokio::test]
async fn a_refused_look_up_closes_the_connection() {
    let pair = Pair::new().await;
    pair.world.script().policies.refuse(pair.service, Code::InvalidArgument);
    let io = pair.web.connect(pair.service).await;
    assert_eq!(exchange(io, "GET / HTTP/1.1\r\nhost: bb\r\n\r\n").await, "");
}

#[tokio::test]
async fn opaque_connections_are_closed_where_no_route_takes_them() {
    let pair = Pair::new().await;
    let mut forbidden = opaque_route(balance(BB));
    forbidden.refusal = Some(OpaqueRefusal::Forbidden);
    for routes in [vec![], vec![forbidden]] {
        let service = service_addr();
        pair.world.script().policy(service, &outbound(OutboundProtocol::Opaque(routes)));
        assert_eq!(exchange(pair.web.connect(service).await, "hello").await, "");
    }
    let service = service_addr();
    pair.world.script().policies.set(service, pb::OutboundPolicy::default());
    assert_eq!(exchange(pair.web.connect(service).await, "*1\r\n$4\r\nPING\r\n").await, "");
}

#[tokio::test]
async fn an_unknown_address_may_speak_anything() {
    let pair = Pair::new().await;
    let app = App::echo(&pair.bb).await;
    let mut io = pair.web.connect(app.addr).await;
    io.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
    read_until(&mut io, "PING\r\n").await;
    io.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"");
}

#[tokio::test]
async fn a_member_of_a_stateful_set_may_speak_anything_to_an_identity() {
    let pair = asking_for_profiles().await;
    let app = App::echo(&pair.bb).await;
    let endpoint = Some(pair.bb.endpoint(app.addr));
    pair.world.script().profile(app.addr, &Profile { endpoint, opaque: true, ..Profile::default() });
    let only_web = identified(&[pair.web.id.as_str()]);
    pair.world.script().server(&pair.bb.port(app.addr), &server(Speaks::Opaque, vec![only_web]));
    let mut io = pair.web.connect(app.addr).await;
    io.write_all(b"hello").await.unwrap();
    read_until(&mut io, "hello").await;
}

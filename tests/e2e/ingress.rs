//! Ingress mode: requests go where their `l5d-dst-override` says (contract 3.12).

use causeway::model::outbound::OutboundProtocol;
use causeway::model::service_profile::Override;
use causeway::model::{Endpoint, Profile};
use tokio::io::AsyncWriteExt;

use crate::application::App;
use crate::client::{Answer, Client, Kind, empty};
use crate::every_kind;
use crate::metrics::{count, page};
use crate::pair::{BB, PROFILED, Pair};
use crate::policies::{add, balance, detect, opaque, opaque_route, outbound};
use crate::raw::read_until;
use crate::sandbox::{Sandbox, service_addr, until, within};

const INGRESS: (&str, &str) = ("LINKERD2_PROXY_INGRESS_MODE", "true");

/// What nobody uses is forgotten after a second.
const IDLE: (&str, &str) = ("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "1s");

/// Another service of `bb`.
const CC: &str = "cc.demo.svc.cluster.local:80";

/// `web` is an ingress; beside the service there is `cc`.
async fn ingress() -> (Pair, App) {
    let pair = Pair::with(Sandbox::new().await, &[INGRESS, PROFILED], &[]).await;
    let cc = other(&pair).await;
    (pair, cc)
}

/// `cc`, served by `bb`'s pod.
async fn other(pair: &Pair) -> App {
    let cc = App::http(&pair.bb).await;
    let script = pair.world.script();
    script.policy(CC, &detect(balance(CC)));
    script.endpoints(CC, &add(vec![pair.bb.endpoint(cc.addr)]));
    // Of names, the control plane knows no profile but what a test tells.
    script.profile(CC, &Profile::default());
    script.profile(pair.service, &Profile::default());
    cc
}

async fn ask(client: &mut Client, name: &str) -> Answer {
    ask_for(client, "/", name).await
}

async fn ask_for(client: &mut Client, path: &str, name: &str) -> Answer {
    let req = client.request(path).header("l5d-dst-override", name).body(empty()).unwrap();
    client.send(req).await
}

every_kind! {
    async fn each_request_goes_where_it_asks_for(kind: Kind) {
        let (pair, cc) = ingress().await;
        pair.world.script().policy(BB, &detect(balance(BB)));
        pair.world.script().profile(BB, &Profile::default());
        // To where the connection was going nobody is asked.
        let mut client = Client::new(kind, pair.web.connect(service_addr()).await).await;
        for _ in 0..3 {
            ask(&mut client, "cc.demo.svc.cluster.local").await.assert_answered();
            ask(&mut client, BB).await.assert_answered();
        }
        let (of_bb, of_cc) = (pair.app.seen(), cc.seen());
        assert_eq!((of_bb.len(), of_cc.len()), (3, 3));
        for seen in of_bb.iter().chain(&of_cc) {
            assert_eq!(seen.header("l5d-dst-override"), None);
            assert_eq!(seen.header("l5d-client-id"), Some(pair.web.id.as_str()));
        }
        assert_eq!((pair.app.connections(), cc.connections()), (1, 1), "endpoints are shared");
    }

    async fn without_a_name_requests_go_where_their_connection_was_going(kind: Kind) {
        let (pair, cc) = ingress().await;
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        ask(&mut client, CC).await.assert_answered();
        client.get("/").await.assert_answered();
        assert_eq!((pair.app.seen().len(), cc.seen().len()), (2, 1));
    }

    async fn a_name_that_is_none_is_400(kind: Kind) {
        let (pair, cc) = ingress().await;
        for name in ["10.0.0.1:80", "cc:port", "http://cc"] {
            let mut client = pair.client(kind).await;
            let answer = ask(&mut client, name).await;
            answer.assert_refused(kind, 400, "13");
            // Applications of an ingress are told nothing of the mesh.
            assert_eq!((answer.header("l5d-proxy-error"), answer.header("causeway-reason")), (None, None));
        }
        assert_eq!((pair.app.seen().len(), cc.seen().len()), (0, 0));
    }

    async fn what_nobody_knows_is_500_until_somebody_does(kind: Kind) {
        let (pair, cc) = ingress().await;
        let name = "late.demo.svc.cluster.local:80";
        pair.world.script().profiles.refuse(name, tonic::Code::InvalidArgument);
        ask(&mut pair.client(kind).await, name).await.assert_refused(kind, 500, "13");
        // Nor is an address forwarded to of which nobody knows what is there.
        let mut client = Client::new(kind, pair.web.connect(cc.addr).await).await;
        client.get("/").await.assert_refused(kind, 500, "13");
        assert_eq!(cc.seen().len(), 0);
        pair.world.script().policy(name, &detect(balance(CC)));
        ask(&mut pair.client(kind).await, name).await.assert_answered();
        assert_eq!(cc.seen().len(), 1);
    }

    async fn what_policy_does_not_know_goes_by_the_profile(kind: Kind) {
        let (pair, cc) = ingress().await;
        let script = pair.world.script();
        // A Service,
        let service = "old.demo.svc.cluster.local:80";
        let name = Some("old.demo.svc.cluster.local".parse().unwrap());
        script.profile(service, &Profile { name, ..Profile::default() });
        script.endpoints(service, &add(vec![pair.bb.endpoint(cc.addr)]));
        let mut client = pair.client(kind).await;
        ask(&mut client, service).await.assert_answered();
        assert_eq!(cc.seen_once().header("l5d-client-id"), Some(pair.web.id.as_str()));
        // or a pod.
        let pod = "bb-0.bb.demo.svc.cluster.local:80";
        let endpoint = Some(pair.bb.endpoint(pair.app.addr));
        script.profile(pod, &Profile { endpoint, ..Profile::default() });
        ask(&mut client, pod).await.assert_answered();
        assert_eq!(pair.app.seen_once().header("l5d-client-id"), Some(pair.web.id.as_str()));
    }

    async fn a_profile_comes_before_policy_by_name_too(kind: Kind) {
        let (pair, cc) = ingress().await;
        let script = pair.world.script();
        let mut profile = Profile { name: Some("cc.demo.svc.cluster.local".parse().unwrap()), ..Profile::default() };
        let to = Override { authority: BB.parse().unwrap(), weight: 1 };
        profile.service.overrides = vec![to];
        script.profile(CC, &profile);
        ask(&mut pair.client(kind).await, CC).await.assert_answered();
        assert_eq!((pair.app.seen_once().header("l5d-dst-canonical"), cc.seen().len()), (Some(CC), 0));
    }

    async fn a_destination_is_held_while_requests_use_it(kind: Kind) {
        let pair = Pair::with(Sandbox::new().await, &[INGRESS, PROFILED, IDLE], &[]).await;
        let cc = other(&pair).await;
        let script = pair.world.script();
        let mut client = pair.client(kind).await;
        client.get("/").await.assert_answered();
        let mut held = pair.client(kind).await;
        let (answer, ()) = tokio::join!(ask_for(&mut held, "/held", CC), async {
            within("the request", cc.state.held.notified()).await;
            until("what is idle is forgotten", async || script.policies.open(pair.service) == 0).await;
            assert_eq!((script.policies.open(CC), script.endpoints.open(CC)), (1, 1));
            cc.state.release.notify_one();
        });
        answer.assert_answered();
        // The connections are open still, and idle.
        until("the other is forgotten", async || {
            script.policies.open(CC) + script.profiles.open(CC) + script.endpoints.open(CC) == 0
        }).await;
        ask(&mut held, CC).await.assert_answered();
        client.get("/").await.assert_answered();
    }

    async fn a_request_without_a_place_asks_nobody(kind: Kind) {
        let limit = ("LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT", "1");
        let pair = Pair::with(Sandbox::new().await, &[INGRESS, PROFILED, limit], &[]).await;
        let cc = other(&pair).await;
        let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
        let name = "third.demo.svc.cluster.local:80";
        let (held, ()) = tokio::join!(ask_for(&mut first, "/held", CC), async {
            within("the first request", cc.state.held.notified()).await;
            ask(&mut second, name).await.assert_refused(kind, 503, "14");
            cc.state.release.notify_one();
        });
        held.assert_answered();
        // Nor does one whose name is none.
        let other = service_addr();
        ask(&mut Client::new(kind, pair.web.connect(other).await).await, "a b").await.assert_refused(kind, 400, "13");
        let script = pair.world.script();
        assert_eq!((script.policies.opened(name), script.policies.opened(other)), (0, 0));
    }

    async fn http_for_what_policy_says_is_none_is_500(kind: Kind) {
        let (pair, cc) = ingress().await;
        let script = pair.world.script();
        let tls = outbound(OutboundProtocol::Tls(vec![opaque_route(balance(CC))]));
        for (n, policy) in [opaque(balance(CC)), tls].iter().enumerate() {
            script.policy(CC, policy);
            // By its name, and by its address.
            let addr = service_addr();
            script.policy(addr, policy);
            script.profile(addr, &Profile::default());
            let mut client = pair.client(kind).await;
            until("the policy", async || {
                client = pair.client(kind).await;
                ask(&mut client, CC).await.is_refused(kind, 500, "13")
            }).await;
            cc.seen();
            let mut client = Client::new(kind, pair.web.connect(addr).await).await;
            client.get("/").await.assert_refused(kind, 500, "13");
            let faults = r#"causeway_faults_total{direction="outbound",reason="other-protocol"} "#;
            let expected = format!("{faults}{}", 2 * (n + 1));
            until("its reason", async || page(&pair.web).await.lines().any(|line| line == expected)).await;
        }
        assert_eq!(cc.seen().len(), 0);
    }

    async fn nothing_but_its_bytes_says_what_a_connection_speaks(kind: Kind) {
        let (pair, cc) = ingress().await;
        let echo = App::echo(&pair.bb).await;
        let other = service_addr();
        pair.world.script().profile(other, &Profile::default());
        let forward = crate::policies::forward(Endpoint::plain(echo.addr));
        pair.world.script().policy(other, &opaque(forward));
        // Policy says that it is opaque; the name counts all the same.
        let mut client = Client::new(kind, pair.web.connect(other).await).await;
        ask(&mut client, CC).await.assert_answered();
        assert_eq!(cc.seen().len(), 1);
        let mut io = pair.web.connect(other).await;
        io.write_all(b"SSH-2.0-x nobody knows this\r\n").await.unwrap();
        read_until(&mut io, "nobody knows this\r\n").await;
        assert_eq!(echo.connections(), 1);
        // Nor is one taken for HTTP because policy says so: it has no route then.
        let http = outbound(OutboundProtocol::Http1(vec![].into()));
        let third = service_addr();
        pair.world.script().profile(third, &Profile::default());
        pair.world.script().policy(third, &http);
        let mut io = pair.web.connect(third).await;
        io.write_all(b"SSH-2.0-x nobody knows this\r\n").await.unwrap();
        assert_eq!(crate::raw::read_to_end(&mut io).await, b"");
        until("the detections", async || {
            let page = page(&pair.web).await;
            count(&page, "outbound_tcp_detect_http_results_total", &["parent_name=\"ingress\""]) == 3
        }).await;
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_go_by_a_profile_s_overrides_whatever_policy_speaks() {
    let (pair, _) = ingress().await;
    let echo = App::echo(&pair.bb).await;
    let canary = "canary.demo.svc.cluster.local:81";
    let script = pair.world.script();
    let mut endpoint = pair.bb.endpoint(echo.addr);
    endpoint.hint = causeway::model::endpoint::ProtocolHint::Opaque;
    script.endpoints(canary, &add(vec![endpoint]));
    let name = Some("bb.demo.svc.cluster.local".parse().unwrap());
    let mut profile = Profile { name, ..Profile::default() };
    profile.service.overrides = vec![Override { authority: canary.parse().unwrap(), weight: 1 }];
    let http = || Vec::new().into();
    for protocol in
        [OutboundProtocol::Http1(http()), OutboundProtocol::Grpc(http()), OutboundProtocol::Tls(vec![])]
    {
        let addr = service_addr();
        script.profile(addr, &profile);
        script.policy(addr, &outbound(protocol));
        let mut io = pair.web.connect(addr).await;
        io.write_all(b"SSH-2.0-x nobody knows this\r\n").await.unwrap();
        read_until(&mut io, "nobody knows this\r\n").await;
    }
    assert_eq!(echo.connections(), 3);
}

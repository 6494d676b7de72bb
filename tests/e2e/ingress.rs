//! Ingress mode: requests go where their `l5d-dst-override` says (contract 3.12).

use causeway::model::outbound::OutboundProtocol;
use causeway::model::{Endpoint, Profile};
use tokio::io::AsyncWriteExt;

use crate::application::App;
use crate::client::{Answer, Client, Kind, empty};
use crate::every_kind;
use crate::metrics::page;
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, detect, opaque, outbound};
use crate::raw::read_until;
use crate::sandbox::{Sandbox, service_addr, until};

const INGRESS: (&str, &str) = ("LINKERD2_PROXY_INGRESS_MODE", "true");
/// Profiles of addresses are asked for, too.
const PROFILED: (&str, &str) = ("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8");

/// Another service of `bb`.
const CC: &str = "cc.demo.svc.cluster.local:80";

/// `web` is an ingress; beside the service there is `cc`.
async fn ingress() -> (Pair, App) {
    let pair = Pair::with(Sandbox::new().await, &[INGRESS, PROFILED], &[]).await;
    let cc = App::http(&pair.bb).await;
    let script = pair.world.script();
    script.policy(CC, &detect(balance(CC)));
    script.endpoints(CC, &add(vec![pair.bb.endpoint(cc.addr)]));
    // Of names, the control plane knows no profile but what a test tells.
    script.profile(CC, &Profile::default());
    script.profile(pair.service, &Profile::default());
    (pair, cc)
}

async fn ask(client: &mut Client, name: &str) -> Answer {
    let req = client.request("/").header("l5d-dst-override", name).body(empty()).unwrap();
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
        let to = causeway::model::service_profile::Override { authority: BB.parse().unwrap(), weight: 1 };
        profile.service.overrides = vec![to];
        script.profile(CC, &profile);
        ask(&mut pair.client(kind).await, CC).await.assert_answered();
        assert_eq!((pair.app.seen_once().header("l5d-dst-canonical"), cc.seen().len()), (Some(CC), 0));
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
            let name = "outbound_tcp_detect_http_results_total{";
            let of = |line: &str| line.starts_with(name) && line.contains("parent_name=\"ingress\"");
            let page = page(&pair.web).await;
            page.lines().filter(|line| of(line)).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>() == 3
        }).await;
    }
}

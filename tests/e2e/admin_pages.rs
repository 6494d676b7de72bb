//! The admin port: answered by the proxy, guarded like any other port (contract 7.1).

use causeway::model::Endpoint;
use causeway::model::endpoint::ProtocolHint;
use tokio::net::TcpSocket;

use crate::client::{Answer, Client, Kind, empty};
use crate::every_kind;
use crate::pair::{Pair, until_answer};
use crate::policies::{Speaks, detect, forward, identified, server};
use crate::sandbox::{Pod, Sandbox, fresh_ip, until, within};

/// A client on the pod itself, as the kubelet's probes appear to some.
async fn local(pod: &Pod, kind: Kind) -> Client {
    let io = within("a connection", tokio::net::TcpStream::connect(pod.admin)).await.unwrap();
    Client::new(kind, io).await
}

/// A client from elsewhere, without a proxy.
async fn remote(pod: &Pod, kind: Kind) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((fresh_ip(), 0).into()).unwrap();
    Client::new(kind, within("a connection", socket.connect(pod.admin)).await.unwrap()).await
}

async fn metrics(pod: &Pod) -> String {
    let page = local(pod, Kind::Http1).await.get("/metrics").await;
    String::from_utf8(page.body.to_vec()).unwrap()
}

fn says(answer: &Answer, status: u16, text: &str) -> bool {
    answer.status == status && answer.body == text
}

every_kind! {
    async fn a_proxy_is_live_at_once_and_ready_when_certified(kind: Kind) {
        let mut world = Sandbox::new().await;
        world.control.stop().await;
        let web = world.pod("web").await;
        let mut client = local(&web, kind).await;
        assert!(says(&client.get("/live").await, 200, "live\n"));
        assert!(says(&client.get("/ready").await, 503, "not ready\n"));
        world.control.restart().await;
        until_answer(&mut client, "/ready", "readiness", |a| says(a, 200, "ready\n")).await;
    }

    async fn the_admin_port_is_guarded_by_its_policy(kind: Kind) {
        let pair = Pair::new().await;
        let policy = server(Speaks::Detected, vec![identified(&[&pair.web.id])]);
        pair.world.script().server(&pair.bb.port(pair.bb.admin), &policy);
        let mut stranger = remote(&pair.bb, kind).await;
        until_answer(&mut stranger, "/live", "refused", |a| a.is_refused(kind, 403, "7")).await;
        // The pod's own processes are always let in, and so is whom the policy names.
        assert!(says(&local(&pair.bb, kind).await.get("/live").await, 200, "live\n"));
        let meshed = Endpoint {
            hint: ProtocolHint::Unknown,
            inbound_port: None,
            ..pair.bb.endpoint(pair.bb.admin)
        };
        pair.world.script().policy(pair.service, &detect(forward(meshed)));
        // The admin port answers before there is a certificate, but not over TLS.
        let mut probe = local(&pair.bb, kind).await;
        until_answer(&mut probe, "/ready", "a certificate", |a| says(a, 200, "ready\n")).await;
        assert!(says(&pair.client(kind).await.get("/live").await, 200, "live\n"));
    }

    async fn shutdown_ends_a_proxy_that_allows_it(kind: Kind) {
        let world = Sandbox::new().await;
        let deaf = world.pod("deaf").await;
        let mut client = local(&deaf, kind).await;
        let post = |client: &Client| client.request("/shutdown").method("POST").body(empty()).unwrap();
        let req = post(&client);
        assert!(says(&client.send(req).await, 404, "shutdown endpoint is not enabled\n"));
        let enabled = [("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", "true")];
        let mut pod = world.pod_with("obedient", &enabled).await;
        let mut client = local(&pod, kind).await;
        until_answer(&mut client, "/ready", "readiness", |a| a.status == 200).await;
        let req = post(&client);
        assert!(says(&client.send(req).await, 200, "shutdown\n"));
        within("the proxy's end", &mut pod.running).await.unwrap().unwrap();
        assert!(!deaf.running.is_finished());
    }

    async fn metrics_tell_who_was_let_in_and_who_was_not(kind: Kind) {
        let pair = Pair::new().await;
        let other = pair.world.pod("other").await;
        pair.admit(&server(Speaks::Detected, vec![identified(&[&pair.web.id])]));
        let mut refused = pair.client_of(&other, kind).await;
        until_answer(&mut refused, "/", "refused", |a| a.is_refused(kind, 403, "7")).await;
        pair.get(kind).await.assert_answered();
        let page = metrics(&pair.bb).await;
        let line = |family: &str, peer: &Pod| {
            let peer = format!("client_id=\"{}\"", peer.id);
            page.lines().any(|line| line.starts_with(family) && line.contains(&peer) && !line.ends_with(" 0"))
        };
        assert!(line("inbound_http_authz_allow_total{", &pair.web), "{page}");
        assert!(line("inbound_http_authz_deny_total{", &other), "{page}");
        assert!(!line("inbound_http_authz_deny_total{", &pair.web), "{page}");
        assert!(page.ends_with("# EOF\n"));
        let server = format!("server_id=\"{}\"", pair.bb.id);
        let sent = |line: &str| line.starts_with("request_total{") && line.contains(&server);
        until("the sender's count", async || metrics(&pair.web).await.lines().any(sent)).await;
    }
}

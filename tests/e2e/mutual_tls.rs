//! What is said to be meshed is never sent in plaintext, nor to anyone who cannot prove who they are.

use std::net::SocketAddr;

use causeway::model::Endpoint;
use causeway::model::endpoint::EndpointTls;
use causeway::tls::testing::TestCa;

use crate::application::App;
use crate::client::{Kind, full};
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{add, detect, forward};
use crate::raw::Wiretap;
use crate::sandbox::{Pod, Sandbox, identity, service_addr};

const SECRET: &str = "the-secret-on-the-wire";

/// How discovery describes `pod`'s application where somebody listens on the wire.
fn tapped(pod: &Pod, app: SocketAddr, tap: &Wiretap) -> Endpoint {
    Endpoint {
        addr: SocketAddr::new(tap.addr.ip(), app.port()),
        inbound_port: Some(tap.addr.port()),
        ..pod.endpoint(app)
    }
}

/// Sends the secret to a service that is one endpoint.
async fn send_to(world: &Sandbox, web: &Pod, kind: Kind, to: Endpoint) -> crate::client::Answer {
    let service = service_addr();
    world.script().policy(service, &detect(forward(to)));
    let mut client = crate::client::Client::new(kind, web.connect(service).await).await;
    let req = client.request("/").method("POST").header("x-secret", SECRET);
    client.send(req.body(full(SECRET)).unwrap()).await
}

every_kind! {
    async fn the_wire_carries_no_plaintext(kind: Kind) {
        let pair = Pair::new().await;
        let (world, web) = (&pair.world, &pair.web);
        let tap = Wiretap::to(pair.bb.inbound).await;
        // The direct port names the local address as target, so the application listens there too.
        let meshed = tapped(&pair.bb, pair.app.addr, &tap);
        send_to(world, web, kind, meshed).await.assert_answered();
        assert!(tap.passed() > SECRET.len() && !tap.heard(SECRET));
        // That the wire is heard at all: the same, where discovery knows no identity.
        let plain = Wiretap::to(pair.app.addr).await;
        send_to(world, web, kind, Endpoint::plain(plain.addr)).await.assert_answered();
        assert!(plain.heard(SECRET));
    }

    async fn an_endpoint_that_is_somebody_else_is_502_and_hears_nothing(kind: Kind) {
        let pair = Pair::new().await;
        let tap = Wiretap::to(pair.bb.inbound).await;
        let mut endpoint = tapped(&pair.bb, pair.app.addr, &tap);
        let server_name = pair.bb.id.parse().unwrap();
        endpoint.tls = Some(EndpointTls { id: identity("expected").parse().unwrap(), server_name });
        let answer = send_to(&pair.world, &pair.web, kind, endpoint).await;
        answer.assert_refused(kind, 502, "14");
        assert_eq!(answer.header("causeway-reason"), Some("identity-mismatch"));
        assert!(tap.passed() > 0 && !tap.heard(SECRET));
        assert_eq!((pair.app.connections(), pair.app.seen().len()), (0, 0));
    }

    async fn an_endpoint_of_another_authority_is_502(kind: Kind) {
        let pair = Pair::new().await;
        let foreign = Sandbox::with(TestCa::new("elsewhere")).await;
        let bb = foreign.pod("bb").await;
        let app = App::http(&bb).await;
        let answer = send_to(&pair.world, &pair.web, kind, bb.endpoint(app.addr)).await;
        answer.assert_refused(kind, 502, "14");
        assert_eq!(app.connections(), 0);
    }

    async fn an_endpoint_without_a_certificate_hears_nothing(kind: Kind) {
        let pair = Pair::new().await;
        pair.world.script().withhold_certificate(&identity("late"));
        let late = pair.world.pod("late").await;
        let app = App::http(&late).await;
        let tap = Wiretap::to(late.inbound).await;
        let answer = send_to(&pair.world, &pair.web, kind, tapped(&late, app.addr, &tap)).await;
        answer.assert_refused(kind, 504, "4");
        assert_eq!(answer.header("causeway-reason"), Some("connect-timeout"));
        assert!(tap.passed() > 0 && !tap.heard(SECRET));
        assert_eq!(app.connections(), 0);
    }

    async fn a_required_identity_must_be_the_endpoints(kind: Kind) {
        let pair = Pair::new().await;
        let mut client = pair.client(kind).await;
        let req = client.request("/").header("l5d-require-id", pair.bb.id.as_str());
        client.send(req.body(full("")).unwrap()).await.assert_answered();
        assert_eq!(pair.app.seen_once().header("l5d-require-id"), None);
        let req = client.request("/").header("l5d-require-id", identity("somebody"));
        let answer = client.send(req.body(full("")).unwrap()).await;
        answer.assert_refused(kind, 502, "14");
        assert_eq!(pair.app.seen().len(), 0);
    }
}

#[tokio::test]
async fn an_identity_that_changed_is_checked_on_the_next_connection() {
    let failfast = [("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "200ms")];
    let pair = Pair::with(Sandbox::new().await, &failfast, &[]).await;
    pair.get(Kind::Http1).await.assert_answered();
    let mut endpoint = pair.bb.endpoint(pair.app.addr);
    endpoint.tls = Some(EndpointTls {
        id: identity("expected").parse().unwrap(),
        server_name: pair.bb.id.parse().unwrap(),
    });
    pair.world.script().endpoints(BB, &add(vec![endpoint]));
    crate::sandbox::until("the other identity is expected", async || {
        !pair.get(Kind::Http1).await.is_answered()
    })
    .await;
}

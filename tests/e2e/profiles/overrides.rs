//! What a profile sends elsewhere: requests, and opaque connections.

use causeway::model::outbound::OutboundProtocol;
use causeway::model::service_profile::{Override, RetryBudget};
use causeway::model::{Endpoint, Profile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{DST, profile};
use crate::application::App;
use crate::client::Kind;
use crate::every_kind;
use crate::metrics::{count, page};
use crate::pair::{BB, PROFILED, Pair};
use crate::policies::{add, balance, http_route, none as nobody, outbound};
use crate::raw::read_until;
use crate::sandbox::{Sandbox, until};

fn overrides(to: &[(&str, u32)]) -> Profile {
    let overrides =
        to.iter().map(|(to, weight)| Override { authority: to.parse().unwrap(), weight: *weight });
    let mut profile = profile(vec![], RetryBudget::default());
    profile.service.overrides = overrides.collect();
    profile
}

every_kind! {
    async fn overrides_split_requests_by_weight_and_weight_0_gets_none(kind: Kind) {
        const REQUESTS: usize = 400;
        let pair = Pair::with(Sandbox::new().await, &[PROFILED], &[]).await;
        let (small, none) = tokio::join!(App::http(&pair.bb), App::http(&pair.bb));
        let script = pair.world.script();
        let names = ["main.demo.svc.cluster.local:8080", "canary.demo.svc.cluster.local:81", "none.demo.svc.cluster.local:80"];
        for (name, app) in names.iter().zip([&pair.app, &small, &none]) {
            script.endpoints(name, &add(vec![pair.bb.endpoint(app.addr)]));
        }
        script.profile(pair.service, &overrides(&[(names[0], 9000), (names[1], 1000), (names[2], 0)]));
        let mut client = pair.client(kind).await;
        for _ in 0..REQUESTS {
            client.get("/").await.assert_answered();
        }
        let (main, canary) = (pair.app.seen(), small.seen());
        assert_eq!((main.len() + canary.len(), none.seen().len()), (REQUESTS, 0));
        assert!((15..70).contains(&canary.len()), "{} of {REQUESTS}", canary.len());
        // Whoever answers is told the name that was asked for.
        assert!(main.iter().chain(&canary).all(|seen| seen.header("l5d-dst-canonical") == Some(DST)));
        // One without an endpoint is passed over.
        script.endpoints(names[0], &nobody());
        until("the other", async || {
            client.get("/").await;
            client = pair.client(kind).await;
            client.get("/").await.is_answered() && client.get("/").await.is_answered()
        }).await;
        let before = (pair.app.seen().len(), small.seen().len());
        for _ in 0..20 {
            client.get("/").await.assert_answered();
        }
        assert_eq!((pair.app.seen().len(), small.seen().len()), (0, 20), "after {before:?}");
    }
}

#[tokio::test]
async fn opaque_connections_are_split_where_a_profile_has_overrides() {
    let pair = Pair::with(Sandbox::new().await, &[PROFILED], &[]).await;
    let echo = App::echo(&pair.bb).await;
    let script = pair.world.script();
    let name = "echo.demo.svc.cluster.local:7";
    script.endpoints(name, &add(vec![Endpoint::plain(echo.addr)]));
    script.profile(pair.service, &overrides(&[(name, 1)]));
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(b"SSH-2.0-x nobody knows this\r\n").await.unwrap();
    read_until(&mut io, "nobody knows this\r\n").await;
    assert_eq!((echo.connections(), pair.app.connections()), (1, 0));
}

#[tokio::test]
async fn an_opaque_profile_s_overrides_count_whatever_policy_speaks() {
    let pair = Pair::with(Sandbox::new().await, &[PROFILED], &[]).await;
    let echo = App::echo(&pair.bb).await;
    let script = pair.world.script();
    let name = "echo.demo.svc.cluster.local:7";
    script.endpoints(name, &add(vec![Endpoint::plain(echo.addr)]));
    script.policy(pair.service, &outbound(OutboundProtocol::Http1(vec![http_route(balance(BB))].into())));
    let split = Profile { opaque: true, ..overrides(&[(name, 1)]) };
    script.profile(pair.service, &split);
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    read_until(&mut io, "GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!((echo.connections(), pair.app.connections()), (1, 0));
    // Without them such a policy has no route for what is opaque.
    script.profile(pair.service, &Profile { opaque: true, ..Profile::default() });
    until("the connection's end", async || {
        let mut io = pair.web.connect(pair.service).await;
        let _ = io.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        let mut heard = [0; 1];
        !matches!(io.read(&mut heard).await, Ok(1))
    })
    .await;
    let page = page(&pair.web).await;
    assert!(count(&page, "causeway_faults_total", &["reason=\"other-protocol\""]) > 0);
    assert_eq!(pair.app.connections(), 0);
}

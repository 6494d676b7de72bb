//! Profiles of the Services that requests arrive for (contract 3.13, 6.1): they count, and decide nothing.

use std::time::Duration;

use causeway::model::Profile;
use causeway::model::matching::Pattern;
use causeway::model::service_profile::{
    Condition, RequestMatch, ResponseClass, Route, ServiceProfile, StatusRange,
};
use http::Method;
use tokio::time::Instant;

use crate::client::{Client, Kind, empty};
use crate::every_kind;
use crate::metrics::page;
use crate::pair::{BB, Pair};
use crate::sandbox::{Sandbox, until};

/// As the injector leaves it, and longer.
const WAIT: (&str, &str) = ("LINKERD2_PROXY_DESTINATION_PROFILE_INITIAL_TIMEOUT", "30s");

/// A profile of this name, whose route `name` takes these paths, and whose answers are failures if `fails`.
fn profile(fqdn: &str, name: &str, path: &str, fails: bool) -> Profile {
    let condition = Condition::All(vec![
        Condition::Is(RequestMatch::Path(Pattern::new(path).unwrap())),
        Condition::Not(Box::new(Condition::Is(RequestMatch::Method(Method::DELETE)))),
    ]);
    let class =
        || ResponseClass { condition: Condition::Is(StatusRange { min: 200, max: 299 }), failure: true };
    let route = Route {
        labels: [("route".to_owned(), name.to_owned())].into(),
        condition,
        responses: if fails { vec![class()] } else { vec![] },
        retryable: true,
        timeout: Some(Duration::from_nanos(1)),
    };
    let service = ServiceProfile { routes: vec![route], ..ServiceProfile::default() };
    Profile { name: Some(fqdn.parse().unwrap()), service, ..Profile::default() }
}

const FQDN: &str = "bb.demo.svc.cluster.local";

async fn shows(pair: &Pair, line: &str) -> bool {
    page(&pair.bb).await.lines().any(|shown| shown == line)
}

async fn until_shown(pair: &Pair, line: &str) {
    until(line, async || shows(pair, line).await).await;
}

every_kind! {
    async fn requests_are_counted_by_the_route_of_the_service_that_they_ask_for(kind: Kind) {
        let pair = Pair::with(Sandbox::new().await, &[], &[WAIT]).await;
        pair.world.script().profile(BB, &profile(FQDN, "a", "/a/.*", true));
        let mut client = pair.client(kind).await;
        for path in ["/a/1", "/a/2", "/b"] {
            // Neither its timeout nor its retries are for this side.
            client.get(path).await.assert_answered();
        }
        assert_eq!(pair.app.seen().len(), 3);
        let of = format!("direction=\"inbound\",dst=\"{BB}\",rt_route=\"a\"");
        until_shown(&pair, &format!("route_request_total{{{of}}} 2")).await;
        until("their answers", async || {
            let start = format!("route_response_total{{{of},status_code=\"200\",classification=\"failure\",");
            page(&pair.bb).await.lines().any(|line| line.starts_with(&start) && line.ends_with(" 2"))
        }).await;
        let page = page(&pair.bb).await;
        // So are the answers where all of them are counted.
        let failed = |line: &&str| line.starts_with("response_total{direction=\"inbound\"") && line.contains("classification=\"failure\"");
        let failed: Vec<_> = page.lines().filter(failed).collect();
        assert!(matches!(failed.as_slice(), [line] if line.ends_with(" 2")), "{failed:?}");
        assert!(page.lines().any(|line| line.starts_with(&format!("route_response_latency_ms_count{{{of}"))));
        assert!(!page.lines().any(|line| line.starts_with("route_actual_")));
        // A next profile counts on the same connection.
        pair.world.script().profile(BB, &profile(FQDN, "b", "/b", false));
        until("the next profile", async || {
            client.get("/b").await.assert_answered();
            page_has(&pair, &format!("route_request_total{{direction=\"inbound\",dst=\"{BB}\",rt_route=\"b\"}}")).await
        }).await;
    }

    async fn whom_the_client_s_proxy_says_they_are_for_counts_more(kind: Kind) {
        let pair = Pair::with(Sandbox::new().await, &[], &[WAIT]).await;
        let other = "other.demo.svc.cluster.local";
        pair.world.script().profile(format!("{other}:81"), &profile(other, "all", "/.*", false));
        let mut client = pair.client(kind).await;
        let req = client.request("/a").header("l5d-dst-canonical", format!("{other}:81")).body(empty()).unwrap();
        client.send(req).await.assert_answered();
        assert_eq!(pair.app.seen_once().header("l5d-dst-canonical"), Some(&*format!("{other}:81")));
        let of = format!("direction=\"inbound\",dst=\"{other}:81\",rt_route=\"all\"");
        until_shown(&pair, &format!("route_request_total{{{of}}} 1")).await;
    }

    async fn a_control_plane_that_says_nothing_is_waited_for_once(kind: Kind) {
        let wait = ("LINKERD2_PROXY_DESTINATION_PROFILE_INITIAL_TIMEOUT", "1s");
        let pair = Pair::with(Sandbox::new().await, &[], &[wait]).await;
        let mut client = pair.client(kind).await;
        let asked = Instant::now();
        client.get("/a").await.assert_answered();
        assert!(asked.elapsed() >= Duration::from_millis(900), "{:?}", asked.elapsed());
        let asked = Instant::now();
        for _ in 0..10 {
            client.get("/a").await.assert_answered();
        }
        assert!(asked.elapsed() < Duration::from_millis(900), "{:?}", asked.elapsed());
        assert!(!page_has(&pair, "route_request_total{").await);
        pair.world.script().profile(BB, &profile(FQDN, "all", "/.*", false));
        until("the profile", async || {
            client.get("/a").await.assert_answered();
            page_has(&pair, "route_request_total{").await
        }).await;
    }
}

async fn page_has(pair: &Pair, start: &str) -> bool {
    page(&pair.bb).await.lines().any(|line| line.starts_with(start))
}

#[tokio::test]
async fn names_that_callers_make_up_are_asked_for_up_to_a_bound_and_only_in_the_cluster() {
    let idle = ("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "1s");
    let pair = Pair::with(Sandbox::new().await, &[], &[idle]).await;
    let io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    let mut client = Client::new(Kind::Http2, io).await;
    let script = pair.world.script();
    let name = |n: usize| format!("n{n}.demo.svc.cluster.local:80");
    for dst in (0..200).map(name).chain(["evil.example:80".to_owned(), "10.0.0.1:80".to_owned()]) {
        let req = client.request("/").header("l5d-dst-canonical", dst).body(empty()).unwrap();
        client.send(req).await.assert_answered();
    }
    let opened = || (0..200).map(|n| script.profiles.opened(name(n))).sum::<usize>();
    until("the look-ups", async || opened() >= 64).await;
    assert_eq!(opened(), 64);
    assert_eq!((script.profiles.opened("evil.example:80"), script.profiles.opened("10.0.0.1:80")), (0, 0));
    // What nobody asks for is forgotten, though the connection is open.
    until("nobody asks any more", async || (0..200).all(|n| script.profiles.open(name(n)) == 0)).await;
    let req = client.request("/").header("l5d-dst-canonical", name(199)).body(empty()).unwrap();
    client.send(req).await.assert_answered();
    script.profiles.until_opened(name(199), 1).await;
}

#[tokio::test]
async fn names_of_nothing_make_room_for_others() {
    let idle = ("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "60s");
    let pair = Pair::with(Sandbox::new().await, &[], &[idle]).await;
    let io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    let mut client = Client::new(Kind::Http2, io).await;
    let script = pair.world.script();
    let name = |n: usize| format!("n{n}.demo.svc.cluster.local:80");
    (0..64).for_each(|n| script.profile(name(n), &Profile::default()));
    let mut ask = async |n: usize| {
        let req = client.request("/").header("l5d-dst-canonical", name(n)).body(empty()).unwrap();
        client.send(req).await.assert_answered();
    };
    for n in 0..64 {
        ask(n).await;
    }
    until("a place", async || {
        ask(64).await;
        script.profiles.opened(name(64)) == 1
    })
    .await;
}

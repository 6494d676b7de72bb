//! Service profiles: what their routes and overrides do to requests (contract 3.3, 3.4, 3.11), as applications see it.

use std::time::Duration;

use causeway::model::matching::Pattern;
use causeway::model::outbound::OutboundProtocol;
use causeway::model::service_profile::{
    Condition, Override, RequestMatch, ResponseClass, RetryBudget, Route, ServiceProfile, StatusRange,
};
use causeway::model::{Endpoint, Profile};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::application::App;
use crate::client::{Answer, Kind, full};
use crate::every_kind;
use crate::fickle::{Fickle, Reply, is_busy};
use crate::metrics::{count, page};
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, http_route, outbound};
use crate::raw::read_until;
use crate::sandbox::{Sandbox, until};

const MS: Duration = Duration::from_millis(1);

/// Unavailable, as HTTP and gRPC say it.
const BUSY: Reply = Reply::Fails(503, "14");

/// Profiles are asked for by address.
const PROFILED: (&str, &str) = ("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8");

fn route(name: &str, path: &str) -> Route {
    Route {
        labels: [("route".to_owned(), name.to_owned())].into(),
        condition: Condition::Is(RequestMatch::Path(Pattern::new(path).unwrap())),
        responses: vec![],
        retryable: false,
        timeout: None,
    }
}

/// So many retries, whatever succeeds.
fn budget(ratio: f32, retries: u32) -> RetryBudget {
    RetryBudget { ratio, per_second: retries, ttl: Duration::from_secs(1) }
}

fn profile(routes: Vec<Route>, budget: RetryBudget) -> Profile {
    let name = Some("bb.demo.svc.cluster.local".parse().unwrap());
    Profile { name, service: ServiceProfile { routes, overrides: vec![], budget }, ..Profile::default() }
}

fn overrides(to: &[(&str, u32)]) -> Profile {
    let overrides =
        to.iter().map(|(to, weight)| Override { authority: to.parse().unwrap(), weight: *weight });
    let mut profile = profile(vec![], RetryBudget::default());
    profile.service.overrides = overrides.collect();
    profile
}

/// The service's virtual port: its profile's name has it.
const DST: &str = "bb.demo.svc.cluster.local:80";

/// An application that replies so, and a profile of its service.
async fn profiled(profile: &Profile, replies: &[Reply]) -> Fickle {
    let fickle = Fickle::with(&[PROFILED], replies).await;
    let script = fickle.pair.world.script();
    script.endpoints(DST, &add(vec![fickle.pair.bb.endpoint(fickle.app.addr)]));
    script.profile(fickle.pair.service, profile);
    fickle
}

async fn post(fickle: &Fickle, kind: Kind, body: Vec<u8>) -> Answer {
    let mut client = fickle.pair.client(kind).await;
    let req = client.request("/").method("POST").body(full(body)).unwrap();
    client.send(req).await
}

every_kind! {
    async fn a_profile_with_routes_comes_before_policy_and_says_for_whom_requests_are(kind: Kind) {
        let fickle = profiled(&profile(vec![route("none", "/none")], budget(0.0, 0)), &[Reply::Echo]).await;
        // Policy alone would lead to nobody.
        let routes = || Vec::new().into();
        let protocol = OutboundProtocol::Detect { http1: routes(), http2: routes(), opaque: vec![] };
        fickle.pair.world.script().policy(fickle.pair.service, &outbound(protocol));
        let mut client = fickle.pair.client(kind).await;
        let req = client.request("/x").header("l5d-dst-canonical", "elsewhere:1").body(full("")).unwrap();
        client.send(req).await.assert_answered();
        let sent = fickle.sent();
        let canonical: Vec<_> = sent[0].headers.get_all("l5d-dst-canonical").iter().collect();
        assert_eq!(canonical, [DST]);
        // Without routes it says nothing, and policy counts on the same connection.
        fickle.pair.world.script().profile(fickle.pair.service, &profile(vec![], budget(0.0, 0)));
        until("the next profile", async || client.get("/x").await.is_refused(kind, 404, "5")).await;
    }

    async fn the_first_route_that_takes_a_request_counts_it(kind: Kind) {
        let method = Method::from_bytes(b"PUT").unwrap();
        let mut put = route("put", "");
        put.condition = Condition::All(vec![
            Condition::Is(RequestMatch::Method(method)),
            Condition::Not(Box::new(Condition::Is(RequestMatch::Path(Pattern::new("/b/.*").unwrap())))),
        ]);
        let mut teapot = route("all a", "/a/.*");
        let condition = Condition::Is(StatusRange { min: 200, max: 299 });
        teapot.responses = vec![ResponseClass { condition, failure: true }];
        let routes = vec![put, teapot, route("late", "/a/b")];
        let fickle = profiled(&profile(routes, budget(0.0, 0)), &[Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        for (method, path) in [("PUT", "/a/b"), ("PUT", "/b/x"), ("POST", "/a/b"), ("POST", "/a/b/c"), ("POST", "/xa/b")] {
            let req = client.request(path).method(method).body(full("body")).unwrap();
            client.send(req).await.assert_answered();
        }
        let dst = format!("direction=\"outbound\",dst=\"{DST}\"");
        until("their counts", async || {
            let page = page(&fickle.pair.web).await;
            let of = |route: &str| format!("{dst},rt_route=\"{route}\"");
            count(&page, "route_request_total", &[&of("put")]) == 1
                && count(&page, "route_request_total", &[&of("all a")]) == 2
                && count(&page, "route_request_total", &[&of("late")]) == 0
                && count(&page, "route_request_total", &[&dst]) == 5
                && count(&page, "route_actual_request_total", &[&dst]) == 5
                && count(&page, "route_response_total", &[&of("all a"), "classification=\"failure\""]) == 2
                && count(&page, "route_actual_response_total", &[&of("all a"), "classification=\"failure\""]) == 2
                && count(&page, "route_response_total", &[&of("put"), "classification=\"success\""]) == 1
                && count(&page, "route_response_latency_ms_count", &[&dst]) == 5
                // So is the endpoint's answer, as the route's classes judge it.
                && count(&page, "response_total", &["classification=\"failure\""]) == 2
                && count(&page, "outbound_http_route_request_statuses_total", &[]) == 0
        }).await;
    }

    async fn a_failure_of_a_retryable_route_is_sent_again_with_its_body_until_it_is_none(kind: Kind) {
        let mut retryable = route("again", "/.*");
        retryable.retryable = true;
        let fickle = profiled(&profile(vec![retryable], budget(0.0, 10)), &[BUSY, BUSY, Reply::Echo]).await;
        let body = vec![b'b'; 60_000];
        let answer = post(&fickle, kind, body.clone()).await;
        answer.assert_answered();
        assert_eq!(answer.body, body);
        let sent = fickle.sent();
        assert_eq!(sent.iter().map(|sent| sent.body == body).collect::<Vec<_>>(), [true; 3]);
        assert!(sent.iter().all(|sent| sent.headers["l5d-dst-canonical"] == DST));
        until("their counts", async || {
            let page = page(&fickle.pair.web).await;
            count(&page, "route_request_total", &[]) == 1
                && count(&page, "route_actual_request_total", &[]) == 3
                && count(&page, "route_response_total", &["classification=\"success\""]) == 1
                && count(&page, "route_actual_response_total", &["classification=\"failure\""]) == 2
                && count(&page, "route_retryable_total", &["rt_route=\"again\"}"]) == 2
                && count(&page, "route_retryable_total", &["skipped=\"no_budget\""]) == 0
        }).await;
        // Another route's are not, nor what is longer than is kept.
        let mut other = route("again", "/other");
        other.retryable = true;
        let fickle = profiled(&profile(vec![other], budget(0.0, 10)), &[BUSY]).await;
        assert!(is_busy(kind, &post(&fickle, kind, body).await));
        assert_eq!(fickle.sent().len(), 1);
        let mut all = route("again", "/.*");
        all.retryable = true;
        let fickle = profiled(&profile(vec![all], budget(0.0, 10)), &[BUSY]).await;
        assert!(is_busy(kind, &post(&fickle, kind, vec![7; 64 * 1024 + 1]).await));
        assert_eq!(fickle.sent().len(), 1);
    }

    async fn what_cannot_be_sent_again_costs_the_budget_nothing(kind: Kind) {
        let mut retryable = route("again", "/.*");
        retryable.retryable = true;
        let one = RetryBudget { ratio: 0.0, per_second: 1, ttl: Duration::from_secs(60) };
        let fickle = profiled(&profile(vec![retryable], one), &[BUSY]).await;
        let mut client = fickle.pair.client(kind).await;
        for _ in 0..3 {
            let answer = client.upload("/", 5, vec![7; 16 * 1024], Duration::ZERO).await;
            assert!(is_busy(kind, &answer), "{answer:?}");
        }
        assert_eq!(fickle.sent().len(), 3);
        assert!(is_busy(kind, &post(&fickle, kind, b"body".to_vec()).await));
        assert_eq!(fickle.sent().len(), 1 + 60, "all of it is left for this one");
        assert_eq!(count(&page(&fickle.pair.web).await, "route_retryable_total", &["rt_route=\"again\"}"]), 61);
    }

    async fn no_more_is_sent_again_than_the_budget_of_all_routes_has(kind: Kind) {
        let mut retryable = route("again", "/.*");
        retryable.retryable = true;
        // One second's worth, for as long as this test can take.
        let few = RetryBudget { ratio: 0.0, per_second: 1, ttl: Duration::from_secs(60) };
        let fickle = profiled(&profile(vec![route("x", "/x"), retryable], few), &[BUSY]).await;
        for _ in 0..5 {
            assert!(is_busy(kind, &post(&fickle, kind, b"body".to_vec()).await));
        }
        assert_eq!(fickle.sent().len(), 5 + 60);
        until("its counts", async || {
            let page = page(&fickle.pair.web).await;
            count(&page, "route_retryable_total", &["rt_route=\"again\"}"]) == 65
                && count(&page, "route_retryable_total", &["skipped=\"no_budget\""]) == 5
        }).await;
    }

    async fn a_storm_of_failures_costs_the_budget_and_no_more(kind: Kind) {
        const CLIENTS: usize = 30;
        let mut retryable = route("again", "/.*");
        retryable.retryable = true;
        // Twenty, for as long as this test can take.
        let few = RetryBudget { ratio: 0.0, per_second: 1, ttl: Duration::from_secs(20) };
        let fickle = profiled(&profile(vec![retryable], few), &[BUSY]).await;
        let asked = (0..CLIENTS).map(|_| post(&fickle, kind, vec![7; 50_000]));
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| is_busy(kind, answer)), "{answers:?}");
        assert_eq!(fickle.begun(), CLIENTS + 20);
    }

    async fn classes_of_responses_say_what_is_sent_again(kind: Kind) {
        let class = |min, max, failure| ResponseClass { condition: Condition::Is(StatusRange { min, max }), failure };
        let mut retryable = route("again", "/.*");
        retryable.retryable = true;
        retryable.responses = vec![class(418, 418, true), class(500, 599, false)];
        let said = profile(vec![retryable], budget(0.0, 10));
        // A call says 200, which is of no class: its code counts.
        let fickle = profiled(&said, &[Reply::Fails(418, "14"), Reply::Echo]).await;
        post(&fickle, kind, b"body".to_vec()).await.assert_answered();
        assert_eq!(fickle.sent().len(), 2);
        let fickle = profiled(&said, &[Reply::Fails(503, "5"), Reply::Echo]).await;
        let answer = post(&fickle, kind, b"body".to_vec()).await;
        assert!(answer.status == 503 || answer.header("grpc-status") == Some("5"), "{answer:?}");
        assert_eq!(fickle.sent().len(), 1);
    }

    async fn an_answer_that_begins_too_late_is_504_and_ends_the_connection(kind: Kind) {
        let mut short = route("short", "/.*");
        short.timeout = Some(300 * MS);
        let fickle = profiled(&profile(vec![short.clone()], budget(0.0, 0)), &[Reply::Never]).await;
        let mut client = fickle.pair.client(kind).await;
        let began = Instant::now();
        let answer = client.get("/").await;
        answer.assert_refused(kind, 504, "4");
        assert_eq!(answer.header("causeway-reason"), Some("profile-timeout"));
        assert!(began.elapsed() >= 300 * MS && began.elapsed() < 3_000 * MS, "{:?}", began.elapsed());
        client.closed().await;
        until("its counts", async || {
            let page = page(&fickle.pair.web).await;
            count(&page, "route_response_total", &["classification=\"failure\"", "error=\"timeout\""]) == 1
                && count(&page, "outbound_http_errors_total", &["error=\"response timeout\""]) == 1
        }).await;
        // Its body may take as long as it does.
        let slow = Reply::Trickles(4, 150 * MS);
        let fickle = profiled(&profile(vec![short], budget(0.0, 0)), &[slow]).await;
        assert_eq!(post(&fickle, kind, vec![]).await.body, "piece".repeat(4));
    }

    async fn the_time_of_a_route_is_that_of_all_attempts_together(kind: Kind) {
        let mut short = route("short", "/.*");
        (short.timeout, short.retryable) = (Some(500 * MS), true);
        let fickle = profiled(&profile(vec![short], budget(0.0, 100)), &[BUSY, BUSY, Reply::Never]).await;
        let began = Instant::now();
        post(&fickle, kind, b"body".to_vec()).await.assert_refused(kind, 504, "4");
        assert!(began.elapsed() >= 500 * MS && began.elapsed() < 3_000 * MS, "{:?}", began.elapsed());
        assert_eq!(fickle.sent().len(), 3);
    }

    async fn a_connection_that_breaks_is_a_failure_to_try_again_for(kind: Kind) {
        let mut retryable = route("again", "/.*");
        retryable.retryable = true;
        let fickle = profiled(&profile(vec![retryable], budget(0.0, 3)), &[Reply::Echo]).await;
        let broken = App::serve(fickle.pair.bb.listen().await, |mut io, _, _| async move {
            let _ = io.read(&mut [0; 1024]).await;
        });
        fickle.pair.world.script().endpoints(DST, &add(vec![Endpoint::plain(broken.addr)]));
        post(&fickle, kind, vec![]).await.assert_refused(kind, 502, "14");
        assert!(broken.connections() >= 4, "{}", broken.connections());
        until("its counts", async || {
            let page = page(&fickle.pair.web).await;
            count(&page, "route_actual_request_total", &["rt_route=\"again\""]) == 4
                && count(&page, "route_retryable_total", &["rt_route=\"again\"}"]) == 4
                && count(&page, "route_retryable_total", &["skipped=\"no_budget\""]) == 1
                && count(&page, "route_response_total", &["classification=\"failure\""]) == 1
        }).await;
    }

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
        script.endpoints(names[0], &crate::policies::none());
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

    async fn a_profile_s_change_counts_for_the_next_request(kind: Kind) {
        let mut route = route("first", "/.*");
        let fickle = profiled(&profile(vec![route.clone()], budget(0.0, 10)), &[Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        client.get("/").await.assert_answered();
        route.labels.insert("route".into(), "second".into());
        fickle.pair.world.script().profile(fickle.pair.service, &profile(vec![route], budget(0.0, 10)));
        until("the second route", async || {
            client.get("/").await.assert_answered();
            count(&page(&fickle.pair.web).await, "route_request_total", &["rt_route=\"second\""]) > 0
        }).await;
        assert_eq!(fickle.app.connections(), 1, "what leads to its endpoints stays");
    }
}

#[tokio::test]
async fn a_call_that_fails_in_its_trailers_is_sent_again() {
    let mut retryable = route("again", "/.*");
    retryable.retryable = true;
    let replies = [Reply::Trails("14"), Reply::Trails("13"), Reply::Trails("5")];
    let fickle = profiled(&profile(vec![retryable], budget(0.0, 10)), &replies).await;
    let answer = post(&fickle, Kind::Grpc, b"body".to_vec()).await;
    assert_eq!(answer.trailer("grpc-status"), Some("5"), "that is no failure: {answer:?}");
    assert_eq!(fickle.sent().len(), 3);
}

#[tokio::test]
async fn what_is_looked_at_of_a_call_comes_in_the_route_s_time_too() {
    let mut short = route("short", "/.*");
    (short.timeout, short.retryable) = (Some(300 * MS), true);
    let fickle = profiled(&profile(vec![short], budget(0.0, 10)), &[Reply::Trickles(2, 900 * MS)]).await;
    let began = Instant::now();
    let answer = post(&fickle, Kind::Grpc, b"body".to_vec()).await;
    answer.assert_refused(Kind::Grpc, 504, "4");
    assert!(began.elapsed() >= 300 * MS && began.elapsed() < 900 * MS, "{:?}", began.elapsed());
    until("its counts", async || {
        let page = page(&fickle.pair.web).await;
        let timeouts = |family| count(&page, family, &["error=\"timeout\""]);
        (timeouts("route_response_total"), timeouts("route_actual_response_total")) == (1, 1)
    })
    .await;
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

//! Service profiles: what their routes and overrides do to requests (contract 3.3, 3.4, 3.11), as applications see it.

mod overrides;
mod retries;

use std::time::Duration;

use causeway::model::Profile;
use causeway::model::matching::Pattern;
use causeway::model::outbound::OutboundProtocol;
use causeway::model::service_profile::{
    Condition, RequestMatch, ResponseClass, RetryBudget, Route, ServiceProfile, StatusRange,
};
use http::Method;
use tokio::time::Instant;

use crate::client::{Answer, Kind, full};
use crate::every_kind;
use crate::fickle::{Fickle, Reply};
use crate::metrics::{count, page};
use crate::pair::PROFILED;
use crate::policies::{add, outbound};
use crate::sandbox::until;

const MS: Duration = Duration::from_millis(1);

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
async fn what_is_looked_at_of_a_call_comes_in_the_route_s_time_too() {
    let short = Route { timeout: Some(300 * MS), retryable: true, ..route("short", "/.*") };
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

//! What a profile sends again, and the budget for it.

use std::time::Duration;

use causeway::model::Endpoint;
use causeway::model::service_profile::{Condition, ResponseClass, RetryBudget, Route, StatusRange};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::{DST, MS, budget, post, profile, profiled, route};
use crate::application::App;
use crate::client::Kind;
use crate::every_kind;
use crate::fickle::{BUSY, Reply, is_busy};
use crate::metrics::{count, page};
use crate::policies::add;
use crate::sandbox::until;

/// A route whose failures are sent again.
fn retryable(path: &str) -> Route {
    Route { retryable: true, ..route("again", path) }
}

every_kind! {
    async fn a_failure_of_a_retryable_route_is_sent_again_with_its_body_until_it_is_none(kind: Kind) {
        let fickle = profiled(&profile(vec![retryable("/.*")], budget(0.0, 10)), &[BUSY, BUSY, Reply::Echo]).await;
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
        let fickle = profiled(&profile(vec![retryable("/other")], budget(0.0, 10)), &[BUSY]).await;
        assert!(is_busy(kind, &post(&fickle, kind, body).await));
        assert_eq!(fickle.sent().len(), 1);
        let fickle = profiled(&profile(vec![retryable("/.*")], budget(0.0, 10)), &[BUSY]).await;
        assert!(is_busy(kind, &post(&fickle, kind, vec![7; 64 * 1024 + 1]).await));
        assert_eq!(fickle.sent().len(), 1);
    }

    async fn what_cannot_be_sent_again_costs_the_budget_nothing(kind: Kind) {
        let one = RetryBudget { ratio: 0.0, per_second: 1, ttl: Duration::from_secs(60) };
        let fickle = profiled(&profile(vec![retryable("/.*")], one), &[BUSY]).await;
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
        // One second's worth, for as long as this test can take.
        let few = RetryBudget { ratio: 0.0, per_second: 1, ttl: Duration::from_secs(60) };
        let fickle = profiled(&profile(vec![route("x", "/x"), retryable("/.*")], few), &[BUSY]).await;
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
        // Twenty, for as long as this test can take.
        let few = RetryBudget { ratio: 0.0, per_second: 1, ttl: Duration::from_secs(20) };
        let fickle = profiled(&profile(vec![retryable("/.*")], few), &[BUSY]).await;
        let asked = (0..CLIENTS).map(|_| post(&fickle, kind, vec![7; 50_000]));
        let answers = futures_util::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| is_busy(kind, answer)), "{answers:?}");
        assert_eq!(fickle.begun(), CLIENTS + 20);
    }

    async fn classes_of_responses_say_what_is_sent_again(kind: Kind) {
        let class = |min, max, failure| ResponseClass { condition: Condition::Is(StatusRange { min, max }), failure };
        let responses = vec![class(418, 418, true), class(500, 599, false)];
        let said = profile(vec![Route { responses, ..retryable("/.*") }], budget(0.0, 10));
        // A call says 200, which is of no class: its code counts.
        let fickle = profiled(&said, &[Reply::Fails(418, "14"), Reply::Echo]).await;
        post(&fickle, kind, b"body".to_vec()).await.assert_answered();
        assert_eq!(fickle.sent().len(), 2);
        let fickle = profiled(&said, &[Reply::Fails(503, "5"), Reply::Echo]).await;
        let answer = post(&fickle, kind, b"body".to_vec()).await;
        assert!(answer.status == 503 || answer.header("grpc-status") == Some("5"), "{answer:?}");
        assert_eq!(fickle.sent().len(), 1);
    }

    async fn the_time_of_a_route_is_that_of_all_attempts_together(kind: Kind) {
        let short = Route { timeout: Some(500 * MS), ..retryable("/.*") };
        let fickle = profiled(&profile(vec![short], budget(0.0, 100)), &[BUSY, BUSY, Reply::Never]).await;
        let began = Instant::now();
        post(&fickle, kind, b"body".to_vec()).await.assert_refused(kind, 504, "4");
        assert!(began.elapsed() >= 500 * MS && began.elapsed() < 3_000 * MS, "{:?}", began.elapsed());
        assert_eq!(fickle.sent().len(), 3);
    }

    async fn a_connection_that_breaks_is_a_failure_to_try_again_for(kind: Kind) {
        let fickle = profiled(&profile(vec![retryable("/.*")], budget(0.0, 3)), &[Reply::Echo]).await;
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
}

#[tokio::test]
async fn a_call_that_fails_in_its_trailers_is_sent_again() {
    let replies = [Reply::Trails("14"), Reply::Trails("13"), Reply::Trails("5")];
    let fickle = profiled(&profile(vec![retryable("/.*")], budget(0.0, 10)), &replies).await;
    let answer = post(&fickle, Kind::Grpc, b"body".to_vec()).await;
    assert_eq!(answer.trailer("grpc-status"), Some("5"), "that is no failure: {answer:?}");
    assert_eq!(fickle.sent().len(), 3);
}

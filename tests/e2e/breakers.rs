//! Endpoints that fail are left alone for a while, then tried with one request (contract 3.10).

use std::time::Duration;

use causeway::backoff::Backoff;
use causeway::model::ResourceRef;
use causeway::model::outbound::{Breaker, Distribution, HttpRoute, HttpRoutes, HttpRule, SuccessRate};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::Kind;
use crate::every_kind;
use crate::fickle::{BUSY, Fickle, Reply, is_busy};
use crate::pair::BB;
use crate::policies::{add, balance};
use crate::sandbox::until;

const MS: Duration = Duration::from_millis(1);
const LIMITED: Reply = Reply::Fails(429, "8");
/// Before an endpoint is tried again.
const PAUSE: Duration = Duration::from_millis(600);

fn pauses() -> Backoff {
    Backoff::new(PAUSE, PAUSE, 0.0).unwrap()
}

fn consecutive(max_failures: u32) -> Breaker {
    Breaker::ConsecutiveFailures { max_failures, backoff: pauses() }
}

fn unified(threshold: f64, min_requests: u32) -> Breaker {
    let success_rate = SuccessRate { threshold, window: Duration::from_secs(10), min_requests };
    Breaker::Unified { success_rate, max_failures: 0, backoff: pauses(), honors_retry_after: false }
}

async fn guarded(kind: Kind, breaker: Breaker, replies: &[Reply]) -> Fickle {
    let fickle = Fickle::new(replies).await;
    let rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![balance(BB)]));
    let routes = vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])];
    fickle.routes(kind, HttpRoutes { routes, breaker: Some(breaker) });
    fickle
}

every_kind! {
    async fn an_endpoint_that_fails_again_and_again_gets_no_more_requests(kind: Kind) {
        let fickle = guarded(kind, consecutive(5), &[BUSY]).await;
        let pair = &fickle.pair;
        let mut client = pair.client(kind).await;
        let began = Instant::now();
        for _ in 0..5 {
            assert!(is_busy(kind, &client.get("/").await));
        }
        pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
        let mut answered = 0;
        for _ in 0..95 {
            answered += usize::from(client.get("/").await.is_answered() && pair.app.seen().len() == 1);
        }
        // It is tried again after each pause, and fails again.
        let tries = usize::try_from(began.elapsed().as_millis() / PAUSE.as_millis()).unwrap();
        assert!((5..=5 + tries).contains(&fickle.begun()), "{} in {:?}", fickle.begun(), began.elapsed());
        assert_eq!(answered + fickle.begun(), 100);
    }

    async fn an_endpoint_is_tried_with_one_request_and_used_again_if_that_succeeds(kind: Kind) {
        let slow = Reply::Trickles(1, 300 * MS);
        let fickle = guarded(kind, consecutive(2), &[BUSY, BUSY, slow, Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        for _ in 0..2 {
            assert!(!client.get("/").await.is_refused(kind, 504, "4"));
        }
        let mut waiting = JoinSet::new();
        for _ in 0..5 {
            let mut client = fickle.pair.client(kind).await;
            waiting.spawn(async move { client.get("/").await });
        }
        sleep(PAUSE / 2).await;
        assert_eq!(fickle.begun(), 2, "it is left alone");
        until("one request", async || fickle.begun() == 3).await;
        sleep(150 * MS).await;
        assert_eq!(fickle.begun(), 3, "and no other while that is under way");
        while let Some(answer) = waiting.join_next().await {
            let answer = answer.unwrap();
            assert!(answer.header("x-app").is_some() && answer.header("grpc-status").is_none(), "{answer:?}");
        }
        assert_eq!(fickle.begun(), 7);
    }

    async fn a_request_that_is_given_up_leaves_its_place_to_another(kind: Kind) {
        let fickle = guarded(kind, consecutive(1), &[BUSY, Reply::Never, Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        client.get("/").await;
        {
            let mut client = fickle.pair.client(kind).await;
            let waiting = tokio::spawn(async move { client.get("/").await });
            until("a request", async || fickle.begun() == 2).await;
            waiting.abort();
        }
        until("an answer", async || fickle.pair.client(kind).await.get("/").await.is_answered()).await;
    }

    async fn too_many_requests_trip_the_unified_breaker_alone(kind: Kind) {
        for (breaker, seen) in [(unified(0.5, 4), 4), (consecutive(4), 10)] {
            let fickle = guarded(kind, breaker, &[LIMITED]).await;
            let pair = &fickle.pair;
            let mut client = pair.client(kind).await;
            for n in 0..10 {
                if n == seen {
                    // Somebody must answer the rest.
                    let both = vec![pair.bb.endpoint(fickle.app.addr), pair.bb.endpoint(pair.app.addr)];
                    pair.world.script().endpoints(BB, &add(both));
                    pair.world.script().endpoints.until_opened(BB, 1).await;
                }
                client.get("/").await;
            }
            let tripped = seen < 10;
            assert_eq!(fickle.begun() < 10, tripped, "{breaker:?}: {}", fickle.begun());
            assert_eq!(pair.app.seen().is_empty(), !tripped);
        }
    }

    async fn where_all_are_left_alone_requests_fail_fast(kind: Kind) {
        let breaker = Breaker::ConsecutiveFailures {
            max_failures: 1,
            backoff: Backoff::new(60_000 * MS, 60_000 * MS, 0.0).unwrap(),
        };
        let hasty = [("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "100ms")];
        let fickle = Fickle::with(&hasty, &[BUSY]).await;
        let rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![balance(BB)]));
        let routes = vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])];
        fickle.routes(kind, HttpRoutes { routes, breaker: Some(breaker) });
        fickle.pair.get(kind).await;
        fickle.pair.get(kind).await.assert_refused(kind, 504, "4");
        fickle.pair.get(kind).await.assert_refused(kind, 503, "14");
        assert_eq!(fickle.begun(), 1);
    }
}

#[tokio::test]
async fn calls_are_judged_by_their_trailers() {
    let replies = [
        Reply::Trails("14"),
        Reply::Trails("5"),
        Reply::Trails("14"),
        Reply::Trails("13"),
        Reply::Trails("0"),
    ];
    let fickle = guarded(Kind::Grpc, consecutive(2), &replies).await;
    let mut client = fickle.pair.client(Kind::Grpc).await;
    for _ in 0..4 {
        client.get("/").await;
    }
    // That something is not found is no failure of the endpoint.
    let began = Instant::now();
    assert_eq!(client.get("/").await.trailer("grpc-status"), Some("0"));
    assert!(began.elapsed() > PAUSE / 2, "it waited for its turn: {:?}", began.elapsed());
    assert_eq!(fickle.begun(), 5);
}

//! Requests that are sent again (contract 3.11): as often as the application sees them.

use std::time::Duration;

use bytes::Bytes;
use causeway::backoff::Backoff;
use causeway::model::Endpoint;
use causeway::model::filter::Ratio;
use causeway::model::outbound::{Distribution, HttpRule, Retry};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Answer, Client, Kind, full, with_trailers};
use crate::every_kind;
use crate::fickle::{BUSY, Fickle, Reply, failure, is_busy};
use crate::metrics::{count, page};
use crate::pair::BB;
use crate::policies::{add, balance, forward};
use crate::sandbox::until;

const MS: Duration = Duration::from_millis(1);

fn retry(kind: Kind, limit: u16) -> Retry {
    let (statuses, codes) = if kind == Kind::Grpc { (vec![], vec![14]) } else { (vec![500..=504], vec![]) };
    Retry { limit, max_body: 64 * 1024, statuses, codes, timeout: None, backoff: None }
}

async fn retried(kind: Kind, retry: Retry, replies: &[Reply]) -> Fickle {
    let fickle = Fickle::new(replies).await;
    fickle.rule(kind, rule(Some(retry)));
    fickle
}

fn rule(retry: Option<Retry>) -> HttpRule {
    let mut rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![balance(BB)]));
    rule.terms.retry = retry;
    rule
}

async fn post(client: &mut Client, body: impl Into<Bytes>) -> Answer {
    let req = client.request("/").method("POST").body(full(body)).unwrap();
    client.send(req).await
}

/// The sum of one of the families of routes.
fn of_routes(kind: Kind, page: &str, what: &str, label: &str) -> u64 {
    let spoken = if kind == Kind::Grpc { "grpc" } else { "http" };
    count(page, &format!("outbound_{spoken}_route_{what}_total"), &[label])
}

every_kind! {
    async fn a_failure_that_policy_names_is_tried_again_with_the_same_body(kind: Kind) {
        let fickle = retried(kind, retry(kind, 2), &[BUSY, BUSY, Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        let body = "b".repeat(60_000);
        let answer = post(&mut client, body.clone()).await;
        answer.assert_answered();
        assert_eq!(answer.body, body);
        let sent = fickle.sent();
        assert_eq!(sent.iter().map(|sent| sent.body == body).collect::<Vec<_>>(), [true; 3]);
        let same = |name: &str| sent.iter().all(|one| one.headers.get(name) == sent[0].headers.get(name));
        assert!(same("host") && same("content-type") && same("l5d-client-id"));
        let spoken = if kind == Kind::Grpc { "grpc" } else { "http" };
        until("their counts", async || {
            let page = page(&fickle.pair.web).await;
            let count = |what: &str, label| count(&page, &format!("outbound_{spoken}_route_{what}"), &[label]);
            count("retry_requests_total", "") == 2
                && count("retry_successes_total", "") == 1
                && count("request_statuses_total", "") == 1
                && count("backend_requests_total", "") == 3
                && count("backend_response_statuses_total", if kind == Kind::Grpc { "UNAVAILABLE" } else { "503" }) == 2
        }).await;
    }

    async fn what_fails_as_often_as_it_may_be_sent_is_passed_on(kind: Kind) {
        for limit in [0, 1, 3] {
            let fickle = retried(kind, retry(kind, limit), &[BUSY]).await;
            let answer = post(&mut fickle.pair.client(kind).await, "body").await;
            assert!(is_busy(kind, &answer), "{answer:?}");
            assert_eq!(fickle.sent().len(), usize::from(limit) + 1);
            let spoken = if kind == Kind::Grpc { "grpc" } else { "http" };
            until("its count", async || {
                let name = format!("outbound_{spoken}_route_retry_limit_exceeded_total{{");
                page(&fickle.pair.web).await.lines().any(|line| line.starts_with(&name) && line.ends_with(" 1"))
            }).await;
        }
    }

    async fn a_failure_that_policy_does_not_name_is_passed_on_at_once(kind: Kind) {
        let fickle = retried(kind, retry(kind, 2), &[Reply::Fails(429, "8")]).await;
        let answer = post(&mut fickle.pair.client(kind).await, "body").await;
        assert!(answer.status == 429 || answer.header("grpc-status") == Some("8"), "{answer:?}");
        assert_eq!(fickle.sent().len(), 1);
    }

    async fn a_body_beyond_the_limit_or_not_yet_read_is_sent_once(kind: Kind) {
        let fickle = retried(kind, retry(kind, 2), &[BUSY]).await;
        let mut client = fickle.pair.client(kind).await;
        assert!(is_busy(kind, &post(&mut client, vec![7; 64 * 1024 + 1]).await));
        assert_eq!(fickle.sent().len(), 1);
        let answer = client.upload("/", 5, vec![7; 16 * 1024], Duration::ZERO).await;
        assert!(is_busy(kind, &answer), "{answer:?}");
        assert_eq!(fickle.sent().len(), 1);
        // The limit itself.
        assert!(is_busy(kind, &post(&mut client, vec![7; 64 * 1024]).await));
        assert_eq!(fickle.sent().len(), 3);
    }

    async fn trailers_of_a_request_are_sent_again_too(kind: Kind) {
        // HTTP/1 clients of this library send none.
        if kind == Kind::Http1 {
            return;
        }
        let fickle = retried(kind, retry(kind, 1), &[BUSY, Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        let req = client.request("/").method("POST").body(with_trailers("body")).unwrap();
        client.send(req).await.assert_answered();
        assert_eq!(fickle.sent().iter().map(|sent| sent.body.clone()).collect::<Vec<_>>(), ["body", "body"]);
    }

    async fn an_attempt_that_is_not_answered_in_time_gives_way_to_another(kind: Kind) {
        let timeout = Some(200 * MS);
        let fickle = retried(kind, Retry { timeout, ..retry(kind, 1) }, &[Reply::Never, Reply::Echo]).await;
        post(&mut fickle.pair.client(kind).await, "body").await.assert_answered();
        assert_eq!(fickle.sent().len(), 2);
        // The last attempt may take longer.
        let slow = Reply::Trickles(1, 600 * MS);
        let fickle = retried(kind, Retry { timeout, ..retry(kind, 1) }, &[Reply::Never, slow]).await;
        assert_eq!(post(&mut fickle.pair.client(kind).await, "body").await.body, "piece");
        assert_eq!(fickle.sent().len(), 2);
        // One whose body cannot be kept has one attempt, and no longer for it.
        let fickle = retried(kind, Retry { timeout, ..retry(kind, 1) }, &[Reply::Never]).await;
        let answer = post(&mut fickle.pair.client(kind).await, vec![7; 100_000]).await;
        answer.assert_refused(kind, 504, "4");
        assert_eq!(answer.header("causeway-reason"), Some("response-headers-timeout"));
        assert_eq!(fickle.sent().len(), 1);
    }

    async fn the_whole_takes_no_longer_than_a_request_may(kind: Kind) {
        let fickle = Fickle::new(&[BUSY]).await;
        let mut rule = rule(Some(Retry {
            backoff: Some(Backoff::new(300 * MS, 300 * MS, 0.0).unwrap()),
            ..retry(kind, 100)
        }));
        rule.terms.timeouts.request = Some(1_000 * MS);
        fickle.rule(kind, rule);
        post(&mut fickle.pair.client(kind).await, "body").await.assert_refused(kind, 504, "4");
        let sent = fickle.sent();
        assert!((2..=4).contains(&sent.len()), "{}", sent.len());
        assert!(sent.windows(2).all(|two| two[1].at - two[0].at >= 300 * MS), "with pauses");
    }

    async fn an_attempt_counts_once_at_its_backend_whatever_comes_after_it(kind: Kind) {
        let sum = |page: &str, what: &str, label| of_routes(kind, page, what, label);
        // A filter answers every other attempt.
        const REQUESTS: u64 = 30;
        let fickle = Fickle::new(&[BUSY]).await;
        let mut failing = rule(Some(retry(kind, 5)));
        failing.filters = vec![failure(kind, Ratio::new(1, 2).unwrap())];
        fickle.rule(kind, failing);
        let mut client = fickle.pair.client(kind).await;
        for _ in 0..REQUESTS {
            post(&mut client, "body").await;
        }
        let sent = fickle.sent().len() as u64;
        until("their counts", async || {
            let page = page(&fickle.pair.web).await;
            sum(&page, "request_statuses", "") == REQUESTS
                && sum(&page, "backend_requests", "") == sent
                && sum(&page, "backend_response_statuses", if kind == Kind::Grpc { "UNAVAILABLE" } else { "503" }) == sent
                && sum(&page, "backend_response_statuses", "") == sent
        }).await;
    }

    async fn where_time_is_up_between_attempts_the_last_one_counts_as_it_was_answered(kind: Kind) {
        let sum = |page: &str, what: &str, label| of_routes(kind, page, what, label);
        let fickle = Fickle::new(&[BUSY]).await;
        let backoff = Some(Backoff::new(5_000 * MS, 5_000 * MS, 0.0).unwrap());
        let mut hasty = rule(Some(Retry { backoff, ..retry(kind, 5) }));
        hasty.terms.timeouts.request = Some(300 * MS);
        fickle.rule(kind, hasty);
        post(&mut fickle.pair.client(kind).await, "body").await.assert_refused(kind, 504, "4");
        let (none, busy) = match kind {
            Kind::Grpc => ("grpc_status=\"UNKNOWN\",error=\"REQUEST_TIMEOUT\"", "grpc_status=\"UNAVAILABLE\",error=\"\""),
            _ => ("http_status=\"\",error=\"REQUEST_TIMEOUT\"", "http_status=\"503\",error=\"\""),
        };
        until("its counts", async || {
            let page = page(&fickle.pair.web).await;
            sum(&page, "request_statuses", "") == 1
                && sum(&page, "request_statuses", none) == 1
                && sum(&page, "backend_response_statuses", "") == 1
                && sum(&page, "backend_response_statuses", busy) == 1
        }).await;
    }

    async fn what_cannot_be_sent_again_does_not_wait_for_it(kind: Kind) {
        let backoff = Some(Backoff::new(5_000 * MS, 5_000 * MS, 0.0).unwrap());
        let fickle = retried(kind, Retry { backoff, max_body: 1_000, ..retry(kind, 2) }, &[BUSY]).await;
        let mut client = fickle.pair.client(kind).await;
        let began = Instant::now();
        let answer = client.upload("/", 1, vec![7; 1_001], Duration::ZERO).await;
        assert!(is_busy(kind, &answer), "{answer:?}");
        assert!(began.elapsed() < 3_000 * MS, "{:?}", began.elapsed());
    }

    async fn an_endpoint_that_cannot_be_reached_counts_as_the_answer_it_would_be(kind: Kind) {
        let fickle = Fickle::new(&[Reply::Echo]).await;
        let gone = fickle.pair.bb.listen().await.local_addr().unwrap();
        let mut dead = rule(Some(retry(kind, 2)));
        dead.backends = HttpRule::new(vec![], Distribution::FirstAvailable(vec![forward(Endpoint::plain(gone))])).backends;
        fickle.rule(kind, dead);
        // Without a body: of another nothing would have been read, and it would be sent once.
        fickle.pair.get(kind).await.assert_refused(kind, 502, "14");
        let spoken = if kind == Kind::Grpc { "grpc" } else { "http" };
        until("its attempts", async || {
            let name = format!("outbound_{spoken}_route_retry_requests_total{{");
            page(&fickle.pair.web).await.lines().any(|line| line.starts_with(&name) && line.ends_with(" 2"))
        }).await;
    }

    async fn a_request_asks_for_retries_and_timeouts_where_it_may(kind: Kind) {
        for allowed in [true, false] {
            let fickle = Fickle::new(&[Reply::Fails(418, "1"), Reply::Never, Reply::Echo]).await;
            let mut rule = rule(None);
            rule.allow_headers = allowed;
            fickle.rule(kind, rule);
            let mut client = fickle.pair.client(kind).await;
            let headers = [
                ("l5d-retry-http", "418"),
                ("l5d-retry-grpc", "cancelled"),
                ("l5d-retry-limit", "2"),
                ("l5d-retry-timeout", "300ms"),
                ("l5d-timeout", "9s"),
            ];
            let req = headers.iter().fold(client.request("/"), |req, (name, value)| req.header(*name, *value));
            let answer = client.send(req.method("POST").body(full("body")).unwrap()).await;
            let sent = fickle.sent();
            let left = sent.iter().flat_map(|sent| sent.headers.keys()).any(|name| name.as_str().starts_with("l5d-retry"));
            match allowed {
                true => answer.assert_answered(),
                false => assert!(answer.status == 418 || answer.header("grpc-status") == Some("1"), "{answer:?}"),
            }
            assert_eq!((sent.len(), left), if allowed { (3, false) } else { (1, true) });
        }
    }

    async fn a_storm_of_failures_costs_what_policy_allows_and_no_more(kind: Kind) {
        const CLIENTS: usize = 30;
        let fickle = retried(kind, retry(kind, 2), &[BUSY]).await;
        let mut clients = JoinSet::new();
        for n in 0..CLIENTS {
            let mut client = fickle.pair.client(kind).await;
            // Every third is too long to be kept.
            let body = if n % 3 == 0 { vec![7; 2 << 20] } else { vec![7; 50_000] };
            clients.spawn(async move { post(&mut client, body).await });
        }
        while let Some(answer) = clients.join_next().await {
            assert!(is_busy(kind, &answer.unwrap()));
        }
        assert_eq!(fickle.begun(), CLIENTS / 3 + 3 * (CLIENTS - CLIENTS / 3));
    }
}

#[tokio::test]
async fn what_an_endpoint_refuses_unread_goes_elsewhere_whatever_the_route_says() {
    for kind in [Kind::Http2, Kind::Grpc] {
        let fickle = retried(kind, retry(kind, 0), &[Reply::Refuses, Reply::Refuses, Reply::Echo]).await;
        fickle.pair.world.script().endpoints(BB, &add(vec![Endpoint::plain(fickle.app.addr)]));
        post(&mut fickle.pair.client(kind).await, "body").await.assert_answered();
        assert_eq!(fickle.sent().iter().map(|sent| sent.body.clone()).collect::<Vec<_>>(), ["body"; 3]);
        let page = page(&fickle.pair.web).await;
        let counts =
            |line: &&str| line.contains("_retry_") && !line.starts_with('#') && !line.ends_with(" 0");
        assert_eq!(page.lines().find(counts), None, "that is no retry");
    }
}

#[tokio::test]
async fn who_is_refused_by_all_goes_elsewhere_three_times_beside_what_the_route_says() {
    for kind in [Kind::Http2, Kind::Grpc] {
        for limit in [0, 2] {
            let fickle = retried(kind, retry(kind, limit), &[Reply::Refuses]).await;
            fickle.pair.world.script().endpoints(BB, &add(vec![Endpoint::plain(fickle.app.addr)]));
            let mut client = fickle.pair.client(kind).await;
            let req = client.request("/").method("POST").body(full("body")).unwrap();
            assert!(client.try_send(req).await.is_err(), "it is told so, by the stream");
            assert_eq!(fickle.sent().len(), 1 + usize::from(limit) + 3, "a storm of them is bounded");
        }
    }
}

#[tokio::test]
async fn who_waited_in_vain_and_finds_nobody_ready_again_is_turned_away() {
    let kind = Kind::Http2;
    let hasty = [("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "100ms")];
    for (limit, status, code) in [(0, 504, "4"), (1, 503, "14")] {
        let fickle = Fickle::with(&hasty, &[Reply::Echo]).await;
        fickle.pair.world.script().endpoints(BB, &crate::policies::none());
        fickle.rule(kind, rule(Some(retry(kind, limit))));
        fickle.pair.get(kind).await.assert_refused(kind, status, code);
    }
}

#[tokio::test]
async fn a_code_in_trailers_that_follow_at_once_is_tried_again() {
    let kind = Kind::Grpc;
    let fickle =
        retried(kind, retry(kind, 2), &[Reply::Trails("14"), Reply::Trails("14"), Reply::Echo]).await;
    let mut client = fickle.pair.client(kind).await;
    let answer = post(&mut client, "body").await;
    assert_eq!((answer.trailer("grpc-status"), answer.body.as_ref()), (Some("0"), b"body".as_slice()));
    assert_eq!(fickle.sent().len(), 3);
    let fickle = retried(kind, retry(kind, 1), &[Reply::Trails("14")]).await;
    let answer = post(&mut fickle.pair.client(kind).await, "body").await;
    assert_eq!(answer.trailer("grpc-status"), Some("14"), "looked at, and passed on: {answer:?}");
    assert_eq!(fickle.sent().len(), 2);
}

#[tokio::test]
async fn what_is_looked_at_of_a_call_comes_before_a_pause_is_too_long() {
    let kind = Kind::Grpc;
    let fickle = Fickle::new(&[Reply::Trickles(2, 1_500 * MS)]).await;
    let mut idle = rule(Some(retry(kind, 1)));
    idle.terms.timeouts.idle = Some(400 * MS);
    fickle.rule(kind, idle);
    let began = Instant::now();
    let answer = post(&mut fickle.pair.client(kind).await, "body").await;
    answer.assert_refused(kind, 504, "4");
    assert_eq!(answer.header("causeway-reason"), Some("idle-timeout"));
    assert!(began.elapsed() >= 400 * MS && began.elapsed() < 1_500 * MS, "{:?}", began.elapsed());
    until("its counts", async || {
        let page = page(&fickle.pair.web).await;
        let ends = "grpc_status=\"UNKNOWN\",error=\"IDLE_TIMEOUT\"} 1";
        let counted =
            |family: &str| page.lines().any(|line| line.starts_with(family) && line.ends_with(ends));
        counted("outbound_grpc_route_request_statuses_total{")
            && counted("outbound_grpc_route_backend_response_statuses_total{")
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_looked_at_passes_on_whole() {
    let kind = Kind::Grpc;
    let fickle = retried(kind, retry(kind, 1), &[Reply::Trickles(3, 50 * MS), Reply::Echo]).await;
    let mut client = fickle.pair.client(kind).await;
    assert_eq!(post(&mut client, "body").await.body, "piece".repeat(3));
    let body = vec![7; 300_000];
    let answer = post(&mut client, body.clone()).await;
    assert_eq!((answer.body.as_ref(), answer.trailer("grpc-status")), (body.as_slice(), Some("0")));
}

#[tokio::test]
async fn a_retry_does_not_wait_for_a_backend_that_is_not_ready() {
    let kind = Kind::Http2;
    let backoff = Some(Backoff::new(300 * MS, 300 * MS, 0.0).unwrap());
    let fickle = retried(kind, Retry { backoff, ..retry(kind, 2) }, &[BUSY]).await;
    let mut client = fickle.pair.client(kind).await;
    let (answer, ()) = tokio::join!(post(&mut client, "body"), async {
        until("the first attempt", async || fickle.begun() == 1).await;
        sleep(50 * MS).await;
        fickle.pair.world.script().endpoints(BB, &crate::policies::none());
    });
    assert!(is_busy(kind, &answer), "what came of the first: {answer:?}");
    assert_eq!(fickle.sent().len(), 1);
    until("its count", async || {
        let name = "outbound_http_route_retry_overflow_total{";
        page(&fickle.pair.web).await.lines().any(|line| line.starts_with(name) && line.ends_with(" 1"))
    })
    .await;
}

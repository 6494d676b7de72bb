//! How long requests may take (contract 3.11): what their senders are told, and what the application sees.

use std::time::Duration;

use causeway::model::outbound::{Distribution, HttpRule, Timeouts};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::client::{Client, Kind};
use crate::every_kind;
use crate::fickle::{Fickle, Reply};
use crate::metrics::page;
use crate::pair::BB;
use crate::policies::balance;
use crate::sandbox::{until, within};

const MS: Duration = Duration::from_millis(1);
/// Between what comes in time and what does not.
const LIMIT: Duration = Duration::from_millis(400);

fn limits(request: Option<Duration>, response: Option<Duration>, idle: Option<Duration>) -> Timeouts {
    Timeouts { request, response, idle }
}

async fn limited(kind: Kind, timeouts: Timeouts, replies: &[Reply]) -> Fickle {
    let fickle = Fickle::new(replies).await;
    let mut rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![balance(BB)]));
    rule.terms.timeouts = timeouts;
    fickle.rule(kind, rule);
    fickle
}

/// How an answer ends whose head and first piece have come: the code in trailers, or none where it broke.
async fn ending(client: &mut Client, path: &str) -> Result<Option<String>, hyper::Error> {
    let req = client.request(path).body(crate::client::empty()).unwrap();
    let body = within("the head", client.start(req)).await.unwrap().into_body();
    let body = within("the end", body.collect()).await?;
    let code = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
    Ok(code.map(|code| code.to_str().unwrap().to_owned()))
}

every_kind! {
    async fn a_request_without_an_answer_in_time_is_504_and_its_connection_stays(kind: Kind) {
        for (timeouts, reason, label) in [
            (limits(Some(LIMIT), None, None), "request-timeout", "REQUEST_TIMEOUT"),
            (limits(None, Some(LIMIT), None), "response-timeout", "RESPONSE_STREAM_TIMEOUT"),
        ] {
            let fickle = limited(kind, timeouts, &[Reply::Never, Reply::Echo]).await;
            let mut client = fickle.pair.client(kind).await;
            let began = Instant::now();
            let answer = client.get("/").await;
            answer.assert_refused(kind, 504, "4");
            assert!(began.elapsed() >= LIMIT && began.elapsed() < 10 * LIMIT, "{:?}", began.elapsed());
            assert_eq!(answer.header("causeway-reason"), Some(reason));
            assert_eq!(answer.header("connection"), None);
            client.get("/").await.assert_answered();
            assert_eq!(fickle.sent().len(), 2, "it had arrived, once");
            until("its count", async || {
                let label = format!("error=\"{label}\"}} 1");
                let page = page(&fickle.pair.web).await;
                let count = |family: &str| page.lines().filter(|line| line.starts_with(family) && line.ends_with(&label)).count();
                let spoken = if kind == Kind::Grpc { "grpc" } else { "http" };
                count(&format!("outbound_{spoken}_route_request_statuses_total{{")) == 1
                    && count(&format!("outbound_{spoken}_route_backend_response_statuses_total{{")) == 1
            }).await;
        }
    }

    async fn the_time_for_an_answer_begins_with_the_request_s_end(kind: Kind) {
        let fickle = limited(kind, limits(None, Some(LIMIT), None), &[Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        // Longer than the limit in all.
        client.upload("/", 5, "piece", LIMIT / 4).await.assert_answered();
        let fickle = limited(kind, limits(Some(LIMIT), None, None), &[Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        client.upload("/", 5, "piece", LIMIT / 4).await.assert_refused(kind, 504, "4");
        assert_eq!(fickle.sent().len(), 0);
    }

    async fn an_answer_that_takes_too_long_is_cut_and_grpc_told_in_trailers(kind: Kind) {
        for timeouts in [
            limits(Some(LIMIT), None, None),
            limits(None, Some(LIMIT), None),
            limits(None, None, Some(LIMIT)),
        ] {
            let fickle = limited(kind, timeouts, &[Reply::Stalls]).await;
            let mut client = fickle.pair.client(kind).await;
            let ended = ending(&mut client, "/").await;
            match kind {
                Kind::Grpc => assert_eq!(ended.unwrap().as_deref(), Some("4"), "{timeouts:?}"),
                _ => assert!(ended.is_err(), "{timeouts:?}: {ended:?}"),
            }
        }
    }

    async fn what_keeps_passing_is_not_idle(kind: Kind) {
        let idle = limits(None, None, Some(LIMIT));
        let fickle = limited(kind, idle, &[Reply::Trickles(6, LIMIT / 4), Reply::Echo]).await;
        let mut client = fickle.pair.client(kind).await;
        let began = Instant::now();
        assert!(ending(&mut client, "/").await.is_ok());
        assert!(began.elapsed() > LIMIT);
        client.upload("/", 6, "piece", LIMIT / 4).await.assert_answered();
        // A request that stops in the middle.
        let answer = client.upload("/", 2, "piece", 3 * LIMIT).await;
        answer.assert_refused(kind, 504, "4");
        assert_eq!(answer.header("causeway-reason"), Some("idle-timeout"));
    }

    async fn whoever_waits_for_an_endpoint_waits_no_longer_than_that(kind: Kind) {
        let fickle = limited(kind, limits(Some(LIMIT), None, None), &[Reply::Echo]).await;
        fickle.pair.world.script().endpoints(BB, &crate::policies::none());
        let mut client = fickle.pair.client(kind).await;
        let began = Instant::now();
        let answer = client.get("/").await;
        answer.assert_refused(kind, 504, "4");
        assert_eq!(answer.header("causeway-reason"), Some("request-timeout"));
        assert!(began.elapsed() < 2_000 * MS, "less than the failfast timeout: {:?}", began.elapsed());
    }

    async fn a_policy_s_change_of_timeouts_counts_for_the_next_request(kind: Kind) {
        let fickle = limited(kind, limits(Some(LIMIT), None, None), &[Reply::Never, Reply::Trickles(4, LIMIT / 2)]).await;
        let mut client = fickle.pair.client(kind).await;
        client.get("/").await.assert_refused(kind, 504, "4");
        fickle.rule(kind, HttpRule::new(vec![], Distribution::FirstAvailable(vec![balance(BB)])));
        until("an answer that takes its time", async || {
            let mut client = fickle.pair.client(kind).await;
            let req = client.request("/").body(crate::client::empty()).unwrap();
            client.try_send(req).await.is_ok_and(|answer| answer.body == "piece".repeat(4))
        }).await;
    }
}

//! Requests whose connection dies before an answer comes (contract 3.11): as often as endpoints see them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use causeway::model::matching::Pattern;
use causeway::model::outbound::{Distribution, HttpRoute, HttpRule, Retry, Timeouts};
use causeway::model::service_profile::{Condition, RequestMatch, RetryBudget, Route, ServiceProfile};
use causeway::model::{Endpoint, Profile, ResourceRef};
use futures_util::future::join_all;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Notify;

use crate::application::App;
use crate::client::{Answer, Kind, full};
use crate::every_kind;
use crate::fickle::spoken;
use crate::metrics::{count, page};
use crate::pair::{BB, PROFILED, Pair};
use crate::policies::{add, balance, outbound};
use crate::sandbox::{Sandbox, until};

/// How often a request without retries of its own is sent at most.
const SENDINGS: usize = 4;

/// Endpoints that all drop the connection of each request.
struct Droppers {
    pair: Pair,
    apps: Vec<App>,
    /// Requests that they were sent.
    begun: Arc<AtomicUsize>,
}

impl Droppers {
    async fn new(count: usize) -> Self {
        Self::with(count, &[]).await
    }

    /// What this profile says of the service.
    async fn profiled(count: usize, profile: &Profile) -> Self {
        let droppers = Self::with(count, &[PROFILED]).await;
        droppers.serve(DST, 0..count);
        droppers.pair.world.script().profile(droppers.pair.service, profile);
        droppers
    }

    async fn with(count: usize, web: &[(&str, &str)]) -> Self {
        let pair = Pair::with(Sandbox::new().await, web, &[]).await;
        let begun = Arc::<AtomicUsize>::default();
        let apps = join_all((0..count).map(|_| dropper(&pair, &begun))).await;
        Self { pair, apps, begun }
    }

    fn serve(&self, authority: &str, apps: std::ops::Range<usize>) {
        let endpoints = self.apps[apps].iter().map(|app| Endpoint::plain(app.addr)).collect();
        self.pair.world.script().endpoints(authority, &add(endpoints));
    }

    fn rule(&self, kind: Kind, rule: HttpRule) {
        let route = HttpRoute::new(ResourceRef::default_named("http"), vec![rule]);
        let policy = outbound(spoken(kind, vec![route].into()));
        self.pair.world.script().policy(self.pair.service, &policy);
    }

    async fn send(&self, kind: Kind, method: &str) -> Answer {
        let mut client = self.pair.client(kind).await;
        let req = client.request("/").method(method).body(full("")).unwrap();
        client.send(req).await
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

async fn dropper(pair: &Pair, begun: &Arc<AtomicUsize>) -> App {
    let begun = begun.clone();
    App::serve(pair.bb.listen().await, move |io, _, _| {
        let begun = begun.clone();
        async move {
            let over = Arc::new(Notify::new());
            let drops = over.clone();
            let answer = service_fn(move |_: Request<Incoming>| {
                begun.fetch_add(1, Ordering::Relaxed);
                drops.notify_one();
                std::future::pending::<Result<Response<String>, Infallible>>()
            });
            let mut start = [0; 3];
            while matches!(io.peek(&mut start).await, Ok(1..3)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let io = TokioIo::new(io);
            tokio::select! {
                () = over.notified() => {}
                () = async {
                    if &start == b"PRI" {
                        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(io, answer).await;
                    } else {
                        let _ = http1::Builder::new().serve_connection(io, answer).await;
                    }
                } => {}
            }
        }
    })
}

fn to(backends: &[&str]) -> HttpRule {
    HttpRule::new(vec![], Distribution::FirstAvailable(backends.iter().map(|name| balance(name)).collect()))
}

fn retried(kind: Kind, limit: u16) -> HttpRule {
    let (statuses, codes) = if kind == Kind::Grpc { (vec![], vec![14]) } else { (vec![500..=504], vec![]) };
    let mut rule = to(&[BB]);
    rule.terms.retry =
        Some(Retry { limit, max_body: 64 * 1024, statuses, codes, timeout: None, backoff: None });
    rule
}

/// A profile whose only route is sent again so often, for as long as a test can take.
fn profile(retries: u32) -> Profile {
    let route = Route {
        labels: [("route".to_owned(), "all".to_owned())].into(),
        condition: Condition::Is(RequestMatch::Path(Pattern::new("/.*").unwrap())),
        responses: vec![],
        retryable: true,
        timeout: None,
    };
    let ttl = Duration::from_secs(retries.into());
    let budget = RetryBudget { ratio: 0.0, per_second: 1, ttl };
    let service = ServiceProfile { routes: vec![route], overrides: vec![], budget };
    Profile { name: Some("bb.demo.svc.cluster.local".parse().unwrap()), service, ..Profile::default() }
}

/// The service's virtual port: its profile's name has it.
const DST: &str = "bb.demo.svc.cluster.local:80";

/// What asks for something that may be done twice, in this kind of client.
fn get(kind: Kind) -> &'static str {
    if kind == Kind::Grpc { "POST" } else { "GET" }
}

every_kind! {
    async fn a_request_that_is_lost_is_sent_as_often_as_its_rule_says_and_no_more(kind: Kind) {
        // With a single endpoint it is waited for.
        for (limit, endpoints) in [(0, 6), (1, 6), (3, 6), (2, 1)] {
            let droppers = Droppers::new(endpoints).await;
            droppers.serve(BB, 0..endpoints);
            droppers.rule(kind, retried(kind, limit));
            droppers.send(kind, get(kind)).await.assert_refused(kind, 502, "14");
            assert_eq!(droppers.begun(), usize::from(limit) + 1, "of {endpoints}");
            let spoken = if kind == Kind::Grpc { "grpc" } else { "http" };
            until("its counts", async || {
                let page = page(&droppers.pair.web).await;
                count(&page, &format!("outbound_{spoken}_route_retry_requests_total"), &[]) == u64::from(limit)
                    && count(&page, &format!("outbound_{spoken}_route_retry_limit_exceeded_total"), &[]) == 1
                    && count(&page, &format!("outbound_{spoken}_route_backend_requests_total"), &[]) == u64::from(limit) + 1
            }).await;
        }
    }

    async fn a_loss_that_its_rule_does_not_name_is_no_reason_to_send_a_request_again(kind: Kind) {
        let droppers = Droppers::new(6).await;
        droppers.serve(BB, 0..6);
        let mut rule = retried(kind, 3);
        let retry = rule.terms.retry.as_mut().unwrap();
        (retry.statuses, retry.codes) = (vec![503..=503], vec![8]);
        droppers.rule(kind, rule);
        droppers.send(kind, get(kind)).await.assert_refused(kind, 502, "14");
        assert_eq!(droppers.begun(), 1);
    }

    async fn without_retries_of_its_own_it_is_sent_four_times_if_that_does_no_harm(kind: Kind) {
        for timed in [false, true] {
            for (method, sendings) in [(get(kind), if kind == Kind::Grpc { 1 } else { SENDINGS }), ("POST", 1)] {
                let droppers = Droppers::new(6).await;
                droppers.serve(BB, 0..6);
                let mut rule = to(&[BB]);
                if timed {
                    rule.terms.timeouts = Timeouts { request: Some(Duration::from_secs(9)), ..Timeouts::default() };
                }
                droppers.rule(kind, rule);
                droppers.send(kind, method).await.assert_refused(kind, 502, "14");
                assert_eq!(droppers.begun(), sendings, "{method}");
            }
        }
    }

    async fn that_is_so_whatever_backends_it_goes_to(kind: Kind) {
        // Over HTTP/2 its only endpoint is down when a connection died, and the request goes to the next backend.
        const BACKENDS: [&str; 6] = ["a.demo:80", "b.demo:80", "c.demo:80", "d.demo:80", "e.demo:80", "f.demo:80"];
        let droppers = Droppers::new(BACKENDS.len()).await;
        for (n, name) in BACKENDS.into_iter().enumerate() {
            droppers.serve(name, n..n + 1);
        }
        droppers.rule(kind, to(&BACKENDS));
        // Once the endpoints of all are known.
        droppers.send(kind, "POST").await.assert_refused(kind, 502, "14");
        let before = droppers.begun();
        droppers.send(kind, get(kind)).await.assert_refused(kind, 502, "14");
        assert_eq!(droppers.begun() - before, if kind == Kind::Grpc { 1 } else { SENDINGS });
    }

    async fn a_profile_s_budget_counts_what_is_lost(kind: Kind) {
        const RETRIES: u32 = 8;
        let droppers = Droppers::profiled(6, &profile(RETRIES)).await;
        droppers.send(kind, get(kind)).await.assert_refused(kind, 502, "14");
        assert_eq!(droppers.begun(), 1 + RETRIES as usize);
        until("its counts", async || {
            let page = page(&droppers.pair.web).await;
            count(&page, "route_actual_request_total", &["rt_route=\"all\""]) == 1 + u64::from(RETRIES)
                && count(&page, "route_retryable_total", &["skipped=\"no_budget\""]) == 1
        }).await;
    }

    async fn a_storm_of_dropped_connections_costs_what_policy_or_a_profile_allows_and_no_more(kind: Kind) {
        const CLIENTS: usize = 30;
        const RETRIES: usize = 20;
        for (profiled, most) in [(false, 3 * CLIENTS), (true, CLIENTS + RETRIES)] {
            let droppers = match profiled {
                true => Droppers::profiled(6, &profile(RETRIES as u32)).await,
                false => Droppers::new(6).await,
            };
            droppers.serve(BB, 0..6);
            droppers.rule(kind, retried(kind, 2));
            let asked = (0..CLIENTS).map(|_| droppers.send(kind, get(kind)));
            join_all(asked).await.iter().for_each(|answer| assert!(answer.header("x-app").is_none(), "{answer:?}"));
            let begun = droppers.begun();
            match kind {
                Kind::Http1 => assert_eq!(begun, most),
                // Others die with the connection before they are seen.
                _ => assert!((6..=most).contains(&begun), "{begun} of {most}"),
            }
        }
    }
}

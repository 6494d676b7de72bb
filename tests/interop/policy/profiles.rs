//! What service profiles do to requests: routes, response classes, retries and their budget, timeouts, other destinations
//! (contract 3.3, 3.4, 3.11).

use std::time::Duration;

use causeway::model::ResourceRef;
use causeway::model::matching::Pattern;
use causeway::model::outbound::{BackendKind, Distribution, HttpRoute, HttpRule};
use causeway::model::service_profile::{
    Condition, Override, RequestMatch, ResponseClass, RetryBudget, Route, ServiceProfile, StatusRange,
};
use http::Method;

use super::Case;
use super::app::{App, Reply};
use super::client::{Ask, Kind, Upload};
use super::retries::busy;
use super::world::Scene;

const LIMIT: Duration = Duration::from_millis(1_000);
const LATE: Duration = Duration::from_millis(3_000);

/// Replies, and what is asked, one after the other.
struct Row {
    name: &'static str,
    profile: ServiceProfile,
    replies: Vec<Reply>,
    asks: Vec<Ask>,
}

pub(super) fn cases() -> Vec<Case> {
    Kind::ALL.into_iter().flat_map(of).collect()
}

fn of(kind: Kind) -> Vec<Case> {
    let mut rows = retries(kind);
    rows.extend(budgets(kind));
    rows.extend(conditions(kind));
    rows.extend(timeouts(kind));
    rows.extend(if kind == Kind::Grpc { trailers() } else { classes() });
    let mut all: Vec<_> = rows.into_iter().map(|row| case(kind, row)).collect();
    all.push(Case::new(format!("profiles::another destination, {}", kind.name()), move |scene| async move {
        let app = App::start(&scene, "other", &[Reply::Good]);
        let BackendKind::Balance { authority, .. } = scene.backend("other", &[app]).kind else { return };
        let profile = ServiceProfile {
            overrides: vec![Override { authority, weight: 10_000 }],
            ..ServiceProfile::default()
        };
        scene.profile(profile, &[App::start(&scene, "bb", &[Reply::Good])]);
        nowhere(&scene, kind);
        Ask::get("/").of(&scene, kind).await;
    }));
    all
}

fn case(kind: Kind, row: Row) -> Case {
    Case::new(format!("profiles::{}, {}", row.name, kind.name()), move |scene| async move {
        scene.profile(row.profile, &[App::start(&scene, "bb", &row.replies)]);
        nowhere(&scene, kind);
        for ask in row.asks {
            ask.of(&scene, kind).await;
        }
    })
}

/// Policy alone would lead to nobody.
pub(super) fn nowhere(scene: &Scene, kind: Kind) {
    let rule = HttpRule::new(vec![], Distribution::Empty);
    scene.policy(kind, vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])].into());
}

pub(super) fn path(path: &str) -> Condition<RequestMatch> {
    Condition::Is(RequestMatch::Path(Pattern::new(path).unwrap()))
}

fn method(method: Method) -> Condition<RequestMatch> {
    Condition::Is(RequestMatch::Method(method))
}

fn route(condition: Condition<RequestMatch>) -> Route {
    Route {
        labels: [("route".to_owned(), "r".to_owned())].into(),
        condition,
        responses: vec![],
        retryable: false,
        timeout: None,
    }
}

pub(super) fn retryable(condition: Condition<RequestMatch>) -> Route {
    Route { retryable: true, ..route(condition) }
}

/// More than anybody asks for.
const PLENTY: RetryBudget = RetryBudget { ratio: 0.2, per_second: 10, ttl: Duration::from_secs(1) };

fn says(routes: Vec<Route>) -> ServiceProfile {
    ServiceProfile { routes, overrides: vec![], budget: PLENTY }
}

fn retries(kind: Kind) -> Vec<Row> {
    let busy = busy(kind);
    let all = || says(vec![retryable(path(".*"))]);
    let post = |body| vec![Ask::post(body)];
    let row = |name, profile, replies: &[Reply], asks| Row { name, profile, replies: replies.to_vec(), asks };
    let again = [busy, busy, Reply::Good];
    vec![
        row("sent again", all(), &again, vec![Ask::get("/")]),
        row("sent again with its body", all(), &again, post(Upload::Whole(4))),
        row("a body as long as may be", all(), &again, post(Upload::Whole(64 * 1024))),
        row("a body that is longer", all(), &again, post(Upload::Whole(64 * 1024 + 1))),
        row("a body in pieces", all(), &again, post(Upload::Pieces(3, 1_000, Duration::from_millis(1)))),
        row("not sent again", says(vec![route(path(".*"))]), &again, vec![Ask::get("/")]),
        row("a route that takes nothing", says(vec![retryable(path("/none"))]), &again, vec![Ask::get("/")]),
    ]
}

fn budgets(kind: Kind) -> Vec<Row> {
    let all = |ratio, per_second, seconds| ServiceProfile {
        budget: RetryBudget { ratio, per_second, ttl: Duration::from_secs(seconds) },
        ..says(vec![retryable(path(".*"))])
    };
    let row = |name, profile, replies: &[Reply]| Row {
        name,
        profile,
        replies: replies.to_vec(),
        asks: vec![Ask::get("/"); 3],
    };
    let (busy, good) = (busy(kind), Reply::Good);
    vec![
        row("a budget of nothing", all(0.0, 0, 10), &[busy]),
        row("a budget of some a second", all(0.0, 1, 5), &[busy]),
        row("a budget of a part", all(0.5, 0, 10), &[good, good, busy]),
        row("a budget of as many", all(1.0, 0, 10), &[good, good, busy]),
    ]
}

/// Whether it is sent again tells which route took a request.
fn conditions(kind: Kind) -> Vec<Row> {
    let again = [busy(kind), Reply::Good, busy(kind), Reply::Good];
    let asks = || vec![Ask::get("/bb.Echo/Talk"), Ask::post(Upload::Nothing)];
    let row = |name, routes| Row { name, profile: says(routes), replies: again.to_vec(), asks: asks() };
    let not = |condition| Condition::Not(Box::new(condition));
    vec![
        row("by a method", vec![retryable(method(Method::POST))]),
        row("by another method", vec![retryable(method(Method::PUT))]),
        row("by a path", vec![retryable(path("/bb\\.Echo/.*"))]),
        row("by the beginning of a path", vec![retryable(path("/bb"))]),
        row("by not being so", vec![retryable(not(method(Method::GET)))]),
        row("by both", vec![retryable(Condition::All(vec![path("/bb.*"), method(Method::GET)]))]),
        row("by either", vec![retryable(Condition::Any(vec![path("/x"), method(Method::GET)]))]),
        row("by all of nothing", vec![retryable(Condition::All(vec![]))]),
        row("by any of nothing", vec![retryable(Condition::Any(vec![]))]),
        row("the first of two", vec![route(path("/bb.*")), retryable(path(".*"))]),
    ]
}

fn timeouts(kind: Kind) -> Vec<Row> {
    let limited = || says(vec![Route { timeout: Some(LIMIT), ..retryable(path(".*")) }]);
    let row = |name, replies: &[Reply]| Row {
        name,
        profile: limited(),
        replies: replies.to_vec(),
        asks: vec![Ask { watched: true, ..Ask::get("/") }],
    };
    vec![
        row("no answer in time", &[Reply::Never]),
        row("an answer that is late", &[Reply::After(LATE)]),
        row("an answer in time", &[Reply::Good]),
        row("no answer in time to what is sent again", &[busy(kind), Reply::Never]),
    ]
}

/// Which statuses are failures, and so sent again.
fn classes() -> Vec<Row> {
    let range = |min, max| Condition::Is(StatusRange { min, max });
    let class = |condition, failure| ResponseClass { condition, failure };
    let row = |name, responses, status| Row {
        name,
        profile: says(vec![Route { responses, ..retryable(path(".*")) }]),
        replies: vec![Reply::Status(status, None), Reply::Good],
        asks: vec![Ask::get("/")],
    };
    let not = |condition| Condition::Not(Box::new(condition));
    vec![
        row("a class of failures", vec![class(range(418, 418), true)], 418),
        row("a class of successes", vec![class(range(500, 599), false)], 503),
        row("a class without an end", vec![class(range(400, 0), true)], 418),
        row("a class without a beginning", vec![class(range(0, 499), true)], 418),
        row("a class that it is not of", vec![class(range(400, 499), true)], 503),
        row("a class of what is not so", vec![class(not(range(200, 299)), true)], 404),
        row("the first class", vec![class(range(418, 418), false), class(range(400, 499), true)], 418),
    ]
}

fn trailers() -> Vec<Row> {
    let row = |name, code| Row {
        name,
        profile: says(vec![retryable(path(".*"))]),
        replies: vec![Reply::Trails(code), Reply::Good],
        asks: vec![Ask::get("/")],
    };
    vec![
        row("unavailable in trailers", "14"),
        row("internal in trailers", "13"),
        row("not found in trailers", "5"),
    ]
}

//! Timeouts of each kind, before the head of an answer and after it (contract 3.11).

use std::time::Duration;

use causeway::backoff::Backoff;
use causeway::model::ResourceRef;
use causeway::model::outbound::{Distribution, HttpRoute, HttpRule, Retry, Timeouts};
use tokio::time::sleep;

use super::Case;
use super::app::{App, Reply};
use super::client::{Ask, Kind, Upload};
use super::world::Scene;
use crate::stage::SETTLED;

const MS: Duration = Duration::from_millis(1);
/// Between what comes in time and what does not, also on a busy machine.
const LIMIT: Duration = Duration::from_millis(1_000);
/// What does not.
const LATE: Duration = Duration::from_millis(3_000);

const NONE: Timeouts = Timeouts { request: None, response: None, idle: None };
const REQUEST: Timeouts = Timeouts { request: Some(LIMIT), ..NONE };
const RESPONSE: Timeouts = Timeouts { response: Some(LIMIT), ..NONE };
const IDLE: Timeouts = Timeouts { idle: Some(LIMIT), ..NONE };

/// Limits, answers, and what is asked.
type Row = (&'static str, Timeouts, &'static [Reply], Upload);

const QUICK: Upload = Upload::Nothing;
/// Longer in all than the limit, and without a pause as long.
const SLOW: Upload = Upload::Pieces(8, 5, Duration::from_millis(200));
/// With a pause that is longer than the limit.
const PAUSES: Upload = Upload::Pieces(2, 5, LATE);

const ROWS: &[Row] = &[
    ("request, no answer", REQUEST, &[Reply::Never], QUICK),
    ("request, an answer in time", REQUEST, &[Reply::Good], QUICK),
    ("request, an answer that stalls", REQUEST, &[Reply::Stalls], QUICK),
    ("request, an answer in pieces", REQUEST, &[Reply::Trickles(12, Duration::from_millis(200))], QUICK),
    ("request, a slow request", REQUEST, &[Reply::Good], SLOW),
    ("response, no answer", RESPONSE, &[Reply::Never], QUICK),
    ("response, a late answer", RESPONSE, &[Reply::After(LATE)], QUICK),
    ("response, an answer that stalls", RESPONSE, &[Reply::Stalls], QUICK),
    ("response, an answer in pieces", RESPONSE, &[Reply::Trickles(12, Duration::from_millis(200))], QUICK),
    ("response, a slow request", RESPONSE, &[Reply::Good], SLOW),
    ("idle, an answer that stalls", IDLE, &[Reply::Stalls], QUICK),
    ("idle, an answer in pieces", IDLE, &[Reply::Trickles(12, Duration::from_millis(200))], QUICK),
    ("idle, a slow request", IDLE, &[Reply::Good], SLOW),
    ("idle, a request that pauses", IDLE, &[Reply::Good], PAUSES),
    ("none, a late answer", NONE, &[Reply::After(LATE)], QUICK),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for row in ROWS {
            let name = format!("timeouts::{}, {}", row.0, kind.name());
            all.push(Case::new(name, move |scene| limited(scene, kind, *row)));
        }
        let mut of = |name: &str, retry: Retry, timeouts: Timeouts, replies: Vec<Reply>| {
            let name = format!("timeouts::{name}, {}", kind.name());
            all.push(Case::new(name, move |scene| tried(scene, kind, (retry, timeouts), replies)));
        };
        let per_try = |limit| Retry { timeout: Some(LIMIT), ..retry(kind, limit) };
        of("per try, then an answer", per_try(2), NONE, vec![Reply::Never, Reply::Never, Reply::Good]);
        of("per try, the last may be late", per_try(1), NONE, vec![Reply::Never, Reply::After(LATE)]);
        let longer = Timeouts { request: Some(3 * LIMIT), ..NONE };
        of("per try, and for all", per_try(9), longer, vec![Reply::Never]);
        let pause = Backoff::new(LIMIT, LIMIT, 0.0).unwrap();
        let paused = Retry { backoff: Some(pause), ..retry(kind, 9) };
        let all_of_it = Timeouts { request: Some(LIMIT * 5 / 2), ..NONE };
        let answered = Timeouts { response: Some(LIMIT), ..NONE };
        of("response, and then no other try", retry(kind, 2), answered, vec![Reply::Never, Reply::Good]);
        let name = format!("timeouts::request, over pauses between tries, {}", kind.name());
        all.push(Case::new(name, move |scene| async move {
            // Whether the application hears of an attempt that comes too late is chance with the reference.
            let quiet = scene.aside();
            tried(quiet.clone(), kind, (paused, all_of_it), vec![super::retries::busy(kind)]).await;
            let text = quiet.seen.text();
            scene.seen.client(text.lines().filter_map(|line| line.strip_prefix("client: ")));
        }));
    }
    all
}

async fn limited(scene: Scene, kind: Kind, (_, timeouts, replies, body): Row) {
    let mut rule = rule(&scene, replies);
    rule.terms.timeouts = timeouts;
    scene.policy(kind, vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])].into());
    Ask { watched: true, ..Ask::post(body) }.of(&scene, kind).await;
    sleep(SETTLED).await;
}

async fn tried(scene: Scene, kind: Kind, (retry, timeouts): (Retry, Timeouts), replies: Vec<Reply>) {
    let mut rule = rule(&scene, &replies);
    (rule.terms.timeouts, rule.terms.retry) = (timeouts, Some(retry));
    scene.policy(kind, vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])].into());
    Ask::post(Upload::Whole(4)).of(&scene, kind).await;
}

fn rule(scene: &Scene, replies: &[Reply]) -> HttpRule {
    let backend = scene.backend("bb", &[App::start(scene, "bb", replies)]);
    HttpRule::new(Vec::new(), Distribution::FirstAvailable(vec![backend]))
}

fn retry(kind: Kind, limit: u16) -> Retry {
    Retry { backoff: Some(Backoff::new(MS, MS, 0.0).unwrap()), ..super::retries::retry(kind, limit) }
}

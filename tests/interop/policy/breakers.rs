//! Breakers over an endpoint that fails, one that is slow and one that limits its callers (contract 3.10).

use std::time::Duration;

use causeway::backoff::Backoff;
use causeway::model::ResourceRef;
use causeway::model::outbound::{
    Breaker, Distribution, HttpRoute, HttpRoutes, HttpRule, SuccessRate, Timeouts,
};

use super::Case;
use super::app::{App, Reply, WARM};
use super::client::{Ask, Kind};
use super::retries::busy;
use super::world::Scene;

/// Until an endpoint is tried again: less than anybody waits for one.
const PAUSE: Duration = Duration::from_millis(1_000);

fn pause() -> Backoff {
    Backoff::new(PAUSE, 2 * PAUSE, 0.0).unwrap()
}

fn never() -> Backoff {
    Backoff::new(60 * PAUSE, 60 * PAUSE, 0.0).unwrap()
}

fn consecutive(max_failures: u32, backoff: Backoff) -> Breaker {
    Breaker::ConsecutiveFailures { max_failures, backoff }
}

fn unified(threshold: f64, min_requests: u32, max_failures: u32, backoff: Backoff) -> Breaker {
    let success_rate = SuccessRate { threshold, window: Duration::from_secs(10), min_requests };
    Breaker::Unified { success_rate, max_failures, backoff, honors_retry_after: false }
}

/// Asked for so many times, each on a connection of its own.
struct Row {
    name: &'static str,
    breaker: Breaker,
    replies: Vec<Reply>,
    asks: usize,
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let busy = busy(kind);
        let limited = if kind == Kind::Grpc { Reply::Code("8") } else { Reply::Status(429, None) };
        let row = |name, breaker, replies: Vec<Reply>, asks| Row { name, breaker, replies, asks };
        let good = Reply::Good;
        let mixed = || vec![good, busy, good, busy, good, busy];
        let rows = [
            row("failing, then well", consecutive(3, pause()), vec![busy, busy, busy, busy, good], 6),
            row("failing for long", consecutive(3, never()), vec![busy], 6),
            row("failing now and then", consecutive(2, never()), mixed(), 6),
            row("limiting, by failures in a row", consecutive(3, never()), vec![limited], 6),
            row("failing, unified, in a row", unified(0.0, 0, 3, never()), vec![busy], 5),
            row("failing, unified, by rate", unified(0.5, 4, 0, never()), vec![busy], 6),
            row("half of it failing, by rate", unified(0.8, 5, 0, never()), mixed(), 7),
            row("limiting, by rate", unified(0.5, 4, 0, never()), vec![limited], 6),
            row("limiting, unified, in a row", unified(0.0, 0, 3, never()), vec![limited], 5),
            row("limiting when tried again", unified(0.0, 0, 2, pause()), vec![busy, busy, limited, good], 5),
            row("no such breaker", consecutive(0, never()), vec![busy], 4),
        ];
        all.extend(rows.map(|row| {
            let name = format!("breakers::{}, {}", row.name, kind.name());
            Case::new(name, move |scene| play(scene, kind, row, Timeouts::default()))
        }));
        for (name, breaker) in [
            ("slow, by failures in a row", consecutive(3, never())),
            ("slow, by rate", unified(0.5, 3, 0, never())),
        ] {
            let limit = Timeouts { response: Some(PAUSE / 2), ..Timeouts::default() };
            let row = Row { name, breaker, replies: vec![Reply::Never], asks: 5 };
            let name = format!("breakers::{name}, {}", kind.name());
            all.push(Case::new(name, move |scene| play(scene, kind, row, limit)));
        }
        all.push(Case::new(format!("breakers::another backend, {}", kind.name()), move |scene| async move {
            another_backend(scene, kind).await;
        }));
    }
    let trails = ["14", "5", "14", "13"].map(Reply::Trails).to_vec();
    let row = Row { name: "", breaker: consecutive(2, never()), replies: trails, asks: 6 };
    all.push(Case::new("breakers::failing in trailers, gRPC", |scene| {
        play(scene, Kind::Grpc, row, Timeouts::default())
    }));
    for code in ["1", "2", "3", "4", "7", "8", "13", "15", "16"] {
        let row =
            Row { name: "", breaker: consecutive(1, never()), replies: vec![Reply::Code(code)], asks: 2 };
        all.push(Case::new(format!("breakers::code {code}, gRPC"), move |scene| {
            play(scene, Kind::Grpc, row, Timeouts::default())
        }));
    }
    all
}

async fn play(scene: Scene, kind: Kind, row: Row, timeouts: Timeouts) {
    let (Breaker::ConsecutiveFailures { backoff, .. } | Breaker::Unified { backoff, .. }) = &row.breaker;
    let paced = (*backoff == pause()).then(|| PAUSE * 9 / 10);
    let app = App::paced(&scene, "bb", &row.replies, paced);
    let mut rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![scene.backend("bb", &[app])]));
    rule.terms.timeouts = timeouts;
    let routes = vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])];
    scene.policy(kind, HttpRoutes { routes, breaker: Some(row.breaker) });
    for _ in 0..row.asks {
        Ask::get("/").of(&scene, kind).await;
    }
}

/// Where another backend stands behind one whose only endpoint is left alone.
async fn another_backend(scene: Scene, kind: Kind) {
    let bad = App::start(&scene, "bad", &[busy(kind)]);
    let well = App::start(&scene, "well", &[Reply::Good]);
    let backends = vec![scene.backend("bad", &[bad]), scene.backend("well", &[well])];
    let rule = HttpRule::new(vec![], Distribution::FirstAvailable(backends));
    let routes = vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])];
    scene.policy(kind, HttpRoutes { routes, breaker: Some(consecutive(2, never())) });
    // Whose endpoints become known first is chance.
    Ask::get(WARM).of(&scene.aside(), kind).await;
    tokio::time::sleep(PAUSE / 4).await;
    for _ in 0..6 {
        Ask::get("/").of(&scene, kind).await;
    }
}

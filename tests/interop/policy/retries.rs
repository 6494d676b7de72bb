//! Retries of each condition, as often as the application sees them (contract 3.11).

use std::time::Duration;

use causeway::backoff::Backoff;
use causeway::model::ResourceRef;
use causeway::model::outbound::{Distribution, HttpRoute, HttpRule, Retry};
use h2::Reason;

use super::Case;
use super::app::{App, Reply};
use super::client::{Ask, Kind, Upload};
use super::world::Scene;

const MS: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_millis(700);

/// Unavailable, as HTTP and gRPC say it.
pub(super) fn busy(kind: Kind) -> Reply {
    if kind == Kind::Grpc { Reply::Code("14") } else { Reply::Status(503, None) }
}

/// What fails as servers do, so many times.
pub(super) fn retry(kind: Kind, limit: u16) -> Retry {
    let (statuses, codes) = if kind == Kind::Grpc { (vec![], vec![14]) } else { (vec![500..=599], vec![]) };
    Retry { limit, max_body: 64 * 1024, statuses, codes, timeout: None, backoff: None }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for kind in [Kind::Http1, Kind::Http2] {
        of_statuses(&mut all, kind);
    }
    of_codes(&mut all);
    for kind in Kind::ALL {
        of_all(&mut all, kind);
        asked_for(&mut all, kind);
    }
    for kind in [Kind::Http2, Kind::Grpc] {
        of_resets(&mut all, kind);
    }
    all
}

fn of_statuses(all: &mut Vec<Case>, kind: Kind) {
    let only = |statuses| Retry { statuses, ..retry(kind, 2) };
    for status in [500, 502, 503, 504, 599, 429, 404] {
        for (name, statuses) in [("5xx", 500..=599), ("gateway-error", 502..=504), ("429", 429..=429)] {
            let replies = [Reply::Status(status, None), Reply::Status(status, None), Reply::Good];
            let name = format!("{name} of {status}");
            all.push(case(&name, kind, only(vec![statuses]), replies.into(), Ask::post(Upload::Whole(4))));
        }
    }
    let several = only(vec![400..=403, 418..=418]);
    let replies = [Reply::Status(418, None), Reply::Status(402, None), Reply::Good];
    all.push(case("several ranges", kind, several, replies.into(), Ask::get("/")));
    let replies = [Reply::Status(503, Some(("retry-after", "1"))), Reply::Good];
    all.push(case("retry-after", kind, retry(kind, 1), replies.into(), Ask::get("/")));
}

fn of_codes(all: &mut Vec<Case>) {
    let kind = Kind::Grpc;
    for code in ["1", "4", "8", "13", "14", "5"] {
        let named = Retry { codes: vec![1, 4, 8, 13, 14], ..retry(kind, 2) };
        let ask = || Ask::post(Upload::Whole(4));
        let headers = vec![Reply::Code(code), Reply::Code(code), Reply::Good];
        all.push(case(&format!("code {code} in headers"), kind, named.clone(), headers, ask()));
        let trailers = vec![Reply::Trails(code), Reply::Trails(code), Reply::Good];
        all.push(case(&format!("code {code} in trailers"), kind, named, trailers, ask()));
    }
    let unnamed = vec![Reply::Code("8"), Reply::Good];
    all.push(case("a code that is not named", kind, retry(kind, 2), unnamed, Ask::get("/")));
    let plain = vec![Reply::Status(503, None), Reply::Good];
    all.push(case("a status of HTTP", kind, retry(kind, 2), plain, Ask::get("/")));
}

fn of_all(all: &mut Vec<Case>, kind: Kind) {
    let busy = busy(kind);
    for limit in [0, 1, 3] {
        let ask = Ask::post(Upload::Whole(4));
        all.push(case(&format!("{limit} times at most"), kind, retry(kind, limit), vec![busy], ask));
    }
    for (name, body) in [
        ("as long as the limit", Upload::Whole(64 * 1024)),
        ("longer than the limit", Upload::Whole(64 * 1024 + 1)),
        ("in pieces within the limit", Upload::Pieces(3, 1_000, MS)),
        ("in pieces beyond the limit", Upload::Pieces(8, 16 * 1024, MS)),
        ("empty", Upload::Whole(0)),
    ] {
        let replies = vec![busy, busy, Reply::Good];
        all.push(case(&format!("a body {name}"), kind, retry(kind, 2), replies, Ask::post(body)));
    }
    let small = Retry { max_body: 10, ..retry(kind, 2) };
    all.push(case("a body beyond a small limit", kind, small, vec![busy], Ask::post(Upload::Whole(11))));
    let paused = Retry { backoff: Some(Backoff::new(PAUSE, PAUSE, 0.0).unwrap()), ..retry(kind, 2) };
    let replies = vec![busy, busy, Reply::Good];
    all.push(case("with pauses", kind, paused, replies, Ask::post(Upload::Whole(4))));
    all.push(Case::new(format!("retries::nobody listens, {}", kind.name()), move |scene| async move {
        let (_kept, gone) = scene.gone();
        offer(&scene, kind, Some(retry(kind, 2)), false, gone);
        Ask::get("/").of(&scene, kind).await;
    }));
    all.push(Case::new(format!("retries::no endpoints, {}", kind.name()), move |scene| async move {
        let mut rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![scene.backend("bb", &[])]));
        rule.terms.retry = Some(Retry { timeout: None, ..retry(kind, 1) });
        scene.policy(kind, vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])].into());
        Ask { watched: true, ..Ask::get("/") }.of(&scene, kind).await;
        Ask { watched: true, ..Ask::get("/") }.of(&scene, kind).await;
    }));
}

/// By the headers of a request, where its rule lets it and where not.
fn asked_for(all: &mut Vec<Case>, kind: Kind) {
    const ROWS: &[(&str, &[(&str, &str)])] = &[
        ("nothing", &[]),
        ("5xx and unavailable", &[("l5d-retry-http", "5xx"), ("l5d-retry-grpc", "unavailable")]),
        (
            "three times",
            &[
                ("l5d-retry-http", "503,500-501"),
                ("l5d-retry-grpc", "cancelled,unavailable"),
                ("l5d-retry-limit", "3"),
            ],
        ),
        ("gateway errors", &[("l5d-retry-http", "gateway-error"), ("l5d-retry-grpc", "internal")]),
        ("a limit alone", &[("l5d-retry-limit", "3")]),
        (
            "nonsense",
            &[("l5d-retry-http", "sixhundred"), ("l5d-retry-limit", "many"), ("l5d-timeout", "soon")],
        ),
    ];
    for (name, headers) in ROWS {
        for allowed in [true, false] {
            let may = if allowed { "may ask for" } else { "may not ask for" };
            let name = format!("retries::{may} {name}, {}", kind.name());
            all.push(Case::new(name, move |scene| async move {
                let app = App::start(&scene, "bb", &[busy(kind), busy(kind), Reply::Good]);
                offer(&scene, kind, None, allowed, app);
                let ask = Ask { headers: headers.to_vec(), ..Ask::post(Upload::Whole(4)) };
                ask.of(&scene, kind).await;
            }));
        }
    }
    for (name, value) in
        [("l5d-timeout", "500ms"), ("l5d-request-timeout", "500ms"), ("l5d-response-timeout", "500ms")]
    {
        let title = format!("retries::may ask for {name}, {}", kind.name());
        all.push(Case::new(title, move |scene| async move {
            offer(&scene, kind, None, true, App::start(&scene, "bb", &[Reply::Never]));
            let ask = Ask { headers: vec![(name, value)], ..Ask::get("/") };
            ask.of(&scene, kind).await;
        }));
    }
}

fn of_resets(all: &mut Vec<Case>, kind: Kind) {
    for reason in [Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR, Reason::CANCEL] {
        let replies = vec![Reply::Resets(reason), Reply::Resets(reason), Reply::Good];
        let ask = || Ask::post(Upload::Whole(4));
        all.push(case(&format!("stream reset, {reason:?}"), kind, retry(kind, 2), replies.clone(), ask()));
        let name = format!("retries::none, stream reset, {reason:?}, {}", kind.name());
        all.push(Case::new(name, move |scene| async move {
            offer(&scene, kind, None, false, App::start(&scene, "bb", &replies));
            ask().of(&scene, kind).await;
        }));
    }
}

fn case(name: &str, kind: Kind, retry: Retry, replies: Vec<Reply>, ask: Ask) -> Case {
    Case::new(format!("retries::{name}, {}", kind.name()), move |scene| async move {
        let paced = retry.backoff.map(|_| PAUSE * 9 / 10);
        let app = App::paced(&scene, "bb", &replies, paced);
        offer(&scene, kind, Some(retry), false, app);
        ask.of(&scene, kind).await;
    })
}

pub(super) fn offer(
    scene: &Scene,
    kind: Kind,
    retry: Option<Retry>,
    allow_headers: bool,
    endpoint: std::net::SocketAddr,
) {
    let backend = scene.backend("bb", &[endpoint]);
    let mut rule = HttpRule::new(vec![], Distribution::FirstAvailable(vec![backend]));
    (rule.terms.retry, rule.allow_headers) = (retry, allow_headers);
    scene.policy(kind, vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])].into());
}

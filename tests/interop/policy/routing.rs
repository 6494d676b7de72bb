//! Which route takes a request, and what it does to it (contract 3.4, 3.11): one table of routes and one of requests.

use causeway::model::ResourceRef;
use causeway::model::filter::{Failure, FailureKind, Filter, HeaderChange, PathChange, Ratio, Redirect};
use causeway::model::matching::{
    HeaderMatch, HostMatch, PathMatch, Pattern, QueryMatch, RequestMatch, ValueMatch,
};
use causeway::model::outbound::{Backend, BackendKind, Distribution, HttpRoute, HttpRule, RouteBackend};
use http::{HeaderValue, Method, StatusCode};

use super::Case;
use super::app::{App, Reply, WARM};
use super::client::{Ask, Kind, Upload};
use super::world::Scene;

/// Method, host, path, headers.
type Asked = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
const HTTP: &[Asked] = &[
    ("GET", "bb", "/exact", &[]),
    ("GET", "bb", "/exact/", &[]),
    ("GET", "bb", "/exact/more", &[]),
    ("GET", "bb", "/exact?query", &[]),
    ("GET", "bb", "/EXACT", &[]),
    ("GET", "bb", "/pre", &[]),
    ("GET", "bb", "/pre/", &[]),
    ("GET", "bb", "/prefix", &[]),
    ("GET", "bb", "/pre/a", &[]),
    ("GET", "bb", "/pre/longer", &[]),
    ("GET", "bb", "/pre/longer/b", &[]),
    ("GET", "bb", "/pre/longerb", &[]),
    ("GET", "bb", "/pre/longer/x", &[]),
    ("GET", "bb", "/re/17", &[]),
    ("GET", "bb", "/re/17/", &[]),
    ("GET", "bb", "/re/", &[]),
    ("GET", "bb", "/h", &[]),
    ("GET", "bb", "/h", &[("x-env", "canary")]),
    ("GET", "bb", "/h", &[("x-env", "Canary")]),
    ("GET", "bb", "/h", &[("x-env", "canary"), ("x-user", "alice")]),
    ("GET", "bb", "/h", &[("x-env", "canary"), ("x-user", "alice7")]),
    ("GET", "bb", "/h", &[("x-env", "stable"), ("x-env", "canary")]),
    ("GET", "bb", "/q?version=2", &[]),
    ("GET", "bb", "/q?version=20", &[]),
    ("GET", "bb", "/q?a=b&version=2", &[]),
    ("GET", "bb", "/q?version=3.1&debug=on", &[]),
    ("GET", "bb", "/q?version=3.1", &[]),
    ("GET", "bb", "/m", &[]),
    ("POST", "bb", "/m", &[]),
    ("GET", "shop.example", "/any", &[]),
    ("GET", "shop.example:8080", "/any", &[]),
    ("GET", "SHOP.example.", "/any", &[]),
    ("GET", "shop.example", "/exact", &[]),
    ("GET", "other.example", "/any", &[]),
    ("GET", "a.b.example", "/any", &[]),
    ("GET", "example", "/any", &[]),
    ("GET", "bb", "/old", &[]),
    ("GET", "bb", "/old/a?b=c", &[]),
    ("GET", "bb:8080", "/old/a", &[]),
    ("GET", "bb", "/home", &[]),
    ("GET", "bb", "/start", &[]),
    ("GET", "bb", "/fail", &[]),
    ("GET", "bb", "/changed", &[("x-gone", "1"), ("x-set", "client"), ("x-add", "client")]),
    ("GET", "bb", "/empty", &[]),
    ("GET", "bb", "/nowhere", &[]),
    ("GET", "bb", "/", &[]),
];

#[rustfmt::skip]
const GRPC: &[Asked] = &[
    ("POST", "bb", "/bb.Echo/Talk", &[]),
    ("POST", "bb", "/bb.Echo/Listen", &[]),
    ("POST", "bb", "/bb.Other/Talk", &[]),
    ("POST", "bb", "/bb.Other/Talk", &[("x-env", "canary")]),
    ("POST", "bb", "/bb.Fails/Now", &[]),
    ("POST", "bb", "/bb.Changed/Now", &[("x-gone", "1"), ("x-set", "client")]),
    ("POST", "bb", "/bb.Empty/Now", &[]),
    ("POST", "bb", "/bb.Nowhere/Now", &[]),
    ("POST", "bb", "/bb.Unknown/Now", &[]),
    ("POST", "bb", "/any.Service/Ping", &[]),
    ("POST", "shop.example", "/bb.Unknown/Now", &[]),
    ("POST", "shop.example", "/bb.Echo/Talk", &[]),
];

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (kind, table) in [(Kind::Http1, HTTP), (Kind::Http2, HTTP), (Kind::Grpc, GRPC)] {
        for asked in table {
            let (method, host, path, headers) = *asked;
            let mut name = format!("routing::{} {method} {host} {path}", kind.name());
            for (header, value) in headers {
                name += &format!(" {header}={value}");
            }
            all.push(Case::new(name, move |scene| async move {
                let app = scene.backend("bb", &[App::start(&scene, "bb", &[Reply::Good])]);
                let routes = if kind == Kind::Grpc { grpc_routes(&app) } else { http_routes(&app) };
                scene.policy(kind, routes.into());
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let headers = headers.to_vec();
                Ask { method, host, path, headers, body: Upload::Nothing, watched: true }
                    .of(&scene, kind)
                    .await;
            }));
        }
        all.push(Case::new(format!("routing::weights, {}", kind.name()), move |scene| weights(scene, kind)));
        all.push(Case::new(format!("routing::the first available, {}", kind.name()), move |scene| {
            first_available(scene, kind)
        }));
    }
    all
}

fn http_routes(app: &Backend) -> Vec<HttpRoute> {
    let named = |name: &'static str, matches| route(app, name, matches);
    let under = |path: &str| by_path(PathMatch::Prefix(path.into()));
    let exact = |path: &str| by_path(PathMatch::Exact(path.into()));
    let regex = |path: &str| by_path(PathMatch::Regex(Pattern::new(path).unwrap()));
    let by = |name: &'static str, value| HeaderMatch { name: name.parse().unwrap(), value };
    let asks = |name: &str, value| QueryMatch { name: name.into(), value };
    let is = |value: &str| ValueMatch::Exact(value.into());
    let like = |value: &str| ValueMatch::Regex(Pattern::new(value).unwrap());
    let with = |path, headers: Vec<HeaderMatch>| RequestMatch { headers, ..under(path) };
    let asking = |path, query: Vec<QueryMatch>| RequestMatch { query, ..under(path) };
    vec![
        named("exact", exact("/exact")),
        named("prefix", under("/pre")),
        named("longer prefix", under("/pre/longer/")),
        named("prefix again", under("/pre")),
        named("expression among prefixes", regex("/pre/.*x")),
        named("expression", regex("/re/[0-9]+")),
        named("header", with("/h", vec![by("x-env", is("canary"))])),
        named("two headers", with("/h", vec![by("x-env", is("canary")), by("x-user", like("[a-z]+"))])),
        named("query", asking("/q", vec![asks("version", is("2"))])),
        named("two in the query", asking("/q", vec![asks("version", like("3.*")), asks("debug", is("on"))])),
        named("method", RequestMatch { method: Some(Method::POST), ..under("/m") }),
        on(named("host", RequestMatch::default()), HostMatch::Exact("shop.example".into())),
        on(named("wildcard", RequestMatch::default()), HostMatch::Suffix(vec!["example".into()])),
        filtered(
            named("old", under("/old")),
            Filter::Redirect(Redirect {
                host: Some("elsewhere.example".parse().unwrap()),
                path: Some(PathChange::Prefix("/new".into())),
                status: Some(StatusCode::FOUND),
                ..Redirect::default()
            }),
        ),
        filtered(
            named("home", exact("/home")),
            Filter::Redirect(Redirect {
                port: Some(8443),
                path: Some(PathChange::Full("/start".into())),
                ..Redirect::default()
            }),
        ),
        // To where it is.
        filtered(
            named("start", exact("/start")),
            Filter::Redirect(Redirect {
                path: Some(PathChange::Full("/start".into())),
                ..Redirect::default()
            }),
        ),
        filtered(named("fail", under("/fail")), failure(FailureKind::Http(StatusCode::IM_A_TEAPOT))),
        changed(named("changed", under("/changed")), true),
        to(named("empty", under("/empty")), Distribution::Empty),
        to(named("nowhere", under("/nowhere")), Distribution::FirstAvailable(vec![nowhere()])),
    ]
}

fn grpc_routes(app: &Backend) -> Vec<HttpRoute> {
    let calls = |service: Option<&str>, method: Option<&str>| RequestMatch {
        method: Some(Method::POST),
        ..by_path(PathMatch::Rpc { service: service.map(str::to_owned), method: method.map(str::to_owned) })
    };
    let named = |name: &'static str, matches| route(app, name, matches);
    let canary = HeaderMatch { name: "x-env".parse().unwrap(), value: ValueMatch::Exact("canary".into()) };
    vec![
        named("service", calls(Some("bb.Echo"), None)),
        named("call", calls(Some("bb.Echo"), Some("Talk"))),
        named("other", calls(Some("bb.Other"), None)),
        named("header", RequestMatch { headers: vec![canary], ..calls(Some("bb.Other"), None) }),
        named("method", calls(None, Some("Ping"))),
        filtered(named("fails", calls(Some("bb.Fails"), None)), failure(FailureKind::Grpc(11))),
        changed(named("changed", calls(Some("bb.Changed"), None)), false),
        to(named("empty", calls(Some("bb.Empty"), None)), Distribution::Empty),
        to(named("nowhere", calls(Some("bb.Nowhere"), None)), Distribution::FirstAvailable(vec![nowhere()])),
        on(named("host", calls(None, None)), HostMatch::Exact("shop.example".into())),
    ]
}

fn by_path(path: PathMatch) -> RequestMatch {
    RequestMatch { path: Some(path), ..RequestMatch::default() }
}

/// Requests of a route tell the application its name.
fn route(app: &Backend, name: &'static str, matched: RequestMatch) -> HttpRoute {
    let mut rule = HttpRule::new(vec![matched], Distribution::FirstAvailable(vec![app.clone()]));
    let set = vec![("x-route".parse().unwrap(), HeaderValue::from_static(name))];
    rule.filters = vec![Filter::RequestHeaders(HeaderChange { set, ..HeaderChange::default() })];
    HttpRoute::new(ResourceRef::default_named(name), vec![rule])
}

fn on(route: HttpRoute, host: HostMatch) -> HttpRoute {
    HttpRoute { hosts: vec![host], ..route }
}

fn filtered(mut route: HttpRoute, filter: Filter) -> HttpRoute {
    route.rules[0].filters.push(filter);
    route
}

fn to(mut route: HttpRoute, backends: Distribution) -> HttpRoute {
    let plain = |backend| RouteBackend { filters: Vec::new(), backend };
    route.rules[0].backends = backends.map(&mut |backend| plain(backend));
    route
}

fn nowhere() -> Backend {
    Backend { meta: ResourceRef::default_named("nowhere"), kind: BackendKind::Fail }
}

fn failure(kind: FailureKind) -> Filter {
    Filter::Failure(Failure { kind, message: "as told".into(), ratio: Ratio::ALL })
}

/// By the rule, then by the backend; answers too, where routes can say so.
fn changed(mut route: HttpRoute, answers: bool) -> HttpRoute {
    let change = |value: &'static str| {
        let value = HeaderValue::from_static(value);
        HeaderChange {
            add: vec![("x-add".parse().unwrap(), value.clone())],
            set: vec![("x-set".parse().unwrap(), value)],
            remove: vec!["x-gone".parse().unwrap()],
        }
    };
    let filters = |value: &'static str| {
        let answer = answers.then(|| Filter::ResponseHeaders(change(value)));
        [Filter::RequestHeaders(change(value))].into_iter().chain(answer)
    };
    let rule = &mut route.rules[0];
    rule.filters.extend(filters("rule"));
    if let Distribution::FirstAvailable(all) = &mut rule.backends {
        all[0].filters.extend(filters("backend"));
    }
    route
}

/// How often each of three backends is asked, by quarters.
async fn weights(scene: Scene, kind: Kind) {
    const ASKED: usize = 320;
    let names = ["three", "one", "none"];
    let apps = names.map(|name| {
        let quiet = scene.aside();
        let app = App::start(&quiet, name, &[Reply::Good]);
        (quiet, scene.backend(name, &[app]))
    });
    let weights = apps.iter().zip([3, 1, 0]).map(|((_, backend), weight)| (backend.clone(), weight));
    let rule = HttpRule::new(vec![], Distribution::RandomAvailable(weights.collect()));
    scene.policy(kind, vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])].into());
    let quiet = scene.aside();
    for _ in 0..ASKED {
        Ask::get("/").of(&quiet, kind).await;
    }
    for ((seen, _), name) in apps.iter().zip(names) {
        let asked = seen.seen.text().lines().count();
        // A standard deviation is a tenth of a quarter.
        scene.seen.app([format!("{name}: about {} in 4", (asked * 4 + ASKED / 2) / ASKED)]);
    }
}

/// The first of two has no endpoint. The reference's first request waits there in vain, which ours does not; what comes
/// after it goes to the second.
async fn first_available(scene: Scene, kind: Kind) {
    let app = App::start(&scene, "second", &[Reply::Good]);
    let backends = vec![scene.backend("first", &[]), scene.backend("second", &[app])];
    let rule = HttpRule::new(vec![], Distribution::FirstAvailable(backends));
    scene.policy(kind, vec![HttpRoute::new(ResourceRef::default_named("http"), vec![rule])].into());
    Ask::get(WARM).of(&scene.aside(), kind).await;
    for _ in 0..3 {
        Ask::get("/").of(&scene, kind).await;
    }
}

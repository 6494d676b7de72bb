use super::*;
use crate::model::matching::{HeaderMatch, HostMatch, PathMatch, Pattern, ValueMatch};
use proptest::prelude::*;

fn by(path: Option<PathMatch>, method: bool) -> RequestMatch {
    let method = method.then_some(::http::Method::GET);
    RequestMatch { path, method, ..RequestMatch::default() }
}

fn matches() -> impl Strategy<Value = RequestMatch> {
    let pattern = |text: &str| PathMatch::Regex(Pattern::new(text).unwrap());
    let path = prop_oneof![
        Just(None),
        "(/[ab]){0,3}/?".prop_map(|path| Some(PathMatch::Prefix(path))),
        "(/[ab]){1,3}".prop_map(|path| Some(PathMatch::Exact(path))),
        Just(Some(pattern("/a.*"))),
        Just(Some(pattern(".*/b"))),
        Just(Some(PathMatch::Rpc { service: Some("a".into()), method: None })),
        Just(Some(PathMatch::Rpc { service: None, method: Some("b".into()) })),
    ];
    (path, any::<bool>()).prop_map(|(path, method)| by(path, method))
}

fn routes() -> impl Strategy<Value = HttpRoutes<()>> {
    let hosts = prop_oneof![
        Just(vec![]),
        Just(vec![HostMatch::Exact("a.b".into())]),
        Just(vec![HostMatch::Suffix(vec!["b".into()])]),
        Just(vec![HostMatch::Exact("c".into())]),
    ];
    let rule = proptest::collection::vec(matches(), 0..3)
        .prop_map(|matches| HttpRule::new(matches, Distribution::Empty));
    let route = (hosts, proptest::collection::vec(rule, 0..3)).prop_map(|(hosts, rules)| HttpRoute {
        hosts,
        ..HttpRoute::new(ResourceRef::default_named("x"), rules)
    });
    proptest::collection::vec(route, 0..5).prop_map(HttpRoutes::from)
}

/// Every rule is looked at.
fn naive<'a>(
    http: &'a HttpRoutes<()>,
    head: &Head<'_>,
) -> Option<(&'a HttpRule<()>, Option<&'a RequestMatch>)> {
    let mut best = None;
    for route in &http.routes {
        let host = matching::best_host(&route.hosts, || head.host());
        if host.is_none() && !route.hosts.is_empty() {
            continue;
        }
        for rule in &route.rules {
            let Some((rank, matched)) = matching::best(&rule.matches, head) else { continue };
            if best.as_ref().is_none_or(|(held, _)| (host, rank) > *held) {
                best = Some(((host, rank), (rule, matched)));
            }
        }
    }
    best.map(|(_, found)| found)
}

proptest! {
    #[test]
    fn looking_no_closer_than_it_takes_finds_what_looking_at_all_does(
        routes in routes(),
        path in "(/[ab]){1,3}/?",
        host in prop_oneof![Just("a.b"), Just("x.b"), Just("d")],
        get in any::<bool>(),
    ) {
        let req = Request::builder().method(if get { "GET" } else { "POST" });
        let req = req.uri(format!("http://{host}{path}")).body(()).unwrap();
        let head = Head::of(&req);
        let found = best(&routes, &head).ok();
        let naive = naive(&routes, &head);
        prop_assert_eq!(found.as_ref().map(|found| std::ptr::from_ref(found.rule)), naive.map(|(rule, _)| std::ptr::from_ref(rule)));
        prop_assert_eq!(found.and_then(|found| found.matched), naive.and_then(|(_, matched)| matched));
    }
}

#[test]
fn patterns_cost_no_more_than_a_request_is_worth() {
    let pattern = |n: usize| by(Some(PathMatch::Regex(Pattern::new(&format!("b{n}")).unwrap())), false);
    let rule = |n| HttpRule::<()>::new(vec![pattern(n)], Distribution::Empty);
    let route = HttpRoute::new(ResourceRef::default_named("x"), (0..1_000).map(rule).collect());
    let routes = HttpRoutes::from(vec![route]);
    let ask = |length| {
        let req = Request::get(format!("/{}", "a".repeat(length))).body(()).unwrap();
        best(&routes, &Head::of(&req)).err()
    };
    assert_eq!(ask(100), Some(Reason::NoRoute));
    assert_eq!(ask(16_000), Some(Reason::RouteTooCostly));
}

#[test]
fn hosts_and_values_cost_no_more_than_a_request_is_worth() {
    let to = |text: &str| RequestMatch {
        headers: vec![HeaderMatch {
            name: "x-to".parse().unwrap(),
            value: ValueMatch::Exact(text.as_bytes().to_vec()),
        }],
        ..RequestMatch::default()
    };
    let ask = |routes: Vec<HttpRoute<()>>, host: &str, values: usize| {
        let mut req = Request::get(format!("http://{host}/"));
        for _ in 0..values {
            req = req.header("x-to", "b");
        }
        best(&HttpRoutes::from(routes), &Head::of(&req.body(()).unwrap())).err()
    };
    let route = |hosts, matches| HttpRoute {
        hosts,
        ..HttpRoute::new(ResourceRef::default_named("x"), vec![HttpRule::new(matches, Distribution::Empty)])
    };
    // As long as the one that is asked for, and another.
    let long = |n: usize| format!("{n:0>6}.{}", "a.".repeat(123));
    let exact = || vec![route((0..17_000).map(|n| HostMatch::Exact(long(n))).collect(), vec![])];
    assert_eq!(ask(exact(), &long(99_999), 0), Some(Reason::RouteTooCostly));
    assert_eq!(ask(exact(), "b", 0), Some(Reason::NoRoute), "a glance is enough");
    let labels = |n: usize| long(n).split('.').rev().map(str::to_owned).collect();
    let suffixes = || vec![route((0..17_000).map(|n| HostMatch::Suffix(labels(n))).collect(), vec![])];
    assert_eq!(ask(suffixes(), &format!("x.{}", long(99_999)), 0), Some(Reason::RouteTooCostly));
    let headers = || vec![route(vec![], vec![to("a"); 5_000])];
    assert_eq!(ask(headers(), "b", 1), Some(Reason::NoRoute));
    assert_eq!(ask(headers(), "b", 1_000), Some(Reason::RouteTooCostly));
}

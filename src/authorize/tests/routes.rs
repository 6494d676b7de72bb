//! Which route is asked.

use std::time::Duration;

use http::Request;

use super::*;
use crate::model::matching::HostMatch;

#[test]
fn the_longest_match_decides_and_the_permit_names_what_granted_it() {
    let (policy, admin) = (guarded(), name("admin"));
    assert_eq!(get(&policy, &PLAIN, "/"), Ok(("open", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/admin/x"), denied(&admin));
    assert_eq!(get(&policy, &identified("other.ns"), "/admin"), denied(&admin));
    assert_eq!(get(&policy, &identified("boss.ns"), "/admin"), Ok(("admin", "boss")));
    let req = Request::get("/admin").body(()).unwrap();
    let boss = identified("boss.ns");
    let permit = http(&policy, CLIENT, &boss, &Head::of(&req)).unwrap();
    let ServerProtocol::Http2(routes) = &policy.protocol else { panic!("for HTTP/2") };
    assert_eq!((permit.rule, permit.matched), (&routes[1].rules[0], Some(&routes[1].rules[0].matches[0])));
}

#[test]
fn of_equal_matches_the_first_route_wins_and_hosts_come_before_paths() {
    let routes = vec![
        route("one", vec![under("/a")], vec![everyone()]),
        route("two", vec![under("/a")], vec![everyone()]),
        route("three", vec![under("/a/b"), under("/a/b/c")], vec![everyone()]),
    ];
    let policy = of(ServerProtocol::Http1(routes), Vec::new());
    assert_eq!(get(&policy, &PLAIN, "/a"), Ok(("one", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/a/b/c"), Ok(("three", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/c"), Err(Refusal::RouteNotFound));

    let hosted = |meta: &str, hosts: Vec<HostMatch>, prefix| InboundRoute {
        hosts,
        ..route(meta, vec![under(prefix)], vec![everyone()])
    };
    let suffix = HostMatch::Suffix(vec!["example".into()]);
    let routes = vec![
        hosted("any", Vec::new(), "/long/path"),
        hosted("suffix", vec![suffix.clone()], "/"),
        hosted("exact", vec![suffix, HostMatch::Exact("bb.example".into())], "/"),
    ];
    let policy = of(ServerProtocol::Http1(routes), Vec::new());
    for (uri, route) in [
        ("http://aa.example/long/path", "suffix"),
        ("http://BB.example:80/long/path", "exact"),
        ("http://elsewhere/long/path", "any"),
        ("/long/path", "any"),
    ] {
        assert_eq!(get(&policy, &PLAIN, uri), Ok((route, "everyone")), "{uri}");
    }
    assert_eq!(get(&policy, &PLAIN, "http://elsewhere/x"), Err(Refusal::RouteNotFound));
}

#[test]
fn http_on_a_policy_without_http_has_no_route_and_tcp_on_one_with_http_is_denied() {
    let everyone = vec![everyone()];
    for protocol in [ServerProtocol::Opaque, ServerProtocol::Tls] {
        let policy = of(protocol, everyone.clone());
        assert_eq!(get(&policy, &PLAIN, "/"), Err(Refusal::RouteNotFound));
        assert_eq!(tcp(&policy, CLIENT, &PLAIN).map(|permit| permit.authz.name()), Ok("everyone"));
    }
    for protocol in [ServerProtocol::Http1, ServerProtocol::Http2, ServerProtocol::Grpc] {
        let policy = of(protocol(Vec::new()), everyone.clone());
        assert_eq!(tcp(&policy, CLIENT, &PLAIN), Err(Denied));
    }
    let detect = ServerProtocol::Detect { timeout: Duration::from_secs(10), routes: Vec::new() };
    assert!(tcp(&of(detect, everyone), CLIENT, &PLAIN).is_ok());
}

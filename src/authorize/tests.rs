use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request};
use proptest::prelude::*;

use super::condition::Failed;
use super::explain::{Explanation, Verdict};
use super::*;
use crate::model::inbound::{Authentication, IdentityMatch, NetworkMatch, ServerProtocol};
use crate::model::matching::{HeaderMatch, HostMatch, PathMatch, Pattern, QueryMatch, ValueMatch};
use crate::model::peer::NoTls;

#[allow(unreachable_pub)]
#[path = "../../fuzz/src/naive.rs"]
mod naive;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 7));
const PLAIN: Peer = Peer::Plaintext(NoTls::NoTlsFromRemote);

fn name(text: &str) -> ResourceRef {
    ResourceRef::default_named(text)
}

fn identified(id: &str) -> Peer {
    Peer::Identified(id.parse().unwrap())
}

fn authz(meta: &str, net: &str, authentication: Authentication) -> Authorization {
    let networks = vec![NetworkMatch { net: net.parse().unwrap(), except: Vec::new() }];
    Authorization { meta: name(meta), networks, authentication }
}

fn everyone() -> Authorization {
    authz("everyone", "0.0.0.0/0", Authentication::Unauthenticated)
}

fn only(id: &str) -> Authentication {
    Authentication::Identities(vec![IdentityMatch::Exact(id.parse().unwrap())])
}

fn boss() -> Authorization {
    authz("boss", "0.0.0.0/0", only("boss.ns"))
}

fn by_path(path: PathMatch) -> RequestMatch {
    RequestMatch { path: Some(path), ..RequestMatch::default() }
}

fn under(prefix: &str) -> Vec<RequestMatch> {
    vec![by_path(PathMatch::Prefix(prefix.into()))]
}

fn route(meta: &str, rules: Vec<Vec<RequestMatch>>, authorizations: Vec<Authorization>) -> InboundRoute {
    let rules = rules.into_iter().map(Into::into).collect();
    InboundRoute { meta: name(meta), hosts: Vec::new(), rules, authorizations }
}

fn of(protocol: ServerProtocol, authorizations: Vec<Authorization>) -> ServerPolicy {
    ServerPolicy { meta: name("server"), protocol, authorizations, rate_limit: None }
}

/// What `matches` takes is for one identity, everything else for everyone.
fn guarding(matches: RequestMatch) -> ServerPolicy {
    let open = route("open", vec![Vec::new()], vec![everyone()]);
    of(ServerProtocol::Http2(vec![open, route("admin", vec![vec![matches]], vec![boss()])]), Vec::new())
}

fn guarded() -> ServerPolicy {
    guarding(by_path(PathMatch::Prefix("/admin".into())))
}

type Outcome<'p> = Result<(&'p str, &'p str), Refusal<'p>>;

fn ask<'p>(policy: &'p ServerPolicy, peer: &Peer, req: http::request::Builder) -> Outcome<'p> {
    let req = req.body(()).unwrap();
    http(policy, CLIENT, peer, &Head::of(&req)).map(|permit| (permit.route.name(), permit.authz.name()))
}

fn get<'p>(policy: &'p ServerPolicy, peer: &Peer, path: &str) -> Outcome<'p> {
    ask(policy, peer, Request::get(path))
}

fn denied<'p>(route: &'p ResourceRef) -> Outcome<'p> {
    Err(Refusal::Denied { route })
}

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
fn a_narrow_route_cannot_be_walked_around() {
    let (policy, admin) = (guarded(), name("admin"));
    for path in [
        "/%61dmin",
        "/%2561dmin",
        "/%c1%a1dmin",
        "/x/../admin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/x/..%2Fadmin/y",
        "//admin",
        "/x//../../admin",
        "/.\\admin",
        "/admin%2f",
        "/admin;x",
        "/admin%3b",
        "/admin%00",
        "/x/..;/admin",
    ] {
        assert_eq!(get(&policy, &PLAIN, path), denied(&admin), "{path}");
        assert!(get(&policy, &identified("boss.ns"), path).is_ok(), "{path}");
    }
    assert_eq!(get(&policy, &PLAIN, "/admin/../x"), denied(&admin));
    assert_eq!(get(&policy, &PLAIN, "/caf%C3%A9//menu"), Ok(("open", "everyone")));
    let exact = guarding(by_path(PathMatch::Exact("/admin".into())));
    for path in ["/admin%2f", "/admin;x", "/%61dmin", "//admin", "/a/../admin/"] {
        assert_eq!(get(&exact, &PLAIN, path), denied(&admin), "{path}");
    }
    let regex = guarding(by_path(PathMatch::Regex(Pattern::new("/adm[a-z]+").unwrap())));
    for path in ["/%61dmin", "//admin", "/admin;x"] {
        assert_eq!(get(&regex, &PLAIN, path), denied(&admin), "{path}");
    }
    assert_eq!(
        get(&regex, &PLAIN, "/admin/"),
        Ok(("open", "everyone")),
        "an expression is for the whole path"
    );
}

#[test]
fn what_is_more_than_can_be_judged_is_refused() {
    let (policy, open) = (guarded(), name("open"));
    let unjudged = Err(Refusal::Unjudged { route: &open });
    assert_eq!(get(&policy, &PLAIN, "/%2561%5c..//%253f;x/..%2f//./"), unjudged);
    assert_eq!(get(&policy, &PLAIN, &format!("/{}", "%61".repeat(16 * 1024))), Ok(("open", "everyone")));
    let regex = guarding(by_path(PathMatch::Regex(Pattern::new("/admin.*").unwrap())));
    assert_eq!(get(&regex, &PLAIN, &format!("/admin{}", "x".repeat(32 * 1024))), unjudged);
    assert!(get(&regex, &PLAIN, &format!("/x{}", "x".repeat(8 * 1024))).is_ok());
    // Where no route looks at paths, there is nothing to walk around.
    let all = policy_for_all(vec![under("/")]);
    assert!(get(&all, &PLAIN, "/%2561%5c..//%253f;x/..%2f//./").is_ok());
    assert!(get(&all, &PLAIN, &format!("/%61{}", "x".repeat(48 * 1024))).is_ok());
}

fn policy_for_all(rules: Vec<Vec<RequestMatch>>) -> ServerPolicy {
    of(ServerProtocol::Http2(vec![route("all", rules, vec![everyone()])]), Vec::new())
}

fn with_role(value: ValueMatch) -> RequestMatch {
    let header = HeaderMatch { name: HeaderName::from_static("x-role"), value };
    RequestMatch { headers: vec![header], ..RequestMatch::default() }
}

fn roles(values: &[&str]) -> http::request::Builder {
    values
        .iter()
        .fold(Request::get("/"), |req, value| req.header("x-role", HeaderValue::from_str(value).unwrap()))
}

#[test]
fn each_value_of_a_header_is_judged() {
    let admin = name("admin");
    let policy = guarding(with_role(ValueMatch::Exact(b"admin".to_vec())));
    for values in
        [&["admin"][..], &["user", "admin"], &["admin", "user"], &["user, admin"], &["user,admin,x"]]
    {
        assert_eq!(ask(&policy, &PLAIN, roles(values)), denied(&admin), "{values:?}");
        assert!(ask(&policy, &identified("boss.ns"), roles(values)).is_ok(), "{values:?}");
    }
    for values in [&[][..], &["user"], &["admins", "user"], &["user, admins"]] {
        assert_eq!(ask(&policy, &PLAIN, roles(values)), Ok(("open", "everyone")), "{values:?}");
    }
    // The other way round: what one value opens, another one beside it does not pass through.
    let open = route("open", vec![vec![with_role(ValueMatch::Exact(b"guest".to_vec()))]], vec![everyone()]);
    let rest = route("admin", vec![Vec::new()], vec![boss()]);
    let policy = of(ServerProtocol::Http1(vec![open, rest]), Vec::new());
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest"])), Ok(("open", "everyone")));
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest", "guest"])), Ok(("open", "everyone")));
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest", "root"])), denied(&admin));
    assert_eq!(ask(&policy, &PLAIN, roles(&["guest, root"])), denied(&admin));
    let many: Vec<String> = (0..70).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["guest"]).collect();
    let open = name("open");
    assert_eq!(ask(&policy, &PLAIN, roles(&many)), Err(Refusal::Unjudged { route: &open }));
    assert_eq!(ask(&policy, &PLAIN, roles(&many[..10])), denied(&admin));
}

#[test]
fn values_that_a_pattern_cannot_read_are_refused() {
    let policy = guarding(with_role(ValueMatch::Regex(Pattern::new("adm.*").unwrap())));
    let (admin, open) = (name("admin"), name("open"));
    assert_eq!(ask(&policy, &PLAIN, roles(&["admin"])), denied(&admin));
    assert_eq!(ask(&policy, &PLAIN, roles(&["user"])), Ok(("open", "everyone")));
    let bytes = Request::get("/").header("x-role", HeaderValue::from_bytes(b"adm\xff").unwrap());
    assert_eq!(ask(&policy, &PLAIN, bytes), Err(Refusal::Unjudged { route: &open }));
    assert_eq!(ask(&policy, &PLAIN, roles(&[&"u".repeat(20_000)])), Err(Refusal::Unjudged { route: &open }));
}

#[test]
fn each_value_of_a_query_parameter_is_judged() {
    let query = QueryMatch { name: "role".into(), value: ValueMatch::Exact(b"admin".to_vec()) };
    let policy = guarding(RequestMatch { query: vec![query.clone()], ..RequestMatch::default() });
    let admin = name("admin");
    for uri in ["/?role=admin", "/?role=user&role=admin", "/?role=%61dmin&x", "/?r%6Fle=admin"] {
        assert_eq!(get(&policy, &PLAIN, uri), denied(&admin), "{uri}");
    }
    assert_eq!(get(&policy, &PLAIN, "/?role=user&role=guest"), Ok(("open", "everyone")));
    let open = route(
        "open",
        vec![vec![RequestMatch { query: vec![query], ..RequestMatch::default() }]],
        vec![everyone()],
    );
    let rest = route("admin", vec![Vec::new()], vec![boss()]);
    let policy = of(ServerProtocol::Grpc(vec![open, rest]), Vec::new());
    assert_eq!(get(&policy, &PLAIN, "/?role=admin&role=admin"), Ok(("open", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/?role=admin&role=root"), denied(&admin));
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

#[test]
fn tls_for_another_name_proves_nothing_and_tls_without_a_certificate_no_identity() {
    let opaque = |authentication| of(ServerProtocol::Opaque, vec![authz("a", "0.0.0.0/0", authentication)]);
    let any_id = || Authentication::Identities(vec![IdentityMatch::Suffix(Vec::new())]);
    let passthrough = Peer::Passthrough("boss.ns".parse().unwrap());
    for (peer, tls, id) in [
        (identified("web.ns"), true, true),
        (Peer::Anonymous, true, false),
        (passthrough, false, false),
        (PLAIN, false, false),
    ] {
        let may = |authentication| tcp(&opaque(authentication), CLIENT, &peer).is_ok();
        assert!(may(Authentication::Unauthenticated), "{peer:?}");
        assert_eq!((may(Authentication::TlsUnauthenticated), may(any_id())), (tls, id), "{peer:?}");
    }
}

fn net_in_and_except() -> ServerPolicy {
    let mut net = authz("net", "10.0.0.0/8", Authentication::Unauthenticated);
    net.networks[0].except.push("10.9.0.0/16".parse().unwrap());
    of(ServerProtocol::Opaque, vec![net])
}

#[test]
fn addresses_are_judged_by_network_mapped_ones_as_what_they_stand_for() {
    let policy = net_in_and_except();
    for (client, allowed) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("10.9.2.3", false),
        ("::ffff:10.9.2.3", false),
        ("11.0.0.1", false),
        ("::1", false),
    ] {
        assert_eq!(tcp(&policy, client.parse().unwrap(), &PLAIN).is_ok(), allowed, "{client}");
    }
}

/// What is said of the only authorization of a connection's policy.
fn failed(authentication: Authentication, peer: &Peer) -> Option<(&'static str, String)> {
    let policy = of(ServerProtocol::Opaque, vec![authz("a", "10.0.0.0/8", authentication)]);
    let explained = explain::tcp(&policy, CLIENT, peer);
    let [tried] = explained.tried[..] else { panic!("one was tried: {explained:?}") };
    assert_eq!(explained.is_allowed(), tried.failed.is_none());
    tried.failed.map(|failed| (failed.name(), failed.to_string()))
}

#[test]
fn the_first_condition_that_fails_is_named() {
    let opaque = Peer::Plaintext(NoTls::PortSkipped);
    let elsewhere = Peer::Passthrough("api.example".parse().unwrap());
    let suffix = IdentityMatch::Suffix(vec!["ns".into(), "td".into()]);
    let wanted = || {
        let never = IdentityMatch::Never("a\nb".into());
        Authentication::Identities(vec![suffix.clone(), IdentityMatch::Suffix(Vec::new()), never])
    };
    for (authentication, peer, name, said) in [
        (only("boss.ns"), &PLAIN, "no-tls", "has its pod a proxy?"),
        (Authentication::TlsUnauthenticated, &PLAIN, "no-tls", "the client came in plaintext"),
        (only("boss.ns"), &opaque, "no-tls", "opaque port"),
        (only("boss.ns"), &elsewhere, "tls-for-another-name", "the client's TLS is for api.example"),
        (only("boss.ns"), &Peer::Anonymous, "no-certificate", "presented no certificate"),
        (
            only("boss.ns"),
            &identified("web.ns"),
            "identity",
            "web.ns is none of the identities that it lets in (boss.ns)",
        ),
        (wanted(), &identified("spiffe://td/web"), "identity", "(*.ns.td, *, a\\nb)"),
    ] {
        let (named, text) = failed(authentication, peer).unwrap();
        assert!(named == name && text.contains(said), "{named}: {text}");
    }
    assert_eq!(failed(Authentication::TlsUnauthenticated, &Peer::Anonymous), None);
    let policy = net_in_and_except();
    let said = |ip: &str| explain::tcp(&policy, ip.parse().unwrap(), &PLAIN).to_string();
    assert_eq!(
        said("11.0.0.1"),
        "no authorization of the server lets the client in: [default/net: 11.0.0.1 is in none of its networks (10.0.0.0/8)]"
    );
    assert_eq!(
        said("::ffff:10.9.0.1"),
        "no authorization of the server lets the client in: [default/net: 10.9.0.1 is in 10.0.0.0/8, but in 10.9.0.0/16 \
         too, which is excepted]"
    );
    assert_eq!(said("10.1.0.1"), "default/net lets the client in: [default/net: lets it in]");
}

fn explained<'p>(policy: &'p ServerPolicy, peer: &'p Peer, req: http::request::Builder) -> Explanation<'p> {
    let req = req.body(()).unwrap();
    explain::http(policy, CLIENT, peer, &Head::of(&req))
}

#[test]
fn requests_are_explained_as_they_were_read() {
    let policy = guarded();
    let at = |path: &str| explained(&policy, &PLAIN, Request::get(path));
    let plain = at("/admin");
    assert_eq!(plain.read_as, None);
    assert_eq!(plain.tried.len(), 1);
    assert!(matches!(plain.tried[0].failed, Some(Failed::Plaintext(NoTls::NoTlsFromRemote))));
    assert_eq!(at("/%61dmin").read_as.as_deref(), Some("\"/admin\""));
    assert_eq!(
        at("/").tried.iter().map(|tried| (tried.authz.name(), tried.failed)).collect::<Vec<_>>(),
        [("everyone", None)]
    );
    assert_eq!(
        at("/").to_string(),
        "default/everyone lets the client in, on default/open: [default/everyone: lets it in]"
    );
    assert!(at("/x/..//%61dmin").to_string().starts_with(
        "no authorization of default/admin lets the client in; it may be read as \"/admin\": [default/boss: it wants mutual TLS"
    ));
    assert!(at("/%2561%5c..//%253f;x/..%2f//./").to_string().contains("more ways than are judged"));

    let by_role = guarding(with_role(ValueMatch::Exact(b"admin".to_vec())));
    let read = |values: &[&str]| explained(&by_role, &PLAIN, roles(values)).read_as;
    assert_eq!(read(&["user, admin"]).as_deref(), Some("headers by what stands between commas"));
    assert_eq!(read(&["user", "admin"]), None, "as it came");
    let guest = policy_for_all(vec![vec![with_role(ValueMatch::Exact(b"guest".to_vec()))]]);
    let two = explained(&guest, &PLAIN, roles(&["guest", "ro\tot"]));
    assert_eq!(two.read_as.as_deref(), Some("x-role: \"ro\\tot\""));
    assert_eq!(two.verdict, Verdict::NoRoute { routes: vec![&name("all")] });
    let query = QueryMatch { name: "r".into(), value: ValueMatch::Exact(b"1".to_vec()) };
    let queried = policy_for_all(vec![vec![RequestMatch { query: vec![query], ..RequestMatch::default() }]]);
    assert_eq!(explained(&queried, &PLAIN, Request::get("/?r=1&r=2")).read_as.as_deref(), Some("?r=\"2\""));
}

#[test]
fn what_no_authorization_was_asked_about_is_explained_too() {
    let open = |protocol| of(protocol, vec![everyone()]);
    let opaque = open(ServerProtocol::Opaque);
    assert_eq!(
        explained(&opaque, &PLAIN, Request::get("/")).to_string(),
        "the policy of the port is not for HTTP"
    );
    let http = open(ServerProtocol::Http1(vec![route("a\"b", vec![under("/a")], Vec::new())]));
    let explained_tcp = explain::tcp(&http, CLIENT, &PLAIN);
    assert_eq!((explained_tcp.verdict.clone(), explained_tcp.tried.len()), (Verdict::HttpAlone, 0));
    assert_eq!(explained_tcp.to_string(), "the port is for HTTP alone");
    assert_eq!(
        explained(&http, &PLAIN, Request::get("/b")).to_string(),
        "no route takes the request (default/a\\\"b)"
    );
    assert_eq!(
        explained(&http, &PLAIN, Request::get("/a")).to_string(),
        "no authorization of default/a\\\"b lets the client in: there is none"
    );
}

#[test]
fn a_long_list_is_told_in_part() {
    let many = |count: usize| {
        let all = (0..count).map(|n| authz(&format!("n{n}"), "11.0.0.0/8", Authentication::Unauthenticated));
        of(ServerProtocol::Opaque, all.collect())
    };
    let said = |count| explain::tcp(&many(count), CLIENT, &PLAIN).to_string();
    assert!(
        said(8).ends_with("[default/n7: 10.1.0.7 is in none of its networks (11.0.0.0/8)]"),
        "{}",
        said(8)
    );
    assert!(said(10).ends_with(" and 2 more") && !said(10).contains("n8"), "{}", said(10));
}

fn authentication() -> impl Strategy<Value = Authentication> {
    let id = prop_oneof![
        Just(IdentityMatch::Exact("web.ns".parse().unwrap())),
        Just(IdentityMatch::Exact("spiffe://td/web".parse().unwrap())),
        Just(IdentityMatch::Never("?".into())),
        Just(IdentityMatch::Suffix(Vec::new())),
        Just(IdentityMatch::Suffix(vec!["ns".into()])),
    ];
    prop_oneof![
        Just(Authentication::Unauthenticated),
        Just(Authentication::TlsUnauthenticated),
        proptest::collection::vec(id, 0..3).prop_map(Authentication::Identities),
    ]
}

fn authorization() -> impl Strategy<Value = Authorization> {
    let net = prop_oneof![Just("10.0.0.0/8"), Just("10.1.0.0/16"), Just("::/0"), Just("0.0.0.0/0")];
    let network = (net, any::<bool>()).prop_map(|(net, except)| NetworkMatch {
        net: net.parse().unwrap(),
        except: if except { vec!["10.1.0.7/32".parse().unwrap()] } else { Vec::new() },
    });
    ("[a-z]{3}", proptest::collection::vec(network, 0..3), authentication()).prop_map(
        |(meta, networks, authentication)| Authorization { meta: name(&meta), networks, authentication },
    )
}

fn a_path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(/|/a|/b|/\\.\\.|/\\.|/%61|/%2561|/%2f|%c1%a1|;x|\\\\|%5c|%3f|%00|%ff){1,6}".prop_map(|path| format!("/{path}")),
        1 => "(/[ab]){0,3}/?".prop_map(|path| if path.is_empty() { "/".to_owned() } else { path }),
        1 => Just("*".to_owned())
    ]
}

fn value() -> impl Strategy<Value = ValueMatch> {
    prop_oneof![
        Just(ValueMatch::Exact(b"a".to_vec())),
        Just(ValueMatch::Exact(b"b".to_vec())),
        Just(ValueMatch::Regex(Pattern::new("a|a.+").unwrap())),
    ]
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    let path = || prop_oneof!["(/[ab]){1,3}/?", Just("/".to_owned())];
    let part = || proptest::option::of("[ab]");
    prop_oneof![
        path().prop_map(PathMatch::Exact),
        path().prop_map(PathMatch::Prefix),
        Just(PathMatch::Regex(Pattern::new("/a(/.*)?").unwrap())),
        (part(), part()).prop_map(|(service, method)| PathMatch::Rpc { service, method }),
    ]
}

fn request_match() -> impl Strategy<Value = RequestMatch> {
    use proptest::{collection::vec, option};
    let headers = value().prop_map(|value| HeaderMatch { name: HeaderName::from_static("x"), value });
    let query = value().prop_map(|value| QueryMatch { name: "q".into(), value });
    let method = prop_oneof![Just(Method::GET), Just(Method::POST)];
    (option::of(path_match()), vec(headers, 0..2), vec(query, 0..2), option::of(method))
        .prop_map(|(path, headers, query, method)| RequestMatch { path, headers, query, method })
}

fn hosts() -> impl Strategy<Value = Vec<HostMatch>> {
    let one = prop_oneof![
        Just(HostMatch::Exact("bb.example".into())),
        Just(HostMatch::Exact("other".into())),
        Just(HostMatch::Suffix(vec!["example".into()])),
    ];
    prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(one, 1..3)]
}

fn routes() -> impl Strategy<Value = Vec<InboundRoute>> {
    let rules = proptest::collection::vec(proptest::collection::vec(request_match(), 0..3), 0..3);
    let route = ("[a-z]{4}", hosts(), rules, proptest::collection::vec(authorization(), 0..4)).prop_map(
        |(meta, hosts, rules, authorizations)| InboundRoute { hosts, ..route(&meta, rules, authorizations) },
    );
    proptest::collection::vec(route, 0..5)
}

pub(crate) fn server() -> impl Strategy<Value = ServerPolicy> {
    let protocol = (0..6, routes()).prop_map(|(kind, routes)| match kind {
        0 => ServerProtocol::Http1(routes),
        1 => ServerProtocol::Grpc(routes),
        2 => ServerProtocol::Opaque,
        3 => ServerProtocol::Tls,
        _ => ServerProtocol::Detect { timeout: Duration::from_secs(1), routes },
    });
    (protocol, proptest::collection::vec(authorization(), 0..4))
        .prop_map(|(protocol, authorizations)| of(protocol, authorizations))
}

pub(crate) fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        Just(PLAIN),
        Just(Peer::Anonymous),
        Just(Peer::Passthrough("web.ns".parse().unwrap())),
        Just(identified("web.ns")),
        Just(identified("web.other")),
        Just(identified("spiffe://td/web")),
    ]
}

pub(crate) fn client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        Just("10.1.0.7"),
        Just("10.2.0.1"),
        Just("::ffff:10.1.0.8"),
        Just("fd00::1"),
        Just("127.0.0.1")
    ]
    .prop_map(|ip| ip.parse().unwrap())
}

pub(crate) fn request() -> impl Strategy<Value = Request<()>> {
    let host = prop_oneof![
        Just(""),
        Just("http://bb.example"),
        Just("http://Other.:80"),
        Just("http://x.a.EXAMPLE.")
    ];
    let query =
        proptest::collection::vec(prop_oneof![Just("q=a"), Just("q=b"), Just("q=%61+"), Just("r=a")], 0..3);
    let headers =
        proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("b, a"), Just("\u{e9}")], 0..3);
    (host, a_path(), query, headers, any::<bool>()).prop_map(|(host, path, query, headers, post)| {
        let host = if path == "*" { "" } else { host };
        let query =
            if query.is_empty() || path == "*" { String::new() } else { format!("?{}", query.join("&")) };
        let method = if post { Method::POST } else { Method::GET };
        let req = Request::builder().method(method).uri(format!("{host}{path}{query}"));
        let header = |text: &str| match text {
            "\u{e9}" => HeaderValue::from_bytes(&[0xe9]).unwrap(),
            text => HeaderValue::from_str(text).unwrap(),
        };
        headers.iter().fold(req, |req, value| req.header("x", header(value))).body(()).unwrap()
    })
}

fn outcome<'p>(
    decided: Result<HttpPermit<'p>, Refusal<'p>>,
) -> Result<(&'p str, &'p str), naive::Refused<'p>> {
    match decided {
        Ok(permit) => Ok((permit.route.name(), permit.authz.name())),
        Err(Refusal::RouteNotFound) => Err(naive::Refused::NoRoute),
        Err(Refusal::Denied { route }) => Err(naive::Refused::Denied(route.name())),
        Err(Refusal::Unjudged { route }) => Err(naive::Refused::Unjudged(route.name())),
    }
}

/// The same as in a decision.
fn verdict<'p>(explained: &Explanation<'p>) -> Result<(&'p str, &'p str), naive::Refused<'p>> {
    match &explained.verdict {
        Verdict::Allowed { route, authz } => Ok((route.map_or("", |route| route.name()), authz.name())),
        Verdict::Denied { route } => Err(naive::Refused::Denied(route.map_or("", |route| route.name()))),
        Verdict::NoRoute { .. } | Verdict::NotHttp | Verdict::HttpAlone => Err(naive::Refused::NoRoute),
        Verdict::Unjudged { route } => Err(naive::Refused::Unjudged(route.name())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn decisions_equal_a_naive_reading_of_the_rules(
        server in server(), client in client(), peer in peer(), req in request()
    ) {
        let wanted = naive::http(&server, client, &peer, &req);
        let decided = outcome(http(&server, client, &peer, &Head::of(&req)));
        prop_assert!(naive::agrees(&wanted, decided), "{:?}, not {:?}", decided, wanted);
        let wanted = naive::tcp(&server, client, &peer);
        prop_assert_eq!(tcp(&server, client, &peer).ok().map(|permit| permit.authz.name()), wanted);
    }

    #[test]
    fn an_authorization_more_never_takes_access_away(
        server in server(), more in authorization(), at: prop::sample::Index, of: prop::sample::Index,
        client in client(), peer in peer(), req in request()
    ) {
        let mut wider = server.clone();
        wider.authorizations.insert(at.index(server.authorizations.len() + 1), more.clone());
        if let ServerProtocol::Http1(routes) | ServerProtocol::Grpc(routes) | ServerProtocol::Detect { routes, .. } = &mut wider.protocol
            && !routes.is_empty()
        {
            let of = of.index(routes.len());
            let route = &mut routes[of];
            route.authorizations.insert(at.index(route.authorizations.len() + 1), more);
        }
        prop_assert!(tcp(&wider, client, &peer).is_ok() >= tcp(&server, client, &peer).is_ok());
        let get = |policy| http(policy, client, &peer, &Head::of(&req)).is_ok();
        prop_assert!(get(&wider) >= get(&server));
    }

    #[test]
    fn an_explanation_has_the_decision_and_what_led_to_it(
        server in server(), client in client(), peer in peer(), req in request()
    ) {
        let head = Head::of(&req);
        let explained = explain::http(&server, client, &peer, &head);
        let decided = outcome(http(&server, client, &peer, &head));
        prop_assert_eq!(verdict(&explained), decided);
        let last = explained.tried.last();
        match decided {
            Ok((_, authz)) => {
                prop_assert!(last.is_some_and(|last| last.failed.is_none() && last.authz.name() == authz));
                prop_assert!(explained.read_as.is_none());
            }
            Err(naive::Refused::Denied(_)) => prop_assert!(explained.tried.iter().all(|tried| tried.failed.is_some())),
            Err(naive::Refused::NoRoute) => prop_assert!(explained.tried.is_empty()),
            Err(naive::Refused::Unjudged(_)) => {}
        }
        let explained = explain::tcp(&server, client, &peer);
        prop_assert_eq!(explained.is_allowed(), tcp(&server, client, &peer).is_ok());
        prop_assert_eq!(explained.is_allowed(), explained.tried.last().is_some_and(|last| last.failed.is_none()));
    }

    #[test]
    fn any_path_is_judged(path in "/[ -~]{0,40}") {
        let policy = guarded();
        if let Ok(req) = Request::get(path).body(()) {
            let _ = http(&policy, CLIENT, &PLAIN, &Head::of(&req));
        }
    }
}

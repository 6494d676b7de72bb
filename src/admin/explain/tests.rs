use proptest::prelude::*;

use super::*;
use crate::authorize;
use crate::authorize::tests::generated::{client, peer, request, server as server_policy};
use crate::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use crate::model::matching::{HeaderMatch, PathMatch, RequestMatch, ValueMatch};

fn ask_as(policy: ServerPolicy, host: &str, uri: &str) -> (u16, Value) {
    let policy = Arc::new(policy);
    let policies: Policies = Box::new(move |port| (policy.clone(), port == 8080));
    let (parts, ()) = Request::get(uri).header("host", host).body(()).unwrap().into_parts();
    let answer = respond(&policies, &parts);
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default())
}

fn ask(policy: ServerPolicy, query: &[(&str, &str)]) -> Value {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let (status, answer) = ask_as(policy, "localhost:4191", &format!("/explain?{query}"));
    assert_eq!(status, 200, "{answer}");
    answer
}

fn authz(name: &str, net: &str, authentication: Authentication) -> Authorization {
    let networks = vec![NetworkMatch { net: net.parse().unwrap(), except: Vec::new() }];
    Authorization {
        meta: ResourceRef::object("policy.linkerd.io", "authorizationpolicy", name),
        networks,
        authentication,
    }
}

fn ids(ids: &[&str]) -> Authentication {
    Authentication::Identities(ids.iter().map(|id| IdentityMatch::Exact(id.parse().unwrap())).collect())
}

fn server(protocol: ServerProtocol, authorizations: Vec<Authorization>) -> ServerPolicy {
    ServerPolicy {
        meta: ResourceRef::object("policy.linkerd.io", "server", "bb"),
        protocol,
        authorizations,
        rate_limit: None,
    }
}

fn open(authorizations: Vec<Authorization>) -> ServerPolicy {
    let route = InboundRoute::everything(ResourceRef::default_named("default"), authorizations.clone());
    server(ServerProtocol::Http2(vec![route]), authorizations)
}

#[test]
fn an_answer_names_the_server_and_every_authorization() {
    let policy = open(vec![
        authz("far", "11.0.0.0/8", Authentication::Unauthenticated),
        authz("web", "0.0.0.0/0", ids(&["web.ns"])),
    ]);
    let answer = ask(policy.clone(), &[("port", "8080"), ("src", "10.0.0.1"), ("client", "web.ns")]);
    assert_eq!(answer["server"], json!({ "group": "policy.linkerd.io", "kind": "server", "name": "bb" }));
    assert_eq!((&answer["answered"], &answer["protocol"]), (&json!(true), &json!("http2")));
    assert_eq!(answer["request"]["authorization"]["name"], "web");
    assert_eq!(answer["request"]["tried"][0]["failed"], "network");
    assert_eq!(answer["request"]["tried"][1]["failed"], Value::Null);
    assert_eq!(
        (&answer["request"]["allowed"], &answer["connection"]["verdict"]),
        (&json!(true), &json!("http-alone"))
    );
    let answer = ask(policy, &[("port", "80"), ("src", "10.0.0.1"), ("client", "")]);
    assert_eq!((&answer["answered"], &answer["request"]["allowed"]), (&json!(false), &json!(false)));
    assert_eq!(answer["request"]["tried"][1]["failed"], "no-certificate");
    assert!(answer["request"]["tried"][1]["why"].as_str().unwrap().contains("no certificate"), "{answer}");
}

#[test]
fn only_local_names_are_answered() {
    let everyone = || open(vec![authz("all", "0.0.0.0/0", Authentication::Unauthenticated)]);
    let asked = |host: &str| ask_as(everyone(), host, "/explain?port=8080&src=10.0.0.1").0;
    for host in
        ["localhost", "LOCALHOST:4191", "127.0.0.1:4191", "127.3.2.1", "[::1]:4191", "[::ffff:127.0.0.1]"]
    {
        assert_eq!(asked(host), 200, "{host}");
    }
    for host in
        ["rebound.example", "localhost.rebound.example", "10.0.0.9:4191", "127.0.0.1.example", "", "[::2]"]
    {
        assert_eq!(asked(host), 403, "{host}");
    }
    // By the target, where it names one.
    assert_eq!(ask_as(everyone(), "localhost", "http://rebound.example/explain?port=1&src=::1").0, 403);
}

#[test]
fn what_is_no_question_is_told() {
    for (query, said) in [
        ("", "port is missing"),
        ("port=0&src=::1", "port is missing"),
        ("port=x&src=::1", "port is no port"),
        ("port=1", "src is missing"),
        ("port=1&src=web", "src is no address"),
        ("port=1&src=::1&client=a..b", "client is no identity"),
        ("port=1&src=::1&sni=*", "sni is no name"),
        ("port=1&src=::1&method=G%20T", "method is no method"),
        ("port=1&src=::1&path=a", "path is no path"),
        ("port=1&src=::1&path=/a%20b", "no request has such a target"),
        ("port=1&src=::1&header=x", "header is no header"),
        ("port=1&src=::1&header=x%0a:1", "header is no header"),
        ("port=1&src=::1&header=x:1%0a2", "header is no header"),
        ("port=1&src=::1&who=me", "nothing that can be asked"),
    ] {
        let (status, answer) = ask_as(open(Vec::new()), "localhost", &format!("/explain?{query}"));
        let why = answer["error"].as_str().unwrap();
        assert!(status == 400 && why.contains(said), "{query}: {status} {why}");
    }
}

#[test]
fn headers_are_asked_about_by_their_bytes() {
    let role = |value| {
        let header = HeaderMatch { name: HeaderName::from_static("x-role"), value };
        let matched = RequestMatch { headers: vec![header], ..RequestMatch::default() };
        let everyone = vec![authz("all", "0.0.0.0/0", Authentication::Unauthenticated)];
        let rules = vec![vec![matched].into()];
        let route =
            InboundRoute { rules, ..InboundRoute::everything(ResourceRef::default_named("a"), everyone) };
        server(ServerProtocol::Http1(vec![route]), Vec::new())
    };
    let asked = |value, line: &str| {
        let query = format!("/explain?port=8080&&src=10.0.0.1&header={line}");
        ask_as(role(value), "localhost", &query).1["request"]["verdict"].clone()
    };
    let exact = |bytes: &[u8]| ValueMatch::Exact(bytes.to_vec());
    assert_eq!(asked(exact(b"adm\xff"), "X-Role:+adm%FF+"), "allowed");
    assert_eq!(asked(exact(b"a b:c"), "x-role%3Aa+b:c"), "allowed");
    assert_eq!(asked(exact("\u{fffd}".as_bytes()), "x-role:%FF"), "no-route", "it is no other text");
    assert_eq!(asked(exact("\u{e9}".as_bytes()), "x-role:%C3%A9"), "allowed");
}

/// The question that this caller's request is.
fn question_of(client: IpAddr, peer: &Peer, req: &Request<()>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("port", "8080").append_pair("src", &client.to_string());
    query.append_pair("method", req.method().as_str());
    query.append_pair("path", req.uri().path_and_query().map_or("*", |path| path.as_str()));
    if let Some(authority) = req.uri().authority() {
        query.append_pair("host", authority.as_str());
    }
    match peer {
        Peer::Identified(id) => query.append_pair("client", &id.to_string()),
        Peer::Anonymous => query.append_pair("client", ""),
        Peer::Passthrough(name) => query.append_pair("sni", name.as_str()),
        Peer::Plaintext(_) => &mut query,
    };
    let headers = req.headers().iter().map(|(name, value)| {
        let line = [name.as_str().as_bytes(), b": ", value.as_bytes()].concat();
        format!("&header={}", form_urlencoded::byte_serialize(&line).collect::<String>())
    });
    query.finish() + &headers.collect::<String>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn an_answer_agrees_with_the_decision(policy in server_policy(), client in client(), peer in peer(), req in request()) {
        let query = question_of(client, &peer, &req);
        let http = authorize::http(&policy, client, &peer, &Head::of(&req)).ok();
        let tcp = authorize::tcp(&policy, client, &peer).ok();
        let (status, answer) = ask_as(policy.clone(), "localhost", &format!("/explain?{query}"));
        prop_assert_eq!(status, 200, "{} {}", query, answer);
        prop_assert_eq!(answer["request"].is_null(), policy.protocol.routes().is_none());
        let allowed = |of: &Value| of["allowed"] == true;
        prop_assert_eq!(allowed(&answer["request"]), http.is_some(), "{}", answer);
        prop_assert_eq!(allowed(&answer["connection"]), tcp.is_some(), "{}", answer);
        if let Some(permit) = http {
            prop_assert_eq!(&answer["request"]["route"]["name"], permit.route.name());
            prop_assert_eq!(&answer["request"]["authorization"]["name"], permit.authz.name());
        }
        if let Some(permit) = tcp {
            prop_assert_eq!(&answer["connection"]["authorization"]["name"], permit.authz.name());
        }
    }
}

/// Twenty ways to be refused, each with one cause, and its name in the answer.
#[test]
fn the_planted_cause_of_each_denial_is_named() {
    let web = || authz("web", "0.0.0.0/0", ids(&["web.ns.td"]));
    let suffix = |labels: &[&str]| {
        let labels = labels.iter().map(ToString::to_string).collect();
        authz("web", "0.0.0.0/0", Authentication::Identities(vec![IdentityMatch::Suffix(labels)]))
    };
    let mut excepted = authz("near", "10.0.0.0/8", Authentication::Unauthenticated);
    excepted.networks[0].except = vec!["10.9.0.0/16".parse().unwrap()];
    let tls = authz("tls", "0.0.0.0/0", Authentication::TlsUnauthenticated);
    let matching = |matched: RequestMatch, own: Vec<Authorization>| {
        let everyone = authz("all", "0.0.0.0/0", Authentication::Unauthenticated);
        let narrow = InboundRoute {
            rules: vec![vec![matched].into()],
            ..InboundRoute::everything(ResourceRef::object("policy.linkerd.io", "httproute", "admin"), own)
        };
        let rest = InboundRoute::everything(ResourceRef::default_named("default"), vec![everyone]);
        server(ServerProtocol::Http1(vec![rest, narrow]), Vec::new())
    };
    let admin = || RequestMatch { path: Some(PathMatch::Prefix("/admin".into())), ..RequestMatch::default() };
    let role =
        HeaderMatch { name: HeaderName::from_static("x-role"), value: ValueMatch::Exact(b"root".to_vec()) };
    let by_role = RequestMatch { headers: vec![role], ..RequestMatch::default() };
    let hosted = |meta| InboundRoute {
        hosts: vec![crate::model::matching::HostMatch::Exact("bb.example".into())],
        ..InboundRoute::everything(ResourceRef::default_named(meta), vec![web()])
    };
    let request = "/request/tried/0/failed";
    let no_route = ("/request/verdict", "no-route");
    type Pair = (&'static str, &'static str);
    let scenarios: Vec<(&str, ServerPolicy, Vec<Pair>, Pair)> = vec![
        (
            "no authorization at all",
            open(vec![]),
            vec![],
            ("/request/why", "no authorization of default/default lets the client in"),
        ),
        (
            "another network",
            open(vec![authz("far", "11.0.0.0/8", Authentication::Unauthenticated)]),
            vec![],
            (request, "network"),
        ),
        (
            "IPv6 alone",
            open(vec![authz("six", "::/0", Authentication::Unauthenticated)]),
            vec![],
            (request, "network"),
        ),
        ("an excepted network", open(vec![excepted]), vec![("src", "10.9.0.1")], (request, "network-except")),
        ("no proxy", open(vec![web()]), vec![], (request, "no-tls")),
        ("no proxy, where TLS alone is wanted", open(vec![tls.clone()]), vec![], (request, "no-tls")),
        (
            "TLS for another name",
            open(vec![web()]),
            vec![("sni", "api.example")],
            (request, "tls-for-another-name"),
        ),
        (
            "the same, where TLS alone is wanted",
            open(vec![tls]),
            vec![("sni", "api.example")],
            (request, "tls-for-another-name"),
        ),
        ("no certificate", open(vec![web()]), vec![("client", "")], (request, "no-certificate")),
        ("another identity", open(vec![web()]), vec![("client", "api.ns.td")], (request, "identity")),
        ("a dot that is none", open(vec![web()]), vec![("client", "webxns.td")], (request, "identity")),
        (
            "another namespace",
            open(vec![suffix(&["ns", "td"])]),
            vec![("client", "web.other.td")],
            (request, "identity"),
        ),
        (
            "a suffix without a label before it",
            open(vec![suffix(&["ns", "td"])]),
            vec![("client", "ns.td")],
            (request, "identity"),
        ),
        (
            "a URI, where every name may",
            open(vec![suffix(&[])]),
            vec![("client", "spiffe://td/web")],
            (request, "identity"),
        ),
        (
            "a route of its own",
            matching(admin(), vec![web()]),
            vec![("path", "/admin/x")],
            ("/request/route/name", "admin"),
        ),
        (
            "a path in disguise",
            matching(admin(), vec![web()]),
            vec![("path", "/x/..//%61dmin")],
            ("/request/readAs", "\"/admin\""),
        ),
        (
            "one value of several",
            matching(by_role, vec![web()]),
            vec![("header", "x-role: user, root")],
            ("/request/readAs", "headers by what stands between commas"),
        ),
        (
            "no route for the path",
            server(
                ServerProtocol::Http1(vec![InboundRoute {
                    rules: vec![vec![admin()].into()],
                    ..hosted("a")
                }]),
                vec![],
            ),
            vec![("host", "bb.example")],
            no_route,
        ),
        (
            "no route for the host",
            server(ServerProtocol::Grpc(vec![hosted("a")]), vec![]),
            vec![("host", "cc.example")],
            no_route,
        ),
        (
            "not HTTP, where nothing else is expected",
            open(vec![web()]),
            vec![],
            ("/connection/verdict", "http-alone"),
        ),
    ];
    assert_eq!(scenarios.len(), 20);
    for (scenario, policy, query, (at, cause)) in scenarios {
        let with_src = query.iter().any(|(key, _)| *key == "src");
        let src = if with_src { &[][..] } else { &[("src", "10.1.0.1")] };
        let answer = ask(policy, &[&[("port", "8080")][..], src, &query].concat());
        assert_eq!(answer.pointer(at), Some(&json!(cause)), "{scenario}: {answer:#}");
        let decided = if at.starts_with("/connection") { &answer["connection"] } else { &answer["request"] };
        assert_eq!(decided["allowed"], false, "{scenario}");
    }
}

//! Policies, callers and requests of all kinds that decisions tell apart.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request};
use proptest::prelude::*;

use super::*;
use crate::model::matching::{HostMatch, Pattern, QueryMatch};

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

pub(super) fn authorization() -> impl Strategy<Value = Authorization> {
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

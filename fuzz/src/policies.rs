//! Policies out of a fuzzer's choices, and some of each kind as controllers send them.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use causeway::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use causeway::model::matching::{
    HeaderMatch, HostMatch, PathMatch, Pattern, QueryMatch, RequestMatch, ValueMatch,
};
use causeway::model::{ResourceRef, ServerPolicy};
use http::{HeaderName, Method};
use ipnet::IpNet;

#[derive(Arbitrary, Debug)]
pub struct Allowed<'a> {
    networks: Vec<((IpAddr, u8), Option<(IpAddr, u8)>)>,
    by: By<'a>,
}

#[derive(Arbitrary, Debug)]
enum By<'a> {
    Nothing,
    Tls,
    Ids(Vec<&'a str>),
}

#[derive(Arbitrary, Debug)]
pub struct Routed<'a> {
    hosts: Vec<&'a str>,
    rules: Vec<Vec<Matched<'a>>>,
    allowed: Vec<Allowed<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Matched<'a> {
    path: Option<PathOf<'a>>,
    headers: Vec<(bool, ValueOf<'a>)>,
    query: Vec<(&'a str, ValueOf<'a>)>,
    post: Option<bool>,
}

#[derive(Arbitrary, Debug)]
enum PathOf<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(u8),
    Rpc(Option<&'a str>, Option<&'a str>),
}

#[derive(Arbitrary, Debug)]
enum ValueOf<'a> {
    Exact(&'a [u8]),
    Regex(u8),
}

pub fn server(
    protocol: fn(Vec<InboundRoute>) -> ServerProtocol,
    routes: Vec<InboundRoute>,
    authorizations: Vec<Authorization>,
) -> ServerPolicy {
    let meta = ResourceRef::default_named("server");
    ServerPolicy { meta, protocol: protocol(routes), authorizations, rate_limit: None }
}

pub fn detect(routes: Vec<InboundRoute>) -> ServerProtocol {
    ServerProtocol::Detect { timeout: Duration::from_secs(10), routes }
}

pub fn route(number: usize, from: &Routed<'_>) -> InboundRoute {
    let rules = from.rules.iter().map(|matches| matches.iter().map(matched).collect::<Vec<_>>().into());
    let allowed = from.allowed.iter().enumerate();
    InboundRoute {
        meta: ResourceRef::default_named(&format!("route-{number}")),
        hosts: from.hosts.iter().map(|host| host_match(host)).collect(),
        rules: rules.collect(),
        authorizations: allowed.map(|(at, one)| authorization(at, one)).collect(),
    }
}

pub fn authorization(number: usize, from: &Allowed<'_>) -> Authorization {
    let networks = from.networks.iter().map(|(net, except)| NetworkMatch {
        net: network(net),
        except: except.iter().map(network).collect(),
    });
    let authentication = match &from.by {
        By::Nothing => Authentication::Unauthenticated,
        By::Tls => Authentication::TlsUnauthenticated,
        By::Ids(ids) => Authentication::Identities(ids.iter().map(|id| identity(id)).collect()),
    };
    let meta = ResourceRef::default_named(&format!("authorization-{number}"));
    Authorization { meta, networks: networks.collect(), authentication }
}

fn network((ip, length): &(IpAddr, u8)) -> IpNet {
    // Longer ones than there are wrap around, so that short ones are not rare.
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    IpNet::new(*ip, length % (longest + 1)).expect("a length in range")
}

fn identity(text: &str) -> IdentityMatch {
    match text.strip_prefix("*.") {
        Some(suffix) => IdentityMatch::Suffix(suffix.split('.').map(str::to_owned).collect()),
        None if text == "*" => IdentityMatch::Suffix(Vec::new()),
        None => text.parse().map_or_else(|_| IdentityMatch::Never(text.into()), IdentityMatch::Exact),
    }
}

fn host_match(text: &str) -> HostMatch {
    match text.strip_prefix("*.") {
        Some(suffix) => HostMatch::Suffix(suffix.rsplit('.').map(str::to_owned).collect()),
        None => HostMatch::Exact(text.to_owned()),
    }
}

fn matched(from: &Matched<'_>) -> RequestMatch {
    let named = |name: &Option<&str>| name.map(str::to_owned);
    let path = from.path.as_ref().map(|path| match path {
        PathOf::Exact(path) => PathMatch::Exact((*path).to_owned()),
        PathOf::Prefix(path) => PathMatch::Prefix((*path).to_owned()),
        PathOf::Regex(which) => PathMatch::Regex(pattern(*which)),
        PathOf::Rpc(service, method) => PathMatch::Rpc { service: named(service), method: named(method) },
    });
    let headers = from.headers.iter().map(|(x, of)| HeaderMatch {
        name: HeaderName::from_static(if *x { "x" } else { "y" }),
        value: value(of),
    });
    let query = from.query.iter().map(|(name, of)| QueryMatch { name: (*name).to_owned(), value: value(of) });
    let method = from.post.map(|post| if post { Method::POST } else { Method::GET });
    RequestMatch { path, headers: headers.collect(), query: query.collect(), method }
}

fn value(from: &ValueOf<'_>) -> ValueMatch {
    match from {
        ValueOf::Exact(value) => ValueMatch::Exact((*value).to_owned()),
        ValueOf::Regex(which) => ValueMatch::Regex(pattern(*which)),
    }
}

/// Of a few, since compiling takes longest.
fn pattern(which: u8) -> Pattern {
    static ALL: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
        let all = ["", "a", "/a.*", "a|a.+", "/[^/]+/?", "(/a)*"].map(Pattern::new);
        all.into_iter().collect::<Result<_, _>>().expect("patterns")
    });
    ALL[usize::from(which) % ALL.len()].clone()
}

/// A policy of each protocol, with everything that routes can have.
pub fn examples() -> Vec<ServerPolicy> {
    let everyone = Allowed { networks: vec![(([0, 0, 0, 0].into(), 0), None)], by: By::Nothing };
    let known = Allowed {
        networks: vec![(([10, 0, 0, 0].into(), 8), Some(([10, 9, 0, 0].into(), 16)))],
        by: By::Ids(vec!["web.ns", "*.ns.td", "*", "spiffe://td/web", "a b"]),
    };
    let rich = Matched {
        path: Some(PathOf::Regex(2)),
        headers: vec![(true, ValueOf::Exact(b"a")), (false, ValueOf::Regex(3))],
        query: vec![("q", ValueOf::Exact(b"a"))],
        post: Some(true),
    };
    let plain = |path| Matched { path: Some(path), headers: vec![], query: vec![], post: None };
    let rules = vec![vec![rich, plain(PathOf::Exact("/a"))], vec![plain(PathOf::Prefix("/"))]];
    let http = Routed { hosts: vec!["a.example", "*.example"], rules, allowed: vec![known] };
    let call = plain(PathOf::Rpc(Some("s"), Some("m")));
    let grpc =
        Routed { hosts: vec![], rules: vec![vec![Matched { post: Some(true), ..call }]], allowed: vec![] };
    let all: [(fn(Vec<InboundRoute>) -> ServerProtocol, _); 6] = [
        (detect, Some(&http)),
        (ServerProtocol::Http1, Some(&http)),
        (ServerProtocol::Http2, Some(&http)),
        (ServerProtocol::Grpc, Some(&grpc)),
        (|_| ServerProtocol::Opaque, None),
        (|_| ServerProtocol::Tls, None),
    ];
    let of = |(protocol, from): (fn(Vec<InboundRoute>) -> ServerProtocol, Option<&Routed<'_>>)| {
        let routes = from.map(|from| route(0, from)).into_iter().collect();
        server(protocol, routes, vec![authorization(0, &everyone)])
    };
    all.into_iter().map(of).collect()
}

//! The decision is that of a naive reading of the rules, its explanation agrees, and an authorization more never takes
//! access away.
#![no_main]

use std::net::IpAddr;

use arbitrary::Arbitrary;
use causeway::authorize::{self, HttpPermit, Refusal, explain};
use causeway::model::inbound::ServerProtocol;
use causeway::model::matching::Head;
use causeway::model::peer::NoTls;
use causeway::model::{Peer, ServerPolicy};
use causeway_fuzz::naive::{self, Refused};
use causeway_fuzz::policies::{self, Allowed, Routed};
use http::Request;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    protocol: u8,
    server: Vec<Allowed<'a>>,
    routes: Vec<Routed<'a>>,
    /// One more, and where.
    more: (u8, Allowed<'a>),
    client: IpAddr,
    peer: Caller<'a>,
    asked: Asked<'a>,
}

#[derive(Arbitrary, Debug)]
enum Caller<'a> {
    Plaintext,
    Passthrough(&'a str),
    Anonymous,
    Identified(&'a str),
}

#[derive(Arbitrary, Debug)]
struct Asked<'a> {
    post: bool,
    host: Option<&'a str>,
    path: &'a str,
    headers: Vec<(bool, &'a [u8])>,
}

libfuzzer_sys::fuzz_target!(|input: Input<'_>| {
    let Some(req) = request(&input.asked) else { return };
    let (client, peer) = (input.client, peer(&input.peer));
    let routes = input.routes.iter().enumerate().map(|(at, route)| policies::route(at, route)).collect();
    let server = input.server.iter().enumerate().map(|(at, one)| policies::authorization(at, one)).collect();
    let mut policy = policies::server(protocol(input.protocol), routes, server);
    let before = judge(&policy, client, &peer, &req);
    let (at, more) = input.more;
    widen(&mut policy, usize::from(at), &more);
    let after = judge(&policy, client, &peer, &req);
    assert!(after.0 >= before.0 && after.1 >= before.1);
});

/// Whether the request may pass, and whether a connection that is not HTTP may.
fn judge(policy: &ServerPolicy, client: IpAddr, peer: &Peer, req: &Request<()>) -> (bool, bool) {
    let head = Head::of(req);
    let http = authorize::http(policy, client, peer, &head);
    let wanted = naive::http(policy, client, peer, req);
    assert!(naive::agrees(&wanted, named(http)), "{http:?}, not {wanted:?}");
    assert_eq!(explain::http(policy, client, peer, &head).is_allowed(), http.is_ok());
    let tcp = authorize::tcp(policy, client, peer);
    assert_eq!(tcp.ok().map(|permit| permit.authz.name()), naive::tcp(policy, client, peer));
    assert_eq!(explain::tcp(policy, client, peer).is_allowed(), tcp.is_ok());
    (http.is_ok(), tcp.is_ok())
}

fn named<'p>(decided: Result<HttpPermit<'p>, Refusal<'p>>) -> Result<(&'p str, &'p str), Refused<'p>> {
    match decided {
        Ok(permit) => Ok((permit.route.name(), permit.authz.name())),
        Err(Refusal::RouteNotFound) => Err(Refused::NoRoute),
        Err(Refusal::Denied { route }) => Err(Refused::Denied(route.name())),
        Err(Refusal::Unjudged { route }) => Err(Refused::Unjudged(route.name())),
    }
}

fn widen(policy: &mut ServerPolicy, at: usize, more: &Allowed<'_>) {
    let more = policies::authorization(usize::MAX, more);
    policy.authorizations.insert(at.min(policy.authorizations.len()), more.clone());
    if let ServerProtocol::Detect { routes, .. }
    | ServerProtocol::Http1(routes)
    | ServerProtocol::Http2(routes)
    | ServerProtocol::Grpc(routes) = &mut policy.protocol
        && let Some(route) = routes.get_mut(at)
    {
        route.authorizations.insert(0, more);
    }
}

fn protocol(kind: u8) -> fn(Vec<causeway::model::inbound::InboundRoute>) -> ServerProtocol {
    match kind {
        0 => |_| ServerProtocol::Opaque,
        1 => |_| ServerProtocol::Tls,
        2..128 => policies::detect,
        _ => ServerProtocol::Http2,
    }
}

fn peer(caller: &Caller<'_>) -> Peer {
    match caller {
        Caller::Plaintext => Peer::Plaintext(NoTls::NoTlsFromRemote),
        Caller::Passthrough(name) => name.parse().map_or(Peer::Anonymous, Peer::Passthrough),
        Caller::Anonymous => Peer::Anonymous,
        Caller::Identified(id) => id.parse().map_or(Peer::Anonymous, Peer::Identified),
    }
}

fn request(asked: &Asked<'_>) -> Option<Request<()>> {
    let uri = match asked.host {
        Some(host) => format!("http://{host}{}", asked.path),
        None => asked.path.to_owned(),
    };
    let method = if asked.post { "POST" } else { "GET" };
    let req = Request::builder().method(method).uri(uri);
    let headers = asked.headers.iter();
    let req = headers.fold(req, |req, (x, value)| req.header(if *x { "x" } else { "y" }, *value));
    req.body(()).ok()
}

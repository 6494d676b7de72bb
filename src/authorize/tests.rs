//! Decisions, by story; what the stories share is here.

use http::{HeaderName, HeaderValue, Request};

use super::*;
use crate::model::inbound::{Authentication, IdentityMatch, NetworkMatch, ServerProtocol};
use crate::model::matching::{HeaderMatch, PathMatch, ValueMatch};
use crate::model::peer::NoTls;

mod agreement;
mod callers;
mod explanations;
pub(crate) mod generated;
mod otherwise_read;
mod routes;

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

fn net_in_and_except() -> ServerPolicy {
    let mut net = authz("net", "10.0.0.0/8", Authentication::Unauthenticated);
    net.networks[0].except.push("10.9.0.0/16".parse().unwrap());
    of(ServerProtocol::Opaque, vec![net])
}

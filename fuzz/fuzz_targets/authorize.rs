//! An authorization more never takes access away, whatever the path.
#![no_main]

use std::net::IpAddr;

use arbitrary::Arbitrary;
use causeway::authorize;
use causeway::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use causeway::model::matching::{Head, PathMatch, RequestMatch};
use causeway::model::{Peer, ResourceRef, ServerPolicy};
use http::Request;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Prefix of each route, with the identities it lets in.
    routes: Vec<(&'a str, Vec<&'a str>)>,
    more: (u8, &'a str),
    peer: Option<&'a str>,
    client: [u8; 4],
    path: &'a str,
}

libfuzzer_sys::fuzz_target!(|input: Input<'_>| {
    let client = IpAddr::from(input.client);
    let peer = input.peer.and_then(|id| id.parse().ok()).map_or(Peer::Anonymous, Peer::Identified);
    let mut routes: Vec<InboundRoute> = input.routes.iter().map(|(prefix, ids)| route(prefix, ids)).collect();
    let before = allowed(routes.clone(), client, &peer, input.path);
    let (at, id) = input.more;
    if let Some(route) = routes.get_mut(usize::from(at)) {
        route.authorizations.insert(0, authorization(id));
    }
    assert!(allowed(routes, client, &peer, input.path) >= before);
});

fn allowed(routes: Vec<InboundRoute>, client: IpAddr, peer: &Peer, path: &str) -> bool {
    let meta = ResourceRef::default_named("fuzz");
    let protocol = ServerProtocol::Http2(routes);
    let policy = ServerPolicy { meta, protocol, authorizations: Vec::new(), rate_limit: None };
    let req = Request::get(path).body(());
    req.is_ok_and(|req| authorize::http(&policy, client, peer, &Head::of(&req)).is_ok())
}

fn route(prefix: &str, ids: &[&str]) -> InboundRoute {
    let matched = RequestMatch { path: Some(PathMatch::Prefix(prefix.into())), ..RequestMatch::default() };
    let authorizations = ids.iter().map(|id| authorization(id)).collect();
    InboundRoute {
        rules: vec![vec![matched].into()],
        ..InboundRoute::everything(ResourceRef::default_named("route"), authorizations)
    }
}

fn authorization(id: &str) -> Authorization {
    let wanted = match id.strip_prefix("*.") {
        Some(suffix) => IdentityMatch::Suffix(suffix.split('.').map(str::to_owned).collect()),
        None => id.parse().map_or_else(|_| IdentityMatch::Never(id.into()), IdentityMatch::Exact),
    };
    let everywhere = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok());
    Authorization {
        meta: ResourceRef::default_named("authorization"),
        networks: everywhere.map(|net| NetworkMatch { net, except: Vec::new() }).collect(),
        authentication: Authentication::Identities(vec![wanted]),
    }
}

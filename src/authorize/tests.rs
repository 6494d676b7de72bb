use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::inbound::{IdentityMatch, NetworkMatch};
use crate::model::matching::{PathMatch, RequestMatch};
use crate::model::peer::NoTls;

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

fn only(id: &str) -> Authentication {
    Authentication::Identities(vec![IdentityMatch::Exact(id.parse().unwrap())])
}

fn under(prefix: &str) -> Vec<RequestMatch> {
    vec![RequestMatch { path: Some(PathMatch::Prefix(prefix.into())), method: None }]
}

fn route(meta: &str, rules: Vec<Vec<RequestMatch>>, authorizations: Vec<Authorization>) -> InboundRoute {
    InboundRoute { meta: name(meta), rules, authorizations }
}

fn policy(protocol: ServerProtocol, authorizations: Vec<Authorization>) -> ServerPolicy {
    ServerPolicy { meta: name("server"), protocol, authorizations }
}

/// `/admin` for one identity, everything else for everyone.
fn guarded() -> ServerPolicy {
    let everyone = authz("everyone", "0.0.0.0/0", Authentication::Unauthenticated);
    let routes = vec![
        route("open", vec![Vec::new()], vec![everyone]),
        route("admin", vec![under("/admin")], vec![authz("boss", "0.0.0.0/0", only("boss.ns"))]),
    ];
    policy(ServerProtocol::Http2(routes), Vec::new())
}

fn get<'p>(policy: &'p ServerPolicy, peer: &Peer, path: &str) -> Result<(&'p str, &'p str), Refusal<'p>> {
    http(policy, CLIENT, peer, &Method::GET, path).map(|permit| (permit.route.name(), permit.authz.name()))
}

#[test]
fn the_longest_match_decides_and_the_permit_names_what_granted_it() {
    let policy = guarded();
    assert_eq!(get(&policy, &PLAIN, "/"), Ok(("open", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/admin/x"), Err(Refusal::Denied { route: &name("admin") }));
    assert_eq!(
        get(&policy, &identified("other.ns"), "/admin"),
        Err(Refusal::Denied { route: &name("admin") })
    );
    assert_eq!(get(&policy, &identified("boss.ns"), "/admin"), Ok(("admin", "boss")));
}

#[test]
fn a_narrow_route_cannot_be_walked_around() {
    let policy = guarded();
    for path in [
        "/%61dmin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2Fadmin/y",
        "//admin",
        "/x//../../admin",
        "/.\\admin",
    ] {
        assert_eq!(get(&policy, &PLAIN, path), Err(Refusal::Denied { route: &name("admin") }), "{path}");
        assert!(get(&policy, &identified("boss.ns"), path).is_ok(), "{path}");
    }
    assert_eq!(get(&policy, &PLAIN, "/admin/../x"), Err(Refusal::Denied { route: &name("admin") }));
    assert_eq!(get(&policy, &PLAIN, "/caf%C3%A9//menu"), Ok(("open", "everyone")));
}

#[test]
fn of_equal_matches_the_first_route_wins() {
    let everyone = || vec![authz("everyone", "0.0.0.0/0", Authentication::Unauthenticated)];
    let routes = vec![
        route("one", vec![under("/a")], everyone()),
        route("two", vec![under("/a")], everyone()),
        route("three", vec![under("/a/b"), under("/a/b/c")], everyone()),
    ];
    let policy = policy(ServerProtocol::Http1(routes), Vec::new());
    assert_eq!(get(&policy, &PLAIN, "/a"), Ok(("one", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/a/b/c"), Ok(("three", "everyone")));
    assert_eq!(get(&policy, &PLAIN, "/c"), Err(Refusal::RouteNotFound));
}

#[test]
fn http_on_a_policy_without_http_has_no_route_and_tcp_on_one_with_http_is_denied() {
    let everyone = vec![authz("everyone", "0.0.0.0/0", Authentication::Unauthenticated)];
    for protocol in [ServerProtocol::Opaque, ServerProtocol::Tls] {
        let policy = policy(protocol, everyone.clone());
        assert_eq!(get(&policy, &PLAIN, "/"), Err(Refusal::RouteNotFound));
        assert_eq!(tcp(&policy, CLIENT, &PLAIN).map(|permit| permit.authz.name()), Ok("everyone"));
    }
    for protocol in [ServerProtocol::Http1, ServerProtocol::Http2, ServerProtocol::Grpc] {
        let policy = policy(protocol(Vec::new()), everyone.clone());
        assert_eq!(tcp(&policy, CLIENT, &PLAIN), Err(Denied));
    }
    let detect = ServerProtocol::Detect { timeout: Duration::from_secs(10), routes: Vec::new() };
    assert!(tcp(&policy(detect, everyone), CLIENT, &PLAIN).is_ok());
}

#[test]
fn tls_for_another_name_proves_nothing_and_tls_without_a_certificate_no_identity() {
    let opaque =
        |authentication| policy(ServerProtocol::Opaque, vec![authz("a", "0.0.0.0/0", authentication)]);
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

#[test]
fn addresses_are_judged_by_network_mapped_ones_as_what_they_stand_for() {
    let mut net = authz("net", "10.0.0.0/8", Authentication::Unauthenticated);
    net.networks[0].except.push("10.9.0.0/16".parse().unwrap());
    let policy = policy(ServerProtocol::Opaque, vec![net]);
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
    prop_oneof!["(/(a|b|\\.\\.|%61|)){0,4}", Just("/".to_owned()), Just("*".to_owned())]
}

fn request_match() -> impl Strategy<Value = RequestMatch> {
    let path = prop_oneof!["(/[ab]){1,3}", Just("/".to_owned())];
    let path = prop_oneof![path.clone().prop_map(PathMatch::Exact), path.prop_map(PathMatch::Prefix)];
    let method = prop_oneof![Just(Method::GET), Just(Method::POST)];
    (proptest::option::of(path), proptest::option::of(method))
        .prop_map(|(path, method)| RequestMatch { path, method })
}

fn routes() -> impl Strategy<Value = Vec<InboundRoute>> {
    let rules = proptest::collection::vec(proptest::collection::vec(request_match(), 0..3), 0..3);
    let route = ("[a-z]{4}", rules, proptest::collection::vec(authorization(), 0..4))
        .prop_map(|(meta, rules, authorizations)| route(&meta, rules, authorizations));
    proptest::collection::vec(route, 0..5)
}

fn server() -> impl Strategy<Value = ServerPolicy> {
    let protocol = (0..6, routes()).prop_map(|(kind, routes)| match kind {
        0 => ServerProtocol::Http1(routes),
        1 => ServerProtocol::Grpc(routes),
        2 => ServerProtocol::Opaque,
        3 => ServerProtocol::Tls,
        _ => ServerProtocol::Detect { timeout: Duration::from_secs(1), routes },
    });
    (protocol, proptest::collection::vec(authorization(), 0..4))
        .prop_map(|(protocol, authorizations)| policy(protocol, authorizations))
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        Just(PLAIN),
        Just(Peer::Anonymous),
        Just(Peer::Passthrough("web.ns".parse().unwrap())),
        Just(identified("web.ns")),
        Just(identified("web.other")),
        Just(identified("spiffe://td/web")),
    ]
}

fn client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        Just("10.1.0.7"),
        Just("10.2.0.1"),
        Just("::ffff:10.1.0.8"),
        Just("fd00::1"),
        Just("127.0.0.1")
    ]
    .prop_map(|ip| ip.parse().unwrap())
}

/// The contract's sentences, one by one, with no thought for speed.
mod naive {
    use super::*;

    pub(super) fn lets_in(authorization: &Authorization, client: IpAddr, peer: &Peer) -> bool {
        let client = match client {
            IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(client, IpAddr::V4),
            v4 => v4,
        };
        let mut near = false;
        for network in &authorization.networks {
            near |= network.net.contains(&client) && network.except.iter().all(|net| !net.contains(&client));
        }
        let known = match (&authorization.authentication, peer) {
            (Authentication::Unauthenticated, _) => true,
            (Authentication::TlsUnauthenticated, Peer::Identified(_) | Peer::Anonymous) => true,
            (Authentication::Identities(ids), Peer::Identified(id)) => {
                ids.iter().any(|wanted| wanted.matches(id))
            }
            _ => false,
        };
        near && known
    }

    pub(super) fn one_path<'p>(
        routes: &'p [InboundRoute],
        client: IpAddr,
        peer: &Peer,
        method: &Method,
        path: &str,
    ) -> Result<(&'p str, &'p str), u16> {
        let mut found: Vec<_> = routes
            .iter()
            .flat_map(|route| route.rules.iter().map(move |rule| (best_rank(rule, method, path), route)))
            .filter(|(rank, _)| rank.is_some())
            .collect();
        found.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let (_, route) = found.first().ok_or(404_u16)?;
        let allowing = route.authorizations.iter().find(|authorization| lets_in(authorization, client, peer));
        allowing.map(|authorization| (route.meta.name(), authorization.meta.name())).ok_or(403)
    }
}

fn status<'p>(outcome: Result<HttpPermit<'p>, Refusal<'p>>) -> Result<(&'p str, &'p str), u16> {
    match outcome {
        Ok(permit) => Ok((permit.route.name(), permit.authz.name())),
        Err(Refusal::RouteNotFound) => Err(404),
        Err(Refusal::Denied { .. }) => Err(403),
    }
}

proptest! {
    #[test]
    fn decisions_equal_a_naive_reading_of_the_rules(
        server in server(), client in client(), peer in peer(), path in a_path(), post: bool
    ) {
        let method = if post { Method::POST } else { Method::GET };
        let naive = server.protocol.routes().ok_or(404).and_then(|routes| {
            let permit = naive::one_path(routes, client, &peer, &method, &path);
            path::readings(&path).iter().fold(permit, |so_far, reading| {
                so_far.and_then(|permit| naive::one_path(routes, client, &peer, &method, reading).map(|_| permit))
            })
        });
        prop_assert_eq!(status(http(&server, client, &peer, &method, &path)), naive);

        let speaks_http = !matches!(server.protocol, ServerProtocol::Opaque | ServerProtocol::Tls | ServerProtocol::Detect { .. });
        let naive = server.authorizations.iter().find(|a| !speaks_http && naive::lets_in(a, client, &peer));
        prop_assert_eq!(tcp(&server, client, &peer).ok().map(|permit| permit.authz), naive.map(|a| &a.meta));
    }

    #[test]
    fn an_authorization_more_never_takes_access_away(
        server in server(), more in authorization(), at: prop::sample::Index, of: prop::sample::Index,
        client in client(), peer in peer(), path in a_path()
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
        let get = |policy| http(policy, client, &peer, &Method::GET, &path).is_ok();
        prop_assert!(get(&wider) >= get(&server));
    }

    #[test]
    fn any_path_is_judged(path: String) {
        let policy = guarded();
        let _ = get(&policy, &PLAIN, &path);
    }
}

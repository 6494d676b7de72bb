use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::api::strategies;
use crate::model::filter::Filter;
use crate::model::matching::{HostMatch, RequestMatch};

fn identities() -> impl Strategy<Value = Vec<IdentityMatch>> {
    let literal = prop_oneof![
        strategies::workload_id().prop_map(IdentityMatch::Exact),
        "[a-z]{1,4}\\.".prop_map(IdentityMatch::Never),
    ];
    let suffix = vec("[a-z][a-z0-9-]{0,5}", 0..4).prop_map(IdentityMatch::Suffix);
    // Two lists on the wire: literals come first.
    (vec(literal, 0..3), vec(suffix, 0..3)).prop_map(|(a, b)| a.into_iter().chain(b).collect())
}

fn authorizations() -> impl Strategy<Value = Vec<Authorization>> {
    let authentication = prop_oneof![
        Just(Authentication::Unauthenticated),
        Just(Authentication::TlsUnauthenticated),
        identities().prop_map(Authentication::Identities),
    ];
    let one = (strategies::resource(), vec(strategies::network(), 1..3), authentication)
        .prop_map(|(meta, networks, authentication)| Authorization { meta, networks, authentication });
    vec(one, 0..3)
}

type Route = (ResourceRef, Vec<HostMatch>, Vec<InboundRule>, Vec<Authorization>);

fn routes(
    matches: BoxedStrategy<Vec<RequestMatch>>,
    filters: BoxedStrategy<Vec<Filter>>,
) -> impl Strategy<Value = Vec<Route>> {
    let rule = (matches, filters).prop_map(|(matches, filters)| InboundRule { matches, filters });
    vec((strategies::resource(), strategies::hosts(), vec(rule, 0..3), authorizations()), 1..3)
}

fn any_server() -> impl Strategy<Value = ServerPolicy> {
    let http = routes(strategies::http_matches().boxed(), strategies::http_filters().boxed());
    let grpc = routes(strategies::grpc_matches().boxed(), strategies::grpc_filters().boxed());
    let limit = proptest::option::of(strategies::rate_limit());
    (strategies::object(), 0..6, strategies::duration(), http, grpc, authorizations(), limit).prop_map(
        |(meta, kind, timeout, http, grpc, mut server, limit)| {
            server.push(localhost());
            let built = |routes: Vec<Route>| {
                routes.into_iter().map(|(meta, hosts, rules, mut authorizations)| {
                    authorizations.extend(server.iter().cloned());
                    InboundRoute { meta, hosts, rules, authorizations }
                })
            };
            let protocol = match kind {
                0 => ServerProtocol::Detect { timeout, routes: built(http).collect() },
                1 => ServerProtocol::Http1(built(http).collect()),
                2 => ServerProtocol::Http2(built(http).collect()),
                3 => ServerProtocol::Grpc(built(grpc).collect()),
                4 => ServerProtocol::Opaque,
                _ => ServerProtocol::Tls,
            };
            // Other protocols have no place for it.
            let rate_limit = limit.filter(|_| kind < 3).map(Arc::new);
            ServerPolicy { meta, protocol, authorizations: server, rate_limit }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn policies_survive_the_wire(sent in any_server()) {
        prop_assert_eq!(server(encode_server(&sent)), Ok(sent));
    }

    #[test]
    fn a_controller_need_not_append_what_the_proxy_appends(sent in any_server()) {
        let mut short = sent.clone();
        short.authorizations.pop();
        prop_assert_eq!(encode_server(&short), encode_server(&sent));
    }
}

fn opaque_server(authorizations: Vec<pb::Authz>) -> pb::Server {
    pb::Server {
        protocol: Some(pb::ProxyProtocol { kind: Some(Kind::Opaque(Opaque {})) }),
        authorizations,
        labels: [("name".to_owned(), "s".to_owned())].into(),
        ..Default::default()
    }
}

fn good() -> pb::Authz {
    encode_authorization(&localhost())
}

#[test]
fn localhost_comes_last_and_is_not_sent() {
    let read = server(opaque_server(vec![])).unwrap();
    assert_eq!(read.authorizations, [localhost()]);
    assert!(encode_server(&read).authorizations.is_empty());
}

#[test]
fn a_port_without_routes_gets_one_that_takes_everything() {
    let detect =
        Detect { timeout: encode_duration(std::time::Duration::from_secs(10)), ..Default::default() };
    let protocol = Some(pb::ProxyProtocol { kind: Some(Kind::Detect(detect)) });
    let read = server(pb::Server { protocol, ..opaque_server(vec![]) }).unwrap();
    let routes = read.protocol.routes().unwrap();
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].meta, ResourceRef::default_named("default"));
    assert_eq!(routes[0].rules, [InboundRule::default()]);
    assert_eq!(routes[0].authorizations, read.authorizations);
}

#[test]
fn authorizations_must_say_from_where_and_how() {
    assert!(server(opaque_server(vec![good()])).is_ok());
    let permit = |permit| Some(pb::Authn { permit });
    let clientless = Permit::MeshTls(PermitMeshTls { clients: None });
    let far = net::IpNetwork { ip: Some(std::net::IpAddr::from([10, 0, 0, 0]).into()), prefix_len: 33 };
    let cases = [
        pb::Authz { networks: vec![], ..good() },
        pb::Authz { networks: vec![pb::Network { net: None, except: vec![] }], ..good() },
        pb::Authz { networks: vec![pb::Network { net: Some(far), except: vec![] }], ..good() },
        pb::Authz { authentication: None, ..good() },
        pb::Authz { authentication: permit(None), ..good() },
        pb::Authz { authentication: permit(Some(clientless)), ..good() },
        pb::Authz { metadata: None, labels: HashMap::new(), ..good() },
    ];
    for case in cases {
        assert!(server(opaque_server(vec![case.clone()])).is_err(), "{case:?}");
    }
}

fn read_http1(http: Http1) -> Result<ServerPolicy, InvalidPolicy> {
    let protocol = Some(pb::ProxyProtocol { kind: Some(Kind::Http1(http)) });
    server(pb::Server { protocol, ..opaque_server(vec![]) })
}

#[test]
fn what_of_a_route_cannot_be_read_refuses_the_policy() {
    let route = || pb::HttpRoute { metadata: good().metadata, ..Default::default() };
    let with = |route| Http1 { routes: vec![route], local_rate_limit: None };
    let rule = |rule| pb::HttpRoute { rules: vec![rule], ..route() };
    let unknown = pb::http_route::Rule { matches: vec![], filters: vec![Default::default()] };
    for read in [route(), rule(unknown)] {
        assert!(read_http1(with(read)).is_ok());
    }
    let path = linkerd2_proxy_api::http_route::PathMatch { kind: None };
    let pathless = linkerd2_proxy_api::http_route::HttpRouteMatch { path: Some(path), ..Default::default() };
    for bad in [
        pb::HttpRoute { metadata: None, ..route() },
        pb::HttpRoute { hosts: vec![Default::default()], ..route() },
        pb::HttpRoute { authorizations: vec![Default::default()], ..route() },
        rule(pb::http_route::Rule { matches: vec![pathless], filters: vec![] }),
    ] {
        assert!(read_http1(with(bad.clone())).is_err(), "{bad:?}");
    }
}

#[test]
fn a_rate_of_zero_limits_nothing_and_an_override_of_nobody_is_none() {
    use pb::http_local_rate_limit::r#override::ClientIdentities;
    use pb::http_local_rate_limit::{Limit, Override};
    let limit = |rate| Some(Limit { requests_per_second: rate });
    let of = |names: &[&str]| {
        let identities = names.iter().map(|name| pb::Identity { name: name.to_string() }).collect();
        Some(ClientIdentities { identities })
    };
    let sent = pb::HttpLocalRateLimit {
        metadata: None,
        total: limit(0),
        identity: limit(3),
        overrides: vec![
            Override { limit: limit(0), clients: of(&["web.ns"]) },
            Override { limit: limit(9), clients: of(&["web.ns", "no name"]) },
            Override { limit: limit(9), clients: of(&["."]) },
            Override { limit: limit(9), clients: None },
        ],
    };
    let read = read_http1(Http1 { routes: vec![], local_rate_limit: Some(sent) }).unwrap();
    let rate = |rate| NonZeroU32::new(rate).unwrap();
    let overrides = vec![RateOverride { rate: rate(9), clients: vec!["web.ns".parse().unwrap()] }];
    let limit = RateLimit { meta: None, total: None, identity: Some(rate(3)), overrides };
    assert_eq!(read.rate_limit, Some(Arc::new(limit)));
}

#[test]
fn old_labels_name_kinds_in_three_ways() {
    let read = |pairs: &[(&str, &str)]| {
        labelled(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(), "server")
    };
    let named = ResourceRef::default_named;
    let object = |kind, name| ResourceRef::object("policy.linkerd.io", kind, name);
    assert_eq!(read(&[("name", "x")]), Ok(object("server", "x")));
    assert_eq!(read(&[("name", "default:deny")]), Ok(named("deny")));
    assert_eq!(read(&[("name", "route:x")]), Ok(object("route", "x")));
    assert_eq!(read(&[("group", ""), ("kind", "default"), ("name", "deny")]), Ok(named("deny")));
    assert_eq!(read(&[("kind", "k")]), Err(InvalidPolicy::Missing("label name")));
}

#[test]
fn suffixes_are_read_as_joined_labels() {
    let parts = |parts: &[&str]| suffix_of(&parts.iter().map(|p| p.to_string()).collect::<Vec<_>>());
    let id = "web.ns.example".parse().unwrap();
    assert!(parts(&[]).matches(&id));
    assert!(parts(&["NS.example"]).matches(&id));
    assert!(parts(&["ns", "example"]).matches(&id));
    for empty in [&[""][..], &["", "example"], &["ns", "example", ""]] {
        assert!(!parts(empty).matches(&id), "{empty:?}");
    }
}

#[test]
fn a_literal_that_is_no_identity_matches_nobody_and_spoils_nothing() {
    let names = ["web.ns.", "web.ns"].map(|n| pb::Identity { name: n.into() });
    let ids = PermitClientIdentities { identities: names.into(), suffixes: vec![] };
    let clients = Some(Clients::Identities(ids));
    let permit = Some(Permit::MeshTls(PermitMeshTls { clients }));
    let authz = pb::Authz { authentication: Some(pb::Authn { permit }), ..good() };
    let read = server(opaque_server(vec![authz])).unwrap();
    let expected =
        vec![IdentityMatch::Never("web.ns.".into()), IdentityMatch::Exact("web.ns".parse().unwrap())];
    assert_eq!(read.authorizations[0].authentication, Authentication::Identities(expected));
}

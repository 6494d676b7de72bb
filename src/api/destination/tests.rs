use proptest::prelude::{prop, prop_assert_eq, proptest};

use super::*;
use crate::api::strategies;
use crate::model::matching::Pattern;
use crate::model::service_profile::{
    Condition, Override, RequestMatch, ResponseClass, RetryBudget, Route, ServiceProfile, StatusRange,
};

fn wire(addr: &str) -> pb::WeightedAddr {
    pb::WeightedAddr { addr: Some(addr.parse::<SocketAddr>().unwrap().into()), ..Default::default() }
}

fn dns(name: &str) -> DnsLikeIdentity {
    DnsLikeIdentity { name: name.into() }
}

fn identified(strategy: Option<Strategy>, server_name: Option<&str>) -> Result<Endpoint, InvalidEndpoint> {
    let tls_identity = Some(pb::TlsIdentity { strategy, server_name: server_name.map(dns) });
    endpoint(pb::WeightedAddr { tls_identity, ..wire("10.0.0.1:80") }, &HashMap::new())
}

fn add(addrs: Vec<pb::WeightedAddr>) -> pb::Update {
    let set = pb::WeightedAddrSet { addrs, metric_labels: HashMap::new() };
    pb::Update { update: Some(pb::update::Update::Add(set)) }
}

#[test]
fn a_dns_identity_is_its_own_server_name_unless_told_otherwise() {
    let id = || Some(Strategy::DnsLikeIdentity(dns("Web.NS")));
    let own = identified(id(), None).unwrap().tls.unwrap();
    assert_eq!((own.id.to_string().as_str(), own.server_name.as_str()), ("web.ns", "web.ns"));
    let told = identified(id(), Some("sni.example")).unwrap().tls.unwrap();
    assert_eq!((told.id.to_string().as_str(), told.server_name.as_str()), ("web.ns", "sni.example"));
}

#[test]
fn an_unusable_identity_never_becomes_a_plaintext_endpoint() {
    let uri = |uri: &str| Some(Strategy::UriLikeIdentity(UriLikeIdentity { uri: uri.into() }));
    let named = |name: &str| Some(Strategy::DnsLikeIdentity(dns(name)));
    let addr = "10.0.0.1:80".parse().unwrap();
    let cases = [
        (None, None, InvalidEndpoint::Identity { addr }),
        (named(""), None, InvalidEndpoint::Identity { addr }),
        (named("web."), None, InvalidEndpoint::Identity { addr }),
        (named("web"), Some(""), InvalidEndpoint::ServerName { addr }),
        (uri("spiffe://td/web"), None, InvalidEndpoint::ServerName { addr }),
        (uri("spiffe://"), Some("web"), InvalidEndpoint::Identity { addr }),
    ];
    for (strategy, server_name, reason) in cases {
        assert_eq!(identified(strategy, server_name), Err(reason));
    }
    let bad = || {
        let tls_identity = Some(pb::TlsIdentity { strategy: None, server_name: None });
        pb::WeightedAddr { tls_identity, ..wire("10.0.0.1:80") }
    };
    // Left out, and no longer used if it was known: never reached at its plain address instead.
    let unusable = vec![addr];
    assert_eq!(
        update(add(vec![bad()])),
        Some(EndpointUpdate::Add { endpoints: vec![], unusable: unusable.clone() })
    );
    let read = update(add(vec![bad(), wire("10.0.0.2:80")]));
    let Some(EndpointUpdate::Add { endpoints: rest, unusable: left_out }) = read else { panic!() };
    assert_eq!(left_out, unusable);
    assert_eq!(rest.iter().map(|e| e.addr.to_string()).collect::<Vec<_>>(), ["10.0.0.2:80"]);
    let endpoint = Some(bad());
    assert!(profile(pb::DestinationProfile { endpoint, ..Default::default() }).is_err());
}

#[test]
fn a_gateway_without_a_readable_target_is_left_out() {
    let authority_override = Some(pb::AuthorityOverride { authority_override: "a b".into() });
    let read = endpoint(pb::WeightedAddr { authority_override, ..wire("10.0.0.1:4143") }, &HashMap::new());
    assert!(matches!(read, Err(InvalidEndpoint::AuthorityOverride { .. })));
}

#[test]
fn a_gateway_without_an_identity_is_left_out() {
    let authority_override = Some(pb::AuthorityOverride { authority_override: "bb.ns.svc:80".into() });
    let read = endpoint(pb::WeightedAddr { authority_override, ..wire("10.0.0.1:4143") }, &HashMap::new());
    assert!(matches!(read, Err(InvalidEndpoint::GatewayIdentity { .. })));
}

#[test]
fn updates_that_say_nothing_are_ignored() {
    assert_eq!(update(pb::Update { update: None }), None);
    assert_eq!(update(add(vec![])), None);
    let portless = net::TcpAddress { port: 0, .."10.0.0.1:1".parse::<SocketAddr>().unwrap().into() };
    let wide = net::TcpAddress { port: 65_536 + 80, ..portless };
    let no_ip = net::TcpAddress { ip: None, port: 80 };
    for addr in [Some(portless), Some(wide), Some(no_ip), None] {
        assert_eq!(update(add(vec![pb::WeightedAddr { addr, ..Default::default() }])), None);
    }
    let remove = pb::AddrSet { addrs: vec![portless, wide, no_ip] };
    assert_eq!(update(pb::Update { update: Some(pb::update::Update::Remove(remove)) }), None);
}

#[test]
fn inbound_ports_are_1_to_65534() {
    for (sent, read) in [(0, None), (1, Some(1)), (65_534, Some(65_534)), (65_535, None), (70_000, None)] {
        let opaque_transport = Some(protocol_hint::OpaqueTransport { inbound_port: sent });
        let protocol_hint = Some(pb::ProtocolHint { opaque_transport, protocol: None });
        let endpoint =
            endpoint(pb::WeightedAddr { protocol_hint, ..wire("10.0.0.1:80") }, &HashMap::new()).unwrap();
        assert_eq!(endpoint.inbound_port, read);
    }
}

#[test]
fn settings_of_http2_come_in_pairs_and_zero_says_nothing() {
    let read =
        |http2| endpoint(pb::WeightedAddr { http2: Some(http2), ..wire("10.0.0.1:80") }, &HashMap::new());
    let read = |http2: pb::Http2ClientParams| read(http2).unwrap().http2;
    let flow = |adaptive_flow_control, connection, stream| pb::Http2ClientParams {
        flow_control: Some(h2::FlowControl {
            adaptive_flow_control,
            initial_connection_window_size: connection,
            initial_stream_window_size: stream,
        }),
        ..Default::default()
    };
    let fixed = FlowControl::Fixed { connection_window: 2, stream_window: 1 };
    assert_eq!(read(flow(false, 2, 1)).flow_control, Some(fixed));
    assert_eq!(read(flow(true, 2, 0)).flow_control, Some(FlowControl::Adaptive));
    for half in [flow(false, 2, 0), flow(false, 0, 1), flow(false, 0, 0)] {
        assert_eq!(read(half), Http2Params::default());
    }
    let second = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let alive = |interval, timeout| pb::Http2ClientParams {
        keep_alive: Some(h2::KeepAlive { interval, timeout, while_idle: true }),
        ..Default::default()
    };
    let [interval, timeout] = [10, 3].map(Duration::from_secs);
    let kept = Some(KeepAlive { interval, timeout, while_idle: true });
    assert_eq!(read(alive(second(10), second(3))).keep_alive, kept);
    for half in [alive(second(10), None), alive(None, second(3)), alive(second(-1), second(3))] {
        assert_eq!(read(half), Http2Params::default());
    }
    let sizes = |max_frame_size, max_send_buf_size, max_concurrent_reset_streams| pb::Http2ClientParams {
        internals: Some(h2::Internals { max_frame_size, max_send_buf_size, max_concurrent_reset_streams }),
        ..Default::default()
    };
    let all = read(sizes(1, 2, 3));
    let all = (all.max_frame_size, all.max_send_buf_size, all.max_concurrent_reset_streams);
    assert_eq!(all, (Some(1), Some(2), Some(3)));
    assert_eq!(read(sizes(0, 0, 0)), Http2Params::default());
}

#[test]
fn an_address_overrides_the_labels_of_its_set() {
    let pairs = |kv: &[(&str, &str)]| kv.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let own =
        pb::WeightedAddr { metric_labels: pairs(&[("pod", "a"), ("zone", "1")]), ..wire("10.0.0.1:80") };
    let read = endpoint(own, &pairs(&[("zone", "0"), ("service", "s")])).unwrap();
    let expected = [("pod", "a"), ("service", "s"), ("zone", "1")];
    assert_eq!(read.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn overrides_that_lead_nobody_knows_where_refuse_the_profile_and_those_without_weight_are_none() {
    let read = |authority: &str, weight| {
        let dst_overrides =
            vec![pb::WeightedDst { authority: authority.into(), weight, ..Default::default() }];
        profile(pb::DestinationProfile { dst_overrides, ..Default::default() })
    };
    for authority in ["", "a b", "bb.demo.svc.cluster.local", "10.0.0.1:80"] {
        assert_eq!(read(authority, 1), Err(InvalidProfile::Override), "{authority:?}");
        assert_eq!(read(authority, 0), Ok(Profile::default()));
    }
    assert!(read("bb.demo.svc.cluster.local:80", 1).unwrap().service.is_said());
}

#[test]
fn routes_that_cannot_be_understood_are_left_out_and_without_a_budget_none_is_retried() {
    let path = |regex: &str| pb::RequestMatch {
        r#match: Some(pb::request_match::Match::Path(pb::PathMatch { regex: regex.into() })),
    };
    let mut deep = path("/a");
    for _ in 0..20 {
        deep = pb::RequestMatch { r#match: Some(pb::request_match::Match::Not(Box::new(deep))) };
    }
    let parts = vec![path("/a"), path("/a(")];
    let any = pb::request_match::Match::Any(pb::request_match::Seq { matches: parts });
    let any = pb::RequestMatch { r#match: Some(any) };
    let route = |condition| pb::Route { condition, is_retryable: true, ..Default::default() };
    let routes: Vec<_> =
        [None, Some(path("/a(")), Some(any), Some(deep), Some(path(" /b "))].map(route).into();
    let read = |retry_budget| {
        let routes = routes.clone();
        let read = profile(pb::DestinationProfile { routes, retry_budget, ..Default::default() }).unwrap();
        read.service.routes.iter().map(|route| route.retryable).collect::<Vec<_>>()
    };
    let budget = |retry_ratio, seconds| pb::RetryBudget {
        retry_ratio,
        min_retries_per_second: 1,
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    assert_eq!(read(Some(budget(0.2, 10))), [true]);
    for wrong in [None, Some(budget(-0.1, 10)), Some(budget(1001.0, 10)), Some(budget(0.2, 61))] {
        assert_eq!(read(wrong), [false]);
    }
    assert_eq!(read(Some(budget(0.2, 0))), [false]);
}

proptest! {
    #[test]
    fn updates_survive_the_wire(endpoints in prop::collection::vec(strategies::endpoint(), 1..4)) {
        let addrs = endpoints.iter().map(|e| e.addr).collect();
        let added = EndpointUpdate::Add { endpoints, unusable: vec![] };
        for sent in [added, EndpointUpdate::Remove(addrs)] {
            prop_assert_eq!(update(encode_update(&sent)), Some(sent));
        }
    }

    #[test]
    fn labels_of_the_set_reach_its_endpoints(mut endpoint in strategies::endpoint()) {
        let labels = Labels::new([("service".to_owned(), "bb".to_owned())].into());
        let read = update(encode_set(&labels, [&endpoint]));
        let Some(EndpointUpdate::Add { endpoints: read, .. }) = read else { panic!() };
        let mut all = (*labels).clone();
        all.extend((*endpoint.labels).clone());
        endpoint.labels = all.into();
        prop_assert_eq!(read, vec![endpoint]);
    }

    #[test]
    fn profiles_survive_the_wire(
        name in prop::option::of(strategies::name()),
        opaque: bool,
        endpoint in prop::option::of(strategies::endpoint()),
    ) {
        let name = name.map(|n| n.parse().unwrap());
        let sent = Profile { name, opaque, endpoint, service: service_profile() };
        prop_assert_eq!(profile(encode_profile(&sent, None, None)), Ok(sent));
    }
}

#[test]
fn empty_sets_survive_the_wire() {
    for exists in [true, false] {
        let sent = EndpointUpdate::NoEndpoints { exists };
        assert_eq!(update(encode_update(&sent)), Some(sent));
    }
}

#[test]
fn a_pods_server_name_is_sent_and_a_gateways_is_not() {
    let name: crate::model::DnsName = "web.d.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    let mut endpoint = Endpoint::plain("10.0.0.1:80".parse().unwrap());
    endpoint.tls = Some(EndpointTls { id: WorkloadId::Dns(name.clone()), server_name: name });
    let sent = |endpoint: &Endpoint| encode_endpoint(endpoint).tls_identity.unwrap().server_name;
    assert!(sent(&endpoint).is_some());
    endpoint.authority_override = Some("web.d.svc.cluster.local:80".parse().unwrap());
    assert_eq!(sent(&endpoint), None);
}

fn service_profile() -> ServiceProfile {
    let request = Condition::All(vec![
        Condition::Is(RequestMatch::Method(http::Method::GET)),
        Condition::Not(Box::new(Condition::Is(RequestMatch::Path(Pattern::new("/x").unwrap())))),
    ]);
    let response = Condition::Any(vec![Condition::Is(StatusRange { min: 500, max: 599 })]);
    let route = Route {
        labels: [("route".to_owned(), "get".to_owned())].into(),
        condition: request,
        responses: vec![ResponseClass { condition: response, failure: true }],
        retryable: true,
        timeout: Some(Duration::from_millis(1500)),
    };
    let to = |text: &str| Override { authority: text.parse().unwrap(), weight: 5000 };
    ServiceProfile {
        routes: vec![route],
        overrides: vec![to("a.d.svc.cluster.local:80"), to("b.d.svc.cluster.local:81")],
        budget: RetryBudget { ratio: 0.5, per_second: 3, ttl: Duration::from_secs(60) },
    }
}

#[test]
fn a_service_profile_is_sent_whole_and_an_override_has_the_asked_port() {
    let mut given = service_profile();
    given.overrides[0].authority.port = None;
    let parent = ResourceRef::Resource {
        group: "core".into(),
        kind: "Service".into(),
        name: "web".into(),
        namespace: "d".into(),
        section: "".into(),
        port: 80,
    };
    let sent = encode_profile(&Profile { service: given, ..Profile::default() }, Some(&parent), None);
    let authorities: Vec<_> = sent.dst_overrides.iter().map(|to| to.authority.as_str()).collect();
    assert_eq!(authorities, ["a.d.svc.cluster.local:80", "b.d.svc.cluster.local:81"]);
    assert_eq!(sent.retry_budget.as_ref().map(|budget| budget.min_retries_per_second), Some(3));
    let [route] = sent.routes.as_slice() else { panic!("{sent:?}") };
    assert!(route.is_retryable && route.response_classes[0].is_failure);
    assert_eq!(route.metrics_labels["route"], "get");
    assert_eq!(route.timeout.map(|timeout| (timeout.seconds, timeout.nanos)), Some((1, 500_000_000)));
    let Some(pb::request_match::Match::All(tests)) = route.condition.clone().and_then(|c| c.r#match) else {
        panic!("{route:?}")
    };
    assert_eq!(tests.matches.len(), 2);
    // No ServiceProfile: the reference names the group alone.
    let kind = sent.profile_ref.and_then(|meta| meta.kind);
    let Some(meta::metadata::Kind::Resource(of)) = kind else { panic!("{kind:?}") };
    assert_eq!((of.group.as_str(), of.kind.as_str(), of.name.as_str()), ("linkerd.io", "", ""));
}

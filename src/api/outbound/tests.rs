use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::api::strategies;
use crate::model::outbound::{Backend, BackendKind, Distribution, Load, Penalty};

fn backend() -> impl Strategy<Value = Backend> {
    let penalty = (strategies::duration(), strategies::duration())
        .prop_map(|(latency, max_retry_after)| Penalty { latency, max_retry_after });
    let load = (strategies::duration(), strategies::duration(), option::of(penalty))
        .prop_map(|(default_rtt, decay, penalty)| Load { default_rtt, decay, penalty });
    let kind = prop_oneof![
        (strategies::authority(), load)
            .prop_map(|(authority, load)| BackendKind::Balance { authority, load }),
        strategies::endpoint().prop_map(|e| BackendKind::Forward(Box::new(e))),
        Just(BackendKind::Fail),
    ];
    (strategies::resource(), kind).prop_map(|(meta, kind)| Backend { meta, kind })
}

fn distribution() -> impl Strategy<Value = Distribution> {
    prop_oneof![
        Just(Distribution::Empty),
        vec(backend(), 1..3).prop_map(Distribution::FirstAvailable),
        vec((backend(), 1u32..), 1..3).prop_map(Distribution::RandomAvailable),
    ]
}

fn routes(matches: BoxedStrategy<Vec<RequestMatch>>) -> impl Strategy<Value = Vec<HttpRoute>> {
    let rule = (matches, distribution()).prop_map(|(matches, backends)| HttpRule { matches, backends });
    let route = (strategies::resource(), vec(rule, 0..3)).prop_map(|(meta, rules)| HttpRoute { meta, rules });
    vec(route, 0..3)
}

fn opaque_routes(most: usize) -> impl Strategy<Value = Vec<OpaqueRoute>> {
    let refusal = option::of(prop_oneof![Just(OpaqueRefusal::Forbidden), Just(OpaqueRefusal::Invalid)]);
    let route = (strategies::resource(), refusal, distribution())
        .prop_map(|(meta, refusal, backends)| OpaqueRoute { meta, refusal, backends });
    vec(route, 0..=most)
}

fn any_policy() -> impl Strategy<Value = OutboundPolicy> {
    let http = || routes(strategies::http_matches().boxed());
    let protocol = prop_oneof![
        (http(), http(), opaque_routes(1)).prop_map(|(http1, http2, opaque)| OutboundProtocol::Detect {
            http1,
            http2,
            opaque
        }),
        http().prop_map(OutboundProtocol::Http1),
        http().prop_map(OutboundProtocol::Http2),
        routes(strategies::grpc_matches().boxed()).prop_map(OutboundProtocol::Grpc),
        opaque_routes(1).prop_map(OutboundProtocol::Opaque),
        opaque_routes(3).prop_map(OutboundProtocol::Tls),
    ];
    (strategies::resource(), protocol).prop_map(|(parent, protocol)| OutboundPolicy { parent, protocol })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn policies_survive_the_wire(sent in any_policy()) {
        prop_assert_eq!(policy(encode_policy(&sent)), Ok(sent));
    }
}

fn meta() -> Option<linkerd2_proxy_api::meta::Metadata> {
    encode_resource(&crate::model::ResourceRef::default_named("x"))
}

fn one_backend() -> pb::Backend {
    let queue = pb::Queue { capacity: 1, failfast_timeout: encode_duration(Duration::from_secs(1)) };
    let addr: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let forward =
        linkerd2_proxy_api::destination::WeightedAddr { addr: Some(addr.into()), ..Default::default() };
    pb::Backend { metadata: meta(), queue: Some(queue), kind: Some(pb::backend::Kind::Forward(forward)) }
}

fn http_policy(rule: pb::http_route::Rule) -> pb::OutboundPolicy {
    let route = pb::HttpRoute { metadata: meta(), hosts: vec![], rules: vec![rule] };
    let http = Http1 { routes: vec![route], failure_accrual: None };
    let protocol = Some(pb::ProxyProtocol { kind: Some(Kind::Http1(http)) });
    pb::OutboundPolicy { protocol, metadata: meta() }
}

fn rule_to(backend: pb::http_route::RouteBackend) -> pb::http_route::Rule {
    use pb::http_route::{Distribution, distribution};
    let first = distribution::FirstAvailable { backends: vec![backend] };
    let kind = Some(distribution::Kind::FirstAvailable(first));
    pb::http_route::Rule { backends: Some(Distribution { kind }), ..Default::default() }
}

fn plain_rule() -> pb::http_route::Rule {
    rule_to(pb::http_route::RouteBackend { backend: Some(one_backend()), ..Default::default() })
}

#[test]
fn what_only_tunes_is_read_past() {
    let mut rule = plain_rule();
    rule.timeouts = Some(Default::default());
    rule.retry = Some(Default::default());
    rule.allow_l5d_request_headers = true;
    let mut pb = http_policy(rule);
    if let Some(pb::ProxyProtocol { kind: Some(Kind::Http1(http)) }) = &mut pb.protocol {
        http.failure_accrual = Some(Default::default());
    }
    assert_eq!(policy(pb), policy(http_policy(plain_rule())));
}

#[test]
fn what_would_move_traffic_is_refused() {
    let mut filtered = plain_rule();
    filtered.filters.push(pb::http_route::Filter { kind: None });
    let mut backend = pb::http_route::RouteBackend { backend: Some(one_backend()), ..Default::default() };
    backend.filters.push(pb::http_route::Filter { kind: None });
    let mut hosted = http_policy(plain_rule());
    if let Some(pb::ProxyProtocol { kind: Some(Kind::Http1(http)) }) = &mut hosted.protocol {
        http.routes[0].hosts.push(Default::default());
    }
    for pb in [http_policy(filtered), http_policy(rule_to(backend)), hosted] {
        assert!(matches!(policy(pb), Err(InvalidPolicy::Unsupported(_))));
    }
}

#[test]
fn a_backend_without_dispatcher_fails_whatever_its_filters() {
    let gone = pb::Backend { kind: None, ..one_backend() };
    let mut backend = pb::http_route::RouteBackend { backend: Some(gone), ..Default::default() };
    backend.filters.push(pb::http_route::Filter { kind: None });
    let OutboundProtocol::Http1(routes) = policy(http_policy(rule_to(backend))).unwrap().protocol else {
        panic!()
    };
    let Distribution::FirstAvailable(backends) = &routes[0].rules[0].backends else { panic!() };
    assert_eq!(backends[0].kind, BackendKind::Fail);
}

#[test]
fn mandatory_parts_are_mandatory() {
    let whole = || http_policy(plain_rule());
    assert!(policy(pb::OutboundPolicy { metadata: None, ..whole() }).is_err());
    assert!(policy(pb::OutboundPolicy { protocol: None, ..whole() }).is_err());
    let without = |change: fn(&mut pb::Backend)| {
        let mut backend = one_backend();
        change(&mut backend);
        let backend = pb::http_route::RouteBackend { backend: Some(backend), ..Default::default() };
        policy(http_policy(rule_to(backend)))
    };
    assert!(without(|_| {}).is_ok());
    assert!(without(|b| b.metadata = None).is_err());
    assert!(without(|b| b.queue = None).is_err());
    assert!(without(|b| b.queue = Some(pb::Queue { capacity: 1, failfast_timeout: None })).is_err());
    let detect = Detect { timeout: encode_duration(DETECT_TIMEOUT), ..Default::default() };
    let kind = Some(Kind::Detect(detect));
    let pb = pb::OutboundPolicy { protocol: Some(pb::ProxyProtocol { kind }), metadata: meta() };
    assert_eq!(policy(pb), Err(InvalidPolicy::Missing("detect http1")));
}

#[test]
fn an_opaque_route_obeys_its_first_filter_and_has_one_rule() {
    let filter = |kind| pb::opaque_route::Filter { kind: Some(kind) };
    let filters = vec![
        filter(OpaqueFilter::Forbidden(Default::default())),
        filter(OpaqueFilter::Invalid(Default::default())),
    ];
    let rule = pb::opaque_route::Rule { filters, backends: opaque_route::encode(&Distribution::Empty) };
    let read = |rules| opaque(Opaque { routes: vec![pb::OpaqueRoute { metadata: meta(), rules }] });
    assert_eq!(read(vec![rule.clone()]).unwrap()[0].refusal, Some(OpaqueRefusal::Forbidden));
    assert!(read(vec![]).is_err());
    assert!(read(vec![rule.clone(), rule]).is_err());
}

#[test]
fn requests_name_an_address_or_an_authority() {
    for sent in
        [Target::Addr("10.0.0.1:80".parse().unwrap()), Target::Authority("bb.ns.svc:8080".parse().unwrap())]
    {
        let request = encode_request("{\"ns\":\"a\"}\n", &sent);
        assert_eq!(request.source_workload, "{\"ns\":\"a\"}\n");
        assert_eq!(target(request.target), Ok(sent));
    }
    assert!(target(None).is_err());
    assert!(target(Some(pb::traffic_spec::Target::Authority("a b".into()))).is_err());
}

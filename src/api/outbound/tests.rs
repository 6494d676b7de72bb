use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::api::strategies;
use crate::model::ResourceRef;
use crate::model::filter::Filter;
use crate::model::matching::{HostMatch, RequestMatch};
use crate::model::outbound::{
    Backend, BackendKind, Breaker, Distribution, HttpRule, Load, OpaqueRefusal, Penalty, Retry, RouteBackend,
    SuccessRate, Terms, Timeouts,
};

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

fn distribution<B: Clone + std::fmt::Debug + 'static>(
    backend: impl Strategy<Value = B> + Clone + 'static,
) -> impl Strategy<Value = Distribution<B>> {
    prop_oneof![
        Just(Distribution::Empty),
        vec(backend.clone(), 1..3).prop_map(Distribution::FirstAvailable),
        vec((backend, 1u32..), 1..3).prop_map(Distribution::RandomAvailable),
    ]
}

/// What one kind of route can say.
struct Said {
    matches: BoxedStrategy<Vec<RequestMatch>>,
    filters: BoxedStrategy<Vec<Filter>>,
    retry: BoxedStrategy<Retry>,
}

fn http() -> Said {
    let range = (1u16..600).prop_flat_map(|end| (1..=end).prop_map(move |start| start..=end));
    let retry = (retry(), vec(range, 0..3)).prop_map(|(retry, statuses)| Retry { statuses, ..retry });
    Said {
        matches: strategies::http_matches().boxed(),
        filters: strategies::outbound_http_filters().boxed(),
        retry: retry.boxed(),
    }
}

fn grpc() -> Said {
    let codes = proptest::sample::subsequence(vec![1, 4, 8, 13, 14], 0..=5);
    Said {
        matches: strategies::grpc_matches().boxed(),
        filters: strategies::outbound_grpc_filters().boxed(),
        retry: (retry(), codes).prop_map(|(retry, codes)| Retry { codes, ..retry }).boxed(),
    }
}

fn retry() -> impl Strategy<Value = Retry> {
    let shared = (any::<u16>(), any::<u32>(), option::of(strategies::duration()));
    (shared, option::of(strategies::backoff())).prop_map(|((limit, max_body, timeout), backoff)| Retry {
        limit,
        max_body,
        statuses: Vec::new(),
        codes: Vec::new(),
        timeout,
        backoff,
    })
}

fn breaker() -> impl Strategy<Value = Breaker> {
    let window = (10u64..100_000).prop_map(Duration::from_millis);
    let rate = (0.0..=1.0, window, 0u32..=1_000_000)
        .prop_map(|(threshold, window, min_requests)| SuccessRate { threshold, window, min_requests });
    let any = (any::<u32>(), strategies::backoff(), option::of(rate), any::<bool>());
    any.prop_map(|(max_failures, backoff, rate, honors_retry_after)| match rate {
        None => Breaker::ConsecutiveFailures { max_failures, backoff },
        Some(success_rate) => Breaker::Unified { success_rate, max_failures, backoff, honors_retry_after },
    })
}

fn routes(said: Said) -> impl Strategy<Value = HttpRoutes> {
    let Said { matches, filters, retry } = said;
    let backend =
        (filters.clone(), backend()).prop_map(|(filters, backend)| RouteBackend { filters, backend });
    let limit = || option::of(strategies::duration());
    let timeouts = (limit(), limit(), limit()).prop_map(|(request, response, idle)| Timeouts {
        request,
        response,
        idle,
    });
    let terms = (timeouts, option::of(retry)).prop_map(|(timeouts, retry)| Terms { timeouts, retry });
    let parts = (matches, filters, distribution(backend.boxed()), terms, any::<bool>());
    let rule = parts.prop_map(|(matches, filters, backends, terms, allow_headers)| HttpRule {
        matches,
        filters,
        backends,
        terms,
        allow_headers,
    });
    let route = (strategies::resource(), strategies::hosts(), vec(rule, 0..3))
        .prop_map(|(meta, hosts, rules)| HttpRoute { meta, hosts, rules });
    (vec(route, 0..3), option::of(breaker())).prop_map(|(routes, breaker)| HttpRoutes { routes, breaker })
}

fn opaque_routes(
    most: usize,
    snis: BoxedStrategy<Vec<HostMatch>>,
) -> impl Strategy<Value = Vec<OpaqueRoute>> {
    let refusal = option::of(prop_oneof![Just(OpaqueRefusal::Forbidden), Just(OpaqueRefusal::Invalid)]);
    let route = (strategies::resource(), snis, refusal, distribution(backend().boxed()))
        .prop_map(|(meta, snis, refusal, backends)| OpaqueRoute { meta, snis, refusal, backends });
    vec(route, 0..=most)
}

fn any_policy() -> impl Strategy<Value = OutboundPolicy> {
    let opaque = || opaque_routes(1, Just(Vec::new()).boxed());
    let protocol = prop_oneof![
        (routes(http()), routes(http()), opaque())
            .prop_map(|(http1, http2, opaque)| { OutboundProtocol::Detect { http1, http2, opaque } }),
        routes(http()).prop_map(OutboundProtocol::Http1),
        routes(http()).prop_map(OutboundProtocol::Http2),
        routes(grpc()).prop_map(OutboundProtocol::Grpc),
        opaque().prop_map(OutboundProtocol::Opaque),
        opaque_routes(3, strategies::hosts().boxed()).prop_map(OutboundProtocol::Tls),
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
    encode_resource(&ResourceRef::default_named("x"))
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
fn the_older_way_to_limit_requests_counts_where_there_is_no_newer() {
    let limit = |seconds| encode_duration(Duration::from_secs(seconds));
    let read = |timeouts| {
        #[allow(deprecated)]
        let rule = pb::http_route::Rule { request_timeout: limit(1), timeouts, ..plain_rule() };
        let OutboundProtocol::Http1(http) = policy(http_policy(rule)).unwrap().protocol else { panic!() };
        http.routes[0].rules[0].terms.timeouts.request
    };
    let newer = linkerd2_proxy_api::http_route::Timeouts { request: limit(2), ..Default::default() };
    assert_eq!(read(None), Some(Duration::from_secs(1)));
    assert_eq!(read(Some(newer)), Some(Duration::from_secs(2)));
}

#[test]
#[allow(deprecated)]
fn the_limit_of_requests_is_told_in_the_older_way_too() {
    let told = |protocol: fn(HttpRoutes) -> OutboundProtocol| {
        let mut rule = HttpRule::new(vec![], Distribution::Empty);
        rule.terms.timeouts.request = Some(Duration::from_secs(3));
        let route = HttpRoute::new(ResourceRef::default_named("x"), vec![rule]);
        let protocol = protocol(vec![route].into());
        let protocol =
            encode_policy(&OutboundPolicy { parent: ResourceRef::default_named("x"), protocol }).protocol;
        match protocol.unwrap().kind.unwrap() {
            Kind::Http1(mut http) => http.routes.remove(0).rules.remove(0).request_timeout,
            Kind::Grpc(mut grpc) => grpc.routes.remove(0).rules.remove(0).request_timeout,
            other => panic!("{other:?}"),
        }
    };
    let limit = encode_duration(Duration::from_secs(3));
    assert_eq!((told(OutboundProtocol::Http1), told(OutboundProtocol::Grpc)), (limit, limit));
}

#[test]
fn what_cannot_be_done_as_asked_is_refused() {
    let refused = |change: fn(&mut pb::http_route::Rule)| {
        let mut rule = plain_rule();
        change(&mut rule);
        policy(http_policy(rule)).unwrap_err()
    };
    let unknown = InvalidPolicy::Unsupported("a filter of an unknown kind");
    assert_eq!(refused(|rule| rule.filters.push(pb::http_route::Filter { kind: None })), unknown);
    let mut backend = pb::http_route::RouteBackend { backend: Some(one_backend()), ..Default::default() };
    backend.filters.push(pb::http_route::Filter { kind: None });
    assert_eq!(policy(http_policy(rule_to(backend))), Err(unknown));
    let mut hosted = http_policy(plain_rule());
    if let Some(pb::ProxyProtocol { kind: Some(Kind::Http1(http)) }) = &mut hosted.protocol {
        http.routes[0].hosts.push(Default::default());
    }
    assert_eq!(policy(hosted), Err(InvalidPolicy::Missing("host match")));
    let retry = |change: fn(&mut pb::http_route::Retry)| {
        let mut retry = pb::http_route::Retry { conditions: Some(Default::default()), ..Default::default() };
        change(&mut retry);
        policy(http_policy(pb::http_route::Rule { retry: Some(retry), ..plain_rule() }))
    };
    let range = |start, end| {
        let range = pb::http_route::retry::conditions::StatusRange { start, end };
        let conditions = pb::http_route::retry::Conditions { status_ranges: vec![range] };
        let retry = pb::http_route::Retry { conditions: Some(conditions), ..Default::default() };
        policy(http_policy(pb::http_route::Rule { retry: Some(retry), ..plain_rule() }))
    };
    assert!(retry(|_| {}).is_ok() && range(500, 599).is_ok());
    assert!(retry(|retry| retry.conditions = None).is_err());
    assert!(retry(|retry| retry.max_retries = 65_536).is_err());
    assert!(retry(|retry| retry.backoff = Some(Default::default())).is_err());
    assert!(range(0, 599).is_err() && range(500, 600).is_err() && range(501, 500).is_err());
}

#[test]
fn a_backend_without_dispatcher_fails_and_a_filtered_opaque_one_too() {
    let gone = pb::Backend { kind: None, ..one_backend() };
    let backend = pb::http_route::RouteBackend { backend: Some(gone), ..Default::default() };
    let OutboundProtocol::Http1(http) = policy(http_policy(rule_to(backend))).unwrap().protocol else {
        panic!()
    };
    let Distribution::FirstAvailable(backends) = &http.routes[0].rules[0].backends else { panic!() };
    assert_eq!(backends[0].backend.kind, BackendKind::Fail);
    let filtered = pb::opaque_route::RouteBackend {
        backend: Some(one_backend()),
        filters: vec![pb::opaque_route::Filter { kind: None }],
    };
    let first = pb::opaque_route::distribution::FirstAvailable { backends: vec![filtered] };
    let kind = Some(pb::opaque_route::distribution::Kind::FirstAvailable(first));
    let backends = Some(pb::opaque_route::Distribution { kind });
    let rule = pb::opaque_route::Rule { backends, filters: vec![] };
    let read =
        opaque(Opaque { routes: vec![pb::OpaqueRoute { metadata: meta(), rules: vec![rule] }] }).unwrap();
    let Distribution::FirstAvailable(backends) = &read[0].backends else { panic!() };
    assert_eq!(backends[0].kind, BackendKind::Fail);
}

#[test]
fn what_has_no_weight_serves_nobody() {
    use pb::http_route::{Distribution as Pb, WeightedRouteBackend, distribution};
    let read = |weights: &[u32]| {
        let weighted = |weight: &u32| WeightedRouteBackend {
            backend: Some(pb::http_route::RouteBackend {
                backend: Some(one_backend()),
                ..Default::default()
            }),
            weight: *weight,
        };
        let random = distribution::RandomAvailable { backends: weights.iter().map(weighted).collect() };
        let backends = Some(Pb { kind: Some(distribution::Kind::RandomAvailable(random)) });
        policy(http_policy(pb::http_route::Rule { backends, ..Default::default() })).map(|policy| {
            let OutboundProtocol::Http1(mut http) = policy.protocol else { panic!() };
            http.routes.remove(0).rules.remove(0).backends
        })
    };
    let Ok(Distribution::RandomAvailable(all)) = read(&[0, 3, 0, 1]) else { panic!() };
    assert_eq!(all.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(read(&[0, 0]), Ok(Distribution::Empty));
    assert!(read(&[]).is_err());
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
    use pb::opaque_route::filter::Kind;
    let filter = |kind| pb::opaque_route::Filter { kind: Some(kind) };
    let filters =
        vec![filter(Kind::Forbidden(Default::default())), filter(Kind::Invalid(Default::default()))];
    let rule =
        pb::opaque_route::Rule { filters, backends: backend::opaque_route::encode(&Distribution::Empty) };
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

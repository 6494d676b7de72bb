//! Outbound policies.

use proptest::prelude::*;

use super::*;
use crate::api::outbound::{encode_policy, policy};

#[test]
fn outbound_policy_of_a_mirror_detects_and_balances() {
    let west = west();
    let ip = west.dns("bb-target.mc-demo.svc.cluster.local")[0];
    let by_addr = west.outbound("mc-demo", Target::Addr(SocketAddr::new(ip, 8080))).unwrap();
    let by_name = west.outbound("mc-demo", Target::Authority("bb-target.mc-demo.svc.cluster.local.:8080"));
    assert_eq!(Ok(&by_addr), by_name.as_ref());
    assert_eq!(
        (by_addr.parent.group(), by_addr.parent.kind(), by_addr.parent.port()),
        ("core", "Service", 8080)
    );
    let OutboundProtocol::Detect { http1, opaque, .. } = &by_addr.protocol else { panic!("{by_addr:?}") };
    assert_eq!((http1.routes[0].meta.name(), opaque[0].meta.name()), ("http", "opaq"));
    let Distribution::FirstAvailable(backends) = &http1.routes[0].rules[0].backends else {
        panic!("{by_addr:?}")
    };
    let BackendKind::Balance { authority, .. } = &backends[0].backend.kind else { panic!("{by_addr:?}") };
    assert_eq!(authority.to_string(), path("bb-target", 8080));
}

#[test]
fn outbound_policy_tells_undeclared_ports_pods_and_the_outside_apart() {
    let west = west();
    let ip = west.dns("bb-target.mc-demo.svc.cluster.local")[0];
    let undeclared = west.outbound("mc-demo", Target::Addr(SocketAddr::new(ip, 9))).unwrap();
    let OutboundProtocol::Opaque(routes) = &undeclared.protocol else { panic!("{undeclared:?}") };
    assert_eq!(routes[0].refusal, Some(OpaqueRefusal::Forbidden));
    let pod = west.pods().next().unwrap().ip.unwrap();
    let of_pod = west.outbound("mc-demo", Target::Addr(SocketAddr::new(pod, 80)));
    assert!(matches!(of_pod, Err(LookupError::NotFound(_))));
    let outside = west.outbound("mc-demo", Target::Addr("1.1.1.1:443".parse().unwrap())).unwrap();
    assert_eq!(outside.parent.name(), "egress-fallback");
    let missing = west.outbound("x", Target::Authority("none.mc-demo.svc:80")).unwrap();
    assert_eq!(missing.parent.name(), "none");
    assert!(matches!(west.outbound("x", Target::Authority("example.com:80")), Err(LookupError::NotFound(_))));
}

#[test]
fn a_mirror_is_a_backend_like_any_other_service() {
    let mut documents = documents(WEST);
    let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary, namespace: mc-demo}
spec:
  parentRefs: [{kind: Service, name: bb-target, port: 8080}]
  rules: [{backendRefs: [{name: bb-target, port: 8080, weight: 9}, {name: bb, port: 8080}]}]
";
    let parsed = manifest::parse(&Arc::from(Path::new("r.yaml")), route);
    assert_eq!(parsed.problems, []);
    documents.routes = manifest::assemble([&parsed], "linkerd-multicluster").documents.routes;
    let west = west_with(&documents);
    let told = west.outbound("mc-demo", Target::Authority("bb-target.mc-demo.svc:8080")).unwrap();
    let OutboundProtocol::Detect { http1, .. } = &told.protocol else { panic!("{told:?}") };
    let Distribution::RandomAvailable(all) = &http1.routes[0].rules[0].backends else { panic!("{told:?}") };
    let kinds: Vec<_> = all.iter().map(|(to, weight)| (&to.backend.kind, *weight)).collect();
    let [(BackendKind::Balance { authority, .. }, 9), (BackendKind::Fail, 1)] = kinds.as_slice() else {
        panic!("{kinds:?}")
    };
    assert_eq!(authority.to_string(), path("bb-target", 8080));
    let faults: Vec<_> = west.route_faults().map(|fault| fault.message).collect();
    assert_eq!(faults.len(), 1, "the mirror accepts it: {faults:?}");
}

#[test]
fn requests_ask_for_terms_of_their_own_where_the_installation_lets_them() {
    let texts = ["
apiVersion: v1
kind: Service
metadata: {name: web, namespace: d}
spec: {ports: [{port: 80}]}
---
apiVersion: policy.linkerd.io/v1beta3
kind: HTTPRoute
metadata: {name: web, namespace: d}
spec: {parentRefs: [{kind: Service, name: web, port: 80}], rules: [{matches: [{path: {value: /a}}]}]}
"];
    for allowed in [false, true] {
        let world = with(&texts, |settings| settings.allow_request_headers = allowed);
        let told = world.outbound("d", Target::Authority("web.d.svc")).unwrap();
        let OutboundProtocol::Detect { http1, .. } = &told.protocol else { panic!("{told:?}") };
        assert_eq!(http1.routes[0].rules[0].allow_headers, allowed);
    }
}

#[test]
fn routes_of_every_version_are_read() {
    for (version, kind) in [
        ("policy.linkerd.io/v1alpha1", "HTTPRoute"),
        ("policy.linkerd.io/v1beta1", "HTTPRoute"),
        ("policy.linkerd.io/v1beta2", "HTTPRoute"),
        ("policy.linkerd.io/v1beta3", "HTTPRoute"),
        ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ("gateway.networking.k8s.io/v1beta1", "HTTPRoute"),
        ("gateway.networking.k8s.io/v1", "GRPCRoute"),
        ("gateway.networking.k8s.io/v1alpha2", "GRPCRoute"),
        ("gateway.networking.k8s.io/v1alpha2", "TLSRoute"),
        ("gateway.networking.k8s.io/v1alpha2", "TCPRoute"),
    ] {
        let route = format!(
            "apiVersion: {version}
kind: {kind}
metadata: {{name: r, namespace: d}}
spec: {{parentRefs: [{{kind: service, group: Core, name: web}}], rules: [{{}}]}}"
        );
        let service = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: d}
spec: {ports: [{port: 80}]}
";
        let world = alone(&[service, &route]);
        let told = world.outbound("d", Target::Authority("web.d.svc")).unwrap();
        let meta = match &told.protocol {
            OutboundProtocol::Detect { http1: routes, .. } | OutboundProtocol::Grpc(routes) => {
                &routes.routes[0].meta
            }
            OutboundProtocol::Tls(routes) | OutboundProtocol::Opaque(routes) => &routes[0].meta,
            other => panic!("{other:?}"),
        };
        let (group, _) = version.split_once('/').unwrap();
        assert_eq!((meta.group(), meta.kind(), meta.name()), (group, kind, "r"), "{version}");
    }
}

#[test]
fn of_equal_egress_networks_the_oldest_wins_then_the_first_name() {
    let network = |name: &str, created: &str| {
        format!(
            "apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {{name: {name}, namespace: d{created}}}
spec: {{trafficPolicy: Deny, networks: [{{cidr: 192.0.2.0/24}}]}}"
        )
    };
    let at = |year: u16| format!(", creationTimestamp: \"{year}-01-01T00:00:00Z\"");
    for (first, second, wins) in [
        (network("a", &at(2026)), network("b", &at(2025)), "b"),
        (network("a", &at(2025)), network("b", &at(2025)), "a"),
        (network("a", &at(2025)), network("b", ""), "b"),
    ] {
        let world = alone(&[&first, &second]);
        let told = world.outbound("d", Target::Addr("192.0.2.7:80".parse().unwrap())).unwrap();
        assert_eq!((told.parent.kind(), told.parent.name()), ("EgressNetwork", wins), "{first} {second}");
    }
}

/// One that would send in plaintext what is meshed counts for nothing; what one keeps back stays kept back.
#[test]
fn an_address_of_the_cluster_is_let_out_by_no_egress_network() {
    let world = |traffic: &str| {
        let network = format!(
            "apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {{name: all, namespace: d}}
spec: {{trafficPolicy: {traffic}, networks: [{{cidr: 0.0.0.0/0}}]}}"
        );
        let route = |kind: &str, version: &str, rule: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/{version}
kind: {kind}
metadata: {{name: out, namespace: d}}
spec:
  parentRefs: [{{group: policy.linkerd.io, kind: EgressNetwork, name: all, port: 80}}]
  rules: [{rule}]"
            )
        };
        let back = "{backendRefs: [{group: policy.linkerd.io, kind: EgressNetwork, name: all, port: 80}]}";
        let routes = [route("HTTPRoute", "v1", "{}"), route("TCPRoute", "v1alpha2", back)];
        with(&[&network, &routes[0], &routes[1]], |settings| {
            settings.cluster_networks = vec!["10.0.0.0/8".parse().unwrap()];
        })
    };
    let at = |world: &Snapshot, addr: &str| world.outbound("d", Target::Addr(addr.parse().unwrap()));
    let allowed = world("Allow");
    assert_eq!(allowed.route_faults().count(), 3, "it is not accepted, nor are its routes");
    let pod = at(&allowed, "10.1.0.9:80");
    assert!(matches!(pod, Err(LookupError::NotFound(_))), "{pod:?}");
    assert_eq!(
        at(&allowed, "192.0.2.7:80").unwrap().parent.name(),
        "all",
        "elsewhere it counts all the same"
    );
    let denied = world("Deny");
    for addr in ["10.1.0.9:80", "192.0.2.7:80"] {
        let told = at(&denied, addr).unwrap();
        let OutboundProtocol::Detect { http1, http2, opaque } = &told.protocol else { panic!("{told:?}") };
        for http in [http1, http2] {
            let names: Vec<_> = http.routes.iter().map(|route| route.meta.name()).collect();
            assert_eq!(names, ["http-egress-deny"], "{addr}, whatever its routes say");
        }
        assert_eq!((opaque.len(), opaque[0].refusal), (1, Some(OpaqueRefusal::Forbidden)));
    }
}

const ALL: &str = include_str!("../../../../tests/manifests/outbound/one/all.yaml");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever somebody writes into one line: it is a problem, or proxies can read what follows from it.
    #[test]
    fn what_is_served_of_any_manifest_can_be_read(at in 0usize..ALL.len(), text in "[ -~]{0,12}", cut in 0usize..12) {
        let mut mangled = ALL.to_owned();
        mangled.replace_range(at..(at + cut).min(ALL.len()), &text);
        let parsed = manifest::parse(&Arc::from(Path::new("m.yaml")), &mangled);
        let assembled = manifest::assemble([&parsed], "linkerd-multicluster");
        let settings = settings("10.23.0.0/16", "10.145.0.0/16");
        let given = Allocations::new(&settings);
        let (none, gateways) = (LinkedClusters::new(), Gateways::default());
        let (world, _) = Snapshot::build(&assembled.documents, &none, &gateways, &settings, &given);
        let names = ["web.shop.svc:80", "calls.shop.svc:90", "db.shop.svc:5000", "db.shop.svc:5001"];
        let targets = names.into_iter().map(Target::Authority);
        let outside = [80, 90, 443].map(|port| Target::Addr(SocketAddr::from(([192, 0, 2, 1], port))));
        for target in targets.chain(outside) {
            for client in ["shop", "buyer"] {
                let told = world.outbound(client, target).unwrap();
                let read = policy(encode_policy(&told));
                prop_assert!(read.is_ok(), "{read:?} of {told:?}");
            }
        }
    }
}

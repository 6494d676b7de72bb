//! Outbound policies.

use super::*;

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

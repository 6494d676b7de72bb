//! Policies and profiles: of ports, and of what is called.

use super::*;

#[tokio::test]
async fn a_port_s_policy_follows_the_folder() {
    let world = World::of("east").await;
    let mut stream = world.ports(&world.workload(), 8080).await.unwrap();
    let allowed = |policy: ServerPolicy| {
        assert_eq!((policy.meta.kind(), policy.meta.name()), ("server", "bb"));
        assert!(matches!(policy.protocol, ServerProtocol::Detect { .. }));
        match policy.authorizations[0].authentication.clone() {
            Authentication::Identities(ids) => ids,
            other => panic!("expected identities, got {other:?}"),
        }
    };
    let exactly = |name: &str| {
        let id = format!("{name}.mc-demo.serviceaccount.identity.linkerd.cluster.local");
        vec![IdentityMatch::Exact(id.parse().unwrap())]
    };
    let first = api::inbound::server(next(&mut stream).await).unwrap();
    assert_eq!(allowed(first), exactly("slow-cooker"));
    world.guide.edit("east/03-policy.yaml", "- 'slow-cooker.", "- 'web.");
    let second = api::inbound::server(next(&mut stream).await).unwrap();
    assert_eq!(allowed(second), exactly("web"));
    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    assert!(in_time(stream.message()).await.unwrap().is_none(), "the workload is gone");
}

/// A route of a Service in east, that sends `weight` in ten to where requests were going.
fn canary(namespace: &str, weight: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: canary, namespace: {namespace}}}
spec:
  parentRefs: [{{kind: Service, name: bb, namespace: mc-demo, port: 8080}}]
  rules:
  - backendRefs: [{{name: bb, port: 8080, weight: {weight}}}, {{name: next, port: 8080, weight: 1}}]
"
    )
}

fn http_route(policy: &OutboundPolicy) -> &HttpRoute {
    let OutboundProtocol::Detect { http1, .. } = &policy.protocol else { panic!("{policy:?}") };
    &http1.routes[0]
}

#[tokio::test]
async fn a_route_is_told_to_its_clients_and_follows_the_folder() {
    let world = World::of("east").await;
    let target = api::outbound::Target::Authority("bb.mc-demo.svc:8080".parse().unwrap());
    let mut client = world.outbound().await;
    let mut watch = async |workload: &str| {
        let request = api::outbound::encode_request(workload, &target);
        in_time(client.watch(request)).await.unwrap().into_inner()
    };
    let mut own = watch(&world.workload()).await;
    let mut other = watch("elsewhere:pod").await;
    let told = async |stream: &mut Streaming<_>| api::outbound::policy(next(stream).await).unwrap();
    assert!(http_route(&told(&mut own).await).meta.is_default());
    let before = told(&mut other).await;

    let weights = |policy: &OutboundPolicy| match &http_route(policy).rules[0].backends {
        Distribution::RandomAvailable(all) => all.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    world.guide.write("east/04-canary.yaml", &canary("elsewhere", 9));
    assert_eq!(weights(&told(&mut other).await), [9, 1], "a consumer's own");
    world.guide.write("east/04-canary.yaml", &canary("mc-demo", 8));
    let shifted = told(&mut own).await;
    assert_eq!(weights(&shifted), [8, 1], "and nothing was told of the consumer's");
    assert_eq!(told(&mut other).await, shifted, "everybody's");
    let Distribution::RandomAvailable(all) = &http_route(&shifted).rules[0].backends else { unreachable!() };
    let [(here, _), (missing, _)] = all.as_slice() else { panic!("{all:?}") };
    assert!(
        matches!(&here.backend.kind, BackendKind::Balance { authority, .. } if authority.to_string() == BB)
    );
    assert!(missing.backend.kind == BackendKind::Fail && missing.filters.len() == 1, "{missing:?}");
    world.guide.write("east/04-canary.yaml", "");
    told(&mut own).await;
    assert_eq!(told(&mut other).await, before);
}

#[tokio::test]
async fn a_watch_follows_its_target_into_an_egress_network() {
    let world = World::of("east").await;
    let target = api::outbound::Target::Addr("192.0.2.1:80".parse().unwrap());
    let request = api::outbound::encode_request(&world.workload(), &target);
    let mut watched = in_time(world.outbound().await.watch(request)).await.unwrap().into_inner();
    let told = async |stream: &mut Streaming<_>| api::outbound::policy(next(stream).await).unwrap();
    assert_eq!(told(&mut watched).await.parent.name(), "egress-fallback");
    let network = "apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {name: outside, namespace: mc-demo}
spec: {trafficPolicy: Deny}
";
    world.guide.write("east/04-egress.yaml", network);
    let denied = told(&mut watched).await;
    assert_eq!((denied.parent.kind(), denied.parent.name()), ("EgressNetwork", "outside"));
    assert_eq!(http_route(&denied).meta.name(), "http-egress-deny");
    world.guide.edit("east/04-egress.yaml", "Deny", "Allow");
    assert_eq!(http_route(&told(&mut watched).await).meta.name(), "http-egress-allow");
    world.guide.write("east/04-egress.yaml", "");
    assert_eq!(told(&mut watched).await.parent.name(), "egress-fallback");
}

#[tokio::test]
async fn targets_have_policies_and_profiles() {
    let world = World::of("east").await;
    let ip = world.folder.snapshots().borrow().service("mc-demo", "bb").unwrap().cluster_ip.unwrap();
    let target = api::outbound::Target::Addr(SocketAddr::new(ip, 8080));
    let request = || api::outbound::encode_request(&world.workload(), &target);
    let mut client = world.outbound().await;
    let got = in_time(client.get(request())).await.unwrap().into_inner();
    let mut watched = in_time(client.watch(request())).await.unwrap().into_inner();
    let policy = api::outbound::policy(next(&mut watched).await).unwrap();
    assert_eq!(api::outbound::policy(got).unwrap(), policy);
    assert_eq!((policy.parent.name(), policy.parent.port()), ("bb", 8080));

    let mut profiles = world.profile(&format!("{ip}:8080")).await.unwrap();
    let pb = next(&mut profiles).await;
    assert!(pb.parent_ref.is_some() && pb.retry_budget.is_some());
    let profile = api::destination::profile(pb).unwrap();
    assert_eq!(profile.name.unwrap().as_str(), "bb.mc-demo.svc.cluster.local");
    assert!(!profile.opaque);
    let from = "  name: bb\n  namespace: mc-demo\n  labels:";
    let to = "  name: bb\n  namespace: mc-demo\n  annotations: {config.linkerd.io/opaque-ports: '8080'}\n  labels:";
    world.guide.edit("east/02-bb.yaml", from, to);
    assert!(next(&mut profiles).await.opaque_protocol);
    let opaque = api::outbound::policy(next(&mut watched).await).unwrap();
    assert!(matches!(opaque.protocol, OutboundProtocol::Opaque(_)));
}

#[tokio::test]
async fn a_port_that_a_service_lacks_has_an_empty_profile() {
    let world = World::of("east").await;
    let mut stream = world.profile("bb.mc-demo.svc.cluster.local:9").await.unwrap();
    assert_eq!(next(&mut stream).await, DestinationProfile::default());
}

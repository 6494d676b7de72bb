use std::path::Path;
use std::sync::Arc;

use crate::control::manifest::{self, Documents};
use crate::model::endpoint::ProtocolHint;
use crate::model::inbound::{Authentication, ServerProtocol};
use crate::model::outbound::{BackendKind, Distribution, OpaqueRefusal, OutboundProtocol};

use super::*;

fn documents(texts: &[&str]) -> Documents {
    let file: Arc<Path> = Arc::from(Path::new("m.yaml"));
    let parsed: Vec<_> = texts.iter().map(|text| manifest::parse(&file, text)).collect();
    let all = manifest::assemble(&parsed, "linkerd-multicluster");
    assert_eq!(all.problems, []);
    all.documents
}

const EAST: &[&str] = &[
    include_str!("../../../examples/guide/east/01-namespace.yaml"),
    include_str!("../../../examples/guide/east/02-bb.yaml"),
    include_str!("../../../examples/guide/east/03-policy.yaml"),
];

const WEST: &[&str] = &[
    include_str!("../../../examples/guide/west/01-namespace.yaml"),
    include_str!("../../../examples/guide/west/02-link.yaml"),
    include_str!("../../../examples/guide/west/03-slow-cooker.yaml"),
    include_str!("../../../examples/guide/west/04-slow-cooker-evil.yaml"),
];

fn settings(pods: &str, services: &str) -> Settings {
    Settings {
        pod_network: pods.parse().unwrap(),
        service_network: services.parse().unwrap(),
        control_addr: "10.9.9.9".parse().unwrap(),
        ..Settings::default()
    }
}

fn alone(texts: &[&str]) -> Snapshot {
    let settings = settings("10.23.0.0/16", "10.145.0.0/16");
    Snapshot::build(
        &documents(texts),
        &LinkedClusters::new(),
        &Gateways::default(),
        &settings,
        &Allocations::new(&settings),
    )
    .0
}

fn east() -> (Snapshot, Allocations) {
    let settings = settings("10.23.0.0/16", "10.145.0.0/16");
    Snapshot::build(
        &documents(EAST),
        &LinkedClusters::new(),
        &Gateways::default(),
        &settings,
        &Allocations::new(&settings),
    )
}

fn west() -> Snapshot {
    let (_, given) = east();
    let linked = Linked { documents: documents(EAST).into(), allocations: Some(given.into()) };
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    Snapshot::build(&documents(WEST), &linked, &Gateways::default(), &settings, &Allocations::new(&settings))
        .0
}

fn workload(pod: &Pod) -> Workload {
    Workload { namespace: pod.name.namespace.clone(), pod: pod.name.name.clone() }
}

fn path(service: &str, port: u16) -> String {
    format!("{service}.mc-demo.svc.cluster.local:{port}")
}

#[test]
fn the_guides_mirror_answers_with_the_other_clusters_pod() {
    let (east, _) = east();
    let pod = east.pods().next().unwrap();
    let set = west().destination(&path("bb-target", 8080), &Context::default()).unwrap();
    assert_eq!(set.labels["service"], "bb");
    assert_eq!(set.labels["namespace"], "mc-demo");
    assert!(!set.labels.contains_key("target_cluster"));
    let endpoint = &set.endpoints[&SocketAddr::new(pod.ip.unwrap(), 8080)];
    assert_eq!(set.endpoints.len(), 1);
    let tls = endpoint.tls.as_ref().unwrap();
    assert_eq!(tls.id.to_string(), "default.mc-demo.serviceaccount.identity.linkerd.cluster.local");
    assert_eq!(tls.server_name.as_str(), tls.id.to_string());
    assert_eq!((endpoint.hint, endpoint.inbound_port), (ProtocolHint::H2, Some(4143)));
    assert_eq!(endpoint.authority_override, None);
    assert!(endpoint.http2.keep_alive.unwrap().while_idle);
    assert_eq!(endpoint.labels["deployment"], "bb");
    assert_eq!(endpoint.labels["pod"], pod.name.name);
    assert_eq!(endpoint.labels["control_plane_ns"], "linkerd");
    assert_eq!(endpoint.labels["serviceaccount"], "default");
    assert!(pod.name.name.starts_with(&format!("bb-{}-", endpoint.labels["pod_template_hash"])));
}

#[test]
fn without_the_other_clusters_addresses_a_mirror_is_empty_but_there() {
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = Linked { documents: documents(EAST).into(), allocations: None };
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    let west = Snapshot::build(
        &documents(WEST),
        &linked,
        &Gateways::default(),
        &settings,
        &Allocations::new(&settings),
    )
    .0;
    assert!(west.destination(&path("bb-target", 8080), &Context::default()).unwrap().endpoints.is_empty());
    assert_eq!(west.dns("bb-target.mc-demo.svc.cluster.local.").len(), 1);
}

#[test]
fn lookups_that_find_nothing_say_why() {
    let west = west();
    let ask = |path: &str| west.destination(path, &Context::default()).unwrap_err();
    assert!(matches!(ask(&path("bb", 8080)), LookupError::NotFound(_)));
    assert!(matches!(ask("10.22.0.9:80"), LookupError::InvalidArgument(_)));
    assert!(matches!(ask("bb-target.mc-demo.svc.cluster.local.:80"), LookupError::InvalidArgument(_)));
    let mut broken = west.clone();
    let mirror = broken.own.services.get_mut(&ObjectName::new("mc-demo", "bb-target")).unwrap();
    mirror.labels.remove("multicluster.linkerd.io/remote-service");
    let error = broken.destination(&path("bb-target", 80), &Context::default()).unwrap_err();
    assert!(matches!(error, LookupError::FailedPrecondition(_)));
    broken = west.clone();
    broken.remotes.clear();
    let error = broken.destination(&path("bb-target", 80), &Context::default()).unwrap_err();
    assert!(matches!(error, LookupError::NotFound(_)));
}

#[test]
fn a_port_that_the_service_lacks_is_taken_as_the_pods_own() {
    let set = east().0.destination(&path("bb", 9999), &Context::default()).unwrap();
    assert!(set.endpoints.keys().all(|addr| addr.port() == 9999) && set.endpoints.len() == 1);
}

#[test]
fn the_guides_policy_names_the_server_and_its_authorization() {
    let (east, _) = east();
    let pod = east.pods().next().unwrap();
    let policy = east.server(&workload(pod), 8080).unwrap();
    assert_eq!((policy.meta.kind(), policy.meta.name()), ("server", "bb"));
    let [authorization] = policy.authorizations.as_slice() else { panic!("{policy:?}") };
    assert_eq!((authorization.meta.kind(), authorization.meta.name()), ("authorizationpolicy", "bb-authz"));
    let Authentication::Identities(ids) = &authorization.authentication else { panic!("{policy:?}") };
    let id =
        |name: &str| format!("{name}.mc-demo.serviceaccount.identity.linkerd.cluster.local").parse().unwrap();
    assert!(ids[0].matches(&id("slow-cooker")) && !ids[0].matches(&id("slow-cooker-evil")));
    let routes = policy.protocol.routes().unwrap();
    assert_eq!(routes.iter().map(|route| route.meta.name()).collect::<Vec<_>>(), ["default"]);
}

#[test]
fn the_proxys_own_probes_have_their_route_on_the_admin_port() {
    let (east, _) = east();
    let pod = east.pods().next().unwrap();
    let policy = east.server(&workload(pod), 4191).unwrap();
    assert_eq!((policy.meta.kind(), policy.meta.name()), ("default", "all-unauthenticated"));
    let ServerProtocol::Detect { routes, .. } = &policy.protocol else { panic!("{policy:?}") };
    assert_eq!(routes[1].meta.name(), "probe");
    assert_eq!(routes[1].authorizations[0].meta.name(), "probe");
    let rule = &routes[1].rules[0];
    let matched = |method: http::Method, path: &str| rule.iter().any(|m| m.rank(&method, path).is_some());
    assert!(matched(http::Method::GET, "/live") && matched(http::Method::GET, "/ready"));
    assert!(!matched(http::Method::POST, "/live") && !matched(http::Method::GET, "/metrics"));
}

#[test]
fn unknown_and_unmeshed_workloads_have_no_policy() {
    let (east, _) = east();
    assert_eq!(east.server(&Workload { namespace: "mc-demo".into(), pod: "no".into() }, 80), None);
    let bare = alone(&EAST[1..]);
    let pod = bare.pods().next().unwrap();
    assert!(!pod.meshed());
    assert_eq!(bare.server(&workload(pod), 8080), None);
    assert_eq!(pod.proxy_env(), []);
}

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
    assert_eq!((http1[0].meta.name(), opaque[0].meta.name()), ("http", "opaq"));
    let Distribution::FirstAvailable(backends) = &http1[0].rules[0].backends else { panic!("{by_addr:?}") };
    let BackendKind::Balance { authority, .. } = &backends[0].kind else { panic!("{by_addr:?}") };
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
fn profiles_of_services_pods_and_strangers_differ() {
    let (east, _) = east();
    let ask = |path: &str| east.profile(path, &Context::default());
    let ip = east.service("mc-demo", "bb").unwrap().cluster_ip.unwrap();
    let by_ip = ask(&format!("{ip}:8080")).unwrap();
    assert_eq!(by_ip, ask(&path("bb", 8080)).unwrap());
    assert_eq!(by_ip.profile.name.as_ref().unwrap().as_str(), "bb.mc-demo.svc.cluster.local");
    assert_eq!(ask(&format!("{ip}:9")).unwrap(), ProfileAnswer::default());
    let pod = east.pods().next().unwrap().ip.unwrap();
    let endpoint = ask(&format!("{pod}:4191")).unwrap().profile.endpoint.unwrap();
    assert_eq!(endpoint.labels["namespace"], "mc-demo");
    assert!(endpoint.tls.is_some() && endpoint.inbound_port.is_none(), "the admin port takes no header");
    let stranger = ask("10.1.2.3:3306").unwrap().profile;
    assert!(stranger.opaque && stranger.endpoint.unwrap().tls.is_none());
    assert!(matches!(ask(&path("none", 80)), Err(LookupError::Unknown(_))));
}

#[test]
fn the_proxys_environment_is_the_injectors() {
    let (east, _) = east();
    let pod = east.pods().next().unwrap();
    let env: BTreeMap<_, _> = pod.proxy_env().into_iter().collect();
    let expect = [
        ("LINKERD2_PROXY_INBOUND_PORTS", "8080".to_owned()),
        ("LINKERD2_PROXY_INBOUND_IPS", pod.ip.unwrap().to_string()),
        (
            "LINKERD2_PROXY_POLICY_WORKLOAD",
            format!("{{\"ns\":\"mc-demo\", \"pod\":\"{}\"}}\n", pod.name.name),
        ),
        (
            "LINKERD2_PROXY_IDENTITY_LOCAL_NAME",
            "default.mc-demo.serviceaccount.identity.linkerd.cluster.local".into(),
        ),
        (
            "LINKERD2_PROXY_DESTINATION_SVC_ADDR",
            "linkerd-dst-headless.linkerd.svc.cluster.local.:8086".into(),
        ),
        ("LINKERD2_PROXY_LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off".into()),
        (
            "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION",
            "25,587,3306,4444,5432,6379,9300,11211".into(),
        ),
    ];
    for (name, value) in expect {
        assert_eq!(env.get(name), Some(&value), "{name}");
    }
    assert!(env.values().all(|value| !value.contains("$(")), "{env:?}");
}

#[test]
fn names_of_the_control_plane_resolve_to_it() {
    let (east, _) = east();
    for name in ["linkerd-dst-headless", "linkerd-policy", "linkerd-identity-headless"] {
        let found = east.dns(&format!("{name}.linkerd.svc.cluster.local."));
        assert_eq!(found, ["10.9.9.9".parse::<IpAddr>().unwrap()]);
    }
    assert!(east.dns("linkerd-policy.other.svc.cluster.local").is_empty());
    assert!(east.dns("example.com").is_empty());
}

const OPAQUE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: d, annotations: {linkerd.io/inject: enabled, config.linkerd.io/default-inbound-policy: deny}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: d}
spec: {clusterIP: None, ports: [{name: sql, port: 3306}, {name: web, port: 80, targetPort: http}], selector: {app: db}}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: d, labels: {app: db}}
spec: {containers: [{name: db, image: x, ports: [{containerPort: 3306}, {containerPort: 8080, name: http}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, namespace: d, labels: {app: db}}
spec: {containers: [{name: db, image: x, ports: [{containerPort: 3306}]}]}
status: {phase: Pending}
---
apiVersion: v1
kind: Pod
metadata: {name: db-2, namespace: d, labels: {app: db}, annotations: {linkerd.io/inject: disabled}}
spec: {containers: [{name: db, image: x, ports: [{containerPort: 3306}]}]}
";

#[test]
fn annotations_come_down_from_the_namespace_and_defaults_are_written() {
    let cluster = alone(&[OPAQUE]);
    let pod = cluster.pod("d", "db-0").unwrap();
    assert_eq!(pod.annotations[inject::OPAQUE_PORTS], "3306");
    assert!(matches!(cluster.server(&workload(pod), 3306).unwrap().protocol, ServerProtocol::Opaque));
    let denied = cluster.server(&workload(pod), 8080).unwrap();
    assert_eq!((denied.meta.name(), denied.authorizations.len()), ("deny", 0));
}

#[test]
fn only_ready_pods_with_the_port_are_endpoints() {
    let cluster = alone(&[OPAQUE]);
    let sql = cluster.destination("db.d.svc.cluster.local:3306", &Context::default()).unwrap();
    let pods: Vec<_> = sql.endpoints.values().map(|e| e.labels["pod"].clone()).collect();
    assert!(pods.contains(&"db-0".into()) && pods.contains(&"db-2".into()) && pods.len() == 2, "{pods:?}");
    for endpoint in sql.endpoints.values() {
        let meshed = endpoint.labels["pod"] == "db-0";
        assert_eq!(endpoint.hint == ProtocolHint::Opaque, meshed);
        assert_eq!(endpoint.tls.is_some(), meshed);
    }
    let web = cluster.destination("db.d.svc.cluster.local:80", &Context::default()).unwrap();
    assert_eq!(web.endpoints.keys().map(SocketAddr::port).collect::<Vec<_>>(), [8080]);
    assert_eq!(cluster.dns("db.d.svc.cluster.local").len(), 2, "headless: the ready pods");
}

#[test]
fn server_of_the_oldest_wins_then_of_the_first_name() {
    let server = |name: &str, created: &str| {
        format!(
            "---\napiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {{name: {name}, namespace: d{created}}}\n\
             spec: {{podSelector: {{}}, port: http, proxyProtocol: HTTP/1, accessPolicy: audit}}\n"
        )
    };
    let (a, b) = (
        server("a", ", creationTimestamp: '2026-01-02T00:00:00Z'"),
        server("b", ", creationTimestamp: '2026-01-01T00:00:00Z'"),
    );
    let cluster = alone(&[OPAQUE, &a, &b]);
    let pod = cluster.pod("d", "db-0").unwrap();
    let policy = cluster.server(&workload(pod), 8080).unwrap();
    assert_eq!(policy.meta.name(), "b");
    assert_eq!(policy.authorizations[0].meta.name(), "audit");
    assert!(matches!(policy.protocol, ServerProtocol::Http1(_)));
    let cluster = alone(&[OPAQUE, &a, &server("z", "")]);
    assert_eq!(cluster.server(&workload(pod), 8080).unwrap().meta.name(), "z", "no time sorts first");
}

#[test]
fn addresses_stay_when_other_objects_come() {
    let (before, given) = east();
    let more: Vec<&str> = EAST.iter().copied().chain([OPAQUE]).collect();
    let (after, _) = Snapshot::build(
        &documents(&more),
        &LinkedClusters::new(),
        &Gateways::default(),
        before.settings(),
        &given,
    );
    for pod in before.pods() {
        assert_eq!(after.pod("mc-demo", &pod.name.name).unwrap().ip, pod.ip);
    }
    let ip = |snapshot: &Snapshot| snapshot.service("mc-demo", "bb").unwrap().cluster_ip;
    assert_eq!(ip(&before), ip(&after));
}

#[test]
fn the_answer_does_not_depend_on_the_order_of_files() {
    let mut texts: Vec<&str> = EAST.iter().copied().chain([OPAQUE]).collect();
    let first = alone(&texts);
    for _ in 0..texts.len() {
        texts.rotate_left(1);
        let again = alone(&texts);
        assert_eq!(first.pods().collect::<Vec<_>>(), again.pods().collect::<Vec<_>>());
        assert_eq!(first.services().collect::<Vec<_>>(), again.services().collect::<Vec<_>>());
    }
}

#[test]
fn pods_that_a_cluster_printed_stand_for_their_deployment() {
    let printed = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: sa, namespace: mc-demo}
---
apiVersion: v1
kind: Pod
metadata:
  name: bb-5d8f-abcde
  namespace: mc-demo
  uid: 11111111-2222-3333-4444-555555555555
  labels: {app: bb, pod-template-hash: 5d8f}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: bb-5d8f, uid: x}]
spec: {nodeName: n7, serviceAccountName: sa, containers: [{name: terminus, image: x}]}
status: {phase: Running, podIP: 10.23.9.9, conditions: [{type: Ready, status: 'True'}]}
";
    let texts: Vec<&str> = EAST.iter().copied().chain([printed]).collect();
    let cluster = alone(&texts);
    let pods: Vec<_> = cluster.pods().collect();
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].owner, ("deployment".to_owned(), "bb".to_owned()));
    assert_eq!(pods[0].ip, Some("10.23.9.9".parse().unwrap()));
    assert!(!pods[0].meshed(), "the webhook saw it already");
}

const STATEFUL: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: d, annotations: {linkerd.io/inject: enabled}}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: d}
spec: {clusterIP: None, ports: [{name: sql, port: 5000}], selector: {app: db}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: node, namespace: d}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db}]}
";

#[test]
fn a_stateful_sets_pods_are_numbered_and_reached_by_name() {
    let world = alone(&[STATEFUL]);
    let pods: Vec<_> = world.pods().map(|pod| pod.name.name.as_str()).collect();
    assert_eq!(pods, ["node-0", "node-1"]);
    let second = world.pod("d", "node-1").unwrap();
    assert_eq!(second.labels["statefulset.kubernetes.io/pod-name"], "node-1");
    assert_eq!(second.labels["linkerd.io/proxy-statefulset"], "node");
    let ip = second.ip.unwrap();
    assert_eq!(world.dns("node-1.db.d.svc.cluster.local."), [ip]);
    assert_eq!(world.dns("db.d.svc.cluster.local.").len(), 2);
    let set = world.destination("node-1.db.d.svc.cluster.local:5000", &Context::default()).unwrap();
    assert_eq!(set.endpoints.keys().collect::<Vec<_>>(), [&SocketAddr::new(ip, 5000)]);
    assert_eq!(set.endpoints.values().next().unwrap().labels["statefulset"], "node");
    let profile = world.profile("node-1.db.d.svc.cluster.local:5000", &Context::default()).unwrap();
    assert_eq!(profile.profile.endpoint.unwrap().addr.ip(), ip);
}

#[test]
fn a_federated_service_by_hand_may_have_any_members_and_passes_over_what_is_none() {
    let hand = "
apiVersion: v1
kind: Service
metadata:
  name: all
  namespace: mc-demo
  annotations:
    multicluster.linkerd.io/remote-discovery: bb@target,no@target,bb@nowhere,bb@a@b,bb,
    multicluster.linkerd.io/local-discovery: own
spec: {ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: own, namespace: mc-demo}
spec: {ports: [{port: 8080}], selector: {app: slow-cooker}}
";
    let texts = [WEST, &[hand]].concat();
    let (east, given) = east();
    let linked = Linked { documents: documents(EAST).into(), allocations: Some(given.into()) };
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let west = Snapshot::build(
        &documents(&texts),
        &linked,
        &Gateways::default(),
        &settings,
        &Allocations::new(&settings),
    )
    .0;
    let set = west.destination(&path("all", 8080), &Context::default()).unwrap();
    assert!(set.federated);
    assert_eq!((set.endpoints.len(), set.labels["service"].as_str()), (2, "own"));
    let theirs = SocketAddr::new(east.pods().next().unwrap().ip.unwrap(), 8080);
    assert_eq!(set.endpoints[&theirs].labels["service"], "bb", "its own set's label");
    assert_eq!(set.endpoints[&theirs].labels["deployment"], "bb");
}

#[test]
fn endpoint_mirrors_keep_their_hosts_names() {
    let east = [STATEFUL.replace("name: db, namespace: d}", "name: db, namespace: d, labels: {x: y}}")];
    let east: Vec<&str> = east.iter().map(String::as_str).collect();
    let link = WEST[1].replace(
        "spec:\n",
        "spec:\n  gatewayAddress: 10.0.0.9\n  gatewayPort: '4143'\n  selector: {matchLabels: {x: y}}\n",
    );
    let given = alone_with_addresses(&east);
    let linked = Linked { documents: documents(&east).into(), allocations: Some(given.into()) };
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    let settings = Settings {
        enable_headless_services: true,
        enable_namespace_creation: true,
        ..settings("10.22.0.0/16", "10.144.0.0/16")
    };
    let west = Snapshot::build(
        &documents(&[&link]),
        &linked,
        &Gateways::default(),
        &settings,
        &Allocations::new(&settings),
    )
    .0;
    let mirror = west.service("d", "node-1-target").unwrap().cluster_ip.unwrap();
    assert_eq!(west.dns("node-1.db-target.d.svc.cluster.local."), [mirror]);
    assert_eq!(west.dns("db-target.d.svc.cluster.local.").len(), 2);
    let set = west.destination("node-1-target.d.svc.cluster.local:5000", &Context::default()).unwrap();
    let gateway = set.endpoints.values().next().unwrap();
    let name = gateway.authority_override.as_ref().unwrap().to_string();
    assert_eq!(
        (gateway.addr.to_string().as_str(), name.as_str()),
        ("10.0.0.9:4143", "node-1.db.d.svc.cluster.local:5000")
    );
    let one = west.destination("node-1.db-target.d.svc.cluster.local:5000", &Context::default()).unwrap();
    assert_eq!(one.endpoints.keys().collect::<Vec<_>>(), [&SocketAddr::new(mirror, 5000)]);
}

fn alone_with_addresses(texts: &[&str]) -> Allocations {
    let settings = settings("10.23.0.0/16", "10.145.0.0/16");
    Snapshot::build(
        &documents(texts),
        &LinkedClusters::new(),
        &Gateways::default(),
        &settings,
        &Allocations::new(&settings),
    )
    .1
}

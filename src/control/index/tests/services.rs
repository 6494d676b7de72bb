//! `Get` of Services of this cluster.

use super::*;
use crate::control::mirror::Metadata;

#[test]
fn lookups_that_find_nothing_say_why() {
    let west = west();
    let ask = |path: &str| west.destination(path, &Context::default()).unwrap_err();
    assert!(matches!(ask(&path("bb", 8080)), LookupError::NotFound(_)));
    assert!(matches!(ask("10.22.0.9:80"), LookupError::InvalidArgument(_)));
    assert!(matches!(ask("bb-target.mc-demo.svc.cluster.local.:80"), LookupError::InvalidArgument(_)));
    let mut broken = west.clone();
    let mirror = broken.own.services.values_mut().find(|service| &*service.name.name == "bb-target").unwrap();
    let definition = Arc::make_mut(&mut mirror.definition);
    let (mut labels, annotations) =
        (definition.metadata.labels().clone(), definition.metadata.annotations().clone());
    Arc::make_mut(&mut labels).remove("multicluster.linkerd.io/remote-service");
    definition.metadata = Metadata::given(labels, annotations);
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

const TWO_FAMILIES: &str = "
apiVersion: v1
kind: Service
metadata: {name: s, namespace: d}
spec: {ipFamilyPolicy: PreferDualStack, ports: [{port: 80}], selector: {app: s}}
---
apiVersion: v1
kind: Pod
metadata: {name: both, namespace: d, labels: {app: s}}
spec: {containers: [{name: c, image: x}]}
status: {podIPs: [{ip: 10.23.9.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: old, namespace: d, labels: {app: s}}
spec: {containers: [{name: c, image: x}]}
status: {podIPs: [{ip: 10.23.9.2}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: t, namespace: d}
subsets: [{addresses: [{ip: 'fd00::9'}, {ip: 10.23.9.9}], ports: [{port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: t, namespace: d}
spec: {ports: [{port: 80}]}
";

fn addresses(snapshot: &Snapshot, path: &str, node: &str) -> Vec<String> {
    let context = Context { node_name: node.into(), ..Context::default() };
    let set = snapshot.destination(path, &context).unwrap();
    set.endpoints.keys().map(|addr| addr.ip().to_string()).collect()
}

#[test]
fn with_ipv6_a_pod_of_both_families_is_reached_by_it_and_without_by_none() {
    let (pods, plain) = ("s.d.svc.cluster.local", "t.d.svc.cluster.local");
    let on = with(&[TWO_FAMILIES], |settings| settings.transport.ipv6 = Some(true));
    assert_eq!(addresses(&on, pods, ""), ["10.23.9.2", "fd00::1"]);
    assert_eq!(addresses(&on, plain, ""), ["10.23.9.9", "fd00::9"]);
    let off = with(&[TWO_FAMILIES], |_| {});
    assert_eq!(addresses(&off, pods, ""), ["10.23.9.1", "10.23.9.2"]);
    assert_eq!(addresses(&off, plain, ""), ["10.23.9.9", "fd00::9"], "of pods only");
}

#[test]
fn flags_change_how_meshed_pods_are_reached() {
    let change = |settings: &mut Settings| {
        settings.transport.header_always = false;
        settings.transport.h2_upgrade = false;
        settings.transport.http2 = Default::default();
    };
    let cluster = with(&[OPAQUE], change);
    let port = |port: u16| {
        let path = format!("db.d.svc.cluster.local:{port}");
        let set = cluster.destination(&path, &Context::default()).unwrap();
        set.endpoints.into_values().find(|endpoint| endpoint.labels["pod"] == "db-0").unwrap()
    };
    let sql = port(3306);
    assert_eq!((sql.hint, sql.inbound_port), (ProtocolHint::Opaque, Some(4143)), "opaque needs the header");
    let web = port(80);
    assert_eq!((web.hint, web.inbound_port), (ProtocolHint::Unknown, None));
    assert!(web.tls.is_some() && web.http2 == Default::default());
}

const SLICES: &str = "
apiVersion: v1
kind: Node
metadata: {name: n-a, labels: {topology.kubernetes.io/zone: a}}
---
apiVersion: v1
kind: Node
metadata: {name: n-c, labels: {topology.kubernetes.io/zone: c}}
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: d}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: d}
spec: {nodeName: n-a, containers: [{name: c, image: x}]}
status: {podIP: 10.23.9.1}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, namespace: d, labels: {kubernetes.io/service-name: s}}
ports: [{port: 80}]
endpoints:
- {addresses: [10.23.9.1], zone: a, hints: {forZones: [{name: a}]}, targetRef: {kind: Pod, name: p, namespace: d}}
- {addresses: [10.23.9.2], hints: {forZones: [{name: b}]}}
- {addresses: [10.23.9.3], zone: c, hints: {forZones: [{name: c}]}, targetRef: {kind: Pod, name: gone, namespace: d}}
";

#[test]
fn hints_keep_clients_to_their_zone_unless_that_leaves_nothing_or_one_has_none() {
    let path = "s.d.svc.cluster.local";
    let cluster = with(&[SLICES], |settings| settings.transport.zone_weights = true);
    assert_eq!(addresses(&cluster, path, "n-a"), ["10.23.9.1"]);
    let all = ["10.23.9.1", "10.23.9.2"];
    assert_eq!(addresses(&cluster, path, "n-c"), all, "what is not known counts for no zone");
    assert_eq!(addresses(&cluster, path, ""), all);
    let one_without = SLICES.replace(", hints: {forZones: [{name: b}]}", "");
    assert_eq!(addresses(&with(&[&one_without], |_| {}), path, "n-a"), all);

    let context = Context { node_name: "n-a".into(), ..Context::default() };
    let set = cluster.destination(path, &context).unwrap();
    let near = set.endpoints.values().next().unwrap();
    assert_eq!((near.weight, &*near.labels["zone_locality"]), (100_000, "local"));
}

#[test]
fn local_traffic_stays_on_the_node_of_the_client_if_nothing_is_left_too() {
    let local = SLICES
        .replace("spec: {ports: [{port: 80}]}", "spec: {internalTrafficPolicy: Local, ports: [{port: 80}]}");
    let cluster = with(&[&local], |_| {});
    assert_eq!(addresses(&cluster, "s.d.svc.cluster.local", "n-a"), ["10.23.9.1"]);
    assert!(addresses(&cluster, "s.d.svc.cluster.local", "n-c").is_empty());
    assert!(addresses(&cluster, "s.d.svc.cluster.local", "").is_empty());
}

#[test]
fn a_meshed_pod_that_does_not_say_where_its_proxy_listens_is_no_endpoint() {
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: d, uid: x, labels: {app: s, linkerd.io/control-plane-ns: linkerd}}
spec: {containers: [{name: c, image: x}]}
status: {podIP: 10.23.9.1}
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: d}
spec: {ports: [{port: 80}], selector: {app: s}}
";
    let cluster = alone(&[pod]);
    assert!(addresses(&cluster, "s.d.svc.cluster.local", "").is_empty());
    let profile = cluster.profile("10.23.9.1:80", &Context::default());
    assert!(matches!(profile, Err(LookupError::FailedPrecondition(_))), "{profile:?}");
}

/// A workload outside the cluster with an address of either family, and a Service that it is behind.
const VM: &str = "
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: d, labels: {app: vm}}
spec:
  meshTLS: {identity: 'spiffe://root/vm', serverName: vm.cluster.local}
  workloadIPs: [{ip: 192.168.0.1}, {ip: 'fd00::7'}]
  ports: [{port: 80, name: http}, {port: 81}]
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: d}
spec: {ports: [{name: a, port: 80}, {name: b, port: 81}], selector: {app: vm}}
";

#[test]
fn a_server_makes_an_external_workloads_port_opaque() {
    let server = "
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: s, namespace: d}
spec: {externalWorkloadSelector: {matchLabels: {app: vm}}, port: http, proxyProtocol: opaque}
";
    let cluster = alone(&[VM, server]);
    let hint = |port: u16| {
        let set = cluster.destination(&format!("s.d.svc.cluster.local:{port}"), &Context::default()).unwrap();
        set.endpoints.values().next().unwrap().hint
    };
    assert_eq!((hint(80), hint(81)), (ProtocolHint::Opaque, ProtocolHint::H2));
    let profile = cluster.profile("192.168.0.1:80", &Context::default()).unwrap().profile;
    assert!(profile.opaque);
}

#[test]
fn an_external_workload_has_endpoints_of_the_services_families_only() {
    for (families, expected) in [
        ("", vec!["192.168.0.1:80"]),
        ("ipFamilies: [IPv4],", vec!["192.168.0.1:80"]),
        ("ipFamilies: [IPv6],", vec!["[fd00::7]:80"]),
    ] {
        let cluster = alone(&[&VM.replace("spec: {ports", &format!("spec: {{{families} ports"))]);
        let set = cluster.destination("s.d.svc.cluster.local:80", &Context::default()).unwrap();
        let addrs: Vec<_> = set.endpoints.keys().map(ToString::to_string).collect();
        assert_eq!(addrs, expected, "{families}");
    }
}

#[test]
fn a_slice_of_host_names_has_no_endpoints() {
    let slice = "
apiVersion: v1
kind: Service
metadata: {name: s, namespace: d}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, namespace: d, labels: {kubernetes.io/service-name: s}}
addressType: FQDN
endpoints: [{addresses: [foo.example.com]}]
ports: [{port: 80}]
";
    let set = alone(&[slice]).destination("s.d.svc.cluster.local:80", &Context::default()).unwrap();
    assert!(set.endpoints.is_empty());
}

#[test]
fn a_name_among_the_ports_to_skip_costs_no_mutual_tls() {
    let skipping = OPAQUE.replace(
        "name: db-0, namespace: d,",
        "name: db-0, namespace: d, annotations: {config.linkerd.io/skip-inbound-ports: 'http,3306'},",
    );
    let cluster = alone(&[&skipping]);
    let tls = |port: u16| {
        let set =
            cluster.destination(&format!("db.d.svc.cluster.local:{port}"), &Context::default()).unwrap();
        set.endpoints.values().find(|endpoint| endpoint.labels["pod"] == "db-0").unwrap().tls.is_some()
    };
    assert_eq!((tls(80), tls(3306)), (true, false));
}

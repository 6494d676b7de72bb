//! What other clusters bring: mirrors, their endpoint mirrors, members of federated Services.

use super::*;

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
    assert_eq!(endpoint.labels["pod"], *pod.name.name);
    assert_eq!(endpoint.labels["control_plane_ns"], "linkerd");
    assert_eq!(endpoint.labels["serviceaccount"], "default");
    assert!(pod.name.name.starts_with(&format!("bb-{}-", endpoint.labels["pod_template_hash"])));
}

#[test]
fn without_the_other_clusters_addresses_a_mirror_is_empty_but_there() {
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = Linked::observe(documents(EAST).into(), None, &settings);
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
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = Linked::observe(documents(EAST).into(), Some(given.into()), &settings);
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
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
    let settings = Settings {
        enable_headless_services: true,
        enable_namespace_creation: true,
        ..settings("10.22.0.0/16", "10.144.0.0/16")
    };
    let linked = Linked::observe(documents(&east).into(), Some(given.into()), &settings);
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
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

#[test]
fn a_secret_says_the_trust_domain_of_its_cluster() {
    let link = WEST[1].replace("trust-domain: cluster.local", "trust-domain: far.domain");
    assert_ne!(link, WEST[1]);
    let (_, given) = east();
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = Linked::observe(documents(EAST).into(), Some(given.into()), &settings);
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    let texts = [WEST[0], &link, WEST[2], WEST[3]];
    let none = Gateways::default();
    let given = Allocations::new(&settings);
    let west = Snapshot::build(&documents(&texts), &linked, &none, &settings, &given).0;
    let set = west.destination(&path("bb-target", 8080), &Context::default()).unwrap();
    let id = set.endpoints.values().next().unwrap().tls.as_ref().unwrap().id.to_string();
    assert_eq!(id, "default.mc-demo.serviceaccount.identity.linkerd.far.domain");
}

/// What east has beside the guide's: one endpoint for each of two zones, and a machine of its own.
const HINTED: &str = "
apiVersion: v1
kind: Node
metadata: {name: n-a, labels: {topology.kubernetes.io/zone: a}}
---
apiVersion: v1
kind: Service
metadata: {name: zoned, namespace: mc-demo, labels: {mirror.linkerd.io/exported: remote-discovery, app: vm}}
spec: {ports: [{port: 80}], selector: {app: vm}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: zoned-1, namespace: mc-demo, labels: {kubernetes.io/service-name: zoned}}
ports: [{port: 80}]
endpoints:
- {addresses: [10.23.9.1], zone: a, hints: {forZones: [{name: a}]}}
- {addresses: [10.23.9.2], zone: b, hints: {forZones: [{name: b}]}}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: mc-demo, labels: {app: vm}}
spec:
  meshTLS: {identity: 'spiffe://root/vm', serverName: vm.cluster.local}
  workloadIPs: [{ip: 192.168.0.1}]
  ports: [{port: 80}]
";

#[test]
fn another_clusters_endpoints_are_for_every_zone_and_its_machines_are_not_seen() {
    let texts = [EAST, &[HINTED]].concat();
    let own = alone(&texts);
    let context = Context { node_name: "n-a".into(), ..Context::default() };
    let addresses = |cluster: &Snapshot, service: &str| -> Vec<String> {
        let set = cluster.destination(&path(service, 80), &context).unwrap();
        set.endpoints.keys().map(|addr| addr.ip().to_string()).collect()
    };
    assert_eq!(
        addresses(&own, "zoned"),
        ["10.23.9.1", "10.23.9.2", "192.168.0.1"],
        "the machine has no hint"
    );
    let alone_with_hints = HINTED.replace("labels: {app: vm}}\nspec:\n  mesh", "labels: {}}\nspec:\n  mesh");
    let own = alone(&[EAST, &[&alone_with_hints]].concat());
    assert_eq!(addresses(&own, "zoned"), ["10.23.9.1"]);

    let given = alone_with_addresses(&texts);
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = Linked::observe(documents(&texts).into(), Some(given.into()), &settings);
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    let node = HINTED.split("---").next().unwrap();
    let west = [WEST, &[node]].concat();
    let (none, given) = (Gateways::default(), Allocations::new(&settings));
    let west = Snapshot::build(&documents(&west), &linked, &none, &settings, &given).0;
    assert_eq!(addresses(&west, "zoned-target"), ["10.23.9.1", "10.23.9.2"]);
}

#[test]
fn what_a_target_takes_for_opaque_is_known_to_those_who_look() {
    let mut theirs = settings("10.23.0.0/16", "10.145.0.0/16");
    theirs.default_opaque_ports = PortSet::of(&[8080]);
    let none = (LinkedClusters::new(), Gateways::default());
    let (_, given) = Snapshot::build(&documents(EAST), &none.0, &none.1, &theirs, &Allocations::new(&theirs));
    let ours = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = Linked::observe(documents(EAST).into(), Some(given.into()), &ours);
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    let west = Snapshot::build(&documents(WEST), &linked, &none.1, &ours, &Allocations::new(&ours)).0;
    let set = west.destination(&path("bb-target", 8080), &Context::default()).unwrap();
    assert_eq!(set.endpoints.values().next().unwrap().hint, ProtocolHint::Opaque);
}

//! Pods as controllers and the injector would make them.

use super::*;

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

#[test]
fn what_has_no_address_in_a_full_network_is_told_where_it_is_asked_for() {
    let workload = |kind: &str, name: &str, replicas: u32| {
        format!(
            "apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}, namespace: d}}
spec:
  replicas: {replicas}
  serviceName: {name}
  selector: {{matchLabels: {{app: {name}}}}}
  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: c, image: x}}]}}}}
---
"
        )
    };
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: d}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let lone = "apiVersion: v1\nkind: Pod\nmetadata: {name: lone, namespace: d}\nspec: {containers: [{name: c, image: x}]}\n";
    let job = workload("Job", "job", 1)
        .replace("apps/v1", "batch/v1")
        .replace("  selector: {matchLabels: {app: job}}\n", "");
    let text = workload("Deployment", "web", 3)
        + &workload("StatefulSet", "node", 2)
        + &job
        + &service("a")
        + &service("b")
        + lone;
    let told = |pods: &str, services: &str| -> Vec<String> {
        let snapshot = with(&[&text], |settings| {
            (settings.pod_network, settings.service_network) =
                (pods.parse().unwrap(), services.parse().unwrap());
        });
        let without = snapshot.pods().filter(|pod| pod.ip.is_none()).count();
        let mut notes: Vec<_> = snapshot.notes().map(ToString::to_string).collect();
        notes.insert(0, format!("{without} pods"));
        notes
    };
    assert_eq!(told("10.9.0.0/28", "10.8.0.0/29"), ["0 pods"]);
    let full = |flag: &str| format!("; {flag}/31 is full: expected a larger network");
    let (pods, services) = (full("--pod-network 10.9.0.0"), full("--service-network 10.8.0.0"));
    let expected = [
        "6 pods".to_owned(),
        format!("m.yaml:1:1: pods of d/web without an address: 3{pods}"),
        format!("m.yaml:10:1: pods of d/node without an address: 2{pods}"),
        format!("m.yaml:37:1: pods of d/lone without an address: 1{pods}"),
        // One of each has the only address.
        format!("m.yaml:32:1: Service d/b has no address{services}"),
    ];
    assert_eq!(told("10.9.0.0/31", "10.8.0.0/31"), expected);
}

#[test]
fn a_stateful_sets_pods_are_numbered_and_reached_by_name() {
    let world = alone(&[STATEFUL]);
    let pods: Vec<_> = world.pods().map(|pod| &*pod.name.name).collect();
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
fn annotations_come_down_from_the_namespace_and_defaults_are_written() {
    let cluster = alone(&[OPAQUE]);
    let pod = cluster.pod("d", "db-0").unwrap();
    assert_eq!(pod.annotations[inject::OPAQUE_PORTS], "3306");
    assert!(matches!(cluster.server(&workload(pod), 3306).unwrap().protocol, ServerProtocol::Opaque));
    let denied = cluster.server(&workload(pod), 8080).unwrap();
    assert_eq!((denied.meta.name(), denied.authorizations.len()), ("deny", 0));
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

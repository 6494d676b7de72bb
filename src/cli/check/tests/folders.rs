//! Faults that the clusters' folders show of Links, mirrors and pods.

use super::*;
use crate::control::files::{ALLOCATIONS, Folder};

#[tokio::test]
async fn a_link_without_a_cluster() {
    let guide = Guide::new();
    guide.edit("west/02-link.yaml", "file://../east", "file://../nowhere");
    let found = guide.found(&[]).await;
    assert!(found.iter().all(|finding| finding.check == "link-reachable"), "{found:#?}");
    assert!(
        found[0].found.contains("leads nowhere") && found[0].at.contains("02-link.yaml:11:5"),
        "{found:#?}"
    );
    guide.edit("west/02-link.yaml", "file://../nowhere", "https://10.0.0.1:6443");
    assert!(guide.found(&[]).await[0].found.contains("is no folder"));
    guide.edit("west/02-link.yaml", "https://10.0.0.1:6443", "file://../east");
    guide.edit("west/02-link.yaml", "clusterCredentialsSecret: cluster", "clusterCredentialsSecret: lost");
    guide.one("link-reachable", Error, &["lost-credentials-target does not exist", "causeway link"]).await;
}

#[tokio::test]
async fn a_link_and_credentials_that_disagree() {
    let guide = Guide::new();
    let file = "west/02-link.yaml";
    let whole = fs::read_to_string(guide.path(file)).unwrap();
    fs::create_dir(guide.path("north")).unwrap();
    fs::copy(guide.path("east/01-namespace.yaml"), guide.path("north/a.yaml")).unwrap();
    let (mirror, rest) = whole.split_once("---").unwrap();
    let north = format!("{mirror}---{}", rest.replace("file://../east", "file://../north"));
    fs::write(guide.path(file), north).unwrap();
    guide.one("link-agrees", Error, &["mirrors file://../east", "looked for in file://../north"]).await;
    let spoilt = [
        ("cluster-domain: cluster.local", "cluster-domain: east.local", "targetClusterDomain cluster.local"),
        ("    multicluster.linkerd.io/trust-domain: cluster.local\n", "", "lacks the annotation"),
    ];
    for (from, to, told) in spoilt {
        fs::write(guide.path(file), &whole).unwrap();
        guide.edit(file, from, to);
        guide.one("link-agrees", Error, &[told, "02-link.yaml:27:1"]).await;
    }
    fs::write(guide.path(file), &whole).unwrap();
    guide.edit(file, "cluster-name: target", "cluster-name: east");
    let found = guide.found(&[]).await;
    assert!(found.iter().all(|finding| finding.check == "link-agrees"), "{found:#?}");
    assert!(
        found[0].found.contains("no credentials for discovery") && found[1].severity == Warning,
        "{found:#?}"
    );
}

/// A folder is not yet a cluster.
#[tokio::test]
async fn a_link_to_a_folder_that_is_no_cluster_and_to_its_own() {
    let guide = Guide::new();
    let north = guide.path("north");
    fs::create_dir(&north).unwrap();
    fs::write(north.join("readme.txt"), "not here").unwrap();
    guide.edit("west/02-link.yaml", "file://../east", "file://../north");
    let words = ["leads to no cluster", "holds no manifests", "02-link.yaml:", "causeway link"];
    guide.one("link-reachable", Error, &words).await;
    guide.edit("west/02-link.yaml", "file://../north", "file://../west");
    guide.one("link-reachable", Error, &["leads to the cluster's own folder"]).await;
}

#[tokio::test]
async fn a_linked_cluster_whose_control_plane_never_ran() {
    let guide = Guide::new();
    let (_, out) = printed(&guide.args(&[])).await;
    let gap = "skipped: the pods of east have no addresses yet";
    assert!(out.contains(gap), "nobody's did: {out}");
    serve_once(&guide, "west", Settings::default());
    let words = ["pods of east have no addresses", "never ran", "start it: causeway control", "02-link.yaml"];
    guide.one("link-reachable", Warning, &words).await;
    // What is mirrored through a gateway alone is asked for by the gateway.
    guide.edit("east/02-bb.yaml", "exported: remote-discovery", "exported: 'true'");
    guide.edit("west/03-slow-cooker.yaml", "http://bb-target:8080", "http://bb");
    assert_eq!(guide.found(&[]).await, []);
    guide.edit("east/02-bb.yaml", "exported: 'true'", "exported: remote-discovery");
    fs::write(guide.path("east").join(ALLOCATIONS), "{").unwrap();
    guide.one("manifests", Error, &["addresses cannot be read", ALLOCATIONS]).await;
    let west = guide.path("west");
    let alone = Cli::parse_from(["check", west.to_str().unwrap()]).args;
    let found = find(&alone).await.findings;
    let [finding] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!((finding.check, finding.severity), ("manifests", Error));
    assert!(finding.found.contains("addresses cannot be read") && finding.at.contains(ALLOCATIONS));
}

#[tokio::test]
async fn a_folder_that_is_spelled_in_two_ways_is_one() {
    let guide = Guide::new();
    let whole = fs::read_to_string(guide.path("west/02-link.yaml")).unwrap();
    let (mirror, rest) = whole.split_once("---").unwrap();
    let absolute = format!("file://{}/", guide.path("east").display());
    for other in ["file://../east/", "file://../west/../east", &absolute] {
        let spelled = format!("{mirror}---{}", rest.replace("file://../east", other));
        fs::write(guide.path("west/02-link.yaml"), spelled).unwrap();
        assert_eq!(guide.found(&[]).await, [], "{other}");
    }
}

impl Guide {
    /// Everything through a gateway, as `causeway link` would have it; nothing is exported otherwise.
    fn by_gateway_alone(&self) {
        let selector = "  selector:\n    matchLabels:\n      mirror.linkerd.io/exported: 'true'\n";
        self.edit("west/02-link.yaml", "  targetClusterDomain", &format!("{selector}  targetClusterDomain"));
        self.edit("east/02-bb.yaml", "exported: remote-discovery", "exported: 'true'");
    }
}

#[tokio::test]
async fn what_only_flat_mirrors_need_is_not_asked_of_gateways() {
    let guide = Guide::new();
    serve_once(&guide, "west", Settings::default());
    serve_once(&guide, "east", Settings { control_namespace: "mesh".into(), ..Settings::default() });
    let found = guide.found(&[]).await;
    let names: Vec<_> = found.iter().map(|finding| finding.check).collect();
    assert_eq!(names, ["control-namespaces", "pod-networks"], "{found:#?}");
    let whole = fs::read_to_string(guide.path("west/02-link.yaml")).unwrap();
    let without_discovery = || {
        let text = fs::read_to_string(guide.path("west/02-link.yaml")).unwrap();
        let documents: Vec<_> = text.split("---\n").collect();
        fs::write(guide.path("west/02-link.yaml"), [documents[0], documents[2]].join("---\n")).unwrap();
    };
    without_discovery();
    let found = guide.found(&[]).await;
    assert_eq!((found[0].check, found[0].severity), ("link-agrees", Error), "{found:#?}");
    fs::write(guide.path("west/02-link.yaml"), &whole).unwrap();
    guide.by_gateway_alone();
    assert_eq!(guide.found(&[]).await, []);
    let linked = fs::read_to_string(guide.path("west/02-link.yaml")).unwrap();
    without_discovery();
    guide.one("link-agrees", Warning, &["no credentials for discovery"]).await;
    fs::write(guide.path("west/02-link.yaml"), linked).unwrap();
    let (_, out) = printed(&guide.args(&[])).await;
    for check in ["control-namespaces", "pod-networks"] {
        let told = |line: &str| {
            line.starts_with(&format!("skipped  {check} "))
                && line.ends_with("nothing of east is reached pod to pod from west")
        };
        assert!(out.lines().any(told), "{out}");
    }
}

#[tokio::test]
async fn an_exported_service_whose_namespace_is_missing() {
    let guide = Guide::new();
    guide.edit("west/01-namespace.yaml", "name: mc-demo", "name: other");
    guide.edit("west/03-slow-cooker.yaml", "namespace: mc-demo", "namespace: other");
    guide.edit("west/04-slow-cooker-evil.yaml", "namespace: mc-demo", "namespace: other");
    guide.one("export-namespace", Error, &["mc-demo/bb", "--enable-namespace-creation"]).await;
    assert_eq!(guide.found(&["--enable-namespace-creation"]).await, []);
    // What is mirrored in no mode needs none.
    let ports = "  ports:\n  - name: http\n    port: 8080\n    targetPort: 8080\n";
    guide.edit("east/02-bb.yaml", ports, "  type: ExternalName\n  externalName: bb.example\n");
    assert_eq!(guide.found(&[]).await, []);
}

/// The selector for remote discovery alone asks for no headless mirror (controlplane 1.10).
#[tokio::test]
async fn a_headless_service_is_judged_as_it_is_mirrored() {
    let guide = Guide::new();
    let headless = ["--enable-headless-services"];
    guide.edit("east/02-bb.yaml", "  ports:\n  - name: http", "  clusterIP: None\n  ports:\n  - name: http");
    let by_hand = "apiVersion: v1\nkind: Service\nmetadata: {name: bb-target, namespace: mc-demo, labels: {\
                   mirror.linkerd.io/mirrored-service: 'true', mirror.linkerd.io/cluster-name: target}}\n\
                   spec: {ports: [{port: 8080}]}\n";
    fs::write(guide.path("west/more.yaml"), by_hand).unwrap();
    guide.one("mirrors", Warning, &["in the place of the mirror from target"]).await;
    guide.one_with(&headless, "mirrors", Warning, &["Link target makes no such mirror"]).await;
    fs::remove_file(guide.path("west/more.yaml")).unwrap();
    guide.edit("west/02-link.yaml", "LinkerdNamespace: linkerd", "LinkerdNamespace: mesh");
    guide.one("control-namespaces", Error, &["that of east in mesh"]).await;
    assert_eq!(guide.found(&headless).await, [], "nothing is reached pod to pod");
    guide.edit("west/02-link.yaml", "LinkerdNamespace: mesh", "LinkerdNamespace: linkerd");
    for file in ["01-namespace", "03-slow-cooker", "04-slow-cooker-evil"] {
        guide.edit(&format!("west/{file}.yaml"), ": mc-demo", ": other");
    }
    guide.one("export-namespace", Error, &["mc-demo/bb"]).await;
    assert_eq!(guide.found(&headless).await, [], "it would not be mirrored there either");
}

/// Serves a cluster once, so that its folder tells what it is.
pub(super) fn serve_once(guide: &Guide, cluster: &str, settings: Settings) {
    drop(Folder::open(&guide.path(cluster), &settings).unwrap());
}

#[tokio::test]
async fn what_a_target_says_of_itself_must_be_what_the_link_says() {
    let guide = Guide::new();
    let settings = Settings { trust_domain: "east.mesh".into(), ..Settings::default() };
    serve_once(&guide, "east", settings);
    guide.one("link-agrees", Error, &["trust-domain cluster.local, cluster east has east.mesh"]).await;
}

#[tokio::test]
async fn differing_control_plane_namespaces() {
    let guide = Guide::new();
    guide.edit("west/02-link.yaml", "LinkerdNamespace: linkerd", "LinkerdNamespace: mesh");
    guide
        .one("control-namespaces", Error, &["west is in namespace linkerd", "in mesh", "02-link.yaml:56:1"])
        .await;
    guide.edit("west/02-link.yaml", "LinkerdNamespace: mesh", "LinkerdNamespace: linkerd");
    serve_once(&guide, "east", Settings { control_namespace: "mesh".into(), ..Settings::default() });
    guide.one("control-namespaces", Error, &["that of east in mesh"]).await;
}

#[tokio::test]
async fn overlapping_pod_networks() {
    let guide = Guide::new();
    serve_once(&guide, "west", Settings::default());
    serve_once(
        &guide,
        "east",
        Settings { pod_network: "10.42.128.0/17".parse().unwrap(), ..Settings::default() },
    );
    guide.one("pod-networks", Error, &["10.42.0.0/16", "10.42.128.0/17", "gateway only"]).await;
    serve_once(
        &guide,
        "east",
        Settings { pod_network: "10.23.0.0/16".parse().unwrap(), ..Settings::default() },
    );
    assert_eq!(guide.found(&[]).await, []);
}

impl Guide {
    /// A pod and a Node as an API server prints them.
    fn give_pod(&self, cluster: &str, ip: &str, phase: &str, network: &str) {
        let text = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: given, namespace: mc-demo}}
spec: {{containers: [{{name: a, image: a}}]}}
status: {{phase: {phase}, podIP: {ip}}}
---
apiVersion: v1
kind: Node
metadata: {{name: node}}
spec: {{podCIDR: {network}}}
"
        );
        fs::write(self.path(cluster).join("given.yaml"), text).unwrap();
    }
}

#[tokio::test]
async fn pods_with_addresses_of_another_clusters_pods() {
    let guide = Guide::new();
    let network = |cluster, network: &str| {
        let settings = Settings { pod_network: network.parse().unwrap(), ..Settings::default() };
        serve_once(&guide, cluster, settings);
    };
    network("west", "10.42.0.0/16");
    network("east", "10.23.0.0/16");
    guide.give_pod("west", "10.5.0.9", "Running", "10.6.0.0/24");
    guide.give_pod("east", "10.5.0.9", "Running", "10.7.0.0/24");
    guide.one("pod-networks", Error, &["10.5.0.9 is a pod of west and a pod of east"]).await;
    guide.give_pod("east", "10.42.7.7", "Running", "10.7.0.0/24");
    guide.one("pod-networks", Error, &["10.42.7.7 is a pod of east, and pods of west are in 10.42."]).await;
    guide.give_pod("east", "10.42.7.7", "Succeeded", "10.6.0.0/24");
    assert_eq!(guide.found(&[]).await, [], "west's pods get theirs elsewhere, whatever its Nodes say");
    guide.give_pod("west", "10.6.0.9", "Running", "10.6.0.0/24");
    guide.one("pod-networks", Error, &["10.6.0.0/24, those of east in 10.6.0.0/24"]).await;
    guide.give_pod("east", "10.42.7.7", "Succeeded", "10.7.0.0/24");
    assert_eq!(guide.found(&[]).await, [], "its address is free again");
    // A network of one of them is enough to be compared with.
    guide.give_pod("east", "10.42.7.7", "Running", "10.7.0.0/24");
    fs::remove_file(guide.path("east").join(ALLOCATIONS)).unwrap();
    let found = guide.found(&[]).await;
    assert!(found.iter().any(|finding| finding.check == "pod-networks"), "{found:#?}");
}

#[tokio::test]
async fn a_client_that_is_not_meshed() {
    let guide = Guide::new();
    let annotated = "    metadata:\n      annotations: {linkerd.io/inject: disabled}\n      labels:";
    guide.edit("west/03-slow-cooker.yaml", "    metadata:\n      labels:", annotated);
    let words =
        ["deployment mc-demo/slow-cooker is not meshed", "mc-demo/bb-target", "03-slow-cooker.yaml:8:1"];
    guide.one("client-meshed", Error, &words).await;
    // Of a federated Service, by its whole name, from elsewhere.
    guide.edit(
        "east/02-bb.yaml",
        "mirror.linkerd.io/exported: remote-discovery",
        "mirror.linkerd.io/federated: member",
    );
    guide.edit(
        "west/03-slow-cooker.yaml",
        "http://bb-target:8080",
        "http://bb-federated.mc-demo.svc.cluster.local:8080",
    );
    guide.one("client-meshed", Error, &["calls mc-demo/bb-federated"]).await;
    // A name that only begins alike is another one.
    guide.edit("west/03-slow-cooker.yaml", "http://bb-federated.mc-demo", "http://bb-federated-old.mc-demo");
    assert_eq!(guide.found(&[]).await, []);
}

/// As `causeway mirror` prints them for kubectl, or `kubectl get` of a cluster with mirrors.
#[tokio::test]
async fn mirrors_that_are_given_by_hand() {
    let guide = Guide::new();
    let give = |kind: &str, name: &str, labels: &str| {
        let spec = if kind == "Service" { "spec: {ports: [{port: 8080}]}" } else { "subsets: []" };
        let text = format!(
            "apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: mc-demo, labels: {{{labels}}}}}\n{spec}\n"
        );
        fs::write(guide.path("west/more.yaml"), text).unwrap();
    };
    let of = |cluster: &str| {
        format!("mirror.linkerd.io/mirrored-service: 'true', mirror.linkerd.io/cluster-name: {cluster}")
    };
    let cases = [
        ("Service", "bb-target", of("target"), "in the place of the mirror from target"),
        ("Service", "bb-target", String::new(), "in the place of the mirror from target"),
        ("Endpoints", "bb-target", of("target"), "in the place of the mirror from target"),
        ("Service", "cc-target", of("target"), "Link target makes no such mirror"),
        ("Service", "bb-gone", of("gone"), "mirror service mc-demo/bb-gone is not part of any Link"),
        (
            "Service",
            "bb-federated",
            "mirror.linkerd.io/mirrored-service: 'true'".into(),
            "is not part of any Link",
        ),
    ];
    for (kind, name, labels, told) in &cases {
        give(kind, name, labels);
        let found = guide.found(&[]).await;
        let [finding] = found.as_slice() else { panic!("{name}: {found:#?}") };
        assert_eq!((finding.check, finding.severity), ("mirrors", Warning), "{finding:#?}");
        assert!(finding.found.contains(told) && finding.at.contains("more.yaml:1:1"), "{finding:#?}");
    }
    // What Linkerd writes to probe gateways, and what is nobody's mirror.
    give(
        "Service",
        "probe-gateway-gone",
        &format!("{}, mirror.linkerd.io/mirrored-gateway: 'true'", of("gone")),
    );
    assert_eq!(guide.found(&[]).await, []);
    give("Service", "other", "app: other");
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn credentials_with_annotations_that_are_no_names() {
    let guide = Guide::new();
    let file = "west/02-link.yaml";
    for (key, value, told) in [
        ("trust-domain", "''", "is \"\", which is no DNS name"),
        ("trust-domain", "", "is \"\", which is no DNS name"),
        ("cluster-domain", "null", "is \"\", which is no DNS name"),
        ("trust-domain", "A B", "is \"A B\", which is no DNS name"),
        ("cluster-domain", "east_1.local", "is \"east_1.local\", which is no DNS name"),
    ] {
        let whole = fs::read_to_string(guide.path(file)).unwrap();
        guide.edit(file, &format!("io/{key}: cluster.local"), &format!("io/{key}: {value}"));
        let key = format!("`multicluster.linkerd.io/{key}`");
        let found = guide.found(&[]).await;
        let [finding, ..] = found.as_slice() else { panic!("{told}") };
        assert_eq!((finding.check, finding.severity), ("manifests", Error), "{finding:#?}");
        assert!(finding.found.contains(&key) && finding.found.contains(told), "{finding:#?}");
        assert!(finding.at.contains("02-link.yaml:3") && finding.remedy.contains("expected lower-case"));
        fs::write(guide.path(file), whole).unwrap();
    }
}

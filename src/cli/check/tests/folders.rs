//! Faults that the clusters' folders show.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::control::ca::{Anchor, folder};
use crate::control::files::{ALLOCATIONS, Folder};

#[tokio::test]
async fn differing_trust_anchors() {
    let guide = Guide::new();
    let other = guide.path("other");
    folder::create(&other, &["east"], SystemTime::now()).unwrap();
    let both = ["--certs", other.to_str().unwrap()];
    guide.one_with(&both, "trust-anchors", Error, &["west trusts 1", "0 are the same"]).await;
    // The same anchors in another order are the same.
    let own = fs::read_to_string(guide.path("certs/ca-bundle.crt")).unwrap();
    let theirs = fs::read_to_string(other.join("ca-bundle.crt")).unwrap();
    fs::write(guide.path("certs/ca-bundle.crt"), format!("{own}{theirs}")).unwrap();
    fs::write(other.join("ca-bundle.crt"), format!("{theirs}{own}")).unwrap();
    assert_eq!(guide.found(&both).await, []);
}

/// An issuer of the same anchor, as if made then.
fn reissue(guide: &Guide, then: SystemTime) {
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let anchor = Anchor::from_pem(&read("certs/ca-bundle.crt"), &read("certs/ca.key")).unwrap();
    let issuer = anchor.issuer_for("east", then).unwrap();
    fs::write(guide.path("certs/east/issuer.crt"), issuer.certificate).unwrap();
    fs::write(guide.path("certs/east/issuer.key"), issuer.key).unwrap();
}

const DAY: Duration = Duration::from_secs(24 * 3600);
#[tokio::test]
async fn an_expired_issuer_and_one_that_soon_expires() {
    let guide = Guide::new();
    reissue(&guide, SystemTime::now() - 366 * DAY);
    guide.one("issuer", Error, &["the issuer of east expired at", "replace the issuer"]).await;
    reissue(&guide, SystemTime::now() - 340 * DAY);
    guide.one("issuer", Warning, &["the issuer of east expires in 24days"]).await;
    reissue(&guide, SystemTime::now() - 300 * DAY);
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn an_issuer_of_another_anchor_and_one_that_is_not_there() {
    let guide = Guide::new();
    let other = guide.path("other");
    folder::create(&other, &["east"], SystemTime::now()).unwrap();
    fs::copy(other.join("east/issuer.crt"), guide.path("certs/east/issuer.crt")).unwrap();
    fs::copy(other.join("east/issuer.key"), guide.path("certs/east/issuer.key")).unwrap();
    let words = ["causeway control does not start", "does not verify against the trust anchors"];
    guide.one("issuer", Error, &words).await;
    fs::remove_file(guide.path("certs/east/issuer.crt")).unwrap();
    guide.one("issuer", Error, &["east/issuer.crt", "causeway certs create"]).await;
}

/// Certificates of east in PEM, from the issuer upwards, with its key; the anchor signs the last one.
fn issued(guide: &Guide, from_the_top: &[IsCa]) -> (String, String) {
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let key = KeyPair::from_pem(&read("certs/ca.key")).unwrap();
    let mut issuer = Issuer::from_ca_cert_pem(&read("certs/ca-bundle.crt"), key).unwrap();
    let (mut chain, mut last) = (String::new(), String::new());
    for (place, is_ca) in from_the_top.iter().enumerate() {
        let mut params = CertificateParams::default();
        params.is_ca = *is_ca;
        params.distinguished_name.push(DnType::CommonName, format!("certificate {place}"));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (chain, last) = (certificate.pem() + &chain, key.serialize_pem());
        issuer = Issuer::new(params, key);
    }
    (chain, last)
}

/// Neither is content where the other is not.
#[tokio::test]
async fn certificates_are_judged_as_the_control_plane_judges_them() {
    const ANY: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);
    const LAST: IsCa = IsCa::Ca(BasicConstraints::Constrained(0));
    let guide = Guide::new();
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let (bundle, own) = (read("certs/ca-bundle.crt"), read("certs/east/issuer.crt"));
    let (other, key) = (read("certs/west/issuer.crt"), read("certs/east/issuer.key"));
    let other_key = read("certs/west/issuer.key");
    let (leaf, leaf_key) = issued(&guide, &[IsCa::ExplicitNoCa]);
    let (sound, sound_key) = issued(&guide, &[ANY, LAST]);
    let (long, long_key) = issued(&guide, &[LAST, ANY]);
    let behind = format!("{own}{other}");
    let garbled = format!("{bundle}-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let cut = format!("{bundle}{}", &bundle[..bundle.len() / 2]);
    let not_there = "";
    for (issuer, key, bundle, told) in [
        (&own, &other_key, &bundle, Some("the key is not the one of the issuer certificate")),
        (&leaf, &leaf_key, &bundle, Some("EndEntityUsedAsCa")),
        (&long, &long_key, &bundle, Some("PathLenConstraintViolated")),
        (&own, &key, &garbled, Some("ca-bundle.crt: trust anchors: expected")),
        (&own, &key, &cut, Some("ca-bundle.crt: trust anchors: expected")),
        (&own, &not_there.to_owned(), &bundle, Some("issuer certificate and key")),
        (&sound, &sound_key, &bundle, None),
        (&behind, &key, &bundle, None),
    ] {
        fs::write(guide.path("certs/east/issuer.crt"), issuer).unwrap();
        fs::write(guide.path("certs/east/issuer.key"), key).unwrap();
        fs::write(guide.path("certs/ca-bundle.crt"), bundle).unwrap();
        let found = guide.found(&[]).await;
        let opened = folder::open(&guide.path("certs"), "east", SystemTime::now());
        let errors: Vec<_> = found.iter().filter(|finding| finding.check == "issuer").collect();
        assert_eq!(opened.is_err(), told.is_some(), "{opened:?}");
        assert_eq!(errors.is_empty(), told.is_none(), "{errors:#?}");
        let said = |told| errors.iter().any(|finding| finding.found.contains(told));
        assert!(told.is_none_or(said), "{told:?} in {errors:#?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_anchor_or_an_intermediate_has_a_remedy_of_its_own() {
    let guide = Guide::new();
    let bundle = fs::read_to_string(guide.path("certs/ca-bundle.crt")).unwrap();
    let old = Anchor::generate(SystemTime::now() - 20 * 366 * DAY).unwrap();
    fs::write(guide.path("certs/ca-bundle.crt"), format!("{bundle}{}", old.pem())).unwrap();
    let found = guide.found(&[]).await;
    assert_eq!(found.len(), 2, "of east and of west: {found:#?}");
    for finding in found {
        assert_eq!((finding.check, finding.severity), ("issuer", Error));
        assert!(finding.found.starts_with("a trust anchor of "), "{finding:#?}");
        assert!(finding.remedy.contains("a new anchor beside the old one"), "{finding:#?}");
    }
    fs::write(guide.path("certs/ca-bundle.crt"), bundle).unwrap();
    let own = fs::read_to_string(guide.path("certs/east/issuer.crt")).unwrap();
    reissue(&guide, SystemTime::now() - 366 * DAY);
    let expired = fs::read_to_string(guide.path("certs/east/issuer.crt")).unwrap();
    fs::write(guide.path("certs/east/issuer.crt"), format!("{own}{expired}")).unwrap();
    let words = ["a certificate behind the issuer of east expired at", "put the intermediate"];
    guide.one("issuer", Error, &words).await;
}

#[tokio::test]
async fn an_issuer_that_was_made_by_a_clock_ahead() {
    let guide = Guide::new();
    reissue(&guide, SystemTime::now() + HOUR);
    guide.one("clock", Error, &["the issuer of east is valid only in 58m"]).await;
}

#[tokio::test]
async fn a_link_without_a_cluster() {
    let guide = Guide::new();
    guide.spoil("west/02-link.yaml", "file://../east", "file://../nowhere");
    let found = guide.found(&[]).await;
    assert!(found.iter().all(|finding| finding.check == "link-reachable"), "{found:#?}");
    assert!(
        found[0].found.contains("leads nowhere") && found[0].at.contains("02-link.yaml:11:5"),
        "{found:#?}"
    );
    guide.spoil("west/02-link.yaml", "file://../nowhere", "https://10.0.0.1:6443");
    assert!(guide.found(&[]).await[0].found.contains("is no folder"));
    guide.spoil("west/02-link.yaml", "https://10.0.0.1:6443", "file://../east");
    guide.spoil("west/02-link.yaml", "clusterCredentialsSecret: cluster", "clusterCredentialsSecret: lost");
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
        guide.spoil(file, from, to);
        guide.one("link-agrees", Error, &[told, "02-link.yaml:27:1"]).await;
    }
    fs::write(guide.path(file), &whole).unwrap();
    guide.spoil(file, "cluster-name: target", "cluster-name: east");
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
    guide.spoil("west/02-link.yaml", "file://../east", "file://../north");
    let words = ["leads to no cluster", "holds no manifests", "02-link.yaml:", "causeway link"];
    guide.one("link-reachable", Error, &words).await;
    guide.spoil("west/02-link.yaml", "file://../north", "file://../west");
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
    guide.spoil("east/02-bb.yaml", "exported: remote-discovery", "exported: 'true'");
    guide.spoil("west/03-slow-cooker.yaml", "http://bb-target:8080", "http://bb");
    assert_eq!(guide.found(&[]).await, []);
    guide.spoil("east/02-bb.yaml", "exported: 'true'", "exported: remote-discovery");
    fs::write(guide.path("east").join(ALLOCATIONS), "{").unwrap();
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
        self.spoil("west/02-link.yaml", "  targetClusterDomain", &format!("{selector}  targetClusterDomain"));
        self.spoil("east/02-bb.yaml", "exported: remote-discovery", "exported: 'true'");
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
    guide.by_gateway_alone();
    assert_eq!(guide.found(&[]).await, []);
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
    guide.spoil("west/01-namespace.yaml", "name: mc-demo", "name: other");
    guide.spoil("west/03-slow-cooker.yaml", "namespace: mc-demo", "namespace: other");
    guide.spoil("west/04-slow-cooker-evil.yaml", "namespace: mc-demo", "namespace: other");
    guide.one("export-namespace", Error, &["mc-demo/bb", "--enable-namespace-creation"]).await;
    assert_eq!(guide.found(&["--enable-namespace-creation"]).await, []);
    // What is mirrored in no mode needs none.
    let external = "  type: ExternalName\n  externalName: bb.example\n  ports:\n";
    guide.spoil("east/02-bb.yaml", "  ports:\n  - name: http", &format!("{external}  - name: http"));
    assert_eq!(guide.found(&[]).await, []);
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
    guide.spoil("west/02-link.yaml", "LinkerdNamespace: linkerd", "LinkerdNamespace: mesh");
    guide
        .one("control-namespaces", Error, &["west is in namespace linkerd", "in mesh", "02-link.yaml:56:1"])
        .await;
    guide.spoil("west/02-link.yaml", "LinkerdNamespace: mesh", "LinkerdNamespace: linkerd");
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
    guide.spoil("west/03-slow-cooker.yaml", "    metadata:\n      labels:", annotated);
    let words =
        ["deployment mc-demo/slow-cooker is not meshed", "mc-demo/bb-target", "03-slow-cooker.yaml:8:1"];
    guide.one("client-meshed", Error, &words).await;
    // Of a federated Service, by its whole name, from elsewhere.
    guide.spoil(
        "east/02-bb.yaml",
        "mirror.linkerd.io/exported: remote-discovery",
        "mirror.linkerd.io/federated: member",
    );
    guide.spoil(
        "west/03-slow-cooker.yaml",
        "http://bb-target:8080",
        "http://bb-federated.mc-demo.svc.cluster.local:8080",
    );
    guide.one("client-meshed", Error, &["calls mc-demo/bb-federated"]).await;
    // A name that only begins alike is another one.
    guide.spoil("west/03-slow-cooker.yaml", "http://bb-federated.mc-demo", "http://bb-federated-old.mc-demo");
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn a_server_that_selects_nothing() {
    let guide = Guide::new();
    guide.spoil("east/03-policy.yaml", "      app: bb\n", "      app: cc\n");
    guide.one("server-selects", Error, &["Server mc-demo/bb selects no pod", "03-policy.yaml:2:1"]).await;
    guide.spoil("east/03-policy.yaml", "      app: cc\n  port: 8080", "      app: bb\n  port: admin");
    guide.one("server-selects", Error, &["none has a TCP port named admin"]).await;
    // What has no replicas now is selected all the same.
    guide.spoil("east/03-policy.yaml", "port: admin", "port: 8080");
    guide.spoil("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    assert_eq!(guide.found(&[]).await, []);
}

/// As the running control plane knows them: with the injector's labels, and what is made at night too.
#[tokio::test]
async fn servers_select_by_the_labels_that_pods_will_have() {
    let guide = Guide::new();
    guide.spoil("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    let select = |labels: &str| {
        let server = format!(
            "apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: more, namespace: mc-demo}}
spec: {{podSelector: {{matchLabels: {{{labels}}}}}, port: linkerd-admin}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly, namespace: mc-demo}}
spec:
  schedule: '@daily'
  jobTemplate: {{spec: {{template: {{metadata: {{labels: {{app: night}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}}}}}
"
        );
        fs::write(guide.path("east/more.yaml"), server).unwrap();
    };
    for labels in [
        "linkerd.io/proxy-deployment: bb",
        "linkerd.io/control-plane-ns: linkerd",
        "app: night",
        "linkerd.io/proxy-cronjob: nightly",
    ] {
        select(labels);
        assert_eq!(guide.found(&[]).await, [], "{labels}");
    }
    select("linkerd.io/proxy-deployment: cc");
    guide.one("server-selects", Error, &["Server mc-demo/more selects no pod"]).await;
}

#[tokio::test]
async fn a_server_of_external_workloads_that_selects_none() {
    let guide = Guide::new();
    let write = |app: &str, port: &str| {
        let text = format!(
            "apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: vm, namespace: mc-demo}}
spec: {{externalWorkloadSelector: {{matchLabels: {{app: {app}}}}}, port: {port}}}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {{name: vm, namespace: mc-demo, labels: {{app: vm}}}}
spec:
  meshTLS: {{identity: 'spiffe://east/vm', serverName: vm.east}}
  ports: [{{name: http, port: 80}}]
  workloadIPs: [{{ip: 192.0.2.1}}]
"
        );
        fs::write(guide.path("east/vm.yaml"), text).unwrap();
    };
    write("other", "80");
    guide.one("server-selects", Error, &["Server mc-demo/vm selects no external workload"]).await;
    write("vm", "grpc");
    guide.one("server-selects", Error, &["external workloads, and none has a TCP port named grpc"]).await;
    write("vm", "http");
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn authorizations_that_are_good_for_nobody() {
    let guide = Guide::new();
    let write = |labels: &str, account: &str| {
        let text = format!(
            "apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {{name: older, namespace: mc-demo}}
spec:
  server: {{selector: {{matchLabels: {{{labels}}}}}}}
  client: {{meshTLS: {{serviceAccounts: [{{name: {account}, namespace: mc-demo}}]}}}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: newer, namespace: mc-demo}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: bb}}
  requiredAuthenticationRefs: [{{kind: ServiceAccount, name: {account}}}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {{name: all, namespace: mc-demo}}
spec: {{identityRefs: [{{kind: ServiceAccount, name: {account}}}]}}
"
        );
        fs::write(guide.path("east/more.yaml"), text).unwrap();
    };
    guide.spoil("east/03-policy.yaml", "  name: bb\nspec:", "  name: bb\n  labels: {app: bb}\nspec:");
    write("app: bb", "default");
    assert_eq!(guide.found(&[]).await, []);
    // It is west's.
    write("app: bb", "slow-cooker");
    assert_eq!(guide.found(&[]).await, []);
    write("app: cc", "default");
    guide.one("authorization-refs", Error, &["mc-demo/older selects no Server", "more.yaml:1:1"]).await;
    write("app: bb", "nobody");
    let found = guide.found(&[]).await;
    let told: Vec<_> = found.iter().map(|finding| (finding.check, finding.severity)).collect();
    assert_eq!(told, [("authorization-refs", Warning); 3], "{found:#?}");
    for (finding, kind) in found.iter().zip(["AuthorizationPolicy", "MeshTLSAuth", "ServerAuthorization"]) {
        assert!(finding.found.contains("ServiceAccount mc-demo/nobody, which no known cluster has"));
        assert!(finding.found.starts_with(kind), "{found:#?}");
    }
}

#[tokio::test]
async fn two_services_with_one_cluster_ip() {
    let guide = Guide::new();
    let service = |name: &str| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: mc-demo}}
spec: {{clusterIP: 10.43.7.7, ports: [{{port: 80}}]}}
"
        )
    };
    fs::write(guide.path("east/more.yaml"), format!("{}---\n{}", service("a"), service("b"))).unwrap();
    let words = ["Service mc-demo/b has the clusterIP 10.43.7.7", "that of mc-demo/a", "leave clusterIP out"];
    guide.one("manifests", Error, &words).await;
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
    for (value, told) in
        [("''", "is \"\", which is no DNS name"), ("A B", "is \"A B\", which is no DNS name")]
    {
        let whole = fs::read_to_string(guide.path("west/02-link.yaml")).unwrap();
        let annotation = "multicluster.linkerd.io/trust-domain: ";
        guide.spoil(
            "west/02-link.yaml",
            &format!("{annotation}cluster.local"),
            &format!("{annotation}{value}"),
        );
        guide.one("link-agrees", Error, &[told, "02-link.yaml:27:1"]).await;
        fs::write(guide.path("west/02-link.yaml"), whole).unwrap();
    }
}

#[tokio::test]
async fn an_authorization_that_names_what_is_missing() {
    let guide = Guide::new();
    guide.spoil("east/03-policy.yaml", "      name: bb-good", "      name: bb-lost");
    let words =
        ["MeshTLSAuthentication mc-demo/bb-lost does not exist", "03-policy.yaml:24:7", "one of bb-good"];
    guide.one("authorization-refs", Error, &words).await;
    guide.spoil("east/03-policy.yaml", "      name: bb-lost", "      name: bb-good");
    guide.spoil("east/03-policy.yaml", "    kind: Server\n    name: bb", "    kind: Server\n    name: cc");
    guide.one("authorization-refs", Error, &["Server mc-demo/cc does not exist"]).await;
}

#[tokio::test]
async fn a_route_that_is_not_accepted_or_leads_nowhere() {
    let guide = Guide::new();
    let route = |rest: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: canary, namespace: mc-demo}}
spec: {{{rest}}}
"
        )
    };
    let write = |text: &str| fs::write(guide.path("east").join("04-route.yaml"), text).unwrap();
    write(&route("parentRefs: [{kind: Service, name: cc}], rules: [{}]"));
    let words =
        ["not accepted by Service mc-demo/cc: NoMatchingParent", "04-route.yaml:4:21", "/api/v1/routes"];
    guide.one("route-status", Error, &words).await;
    write(&route("parentRefs: [{kind: Service, name: bb}], rules: [{backendRefs: [{name: cc, port: 80}]}]"));
    guide.one("route-status", Error, &["BackendNotFound, Service mc-demo/cc does not exist"]).await;
    write(&route("parentRefs: [{kind: Service, name: bb}], rules: [{backendRefs: [{name: bb, port: 80}]}]"));
    assert_eq!(guide.found(&[]).await, []);
    write(
        "apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {name: all, namespace: mc-demo}
spec: {trafficPolicy: Deny, networks: [{cidr: 0.0.0.0/0}]}
",
    );
    guide.one("route-status", Error, &["EgressNetwork mc-demo/all is not accepted: EgressReason"]).await;
}

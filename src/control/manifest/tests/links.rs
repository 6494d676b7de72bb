//! Links and their credentials.

use super::*;

pub(super) const LINK: &str = "apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {name: target, namespace: linkerd-multicluster}
spec:
  targetClusterName: target
  clusterCredentialsSecret: cluster-credentials-target
---
apiVersion: v1
kind: Secret
type: mirror.linkerd.io/remote-kubeconfig
metadata: {name: cluster-credentials-target, namespace: linkerd-multicluster}
stringData:
  kubeconfig: |
    current-context: c
    contexts: [{name: c, context: {cluster: c}}]
    clusters: [{name: c, cluster: {server: 'file://../east'}}]
";

#[test]
fn links_need_their_secret_and_secrets_their_folder() {
    assert_eq!(read(LINK).problems, []);
    let found = problems(LINK.split("---").next().unwrap());
    assert!(found[0].starts_with("m.yaml:6:29: Secret linkerd-multicluster/"), "{found:?}");
    let found = problems(&LINK.replace("file://../east", "https://10.0.0.1"));
    assert!(found[0].contains("is no folder"), "{found:?}");
    let found = problems(&LINK.replace("stringData", "data"));
    assert!(found[0].contains("not base64"), "{found:?}");
    let found = problems(&LINK.replace("current-context: c", "current-context: d"));
    assert!(found[0].contains("leads nowhere"), "{found:?}");
}

const WHOLE_LINK: &str = "  targetClusterDomain: east.local
  targetClusterLinkerdNamespace: mesh
  gatewayAddress: 10.0.0.9,gateway.east.example
  gatewayPort: '4143'
  gatewayIdentity: gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
  probeSpec: {path: /ready, port: '4191', period: 3s}
  selector: {matchLabels: {mirror.linkerd.io/exported: 'true'}, matchExpressions: [{key: tier, operator: In, values: [a, b]}]}
  remoteDiscoverySelector: {matchExpressions: [{key: hidden, operator: DoesNotExist}]}
  federatedServiceSelector: {matchLabels: {mirror.linkerd.io/federated: member}}
  excludedAnnotations: [a.io/*]
  excludeAnnotations: [b]
  excludeLabels: [c]
  excludedLabels: [d]
";

fn whole_link(version: &str, from: &str, to: &str) -> Assembled {
    assert!(from.is_empty() || WHOLE_LINK.contains(from));
    let spec = if from.is_empty() { WHOLE_LINK.to_owned() } else { WHOLE_LINK.replace(from, to) };
    let link = LINK.replacen("v1alpha3", version, 1);
    read(&link.replacen("---\n", &format!("{spec}---\n"), 1))
}

#[test]
fn every_field_of_a_link_is_read_and_exclusions_in_both_spellings() {
    let all = whole_link("v1alpha3", "", "");
    assert_eq!((&all.problems, &all.notes), (&vec![], &vec![]));
    let (_, link) = all.documents.links.values().next().unwrap();
    let gateway = link.gateway.as_ref().unwrap();
    let name = GatewayAddress::Name("gateway.east.example".into());
    assert_eq!(gateway.addresses, [GatewayAddress::Ip("10.0.0.9".parse().unwrap()), name]);
    assert_eq!(gateway.port, 4143);
    assert!(gateway.identity.as_ref().unwrap().starts_with("gateway."));
    let probe = gateway.probe.as_ref().unwrap();
    assert_eq!((probe.path.as_str(), probe.port, probe.failure_threshold), ("/ready", 4191, 3));
    assert_eq!((probe.period.as_secs(), probe.timeout.as_secs()), (3, 30));
    assert_eq!(link.excluded.annotations, ["a.io/*", "b"]);
    assert_eq!(link.excluded.labels, ["d", "c"]);
    assert_eq!((&*link.target_cluster_domain, &*link.target_control_namespace), ("east.local", "mesh"));
    let selectors = [&link.selector, &link.remote_discovery_selector, &link.federated_selector];
    assert!(selectors.iter().all(|selector| !selector.is_empty()));
}

#[test]
fn a_link_of_an_older_version_lacks_the_newer_fields_and_says_so() {
    for (version, missing) in [("v1alpha1", 5), ("v1alpha2", 4)] {
        let all = whole_link(version, "", "");
        assert_eq!(all.problems, []);
        assert_eq!(all.notes.len(), missing, "{:?}", all.notes);
        let (_, link) = all.documents.links.values().next().unwrap();
        assert_eq!(link.federated_selector.is_empty(), version == "v1alpha1");
        assert!(*link.excluded == Exclusions::default());
        assert!(link.gateway.is_some() && !link.selector.is_empty());
    }
}

#[test]
fn what_is_wrong_in_a_link_stands_at_its_place() {
    let wrong = [
        (
            "gatewayPort: '4143'",
            "gatewayPort: 4143",
            "10:16: `gatewayPort` is the number 4143; expected text",
        ),
        ("gatewayPort: '4143'", "gatewayPort: '0'", "10:16: `gatewayPort` is \"0\"; expected a port"),
        ("  gatewayPort: '4143'\n", "", "5:3: the gateway has no port"),
        ("10.0.0.9,", "10.0.0.9,a b,", "9:19: \"a b\" is no address; expected IP"),
        ("period: 3s", "period: 3", "12:51: `period` is the number 3; expected text"),
        ("gatewayPort: '4143'", "gatewayPort: ''", "10:16: `gatewayPort` is empty; expected a port"),
        (
            "gatewayPort: '4143'",
            "gatewayPort: '+04143'",
            "10:16: `gatewayPort` is \"+04143\"; expected a port",
        ),
        ("10.0.0.9,", "256.0.0.1,", "9:19: \"256.0.0.1\" is no address; expected IP"),
        (
            "east.local",
            "east_local",
            "7:24: `targetClusterDomain` is \"east_local\", which is no DNS name; expected lower-case",
        ),
        ("port: '4191'", "port: ''", "12:35: `port` is empty; expected a port"),
        ("period: 3s", "period: ''", "12:51: `period` is empty; expected a duration"),
        ("period: 3s", "period: 3d", "12:51: `period` is \"3d\"; expected a duration"),
        ("operator: In,", "operator: in,", "13:84: the operator \"in\" does not fit"),
        ("key: hidden", "key: /hidden", "14:54: \"/hidden\" is no key for a label"),
        ("federated: member", "federated: me mber", "15:73: \"me mber\" is no value for the label"),
        (
            "{matchLabels: {mirror.linkerd.io/federated: member}}",
            "member",
            "15:29: `federatedServiceSelector` is text; expected a mapping",
        ),
    ];
    for (from, to, expected) in wrong {
        let found = whole_link("v1alpha3", from, to).problems;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].to_string().starts_with(&format!("m.yaml:{expected}")),
            "{}, not {expected}",
            found[0]
        );
    }
}

#[test]
fn a_link_outside_the_mirror_namespace_needs_no_secret() {
    let elsewhere = LINK.split("---").next().unwrap().replace("linkerd-multicluster", "elsewhere");
    assert_eq!(problems(&elsewhere), [] as [&str; 0]);
}

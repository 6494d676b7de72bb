use std::path::Path;
use std::sync::Arc;

use crate::control::index::Linked;

use super::*;

fn documents(text: &str) -> Documents {
    let file: Arc<Path> = Arc::from(Path::new("m.yaml"));
    let all = manifest::assemble([&manifest::parse(&file, text)]);
    assert_eq!(all.problems, []);
    all.documents
}

const LINK: &str = "
apiVersion: v1
kind: Secret
type: mirror.linkerd.io/remote-kubeconfig
metadata: {name: c, namespace: linkerd-multicluster}
stringData:
  kubeconfig: |
    current-context: c
    contexts: [{name: c, context: {cluster: c}}]
    clusters: [{name: c, cluster: {server: 'file://../east'}}]
---
apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {name: east, namespace: linkerd-multicluster}
spec:
  targetClusterName: east
  targetClusterDomain: east.local
  clusterCredentialsSecret: c
  remoteDiscoverySelector: {matchLabels: {mirror.linkerd.io/exported: remote-discovery}}
  selector: {matchLabels: {mirror.linkerd.io/exported: 'true'}}
  excludedLabels: [secret.io/*, plain]
  excludedAnnotations: [config.linkerd.io/*]
---
apiVersion: v1
kind: Namespace
metadata: {name: d}
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: d
  resourceVersion: '77'
  labels: {mirror.linkerd.io/exported: remote-discovery, app: web, secret.io/a: x, secret.iox: y, plain: z, plainer: k}
  annotations: {config.linkerd.io/opaque-ports: '80', config.linkerd.io/x: y, service.kubernetes.io/topology-mode: auto, a: b}
spec: {ports: [{name: http, port: 80, targetPort: http, appProtocol: http, nodePort: 30000}], selector: {app: web}}
";

fn mirror_of(link: &str, service: &str) -> Mirrored {
    let linked = Linked { documents: documents(service), allocations: None };
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    services(&documents(link), &linked, &Settings::default())
}

#[test]
fn a_mirror_has_its_own_marks_and_what_may_be_copied() {
    let mirrored = mirror_of(LINK, SERVICE);
    assert_eq!(mirrored.notes, []);
    let mirror = &mirrored.services[&ObjectName::new("d", "web-east")];
    let labels: Vec<_> = mirror.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        labels,
        [
            "app=web",
            "mirror.linkerd.io/cluster-name=east",
            "mirror.linkerd.io/mirrored-service=true",
            "multicluster.linkerd.io/remote-discovery=east",
            "multicluster.linkerd.io/remote-service=web",
            "plainer=k",
        ]
    );
    let annotations: Vec<_> = mirror.annotations.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        annotations,
        [
            "a=b",
            "config.linkerd.io/opaque-ports=80",
            "mirror.linkerd.io/remote-resource-version=77",
            "mirror.linkerd.io/remote-svc-fq-name=web.d.svc.east.local",
        ]
    );
    assert_eq!(mirror.ports[0].port, 80);
    assert_eq!(mirror.ports[0].app_protocol, None);
    assert!(mirror.selector.is_empty() && mirror.mirrored);
}

#[test]
fn a_selector_without_terms_selects_nothing() {
    let link = LINK.replace("{matchLabels: {mirror.linkerd.io/exported: remote-discovery}}", "{}");
    assert_eq!(mirror_of(&link, SERVICE), Mirrored::default());
}

#[test]
fn what_is_not_mirrored_is_noted() {
    let gateway = mirror_of(LINK, &SERVICE.replace("exported: remote-discovery", "exported: 'true'"));
    assert!(gateway.services.is_empty() && gateway.notes[0].message.contains("gateway"), "{gateway:?}");
    let homeless = mirror_of(LINK, &SERVICE.replace("namespace: d", "namespace: e"));
    assert!(homeless.services.is_empty() && homeless.notes[0].message.contains("MissingNamespace"));
}

#[test]
fn several_services_and_a_lost_label_come_and_go() {
    let mirrored = mirror_of(LINK, &SERVICE.replace("mirror.linkerd.io/exported: remote-discovery, ", ""));
    assert_eq!(mirrored, Mirrored::default());
    let unlinked = services(&documents(LINK), &LinkedClusters::new(), &Settings::default());
    assert_eq!(unlinked, Mirrored::default());
}

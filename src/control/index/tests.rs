use std::path::Path;
use std::sync::Arc;

use crate::control::manifest::{self, Documents};
use crate::model::endpoint::ProtocolHint;
use crate::model::inbound::{Authentication, ServerProtocol};
use crate::model::outbound::{BackendKind, Distribution, OpaqueRefusal, OutboundProtocol};

use super::*;

mod dns;
mod inbound;
mod mirrors;
mod outbound;
mod pods;
mod profiles;
mod routes;
mod services;

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
    with(texts, |_| {})
}

/// A cluster by itself, installed with other values.
fn with(texts: &[&str], change: impl FnOnce(&mut Settings)) -> Snapshot {
    let mut settings = settings("10.23.0.0/16", "10.145.0.0/16");
    change(&mut settings);
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
    west_with(&documents(WEST))
}

fn west_with(documents: &Documents) -> Snapshot {
    let (_, given) = east();
    let settings = settings("10.22.0.0/16", "10.144.0.0/16");
    let linked = Linked::observe(self::documents(EAST).into(), Some(given.into()), &settings);
    let linked = LinkedClusters::from([("file://../east".to_owned(), linked)]);
    Snapshot::build(documents, &linked, &Gateways::default(), &settings, &Allocations::new(&settings)).0
}

fn workload(pod: &Pod) -> Workload {
    Workload::Pod(pod.name.clone())
}

fn path(service: &str, port: u16) -> String {
    format!("{service}.mc-demo.svc.cluster.local:{port}")
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

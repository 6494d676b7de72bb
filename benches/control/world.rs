//! Three clusters as folders of manifests: a file for each Service, with a Deployment of ten meshed pods and a Server. A third of the
//! Services are mirrored through a gateway, a third flat, a third are federated.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use causeway::control::Settings;
use causeway::control::ca::folder;
use causeway::control::files::Folder;

/// Pods of each Service.
pub(crate) const REPLICAS: usize = 10;
/// Services of one namespace.
const OF_NAMESPACE: usize = 250;
/// The measured cluster first.
pub(crate) const CLUSTERS: [&str; 3] = ["west", "east", "north"];

pub(crate) struct World {
    root: tempfile::TempDir,
    pub(crate) services: usize,
}

impl World {
    pub(crate) fn new(services: usize) -> anyhow::Result<Self> {
        let world = Self { root: tempfile::tempdir()?, services };
        folder::create(&world.certs(), &CLUSTERS, SystemTime::now())?;
        for (at, cluster) in CLUSTERS.into_iter().enumerate() {
            fs::create_dir(world.folder(cluster))?;
            for n in 0..services {
                fs::write(world.folder(cluster).join(format!("{n:05}.yaml")), service(n))?;
            }
            world.change(cluster, 1)?;
            if at > 0 {
                fs::write(world.folder("west").join(format!("link-{cluster}.yaml")), link(cluster, at))?;
                // Gives out addresses, as its own control plane would.
                drop(Folder::open(&world.folder(cluster), &settings(at))?);
            }
        }
        Ok(world)
    }

    pub(crate) fn folder(&self, cluster: &str) -> PathBuf {
        self.root.path().join(cluster)
    }

    pub(crate) fn certs(&self) -> PathBuf {
        self.root.path().join("certs")
    }

    /// Gives the Service `changing` another endpoint, in one step.
    pub(crate) fn change(&self, cluster: &str, round: usize) -> anyhow::Result<Ipv4Addr> {
        let at = CLUSTERS.iter().position(|name| *name == cluster).unwrap_or_default();
        let ip = Ipv4Addr::new(10, 200 + at as u8, (round / 250) as u8, (round % 250) as u8 + 1);
        let text = CHANGING.replace("ADDRESS", &ip.to_string());
        replace(&self.folder(cluster).join("changing.yaml"), &text)?;
        Ok(ip)
    }

    /// Every manifest of a cluster.
    pub(crate) fn texts(&self, cluster: &str) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let mut texts = Vec::new();
        for entry in fs::read_dir(self.folder(cluster))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                texts.push((path.clone(), fs::read_to_string(path)?));
            }
        }
        texts.sort();
        Ok(texts)
    }
}

/// As `causeway control` would have them for the cluster at this place.
pub(crate) fn settings(at: usize) -> Settings {
    let network = |base: u8| format!("10.{}.0.0/16", base + at as u8).parse();
    let defaults = Settings::default();
    Settings {
        pod_network: network(40).unwrap_or(defaults.pod_network),
        service_network: network(60).unwrap_or(defaults.service_network),
        ..defaults
    }
}

/// The name by which a client of the west asks for one of the mirrored Services, or for a mirror.
pub(crate) fn watched(n: usize) -> String {
    let name = match n % 3 {
        0 => format!("svc-{n}-east"),
        1 => format!("svc-{n}-north"),
        _ => format!("svc-{n}-federated"),
    };
    format!("{name}.ns-{}.svc.cluster.local:8080", n / OF_NAMESPACE)
}

fn service(n: usize) -> String {
    let label = match n % 3 {
        0 => "mirror.linkerd.io/exported: 'true'",
        1 => "mirror.linkerd.io/exported: remote-discovery",
        _ => "mirror.linkerd.io/federated: member",
    };
    let mut text = String::new();
    let namespace = n / OF_NAMESPACE;
    if n.is_multiple_of(OF_NAMESPACE) {
        let _ = writeln!(
            text,
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: ns-{namespace}, annotations: {{linkerd.io/inject: enabled}}}}\n---"
        );
    }
    let _ = write!(
        text,
        "apiVersion: v1
kind: Service
metadata:
  name: svc-{n}
  namespace: ns-{namespace}
  labels: {{app: app-{n}, {label}}}
spec:
  selector: {{app: app-{n}}}
  ports:
  - {{name: http, port: 8080, targetPort: http}}
  - {{name: admin, port: 9090}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app-{n}, namespace: ns-{namespace}}}
spec:
  replicas: {REPLICAS}
  selector: {{matchLabels: {{app: app-{n}}}}}
  template:
    metadata: {{labels: {{app: app-{n}}}}}
    spec:
      containers:
      - name: app
        image: example.org/app:1.0.{n}
        ports: [{{name: http, containerPort: 8080}}, {{name: admin, containerPort: 9090}}]
        env: [{{name: LEVEL, value: info}}, {{name: NUMBER, value: '{n}'}}]
        readinessProbe: {{httpGet: {{path: /ready, port: admin}}}}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: app-{n}, namespace: ns-{namespace}}}
spec: {{podSelector: {{matchLabels: {{app: app-{n}}}}}, port: http, proxyProtocol: HTTP/1}}
"
    );
    text
}

/// Flat from everywhere, with one endpoint that a controller wrote.
const CHANGING: &str = "
apiVersion: v1
kind: Service
metadata:
  name: changing
  namespace: ns-0
  labels: {mirror.linkerd.io/exported: remote-discovery}
spec: {ports: [{name: http, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: changing, namespace: ns-0, labels: {kubernetes.io/service-name: changing}}
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [ADDRESS]}]
";

fn link(cluster: &str, at: usize) -> String {
    let secret = |namespace: &str, more: &str| {
        format!(
            "apiVersion: v1
kind: Secret
type: mirror.linkerd.io/remote-kubeconfig
metadata: {{name: cluster-credentials-{cluster}, namespace: {namespace}{more}}}
stringData:
  kubeconfig: |
    current-context: c
    contexts: [{{name: c, context: {{cluster: c}}}}]
    clusters: [{{name: c, cluster: {{server: 'file://../{cluster}'}}}}]
---
"
        )
    };
    let discovery = format!(
        ", labels: {{multicluster.linkerd.io/cluster-name: {cluster}}}, annotations: \
         {{multicluster.linkerd.io/trust-domain: cluster.local, multicluster.linkerd.io/cluster-domain: cluster.local}}"
    );
    let link = format!(
        "apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {{name: {cluster}, namespace: linkerd-multicluster}}
spec:
  targetClusterName: {cluster}
  clusterCredentialsSecret: cluster-credentials-{cluster}
  gatewayAddress: 10.9.0.{at}
  gatewayPort: '4143'
  gatewayIdentity: linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
  selector: {{matchLabels: {{mirror.linkerd.io/exported: 'true'}}}}
  remoteDiscoverySelector: {{matchLabels: {{mirror.linkerd.io/exported: remote-discovery}}}}
  federatedServiceSelector: {{matchLabels: {{mirror.linkerd.io/federated: member}}}}
"
    );
    [secret("linkerd-multicluster", ""), secret("linkerd", &discovery), link].concat()
}

fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

//! Environments to the letter: what the chart of a stock injector renders, at the ports, under the names and in the
//! folders of a pod.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime};

use causeway::control::ca::{ServiceAccount, folder as certs};
use causeway::demo::apart::Apart;
use causeway::demo::cluster::{Cluster, Plan};
use causeway::demo::kubelet::{self, PROXY};
use causeway::demo::listing;
use causeway::demo::manifests::Manifests;
use causeway::demo::network::Network;
use causeway::demo::node::{self, ADMIN};
use causeway::demo::pod::Pod;

use crate::chart::{self, Kind};
use crate::mesh::{DEADLINE, HTTP, launcher, network, request, serve_http};
use crate::world::namespace;

const PODS: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: caller, namespace: mc-demo}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: linkerd-gateway, namespace: linkerd-multicluster}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: mc-demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      containers:
      - name: idle
        image: 'buoyantio/bb:v0.0.6'
        ports: [{containerPort: 9001}, {containerPort: 10001}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: caller, namespace: mc-demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: caller}}
  template:
    metadata: {labels: {app: caller}}
    spec:
      serviceAccountName: caller
      containers: [{name: idle, image: 'buoyantio/bb:v0.0.6'}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: linkerd-gateway, namespace: linkerd-multicluster}
spec:
  selector: {matchLabels: {app: linkerd-gateway}}
  template:
    metadata:
      labels: {app: linkerd-gateway}
      annotations:
        linkerd.io/inject: enabled
        config.linkerd.io/proxy-require-identity-inbound-ports: '4143'
        config.linkerd.io/enable-gateway: 'true'
        config.linkerd.io/default-inbound-policy: all-authenticated
    spec:
      serviceAccountName: linkerd-gateway
      containers: [{name: pause, image: 'registry.k8s.io/pause:3.2'}]
";

const FILES: &[(&str, &str)] = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/east/01-namespace.yaml")),
    ("02-pods.yaml", PODS),
];

/// A cluster whose pods are the test's to run.
struct Stage {
    listed: Vec<listing::Pod>,
    cluster: Cluster,
    network: Network,
    launcher: PathBuf,
    /// In place of our own.
    proxy: Option<PathBuf>,
    folder: tempfile::TempDir,
}

/// A pod whose proxy is ready.
struct Running {
    pod: Pod,
    listed: listing::Pod,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stock_injector_renders_boots_carries_requests_and_shows_the_control_plane() {
    boots_carries_and_shows(None).await;
    // So that what is asked of ours is what the reference does.
    if let Some(reference) = std::env::var_os("LINKERD2_PROXY_BIN") {
        boots_carries_and_shows(Some(reference.into())).await;
    }
}

async fn boots_carries_and_shows(proxy: Option<PathBuf>) {
    let control = Ipv4Addr::new(172, 31, 255, 11).into();
    let Some(stage) = Stage::new(control, [network(22), network(23)], proxy).await else { return };
    // The second of each deployment meets all of the template's conditions.
    let callers =
        [stage.run("caller", 0, Kind::Default).await, stage.run("caller", 1, Kind::EveryOption).await];
    let servers =
        [stage.run("server", 0, Kind::Default).await, stage.run("server", 1, Kind::EveryOption).await];
    let seen = servers.each_ref().map(|server| serve_http(server.pod.namespace(), HTTP, "it boots"));
    for caller in &callers {
        for (server, seen) in servers.iter().zip(&seen) {
            carries(caller, server, seen);
        }
        stage.counts_the_control_plane(caller).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_s_environment_boots() {
    let control = Ipv4Addr::new(172, 31, 255, 11).into();
    let Some(stage) = Stage::new(control, [network(22), network(23)], None).await else { return };
    let gateway = stage.run("linkerd-gateway", 0, Kind::Gateway).await;
    let log = std::fs::read_to_string(gateway.pod.log(PROXY)).unwrap();
    assert!(!log.contains("has no effect"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_injector_renders_what_a_stock_one_does() {
    let control = [11, 12].map(|last| Ipv6Addr::new(0xfd00, 0x31, 0x255, 0, 0, 0, 0, last));
    let ipv6 = ["fd00:22::/64", "fd00:23::/112"].map(|net| net.parse().unwrap());
    for (control, networks) in [
        (Ipv4Addr::new(172, 31, 255, 11).into(), [network(22), network(23)]),
        (IpAddr::from(control[0]), ipv6),
    ] {
        let Some(stage) = Stage::new(control, networks, None).await else { return };
        for (deployment, kind) in
            [("caller", Kind::Default), ("server", Kind::Default), ("linkerd-gateway", Kind::Gateway)]
        {
            let listed = stage.listed(deployment, 0);
            let ips = vec![listed.ip.to_string()];
            assert_eq!(
                listed.proxy_env,
                stage.environment(listed, ips, control.is_ipv6(), kind),
                "{deployment}"
            );
        }
    }
}

impl Stage {
    /// `None` where the machine gives no namespaces and none are required.
    async fn new(
        control: IpAddr,
        [pods, services]: [ipnet::IpNet; 2],
        proxy: Option<PathBuf>,
    ) -> Option<Self> {
        namespace("probe")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        certs::create(&folder.path().join("certs"), &["east"], SystemTime::now()).unwrap();
        let network = Network::new().unwrap();
        let plan = Plan { manifests: Manifests { cluster: "east", files: FILES }, control, pods, services };
        let launcher = launcher(folder.path());
        plan.write(folder.path()).unwrap();
        let mut cluster = Cluster::start(&network, &launcher, folder.path(), plan).unwrap();
        let listed = cluster.pods(&network).await.unwrap();
        Some(Self { listed, cluster, network, launcher, proxy, folder })
    }

    fn listed(&self, deployment: &str, number: usize) -> &listing::Pod {
        self.listed.iter().filter(|pod| pod.owner.name == deployment).nth(number).unwrap()
    }

    /// What the chart makes of a pod.
    fn environment(
        &self,
        listed: &listing::Pod,
        ips: Vec<String>,
        ipv6: bool,
        kind: Kind,
    ) -> Vec<(String, String)> {
        let known = |name: &str| listed.proxy_env.iter().find(|(n, _)| n == name).unwrap().1.clone();
        let pod = chart::Pod {
            name: listed.name.clone(),
            namespace: listed.namespace.clone(),
            uid: known("_pod_uid"),
            ips,
            node: known("_pod_nodeName"),
            account: listed.service_account.clone(),
        };
        let bundle = self.folder.path().join("certs/ca-bundle.crt");
        let trust_anchors = std::fs::read_to_string(bundle).unwrap();
        // In the order of their digits.
        let ports = if listed.owner.name == "server" { "10001,9001" } else { "" };
        let values = chart::Values { pod, ports: ports.to_owned(), trust_anchors, ipv6, kind };
        chart::completed(values.rendered())
    }

    /// Runs a listed pod with the chart's environment, dual-stack where all conditions are met, until it is ready.
    async fn run(&self, deployment: &str, number: usize, kind: Kind) -> Running {
        let mut listed = self.listed(deployment, number).clone();
        let mut ips = vec![listed.ip.to_string()];
        let ipv6 = kind == Kind::EveryOption;
        ips.extend(ipv6.then(|| "fd00:22::7".to_owned()));
        listed.proxy_env = self.environment(&listed, ips, ipv6, kind);
        listed.containers.clear();
        let settings = kubelet::Settings {
            cluster: "east",
            nameserver: self.cluster.plan.control,
            folder: self.folder.path().join("pods"),
            launcher: self.launcher.clone(),
            proxy: self.proxy.clone(),
            env: Vec::new(),
        };
        let token = self.token(&listed);
        let pod = kubelet::run(&self.network, &settings, &listed, &token).await.unwrap();
        let mut rendered: BTreeMap<_, _> = listed.proxy_env.iter().cloned().collect();
        rendered.extend(Apart::here().env());
        assert_eq!(environ(pod.id(PROXY).unwrap()), rendered, "nothing else, and nothing otherwise");
        Running { pod, listed }
    }

    /// Found by name and reached over TLS, it is in the metrics under the labels of the reference's.
    async fn counts_the_control_plane(&self, pod: &Running) {
        let admin = SocketAddr::new(pod.listed.ip, ADMIN);
        let page = node::fetch(self.network.router(), admin, "/metrics", DEADLINE).await.unwrap();
        let page = std::str::from_utf8(&page).unwrap();
        for (client, addr, account) in [
            ("identity", "linkerd-identity-headless.linkerd.svc.cluster.local:8080", "linkerd-identity"),
            ("destination", "linkerd-dst-headless.linkerd.svc.cluster.local:8086", "linkerd-destination"),
            ("policy", "linkerd-policy.linkerd.svc.cluster.local:8090", "linkerd-destination"),
        ] {
            let server = format!("{account}.linkerd.serviceaccount.identity.linkerd.cluster.local");
            let labels = format!("addr=\"{addr}\",tls=\"true\",server_id=\"{server}\"");
            let looked_up = format!("control_dns_resolutions_total{{client=\"{client}\"");
            for series in [
                format!("control_request_total{{{labels}}}"),
                format!("control_response_latency_ms_count{{{labels},status_code=\"200\"}}"),
                format!("{looked_up},record_type=\"SRV\",result=\"ok\"}}"),
                format!("control_{client}_balancer_p2c_updates_total{{op=\"Reset\",addr=\"{addr}\"}}"),
            ] {
                let line = page.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
                let count: Option<u64> = line.map(|count| count.parse().unwrap());
                assert!(count > Some(0), "{series}: {count:?} in {page}");
            }
        }
        let certified = "status_code=\"200\",classification=\"success\",grpc_status=\"0\",error=\"\"} 1";
        let mut answers = page.lines().filter(|line| line.starts_with("control_response_total{"));
        assert!(answers.any(|line| line.ends_with(certified)), "{page}");
    }

    fn token(&self, listed: &listing::Pod) -> String {
        let key = certs::open_tokens(&self.folder.path().join("certs"), "east").unwrap();
        let account = ServiceAccount::new(&listed.namespace, &listed.service_account);
        key.issue(&account, Duration::from_secs(3600), SystemTime::now())
    }
}

/// The environment that a process was started with.
fn environ(pid: u32) -> BTreeMap<String, String> {
    let environ = std::fs::read(Path::new("/proc").join(pid.to_string()).join("environ")).unwrap();
    let environ = String::from_utf8(environ).unwrap();
    let pairs = environ.trim_end_matches('\0').split('\0').map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A request from application to application, through both proxies and under the caller's name.
fn carries(caller: &Running, server: &Running, seen: &Receiver<String>) {
    let how = format!("{} to {}", caller.listed.name, server.listed.name);
    let answer = request(caller.pod.namespace(), server.listed.ip, HTTP, "", "does it boot?");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("it boots"), "{how}: {answer}");
    let seen = seen.recv_timeout(DEADLINE).unwrap();
    assert!(seen.ends_with("does it boot?"), "{how}: {seen}");
    assert!(seen.contains("l5d-client-id: caller.mc-demo.serviceaccount."), "{how}: {seen}");
}

//! Two clusters, a gateway in one of them, and pods on both sides of it, each with a proxy of choice.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use causeway::control::ca::{ServiceAccount, folder as certs};
use causeway::demo::apart::Apart;
use causeway::demo::cluster::{Cluster, Plan};
use causeway::demo::kubelet::{self, PROXY};
use causeway::demo::listing;
use causeway::demo::manifests::Manifests;
use causeway::demo::namespace::Namespace;
use causeway::demo::network::Network;
use causeway::demo::node::{self, ADMIN};
use causeway::demo::pod::Pod;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::load::serve_with;
use crate::mesh::{DEADLINE, launcher, plans};
use crate::namespace::namespace;

/// The servers speak HTTP here, and are opaque there.
pub(super) const HTTP: u16 = 9001;
pub(super) const OPAQUE: u16 = 9002;

/// Whose proxy is in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proxy {
    Ours,
    Reference,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Ours { "ours" } else { "reference" })
    }
}

/// The clusters, running.
pub(super) struct Stage {
    pods: BTreeMap<String, Pod>,
    reference: Option<PathBuf>,
    gateway: Proxy,
    clusters: Vec<Cluster>,
    network: Network,
    launcher: PathBuf,
    folder: tempfile::TempDir,
}

impl Stage {
    /// `None` where the machine gives no namespaces, or no reference proxy is named and one is needed.
    pub(super) async fn set(gateway: Proxy) -> Option<Self> {
        // That one cannot mark its connections.
        let able = Apart::here() == Apart::ByUser;
        let reference = std::env::var_os("LINKERD2_PROXY_BIN").map(PathBuf::from).filter(|_| able);
        if reference.is_none() && gateway == Proxy::Reference {
            eprintln!(
                "SKIPPED, nothing was tested: LINKERD2_PROXY_BIN names no reference proxy, or it cannot run here"
            );
            return None;
        }
        namespace("probe")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        certs::create(&folder.path().join("certs"), &["east", "west"], SystemTime::now()).unwrap();
        let launcher = launcher(folder.path());
        let (pods, clusters, network) = (BTreeMap::new(), Vec::new(), Network::new().unwrap());
        let mut stage = Self { pods, reference, gateway, clusters, network, launcher, folder };
        let sides = stage.sides();
        let east: String =
            sides.iter().map(|side| SERVER.replace("NAME", &format!("server-{side}"))).collect();
        let west: String =
            sides.iter().map(|side| CLIENT.replace("NAME", &format!("client-{side}"))).collect();
        stage
            .cluster(
                0,
                vec![
                    ("01-gateway.yaml", GATEWAY.to_owned()),
                    ("02-servers.yaml", NAMESPACE.to_owned() + &east),
                ],
            )
            .await;
        let address = stage.pods["linkerd-gateway"].identity().addr.to_string();
        let link = LINK.replace("GATEWAY", &address);
        stage
            .cluster(1, vec![("01-link.yaml", link), ("02-clients.yaml", NAMESPACE.to_owned() + &west)])
            .await;
        Some(stage)
    }

    /// Whose proxies are beside the gateway.
    pub(super) fn sides(&self) -> Vec<Proxy> {
        let all = [Proxy::Ours, Proxy::Reference];
        all.into_iter().filter(|proxy| *proxy == Proxy::Ours || self.reference.is_some()).collect()
    }

    /// Starts a cluster and its pods.
    async fn cluster(&mut self, number: usize, files: Vec<(&'static str, String)>) {
        let files = files.into_iter().map(|(name, text)| (name, &*String::leak(text))).collect();
        let files: &'static [(&'static str, &'static str)] = Vec::leak(files);
        let plan: Plan = plans(files, files)[number];
        let manifests = Manifests { cluster: plan.manifests.cluster, files };
        let plan = Plan { manifests, ..plan };
        plan.write(self.folder.path()).unwrap();
        let mut cluster = Cluster::start(&self.network, &self.launcher, self.folder.path(), plan).unwrap();
        for listed in cluster.pods(&self.network).await.unwrap().into_iter().filter(|pod| pod.meshed) {
            let pod = self.run(&cluster, listed.clone()).await;
            self.pods.insert(listed.owner.name, pod);
        }
        self.clusters.push(cluster);
    }

    async fn run(&self, cluster: &Cluster, mut listed: listing::Pod) -> Pod {
        // What is tested listens in the pod itself.
        listed.containers.clear();
        let reference = match listed.owner.name.as_str() {
            "linkerd-gateway" => self.gateway == Proxy::Reference,
            name => name.ends_with("reference"),
        };
        let settings = kubelet::Settings {
            cluster: cluster.name(),
            nameserver: cluster.plan.control,
            folder: self.folder.path().join("pods").join(cluster.name()),
            launcher: self.launcher.clone(),
            proxy: self.reference.clone().filter(|_| reference),
            env: Vec::new(),
        };
        let key = certs::open_tokens(&self.folder.path().join("certs"), cluster.name()).unwrap();
        let account = ServiceAccount::new(&listed.namespace, &listed.service_account);
        let token = key.issue(&account, Duration::from_secs(3600), SystemTime::now());
        kubelet::run(&self.network, &settings, &listed, &token).await.unwrap()
    }

    /// The namespace of the pod of a deployment.
    pub(super) fn pod(&self, deployment: &str) -> &Namespace {
        self.pods[deployment].namespace()
    }

    /// Sends a signal to a pod's proxy.
    pub(super) fn signal(&mut self, deployment: &str, signal: Signal) {
        self.pods.get_mut(deployment).unwrap().signal(PROXY, signal);
    }

    /// The address of a cluster's control plane.
    pub(super) fn control(&self, cluster: &str) -> IpAddr {
        self.clusters.iter().find(|found| found.name() == cluster).unwrap().plan.control
    }

    /// Where everything can be reached from.
    pub(super) fn router(&self) -> &Namespace {
        self.network.router()
    }

    /// What a pod's proxy has counted.
    pub(super) async fn metrics(&self, deployment: &str) -> String {
        // From inside: a gateway's default policy lets in nobody else without an identity.
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN));
        let page = node::fetch(self.pod(deployment), admin, "/metrics", DEADLINE).await.unwrap();
        String::from_utf8(page.to_vec()).unwrap()
    }

    /// A port of the mirror of a service, once it is there.
    pub(super) async fn mirror(&self, service: &str, port: u16) -> SocketAddr {
        let (name, began) = (format!("{service}-target"), Instant::now());
        let api = SocketAddr::from((self.clusters[1].plan.control, 8085));
        loop {
            if let Ok(json) = node::fetch(self.network.router(), api, "/api/v1/services", DEADLINE).await {
                let services: serde_json::Value = serde_json::from_slice(&json).unwrap();
                let found = services.as_array().unwrap().iter().find(|s| s["name"] == *name);
                if let Some(ip) = found.and_then(|found| found["cluster_ip"].as_str()?.parse().ok()) {
                    return SocketAddr::new(ip, port);
                }
            }
            assert!(began.elapsed() < DEADLINE, "{name} does not appear");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes a manifest in place.
    pub(super) fn edit(&self, cluster: &str, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join("clusters").join(cluster).join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in {file}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Serves HTTP, and echoes what is opaque, in the pod of a deployment.
    pub(super) fn serve(&self, deployment: &str) -> Asked {
        let asked = Asked::default();
        let asks = asked.clone();
        serve_with(self.pod(deployment), HTTP, move |req| answer(req, asks.clone()));
        let listener =
            self.pod(deployment).listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, OPAQUE))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move {
            while let Ok((mut io, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = io.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        asked
    }
}

/// What an application was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<Mutex<Vec<Request<()>>>>);

/// One request, as it arrived.
pub(super) struct Seen {
    pub(super) version: Version,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Asked {
    /// That there was no request since the last look.
    pub(super) fn nothing(&self) {
        assert!(self.0.lock().is_empty(), "{:?}", self.0.lock());
    }

    /// The only request since the last look.
    pub(super) fn only(&self) -> Seen {
        let mut all = std::mem::take(&mut *self.0.lock());
        assert_eq!(all.len(), 1, "{all:?}");
        let (head, ()) = all.remove(0).into_parts();
        Seen { version: head.version, uri: head.uri, headers: head.headers }
    }
}

type Body = http_body_util::combinators::BoxBody<bytes::Bytes, std::convert::Infallible>;

async fn answer(req: Request<Incoming>, asked: Asked) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = req.into_parts();
    let body = body.collect().await?.to_bytes();
    asked.0.lock().push(Request::from_parts(head, ()));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(Response::new(Full::new(body).with_trailers(async move { Some(Ok(trailers)) }).boxed()))
}

/// As the extension's chart has it (controlplane 6).
const GATEWAY: &str = include_str!("gateway.yaml");

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: mc-demo, annotations: {linkerd.io/inject: enabled}}
";

const SERVER: &str = include_str!("server.yaml");

const CLIENT: &str = include_str!("client.yaml");

const LINK: &str = include_str!("link.yaml");

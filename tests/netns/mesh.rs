//! The guide's two clusters with a second service beside `bb`, whose far side is the test itself.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use causeway::demo::apart::Apart;
use causeway::demo::cluster::Plan;
use causeway::demo::manifests::Manifests;
use causeway::demo::namespace::Namespace;
use causeway::demo::node;
use causeway::demo::world::World;
use ipnet::{IpNet, Ipv4Net};
use tokio::time::Instant;

use crate::world::namespace;

/// The service `sink` answers HTTP here.
pub(crate) const HTTP: u16 = 9001;
/// And is opaque here.
pub(crate) const OPAQUE: u16 = 9002;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// `sink` runs in the pod of `bb`: only slow-cooker may open opaque connections to it.
pub(crate) const SINK: &str = "
apiVersion: v1
kind: Service
metadata:
  name: sink
  namespace: mc-demo
  labels:
    mirror.linkerd.io/exported: remote-discovery
  annotations:
    config.linkerd.io/opaque-ports: '9002'
spec:
  ports:
  - {name: http, port: 9001, targetPort: 9001}
  - {name: opaque, port: 9002, targetPort: 9002}
  selector:
    app: bb
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: sink, namespace: mc-demo}
spec:
  podSelector: {matchLabels: {app: bb}}
  port: 9002
  proxyProtocol: opaque
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {name: sink, namespace: mc-demo}
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: sink}
  requiredAuthenticationRefs:
  - {group: policy.linkerd.io, kind: MeshTLSAuthentication, name: sink-callers}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {name: sink-callers, namespace: mc-demo}
spec:
  identities: ['slow-cooker.mc-demo.serviceaccount.identity.linkerd.cluster.local']
";

/// Names and contents of manifests.
pub(crate) type Files = &'static [(&'static str, &'static str)];

pub(crate) const EAST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/east/01-namespace.yaml")),
    ("02-bb.yaml", include_str!("../../examples/guide/east/02-bb.yaml")),
    ("03-policy.yaml", include_str!("../../examples/guide/east/03-policy.yaml")),
    ("90-sink.yaml", SINK),
];

pub(crate) const WEST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/west/01-namespace.yaml")),
    ("02-link.yaml", include_str!("../../examples/guide/west/02-link.yaml")),
    ("03-slow-cooker.yaml", include_str!("../../examples/guide/west/03-slow-cooker.yaml")),
];

/// Variables and their values.
pub(crate) type Env = Vec<(String, String)>;

pub(crate) struct Mesh {
    pub(crate) world: World,
    folder: tempfile::TempDir,
}

impl Mesh {
    /// `None` where the machine gives no namespaces and none are required.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(|_| None).await
    }

    /// The same, with another proxy in a cluster's pods where `proxy` names one for it.
    pub(crate) async fn start_with(proxy: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        Self::of(&plans(EAST, WEST), proxy).await
    }

    /// The same clusters, whose pods have IPv6 addresses and no others.
    pub(crate) async fn ipv6() -> Option<Self> {
        let plan = |last: u16, pods: &str, services: &str, manifests| Plan {
            manifests,
            control: Ipv6Addr::new(0xfd00, 0x31, 0x255, 0, 0, 0, 0, last).into(),
            pods: pods.parse().unwrap(),
            services: services.parse().unwrap(),
        };
        let [east, west] = plans(EAST, WEST).map(|plan| plan.manifests);
        let east = plan(11, "fd00:22::/64", "fd00:23::/112", east);
        let west = plan(12, "fd00:42::/64", "fd00:43::/112", west);
        Self::of(&[east, west], |_| None).await
    }

    /// Clusters of these plans.
    pub(crate) async fn of(plans: &[Plan], proxy: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        Self::make(plans, proxy, |_| Vec::new()).await
    }

    /// The same, whose proxies have more in their environment: it may name files of the folder that all is in.
    pub(crate) async fn with_env(plans: &[Plan], env: impl Fn(&Path) -> Env) -> Option<Self> {
        Self::make(plans, |_| None, env).await
    }

    async fn make(
        plans: &[Plan],
        proxy: impl Fn(&str) -> Option<PathBuf>,
        env: impl Fn(&Path) -> Env,
    ) -> Option<Self> {
        namespace("probe")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let launcher = launcher(folder.path());
        let env = env(folder.path());
        let world = World::start_with(&launcher, folder.path(), plans, proxy, env, |_| {}).await.unwrap();
        Some(Self { world, folder })
    }

    /// Where everything lies, below `certs` the trust material.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The namespace of the pod of a deployment.
    pub(crate) fn pod(&self, deployment: &str) -> &Arc<Namespace> {
        let running = self.world.pods().iter().find(|running| running.listed.owner.name == deployment);
        running.unwrap().pod.namespace()
    }

    /// The address of the pod of a deployment.
    pub(crate) fn pod_ip(&self, deployment: &str) -> IpAddr {
        self.world.pods().iter().find(|running| running.listed.owner.name == deployment).unwrap().listed.ip
    }

    /// The cluster IP of a service in `cluster`, if it has one now.
    pub(crate) async fn cluster_ip(&self, cluster: &str, service: &str) -> Option<IpAddr> {
        let plan = self.world.clusters().iter().find(|c| c.name() == cluster).unwrap().plan;
        let api = SocketAddr::from((plan.control, 8085));
        let json =
            node::fetch(self.world.network().router(), api, "/api/v1/services", DEADLINE).await.ok()?;
        let services: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let found = services.as_array().unwrap().iter().find(|s| s["name"] == service)?;
        found["cluster_ip"].as_str()?.parse().ok()
    }

    /// A service's address, waited for.
    pub(crate) async fn service(&self, cluster: &str, service: &str) -> IpAddr {
        let began = Instant::now();
        loop {
            if let Some(ip) = self.cluster_ip(cluster, service).await {
                return ip;
            }
            assert!(began.elapsed() < DEADLINE, "{service} does not appear in {cluster}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes a manifest in place.
    pub(crate) fn edit(&self, cluster: &str, file: &str, from: &str, to: &str) {
        let path = self.world.manifests(cluster).join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in {file}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }
}

/// A copy of the binary that the proxies' user may run, wherever it was built.
pub(crate) fn launcher(folder: &Path) -> PathBuf {
    let copy = folder.join("causeway");
    std::fs::copy(env!("CARGO_BIN_EXE_causeway"), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

/// East and west with these manifests.
pub(crate) fn plans(east: Files, west: Files) -> [Plan; 2] {
    let control = Ipv4Addr::new(172, 31, 255, 12).into();
    let manifests = Manifests { cluster: "west", files: west };
    [plan(east), Plan { manifests, control, pods: network(42), services: network(43) }]
}

/// East alone.
pub(crate) fn plan(east: Files) -> Plan {
    let control = Ipv4Addr::new(172, 31, 255, 11).into();
    let manifests = Manifests { cluster: "east", files: east };
    Plan { manifests, control, pods: network(22), services: network(23) }
}

/// The reference proxy, where one is named and can run.
pub(crate) fn reference() -> Option<PathBuf> {
    // It cannot mark its connections.
    let able = Apart::here() == Apart::ByUser;
    let named = std::env::var_os("LINKERD2_PROXY_BIN").map(PathBuf::from).filter(|_| able);
    if named.is_none() {
        eprintln!(
            "SKIPPED, nothing was tested: LINKERD2_PROXY_BIN names no reference proxy, or it cannot run here"
        );
    }
    named
}

/// A network of pods or services.
pub(crate) fn network(second: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16).into()
}

/// A TCP connection from a pod, as its application would open it.
pub(crate) fn dial(from: &Namespace, to: IpAddr, port: u16) -> TcpStream {
    let to = SocketAddr::from((to, port));
    let stream = from.run(move || TcpStream::connect_timeout(&to, DEADLINE)).unwrap().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// An HTTP application in a pod: answers every request with `body`, and hands on what it was sent.
pub(crate) fn serve_http(pod: &Namespace, port: u16, body: &'static str) -> mpsc::Receiver<String> {
    let (tx, seen) = mpsc::channel();
    each_connection(pod, port, move |mut stream| {
        while let Some(request) = read_request(&mut stream) {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let last = request.contains("connection: close");
            if stream.write_all(answer.as_bytes()).is_err() || tx.send(request).is_err() || last {
                return;
            }
        }
    });
    seen
}

/// An echo in a pod; hands on what it was sent.
pub(crate) fn serve_echo(pod: &Namespace, port: u16) -> mpsc::Receiver<Vec<u8>> {
    let (tx, seen) = mpsc::channel();
    each_connection(pod, port, move |mut stream| {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            if tx.send(buf[..n].to_vec()).is_err() || stream.write_all(&buf[..n]).is_err() {
                return;
            }
        }
    });
    seen
}

/// Serves a port of a pod, each connection on a thread of its own.
pub(crate) fn each_connection(
    pod: &Namespace,
    port: u16,
    serve: impl Fn(TcpStream) + Clone + Send + 'static,
) {
    let listener: TcpListener = pod.listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
}

/// A whole request, head and body by content length; `None` at the end.
pub(crate) fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buf = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= content_length(head)
        {
            return Some(text);
        }
        match stream.read(&mut buf) {
            Ok(n @ 1..) => bytes.extend_from_slice(&buf[..n]),
            _ => return None,
        }
    }
}

fn content_length(head: &str) -> usize {
    let line = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

/// Sends a text to an echo, and reads it back.
pub(crate) fn echo(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, text.as_bytes());
}

/// One request on a connection of its own; the answer's head and body.
pub(crate) fn request(from: &Namespace, to: IpAddr, port: u16, headers: &str, body: &str) -> String {
    let mut stream = dial(from, to, port);
    let length = body.len();
    write!(stream, "POST / HTTP/1.1\r\nhost: sink\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

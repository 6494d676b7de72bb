//! Two pods with their proxies, and the ways between them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use causeway::demo::namespace::Namespace;
use causeway::demo::network::NODE;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::mesh::{Files, Mesh, plans};
use crate::record::Seen;

/// Whose proxy is in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Ours,
    Reference,
}

/// The proxies of the two pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pairing {
    pub(crate) client: Proxy,
    pub(crate) server: Proxy,
}

impl Pairing {
    pub(crate) fn is_pure(self) -> bool {
        self.client == self.server
    }

    fn names(self, proxy: Proxy) -> bool {
        self.client == proxy || self.server == proxy
    }
}

/// What is between the two clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// Each pod reaches the other.
    FlatNetwork,
    /// A gateway in the server's cluster, with the same proxy as there.
    Gateway,
}

impl Between {
    /// The folder of its records.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::FlatNetwork => "",
            Self::Gateway => "gateway",
        }
    }
}

/// Which way connections take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From pod to pod, through both proxies.
    Meshed,
    /// From somebody without a proxy.
    FromOutside,
    /// To somebody without a proxy.
    ToOutside,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Meshed, Self::FromOutside, Self::ToOutside];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meshed => "meshed",
            Self::FromOutside => "from outside",
            Self::ToOutside => "to outside",
        }
    }
}

/// How a port is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Detected,
    Opaque,
}

/// The pods, running.
pub(crate) struct Stage {
    mesh: Arc<Mesh>,
    pub(crate) pairing: Pairing,
    pub(crate) between: Between,
    service: IpAddr,
    next: BTreeMap<u16, AtomicU16>,
}

/// Ports are used once, so that no case meets connections of another: those of the service, opaque ones among them, and
/// those that it does not have.
const DECLARED: u16 = 9000;
const OPAQUE: u16 = 9400;
const OUTSIDE: u16 = 10_000;
const PORTS: u16 = 400;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What was sent has arrived by then: on a busy machine, with three proxies on the way. An end overtakes what does not.
pub(crate) const SETTLED: Duration = Duration::from_millis(500);

impl Stage {
    /// `None` where the machine gives no namespaces, or no reference proxy is named and one is needed.
    pub(crate) async fn set(pairing: Pairing, between: Between) -> Option<Self> {
        let reference = std::env::var_os("LINKERD2_PROXY_BIN").map(PathBuf::from);
        if reference.is_none() && pairing.names(Proxy::Reference) {
            eprintln!("SKIPPED, nothing was tested: LINKERD2_PROXY_BIN names no reference proxy");
            return None;
        }
        let plans = plans(east(between), west(between));
        let mesh = Mesh::of(&plans, |cluster| {
            let proxy = if cluster == "west" { pairing.client } else { pairing.server };
            reference.clone().filter(|_| proxy == Proxy::Reference)
        });
        let mesh = Arc::new(Box::pin(mesh).await?);
        if between == Between::Gateway {
            let address = mesh.pod_ip("linkerd-gateway").to_string();
            mesh.edit("west", "02-link.yaml", NOWHERE, &address);
        }
        let service = mesh.service("west", "server-target").await;
        let next = [DECLARED, OPAQUE, OUTSIDE].map(|first| (first, AtomicU16::new(first)));
        Some(Self { mesh, pairing, between, service, next: next.into() })
    }

    /// Whether this way says something new: where the two proxies differ, only one that meets both does, and of a
    /// gateway only one that meets it.
    pub(crate) fn explores(&self, way: Way) -> bool {
        way == Way::Meshed || self.pairing.is_pure() && self.between == Between::FlatNetwork
    }

    /// A fresh port and the way to it.
    pub(crate) fn road(&self, way: Way, port: Port) -> Road {
        let (first, room) = match (port, way) {
            (Port::Opaque, _) => (OPAQUE, PORTS),
            (Port::Detected, Way::Meshed) => (DECLARED, PORTS),
            (Port::Detected, _) => (OUTSIDE, 10 * PORTS),
        };
        let port = self.next[&first].fetch_add(1, Ordering::Relaxed);
        assert!(port < first + room, "more cases than ports");
        let pod = self.mesh.pod_ip("server");
        let ip = match way {
            Way::Meshed => self.service,
            Way::FromOutside => pod,
            Way::ToOutside => NODE.into(),
        };
        let names = [(self.service, "<service>"), (pod, "<pod>"), (NODE.into(), "<outside>")];
        let [service, pod, outside] = names.map(|(ip, name)| (format!("{ip}:{port}"), name));
        let target = (format!("server.mc-demo.svc.cluster.local:{port}"), "<target>");
        let seen = Seen::new([service, pod, outside, target, (GATEWAY_ID.to_owned(), "<gateway>")]);
        let target = SocketAddr::from((ip, port));
        let tasks = Arc::default();
        Road { mesh: self.mesh.clone(), way, target, seen, tasks }
    }
}

/// One case's way from its client to its application, and what both saw.
#[derive(Clone)]
pub(crate) struct Road {
    mesh: Arc<Mesh>,
    pub(crate) way: Way,
    pub(crate) target: SocketAddr,
    pub(crate) seen: Seen,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Road {
    /// A connection as the client's application opens it.
    pub(crate) async fn dial(&self) -> TcpStream {
        let from = match self.way {
            Way::FromOutside => self.mesh.world.network().router(),
            Way::Meshed | Way::ToOutside => self.mesh.pod("client"),
        };
        let connecting = from.socket(self.target).unwrap().connect(self.target);
        tokio::time::timeout(DEADLINE, connecting).await.unwrap().unwrap()
    }

    /// The application's listener.
    pub(crate) fn listen(&self) -> TcpListener {
        let at: &Namespace = match self.way {
            Way::ToOutside => self.mesh.world.network().router(),
            Way::Meshed | Way::FromOutside => self.mesh.pod("server"),
        };
        let listener = at.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.target.port()))).unwrap();
        listener.set_nonblocking(true).unwrap();
        TcpListener::from_std(listener).unwrap()
    }

    /// An application that serves each connection with `serve`, until the case ends.
    pub(crate) fn serve<F: Future<Output = ()> + Send + 'static>(
        &self,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) {
        let listener = self.listen();
        let tasks = self.tasks.clone();
        self.tasks.lock().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks.lock().spawn(serve(stream));
            }
        });
    }

    /// Something that goes on beside the case and ends with it.
    pub(crate) fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().spawn(task);
    }

    pub(crate) fn end(self) -> Seen {
        self.tasks.lock().abort_all();
        self.seen
    }
}

fn east(between: Between) -> Files {
    let numbered = |first: u16| (first..first + PORTS).map(|n| format!("  - {{name: p{n}, port: {n}}}\n"));
    let ports: String = numbered(DECLARED).chain(numbered(OPAQUE)).collect();
    let opaque = format!("'{OPAQUE}-{}'", OPAQUE + PORTS - 1);
    let server = SERVER.replace("OPAQUE", &opaque) + &ports;
    let (exported, gateway) = match between {
        Between::FlatNetwork => ("remote-discovery", ""),
        // No image is pulled; any will do.
        Between::Gateway => ("'true'", &*String::leak(GATEWAY.replace("registry.k8s.io/pause:3.2", BB))),
    };
    let server = String::leak(server.replace("EXPORTED", exported));
    Vec::leak(vec![
        ("01-namespace.yaml", NAMESPACE),
        ("02-server.yaml", server),
        ("03-gateway.yaml", gateway),
    ])
}

fn west(between: Between) -> Files {
    let link = match between {
        Between::FlatNetwork => LINK,
        // Its address is known once it runs.
        Between::Gateway => &*String::leak(TO_GATEWAY.replace("GATEWAY", NOWHERE)),
    };
    Vec::leak(vec![("01-namespace.yaml", NAMESPACE), ("02-link.yaml", link), ("03-client.yaml", CLIENT)])
}

const GATEWAY: &str = include_str!("../netns/gateway/gateway.yaml");
const TO_GATEWAY: &str = include_str!("../netns/gateway/link.yaml");
const GATEWAY_ID: &str = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
const NOWHERE: &str = "192.0.2.1";
const BB: &str = "buoyantio/bb, args: [terminus, --h1-server-port=8080]";

const NAMESPACE: &str = include_str!("../../examples/guide/east/01-namespace.yaml");
const LINK: &str = include_str!("../../examples/guide/west/02-link.yaml");

/// The containers are there because a pod has some; what is tested listens beside them.
const SERVER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: mc-demo}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata:
      labels: {app: server}
      annotations: {config.linkerd.io/opaque-ports: OPAQUE}
    spec:
      containers:
      - {name: terminus, image: buoyantio/bb, args: [terminus, --h1-server-port=8080]}
---
apiVersion: v1
kind: Service
metadata:
  name: server
  namespace: mc-demo
  labels: {mirror.linkerd.io/exported: EXPORTED}
  annotations: {config.linkerd.io/opaque-ports: OPAQUE}
spec:
  selector: {app: server}
  ports:
";

const CLIENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: mc-demo}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      containers:
      - {name: terminus, image: buoyantio/bb, args: [terminus, --h1-server-port=8080]}
";

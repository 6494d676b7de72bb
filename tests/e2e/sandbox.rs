//! Pods on loopback addresses, each with a whole proxy, and the control plane they share.
//!
//! [`Redirects`] stands for the packet filter: it knows where each connection was going before it was
//! led to a proxy.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use causeway::app::{Proxy, Surroundings};
use causeway::config::Config;
use causeway::model::Endpoint;
use causeway::model::endpoint::{EndpointTls, ProtocolHint};
use causeway::net::OrigDst;
use causeway::telemetry::log::LogHandle;
use causeway::tls::testing::TestCa;
use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Control, Script, TOKEN};

/// For whatever must happen; what takes longer never will.
pub const LIMIT: Duration = Duration::from_secs(15);

/// The future's result, or a failed test that says what did not happen.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("in time: {what}"))
}

/// Waits for a condition that nobody announces.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Where connections were going, by the address they come from.
#[derive(Clone, Default)]
struct Redirects(Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>);

impl Redirects {
    /// What the kernel would say of a connection: where it was going, else that it was not redirected.
    fn orig_dst(&self) -> OrigDst {
        let redirects = self.clone();
        OrigDst::Given(Arc::new(move |io| {
            // Asked once for each connection.
            let redirected = redirects.0.lock().remove(&io.peer_addr()?);
            redirected.map_or_else(|| io.local_addr(), Ok)
        }))
    }

    /// Connects from `ip` to `target`, and ends up at `listener`.
    async fn connect(&self, ip: IpAddr, target: SocketAddr, listener: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(ip, 0)).unwrap();
        self.0.lock().insert(socket.local_addr().unwrap(), target);
        let io = within("a connection", socket.connect(listener)).await.unwrap();
        io.set_nodelay(true).unwrap();
        io
    }
}

/// A cluster of pods and its control plane.
pub struct Sandbox {
    pub control: Control,
    pub ca: Arc<TestCa>,
    /// Without it proxies are guarded as in a real pod, and reach no other.
    pub allow_loopback: bool,
    redirects: Redirects,
}

/// A pod with a proxy. Both end when this is dropped.
pub struct Pod {
    pub ip: IpAddr,
    /// The identity of its service account.
    pub id: String,
    pub inbound: SocketAddr,
    pub outbound: SocketAddr,
    pub admin: SocketAddr,
    pub running: JoinHandle<std::io::Result<()>>,
    workload: String,
    shutdown: CancellationToken,
    redirects: Redirects,
    _documents: TempDir,
}

impl Sandbox {
    pub async fn new() -> Self {
        if let Ok(filter) = std::env::var("CAUSEWAY_TEST_LOG") {
            let _ = causeway::telemetry::log::init(&filter, Default::default());
        }
        Self::with(TestCa::new("sandbox")).await
    }

    /// A cluster that trusts this authority.
    pub async fn with(ca: TestCa) -> Self {
        let ca = Arc::new(ca);
        let control = Control::start(ca.clone()).await;
        Self { control, ca, allow_loopback: true, redirects: Redirects::default() }
    }

    pub fn script(&self) -> &Arc<Script> {
        self.control.script()
    }

    /// A pod of the service account `name`, its proxy configured as the injector does it.
    pub async fn pod(&self, name: &str) -> Pod {
        self.pod_with(name, &[]).await
    }

    /// The same, with some variables set otherwise.
    pub async fn pod_with(&self, name: &str, changes: &[(&str, &str)]) -> Pod {
        let documents = tempfile::tempdir().unwrap();
        std::fs::write(documents.path().join("token"), TOKEN).unwrap();
        let ip = fresh_ip();
        let id = identity(name);
        let workload = format!("{{\"ns\":\"demo\", \"pod\":\"{name}-{ip}\"}}\n");
        let mut env = self.environment(ip, &id, &workload, &documents);
        env.extend(changes.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let config = Config::from_env(&|name| env.get(name).cloned()).unwrap();
        let around = Surroundings {
            outbound_dst: self.redirects.orig_dst(),
            inbound_dst: self.redirects.orig_dst(),
            allow_loopback: self.allow_loopback,
            dial_from: Some(ip),
        };
        let proxy = Proxy::bind(config, LogHandle::off(), &around).await.unwrap();
        Pod {
            ip,
            id,
            inbound: proxy.inbound_addr().unwrap(),
            outbound: proxy.outbound_addr().unwrap(),
            admin: proxy.admin_addr(),
            workload,
            shutdown: proxy.shutdown_token(),
            running: tokio::spawn(proxy.run()),
            redirects: self.redirects.clone(),
            _documents: documents,
        }
    }

    /// What the injector writes into a pod (contract 1.3), with the ports of a sandbox.
    fn environment(
        &self,
        ip: IpAddr,
        id: &str,
        workload: &str,
        documents: &TempDir,
    ) -> HashMap<String, String> {
        let (any, control) = (format!("{ip}:0"), self.control.addr().to_string());
        let dir = documents.path().to_str().unwrap();
        let token = format!("{dir}/token");
        let rows = [
            ("OUTBOUND_LISTEN_ADDRS", any.as_str()),
            ("INBOUND_LISTEN_ADDR", &any),
            ("ADMIN_LISTEN_ADDR", &any),
            ("INBOUND_IPS", &ip.to_string()),
            ("INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
            ("POLICY_SVC_ADDR", &control),
            ("POLICY_WORKLOAD", workload),
            ("POLICY_CLUSTER_NETWORKS", "127.0.0.0/8"),
            ("DESTINATION_SVC_ADDR", &control),
            ("DESTINATION_CONTEXT", workload),
            ("DESTINATION_PROFILE_NETWORKS", ""),
            // Whoever has profiles of the inbound side waits for them; nobody else.
            ("DESTINATION_PROFILE_INITIAL_TIMEOUT", "0"),
            ("IDENTITY_DIR", dir),
            ("IDENTITY_TRUST_ANCHORS", self.ca.root_pem()),
            ("IDENTITY_TOKEN_FILE", &token),
            ("IDENTITY_SVC_ADDR", &control),
            ("IDENTITY_LOCAL_NAME", id),
            ("INBOUND_CONNECT_TIMEOUT", "100ms"),
            ("OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
            ("INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
            ("OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
            ("INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
            ("OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
            ("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "20ms"),
            ("OUTBOUND_CONNECT_EXP_BACKOFF_MAX", "100ms"),
            ("INBOUND_CONNECT_EXP_BACKOFF_MIN", "20ms"),
            ("INBOUND_CONNECT_EXP_BACKOFF_MAX", "100ms"),
        ];
        rows.iter().map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), value.to_string())).collect()
    }

    /// Connects as a client without a proxy, to a port of a pod.
    pub async fn connect_unmeshed(&self, target: SocketAddr, pod: &Pod) -> TcpStream {
        self.connect_from(fresh_ip(), target, pod).await
    }

    /// The same, from this address.
    pub async fn connect_from(&self, from: IpAddr, target: SocketAddr, pod: &Pod) -> TcpStream {
        self.redirects.connect(from, target, pod.inbound).await
    }
}

impl Pod {
    /// A listener of an application of this pod.
    pub async fn listen(&self) -> TcpListener {
        TcpListener::bind(SocketAddr::new(self.ip, 0)).await.unwrap()
    }

    /// Connects as this pod's application: the proxy takes the connection over.
    pub async fn connect(&self, target: SocketAddr) -> TcpStream {
        self.redirects.connect(self.ip, target, self.outbound).await
    }

    /// Connects as this pod's application, and leaves the connection with the kernel: the proxy has had no
    /// chance to take it when this returns.
    pub fn connect_unnoticed(&self, target: SocketAddr) -> std::net::TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(self.ip, 0).into()).unwrap();
        let own = socket.local_addr().unwrap().as_socket().unwrap();
        self.redirects.0.lock().insert(own, target);
        socket.connect(&self.outbound.into()).unwrap();
        socket.into()
    }

    /// What the policies of one of this pod's ports are scripted under.
    pub fn port(&self, app: SocketAddr) -> String {
        format!("{}{}", self.workload, app.port())
    }

    /// How discovery describes an application of this pod to others: meshed, behind the direct port.
    pub fn endpoint(&self, app: SocketAddr) -> Endpoint {
        let name: causeway::model::DnsName = self.id.parse().unwrap();
        Endpoint {
            tls: Some(EndpointTls { id: self.id.parse().unwrap(), server_name: name }),
            hint: ProtocolHint::H2,
            inbound_port: Some(self.inbound.port()),
            ..Endpoint::plain(app)
        }
    }

    /// Asks the proxy to drain and end.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The identity of a service account.
pub fn identity(name: &str) -> String {
    format!("{name}.demo.serviceaccount.identity.linkerd.cluster.local")
}

/// An address that no other pod of this process has.
pub fn fresh_ip() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0x7f01_0001);
    Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// The virtual address of a service: nothing listens there.
pub fn service_addr() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0x0a60_0001);
    SocketAddr::new(Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed)).into(), 80)
}

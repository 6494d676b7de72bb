//! A pod with the proxy under test, and what its control plane knows.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use causeway::api::outbound::Target;
use causeway::demo::apart::Apart;
use causeway::demo::namespace::Namespace;
use causeway::demo::node;
use causeway::demo::process::{Process, Program};
use causeway::model::outbound::{Backend, BackendKind, HttpRoutes, Load, OutboundProtocol};
use causeway::model::service_profile::ServiceProfile;
use causeway::model::{Endpoint, EndpointUpdate, OutboundPolicy, Profile, ResourceRef};
use causeway::tls::testing::TestCa;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::client::Kind;
use crate::control;
use crate::lone_pod::{self, ADMIN, LonePod, OUTSIDE};
use crate::record::Seen;
use crate::stage::{DEADLINE, Proxy};

pub(super) struct World {
    // Before the namespace that it lives in.
    _proxy: Process,
    lone: LonePod,
    folder: TempDir,
    known: Arc<Known>,
    serving: JoinHandle<()>,
    next: AtomicU16,
}

/// What the control plane knows.
struct Known {
    ca: TestCa,
    policies: Mutex<HashMap<SocketAddr, OutboundPolicy>>,
    /// By authority.
    endpoints: Mutex<HashMap<String, EndpointUpdate>>,
    /// By address.
    profiles: Mutex<HashMap<String, Profile>>,
}

impl control::World for Known {
    fn ca(&self) -> &TestCa {
        &self.ca
    }

    fn policy(&self, target: &Target) -> Result<OutboundPolicy, Status> {
        let Target::Addr(addr) = target else { return Err(Status::not_found("no address")) };
        self.policies.lock().get(addr).cloned().ok_or_else(|| Status::not_found("not in the script"))
    }

    fn endpoints(&self, authority: &str) -> Result<Option<EndpointUpdate>, Status> {
        Ok(self.endpoints.lock().get(authority).cloned())
    }

    /// Of a service without one nothing is known but policy.
    fn profile(&self, address: &str) -> Option<Profile> {
        Some(self.profiles.lock().get(address).cloned().unwrap_or_default())
    }
}

impl World {
    /// `None` where the machine gives no namespaces, or no reference proxy is named and one is needed.
    pub(super) async fn start(proxy: Proxy) -> Option<Self> {
        let reference = std::env::var_os("LINKERD2_PROXY_BIN").map(PathBuf::from);
        if proxy == Proxy::Reference && reference.is_none() {
            eprintln!("SKIPPED, nothing was tested: LINKERD2_PROXY_BIN names no reference proxy");
            return None;
        }
        let lone = LonePod::new()?;
        let ca = TestCa::new("policy");
        let folder = lone_pod::folder();
        let controller = listen(&lone.pod, (Ipv4Addr::LOCALHOST, 0).into());
        let mut env = lone_pod::environment(folder.path(), controller.local_addr().unwrap(), &ca);
        env.extend(lone_pod::variables(&[("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8")]));
        let (policies, endpoints, profiles) = Default::default();
        let known = Known { ca, policies, endpoints, profiles };
        let known = Arc::new(known);
        let serving = tokio::spawn({
            let known = known.clone();
            async move { control::serve(controller, known).await.unwrap() }
        });
        let launcher = Path::new(env!("CARGO_BIN_EXE_causeway"));
        let program = match reference.filter(|_| proxy == Proxy::Reference) {
            Some(reference) => Program::new(launcher, &reference),
            None => Program::causeway(launcher).args(["proxy"]),
        };
        let log = std::fs::File::create(folder.path().join("proxy.log")).unwrap();
        let proxy = Apart::here().proxy(program.env(env).output(log)).start(&lone.pod).unwrap();
        let next = AtomicU16::new(1);
        let world = Self { _proxy: proxy, lone, folder, known, serving, next };
        world.until_ready().await;
        Some(world)
    }

    async fn until_ready(&self) {
        let (began, admin) = (Instant::now(), SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN)));
        while let Err(error) = node::fetch(&self.lone.pod, admin, "/ready", DEADLINE).await {
            let log = || std::fs::read_to_string(self.folder.path().join("proxy.log")).unwrap_or_default();
            assert!(began.elapsed() < 3 * DEADLINE, "the proxy is not ready: {error}\n{}", log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// A service that nobody knows yet.
    pub(super) fn scene(self: &Arc<Self>) -> Scene {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let service = SocketAddr::from((Ipv4Addr::new(10, 96, high, low), 80));
        let names = [
            (format!("{service}"), "<service>"),
            (OUTSIDE.to_string(), "<outside>"),
            (format!(".n{number}."), ".<namespace>."),
        ];
        Scene { world: self.clone(), number, service, seen: Seen::new(names) }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A service of one case, and what both ends saw.
#[derive(Clone)]
pub(super) struct Scene {
    world: Arc<World>,
    number: u16,
    pub(super) service: SocketAddr,
    pub(super) seen: Seen,
}

impl Scene {
    /// A connection as the pod's application opens it.
    pub(super) async fn dial(&self) -> TcpStream {
        let connecting = self.world.lone.pod.socket(self.service).unwrap().connect(self.service);
        let io = tokio::time::timeout(DEADLINE, connecting).await.unwrap().unwrap();
        io.set_nodelay(true).unwrap();
        io
    }

    /// The same service, of which is noted elsewhere what is seen.
    pub(super) fn aside(&self) -> Self {
        Self { seen: Seen::new([]), ..self.clone() }
    }

    /// Where an application of this case may listen.
    pub(super) fn listen(&self) -> TcpListener {
        listen(&self.world.lone.outside, (OUTSIDE, 0).into())
    }

    /// An address that nobody listens at, nor will while the socket lives.
    pub(super) fn gone(&self) -> (TcpSocket, SocketAddr) {
        let any = SocketAddr::from((OUTSIDE, 0));
        let socket = self.world.lone.outside.socket(any).unwrap();
        socket.bind(any).unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    }

    /// A backend of these endpoints, which have no proxy.
    pub(super) fn backend(&self, name: &str, endpoints: &[SocketAddr]) -> Backend {
        let authority = format!("{name}.n{}.svc.cluster.local:80", self.number);
        let update = match endpoints {
            [] => EndpointUpdate::NoEndpoints { exists: true },
            all => {
                let endpoints = all.iter().map(|addr| Endpoint::plain(*addr)).collect();
                EndpointUpdate::Add { endpoints, unusable: Vec::new() }
            }
        };
        self.world.known.endpoints.lock().insert(authority.clone(), update);
        let kind = BackendKind::Balance { authority: authority.parse().unwrap(), load: Load::default() };
        Backend { meta: ResourceRef::default_named(name), kind }
    }

    /// What the control plane says of the service from now on. To be said once, before anything is asked.
    pub(super) fn policy(&self, kind: Kind, routes: HttpRoutes) {
        self.protocol(match kind {
            Kind::Http1 => OutboundProtocol::Http1(routes),
            Kind::Http2 => OutboundProtocol::Http2(routes),
            Kind::Grpc => OutboundProtocol::Grpc(routes),
        });
    }

    /// The same, of whatever is spoken.
    pub(super) fn protocol(&self, protocol: OutboundProtocol) {
        let policy = OutboundPolicy { parent: ResourceRef::default_named("bb"), protocol };
        self.world.known.policies.lock().insert(self.service, policy);
    }

    /// What its service profile says, and which endpoints the service has by its name.
    pub(super) fn profile(&self, service: ServiceProfile, endpoints: &[SocketAddr]) {
        let BackendKind::Balance { authority, .. } = self.backend("bb", endpoints).kind else {
            unreachable!()
        };
        let profile = Profile { name: authority.name().cloned(), service, ..Profile::default() };
        self.world.known.profiles.lock().insert(self.service.to_string(), profile);
    }
}

fn listen(namespace: &Namespace, addr: SocketAddr) -> TcpListener {
    TcpListener::from_std(lone_pod::listen(namespace, addr)).unwrap()
}

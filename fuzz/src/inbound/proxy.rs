//! The proxy's inbound side, configured as an injector does, with a policy that lets every request in and no opaque
//! connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway::backoff::Backoff;
use causeway::config::{Queue, ServerHttp2, Suffixes};
use causeway::connect::client::HttpSettings;
use causeway::connect::{Connector, LoopGuard, h1, h2};
use causeway::controller::resolve::{Dns, Names};
use causeway::controller::{Controller, ControllerConfig};
use causeway::discover::ports::{Ports, PortsConfig};
use causeway::discover::{Limits, Patience, Profiles, ProfilesConfig};
use causeway::drain::Drain;
use causeway::inbound::apps::Apps;
use causeway::inbound::{Inbound, Waiting};
use causeway::message::server::HttpServer;
use causeway::message::unread::Unread;
use causeway::model::endpoint::{EndpointTls, FlowControl};
use causeway::model::inbound::{Authentication, Authorization, InboundRoute, NetworkMatch, ServerProtocol};
use causeway::model::name::Host;
use causeway::model::{ResourceRef, ServerPolicy};
use causeway::outbound::early::Silence;
use causeway::telemetry::{Metrics, RETAIN_IDLE};
use causeway::tls::client::ClientStream;
use causeway::tls::testing::TestCa;
use causeway::tls::turns::Turns;
use causeway::tls::{self, CredentialStore};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Whom the application is told of.
pub const CLIENT: &str = "client.fuzz.serviceaccount.identity.linkerd.cluster.local";
const SERVER: &str = "server.fuzz.serviceaccount.identity.linkerd.cluster.local";

/// Nothing here is worth waiting for.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Setting {
    app: std::net::TcpListener,
    target: SocketAddr,
    ports: Arc<Ports>,
    client: Arc<CredentialStore>,
    server: Arc<CredentialStore>,
}

impl Setting {
    pub(super) fn new() -> Self {
        let ca = TestCa::new("fuzz");
        let (client, server) = (ca.store(CLIENT), ca.store(SERVER));
        let app = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        app.set_nonblocking(true).expect("a socket that does not block");
        let target = app.local_addr().expect("a bound socket");
        let ports = Arc::new(Ports::new(ports(), controller(server.clone())));
        // Watched from now on, so that no input starts the watch.
        ports.get(target.port());
        Self { app, target, ports, client, server }
    }

    pub(super) fn app(&self) -> &std::net::TcpListener {
        &self.app
    }

    pub(super) fn target(&self) -> SocketAddr {
        self.target
    }

    /// A side that has seen nothing yet.
    pub(super) fn inbound(&self) -> (Arc<Inbound>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(RETAIN_IDLE));
        let connector = Connector {
            store: self.server.clone(),
            options: Default::default(),
            timeout: TIMEOUT,
            guard: LoopGuard::Off,
            local: Vec::new(),
            dial_from: None,
            opaque: Default::default(),
        };
        let profiles = Profiles::new(profiles(), controller(self.server.clone()), metrics.clone());
        let inbound = Inbound {
            profiles: Arc::new(profiles),
            ports: self.ports.clone(),
            store: self.server.clone(),
            server_name: SERVER.parse().expect("a name"),
            ips: Vec::new(),
            own_port: 1,
            detect_timeout: TIMEOUT,
            silence: Silence::new(None),
            turns: Turns::new(1),
            waiting: Arc::new(Waiting::new(Queue { capacity: 1024, failfast: TIMEOUT })),
            in_flight: Arc::new(Semaphore::new(1024)),
            http: HttpServer::new(&server_http2(), Unread::new(None), || {}),
            apps: Apps::new(Arc::new(connector), http_settings(), metrics.clone()),
            gateway: None,
            metrics: metrics.clone(),
            drain: Drain::default(),
        };
        (Arc::new(inbound), metrics)
    }

    /// A client that proves to be [`CLIENT`].
    pub(super) async fn shake_hands(&self, io: TcpStream) -> Result<ClientStream<TcpStream>, tls::Error> {
        let id = SERVER.parse().expect("an identity");
        let expect = EndpointTls { id, server_name: SERVER.parse().expect("a name") };
        Ok(tls::client::connect(&self.client, io, &expect, tls::Offer::Nothing).await?.stream)
    }
}

/// How many requests policy let in.
pub(super) fn permitted(metrics: &Metrics) -> u64 {
    let page = metrics.render();
    let lines = page.lines().filter(|line| line.starts_with("inbound_http_authz_allow_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Nobody answers there: the default policy stays.
fn controller(store: Arc<CredentialStore>) -> Controller {
    let config = ControllerConfig {
        host: Host::Ip(IpAddr::from([127, 0, 0, 1])),
        port: 1,
        name: None,
        connect_timeout: TIMEOUT,
        backoff: patience().backoff,
        socket: Default::default(),
        stream_window: 1 << 16,
        connection_window: 1 << 20,
    };
    Controller::new(config, Dns::fixed(&Names::default()), store)
        .expect("a loopback address needs no identity")
}

fn ports() -> PortsConfig {
    PortsConfig {
        workload: String::new(),
        default: Box::new(|_| policy()),
        pinned: Vec::new(),
        idle: Duration::from_secs(1 << 30),
        patience: patience(),
    }
}

/// Services are named, and nobody is asked for them.
fn profiles() -> ProfilesConfig {
    ProfilesConfig {
        context: String::new(),
        suffixes: Suffixes { every_name: false, names: Vec::new() },
        wait: Duration::ZERO,
        idle: Duration::from_secs(1),
        patience: patience(),
    }
}

fn patience() -> Patience {
    let hour = Duration::from_secs(3600);
    Patience { limits: Limits::default(), backoff: Backoff::new(hour, hour, 0.0).expect("a backoff") }
}

fn policy() -> ServerPolicy {
    let everyone = Authorization {
        meta: ResourceRef::default_named("everyone"),
        networks: vec![NetworkMatch { net: "0.0.0.0/0".parse().expect("a network"), except: Vec::new() }],
        authentication: Authentication::Unauthenticated,
    };
    let route = InboundRoute::everything(ResourceRef::default_named("every-request"), vec![everyone]);
    ServerPolicy {
        meta: ResourceRef::default_named("fuzz"),
        protocol: ServerProtocol::Detect { timeout: TIMEOUT, routes: vec![route] },
        authorizations: Vec::new(),
        rate_limit: None,
    }
}

fn server_http2() -> ServerHttp2 {
    ServerHttp2 {
        flow_control: FlowControl::Fixed { connection_window: 1 << 20, stream_window: 1 << 16 },
        keep_alive: None,
        max_concurrent_streams: None,
        max_frame_size: None,
        max_header_list_size: None,
        max_pending_accept_reset_streams: None,
        max_send_buf_size: None,
    }
}

fn http_settings() -> HttpSettings {
    HttpSettings {
        h1: h1::PoolSettings { max_idle: 4, idle_timeout: TIMEOUT, resends: false },
        h2: h2::Settings { stream_window: 1 << 16, connection_window: 1 << 20, keep_alive: None, ping: None },
    }
}

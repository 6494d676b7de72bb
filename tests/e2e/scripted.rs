//! A control plane that says what the test tells it to, when the test tells it to.

mod feed;
mod services;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway::api;
use causeway::model::{EndpointUpdate, OutboundPolicy, Profile, ServerPolicy};
use causeway::tls::testing::TestCa;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkerd2_proxy_api::destination::destination_server::DestinationServer;
use linkerd2_proxy_api::identity::identity_server::IdentityServer;
use linkerd2_proxy_api::inbound::inbound_server_policies_server::InboundServerPoliciesServer;
use linkerd2_proxy_api::outbound::outbound_policies_server::OutboundPoliciesServer;
use linkerd2_proxy_api::{destination as dst, inbound, outbound};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tonic::Code;
use tonic::service::Routes;
use tower_service::Service;

use feed::Feed;
use services::Services;

/// What every pod's token file holds.
pub const TOKEN: &[u8] = b"service-account-token";

/// What is answered, and who asked.
pub struct Script {
    /// By original destination, or by name and port.
    pub policies: Feed<outbound::OutboundPolicy>,
    /// The same.
    pub profiles: Feed<dst::DestinationProfile>,
    /// By authority.
    pub endpoints: Feed<dst::Update>,
    /// By workload and port: see `Pod::port`.
    pub ports: Feed<inbound::Server>,
    ca: Arc<TestCa>,
    withheld: Mutex<HashSet<String>>,
    lifetime: Mutex<Duration>,
    /// Identities, as often as they were certified.
    certified: Mutex<Vec<String>>,
}

/// The running control plane. Ends, with its connections, when dropped or stopped.
pub struct Control {
    script: Arc<Script>,
    addr: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Script {
    /// `Certify` for this identity is not answered any more.
    pub fn withhold_certificate(&self, identity: &str) {
        self.withheld.lock().insert(identity.to_owned());
    }

    /// How long certificates live from now on.
    pub fn certify_for(&self, lifetime: Duration) {
        *self.lifetime.lock() = lifetime;
    }

    /// How often this identity was certified.
    pub fn certified(&self, identity: &str) -> usize {
        self.certified.lock().iter().filter(|certified| *certified == identity).count()
    }

    pub fn policy(&self, target: impl ToString, policy: &OutboundPolicy) {
        self.policies.set(target, api::outbound::encode_policy(policy));
    }

    pub fn profile(&self, target: impl ToString, profile: &Profile) {
        self.profiles.set(target, api::destination::encode_profile(profile, None, None));
    }

    /// The whole set of endpoints.
    pub fn endpoints(&self, authority: &str, update: &EndpointUpdate) {
        self.endpoints.set(authority, api::destination::encode_update(update));
    }

    /// A change of the set of endpoints.
    pub fn change(&self, authority: &str, update: &EndpointUpdate) {
        self.endpoints.push(authority, api::destination::encode_update(update));
    }

    pub fn server(&self, port: &str, policy: &ServerPolicy) {
        self.ports.set(port, api::inbound::encode_server(policy));
    }
}

impl Control {
    /// A control plane that knows no target, has said nothing of any port, and certifies everyone.
    pub async fn start(ca: Arc<TestCa>) -> Self {
        let script = Script {
            policies: Feed::refusing(Code::NotFound),
            profiles: Feed::silent(),
            endpoints: Feed::silent(),
            ports: Feed::silent(),
            ca,
            withheld: Mutex::default(),
            lifetime: Mutex::new(Duration::from_secs(24 * 3600)),
            certified: Mutex::default(),
        };
        let mut control =
            Self { script: Arc::new(script), addr: SocketAddr::from(([127, 0, 0, 1], 0)), serving: None };
        control.restart().await;
        control
    }

    pub fn script(&self) -> &Arc<Script> {
        &self.script
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the listener and all connections, as if the machine were gone.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Serves again, at the address of before.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = TcpListener::bind(self.addr).await.unwrap();
        self.addr = listener.local_addr().unwrap();
        self.serving = Some(tokio::spawn(serve(listener, routes(&self.script))));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

fn routes(script: &Arc<Script>) -> Routes {
    let services = Services(script.clone());
    Routes::new(DestinationServer::new(services.clone()))
        .add_service(OutboundPoliciesServer::new(services.clone()))
        .add_service(InboundServerPoliciesServer::new(services.clone()))
        .add_service(IdentityServer::new(services))
        .prepare()
}

async fn serve(listener: TcpListener, routes: Routes) {
    let mut connections = JoinSet::new();
    loop {
        let (io, _) = listener.accept().await.unwrap();
        let routes = routes.clone();
        let answer = service_fn(move |req: http::Request<hyper::body::Incoming>| {
            let mut routes = routes.clone();
            async move { routes.call(req.map(tonic::body::Body::new)).await }
        });
        connections.spawn(async move {
            let _ =
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
        });
    }
}

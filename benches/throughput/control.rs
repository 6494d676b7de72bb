//! A control plane that knows a few services and always answers the same, in plaintext on loopback.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use causeway::api;
use causeway::model::endpoint::{EndpointTls, ProtocolHint};
use causeway::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRule, Load, OpaqueRoute, OutboundProtocol,
};
use causeway::model::{
    Endpoint, EndpointUpdate, OutboundPolicy, Profile, ResourceRef, ServerPolicy, WorkloadId,
};
use causeway::tls::testing::{San, TestCa};
use futures_util::{Stream, StreamExt, stream};
use linkerd2_proxy_api::destination::destination_server::{Destination, DestinationServer};
use linkerd2_proxy_api::identity::identity_server::{Identity, IdentityServer};
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{
    InboundServerPolicies, InboundServerPoliciesServer,
};
use linkerd2_proxy_api::outbound::outbound_policies_server::{OutboundPolicies, OutboundPoliciesServer};
use linkerd2_proxy_api::{destination, identity, inbound, outbound};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

pub(crate) const WEST: &str = "west.bench.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const EAST: &str = "east.bench.serviceaccount.identity.linkerd.cluster.local";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A service of one endpoint, which lives behind the inbound proxy.
pub(crate) struct Service {
    /// `<name>.bench.svc.cluster.local:80`.
    pub(crate) name: &'static str,
    /// What applications think they connect to.
    pub(crate) cluster_ip: Ipv4Addr,
    pub(crate) app: SocketAddr,
    pub(crate) opaque: bool,
}

/// Everything the answers are made of.
pub(crate) struct World {
    pub(crate) ca: TestCa,
    pub(crate) services: Vec<Service>,
    /// The inbound proxy's own port, once it is known.
    pub(crate) inbound_port: OnceLock<u16>,
}

#[derive(Clone)]
struct Script(Arc<World>);

/// Serves on a thread of its own; returns the address.
pub(crate) fn start(world: Arc<World>) -> anyhow::Result<SocketAddr> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    let script = Script(world);
    let serving = tonic::transport::Server::builder()
        .add_service(IdentityServer::new(script.clone()))
        .add_service(DestinationServer::new(script.clone()))
        .add_service(OutboundPoliciesServer::new(script.clone()))
        .add_service(InboundServerPoliciesServer::new(script));
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(serving.serve_with_incoming(TcpListenerStream::new(listener))))?;
    Ok(addr)
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One message, and then silence.
fn once<T: Send + 'static>(message: T) -> Response<Answers<T>> {
    Response::new(Box::pin(stream::iter([Ok(message)]).chain(stream::pending())))
}

impl Service {
    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddrV4::new(self.cluster_ip, 80).into()
    }

    fn authority(&self) -> String {
        format!("{}.bench.svc.cluster.local:80", self.name)
    }

    fn policy(&self) -> Result<OutboundPolicy, Status> {
        let meta = ResourceRef::object("core", "Service", self.name);
        let authority = self.authority().parse().map_err(|_| Status::internal("authority"))?;
        let kind = BackendKind::Balance { authority, load: Load::default() };
        let backend = Backend { meta: meta.clone(), kind };
        let to = || Distribution::FirstAvailable(vec![backend.clone()]);
        let default = ResourceRef::default_named("default");
        let rule = || HttpRule { matches: Vec::new(), backends: to() };
        let http = || vec![HttpRoute { meta: default.clone(), rules: vec![rule()] }];
        let opaque = vec![OpaqueRoute { meta: default.clone(), refusal: None, backends: to() }];
        let protocol = match self.opaque {
            true => OutboundProtocol::Opaque(opaque),
            false => OutboundProtocol::Detect { http1: http(), http2: http(), opaque },
        };
        Ok(OutboundPolicy { parent: meta, protocol })
    }

    fn endpoint(&self, inbound_port: u16) -> Result<Endpoint, Status> {
        let invalid = |_| Status::internal("identity");
        let id: WorkloadId = EAST.parse().map_err(invalid)?;
        let server_name = EAST.parse().map_err(|_| Status::internal("server name"))?;
        let mut endpoint = Endpoint::plain(self.app);
        endpoint.tls = Some(EndpointTls { id, server_name });
        endpoint.hint = if self.opaque { ProtocolHint::Opaque } else { ProtocolHint::H2 };
        endpoint.inbound_port = Some(inbound_port);
        Ok(endpoint)
    }
}

/// The one client that ports of the inbound proxy let in.
fn server_policy(opaque: bool) -> Result<ServerPolicy, Status> {
    let west = WEST.parse().map_err(|_| Status::internal("identity"))?;
    let everywhere = "0.0.0.0/0".parse().map_err(|_| Status::internal("network"))?;
    let authorizations = vec![Authorization {
        meta: ResourceRef::object("policy.linkerd.io", "authorizationpolicy", "west"),
        networks: vec![NetworkMatch { net: everywhere, except: Vec::new() }],
        authentication: Authentication::Identities(vec![IdentityMatch::Exact(west)]),
    }];
    let route = InboundRoute {
        meta: ResourceRef::default_named("default"),
        rules: vec![Vec::new()],
        authorizations: authorizations.clone(),
    };
    let protocol = match opaque {
        true => ServerProtocol::Opaque,
        false => ServerProtocol::Detect { timeout: Duration::from_secs(10), routes: vec![route] },
    };
    let meta = ResourceRef::object("policy.linkerd.io", "server", "bench");
    Ok(ServerPolicy { meta, protocol, authorizations })
}

#[tonic::async_trait]
impl Identity for Script {
    async fn certify(
        &self,
        req: Request<identity::CertifyRequest>,
    ) -> Result<Response<identity::CertifyResponse>, Status> {
        let req = req.into_inner();
        let chain = self.0.ca.sign_request(&req.certificate_signing_request, &[San::Dns(&req.identity)]);
        let mut chain = chain.into_iter().map(|der| der.to_vec());
        let leaf = chain.next().unwrap_or_default();
        let valid_until = SystemTime::now() + DAY;
        let issued = api::identity::Issued { leaf, intermediates: chain.collect(), valid_until };
        Ok(Response::new(api::identity::encode_issued(issued)))
    }
}

#[tonic::async_trait]
impl OutboundPolicies for Script {
    type WatchStream = Answers<outbound::OutboundPolicy>;

    async fn get(
        &self,
        _: Request<outbound::TrafficSpec>,
    ) -> Result<Response<outbound::OutboundPolicy>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch(
        &self,
        req: Request<outbound::TrafficSpec>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let target = api::outbound::target(req.into_inner().target)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let is_target = |s: &&Service| target == api::outbound::Target::Addr(s.addr());
        let service =
            self.0.services.iter().find(is_target).ok_or_else(|| Status::not_found("no such service"))?;
        Ok(once(api::outbound::encode_policy(&service.policy()?)))
    }
}

#[tonic::async_trait]
impl Destination for Script {
    type GetStream = Answers<destination::Update>;
    type GetProfileStream = Answers<destination::DestinationProfile>;

    async fn get(
        &self,
        req: Request<destination::GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let path = req.into_inner().path;
        let service = self.0.services.iter().find(|s| s.authority() == path);
        let service = service.ok_or_else(|| Status::invalid_argument("no such service"))?;
        let port = self.0.inbound_port.get().ok_or_else(|| Status::unavailable("no inbound proxy yet"))?;
        let update = EndpointUpdate::Add { endpoints: vec![service.endpoint(*port)?], unusable: vec![] };
        Ok(once(api::destination::encode_update(&update)))
    }

    async fn get_profile(
        &self,
        req: Request<destination::GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let path = req.into_inner().path;
        let service = self.0.services.iter().find(|s| s.addr().to_string() == path);
        let opaque = service.is_some_and(|s| s.opaque);
        let profile = Profile { name: None, opaque, endpoint: None };
        Ok(once(api::destination::encode_profile(&profile, None)))
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for Script {
    type WatchPortStream = Answers<inbound::Server>;

    async fn get_port(&self, _: Request<inbound::PortSpec>) -> Result<Response<inbound::Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(
        &self,
        req: Request<inbound::PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let port = req.into_inner().port;
        let opaque = self.0.services.iter().any(|s| u32::from(s.app.port()) == port && s.opaque);
        Ok(once(api::inbound::encode_server(&server_policy(opaque)?)))
    }
}

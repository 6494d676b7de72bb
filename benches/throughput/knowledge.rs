//! What the control plane knows: a few services. It speaks plaintext on loopback.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use causeway::api::outbound::Target;
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
use causeway::tls::testing::TestCa;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tonic::Status;

use crate::control;

pub(crate) const WEST: &str = "west.bench.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const EAST: &str = "east.bench.serviceaccount.identity.linkerd.cluster.local";

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

/// Serves on a thread of its own; returns the address.
pub(crate) fn start(world: Arc<World>) -> anyhow::Result<SocketAddr> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let addr = listener.local_addr()?;
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(control::serve(listener, world)))?;
    Ok(addr)
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
        let rule = || HttpRule::new(Vec::new(), to());
        let http = || vec![HttpRoute::new(default.clone(), vec![rule()])].into();
        let opaque = vec![OpaqueRoute::new(default.clone(), to())];
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
    let route = InboundRoute::everything(ResourceRef::default_named("default"), authorizations.clone());
    let protocol = match opaque {
        true => ServerProtocol::Opaque,
        false => ServerProtocol::Detect { timeout: Duration::from_secs(10), routes: vec![route] },
    };
    let meta = ResourceRef::object("policy.linkerd.io", "server", "bench");
    Ok(ServerPolicy { meta, protocol, authorizations, rate_limit: None })
}

impl control::World for World {
    fn ca(&self) -> &TestCa {
        &self.ca
    }

    fn policy(&self, target: &Target) -> Result<OutboundPolicy, Status> {
        let service = self.services.iter().find(|service| *target == Target::Addr(service.addr()));
        service.ok_or_else(|| Status::not_found("no such service"))?.policy()
    }

    fn endpoints(&self, authority: &str) -> Result<Option<EndpointUpdate>, Status> {
        let service = self.services.iter().find(|service| service.authority() == authority);
        let service = service.ok_or_else(|| Status::invalid_argument("no such service"))?;
        let port = self.inbound_port.get().ok_or_else(|| Status::unavailable("no inbound proxy yet"))?;
        Ok(Some(EndpointUpdate::Add { endpoints: vec![service.endpoint(*port)?], unusable: vec![] }))
    }

    fn profile(&self, address: &str) -> Option<Profile> {
        let service = self.services.iter().find(|service| service.addr().to_string() == address);
        let opaque = service.is_some_and(|service| service.opaque);
        Some(Profile { opaque, ..Profile::default() })
    }

    fn server(&self, port: u32) -> Result<Option<ServerPolicy>, Status> {
        let is_it = |service: &&Service| u32::from(service.app.port()) == port;
        let opaque = self.services.iter().find(is_it).is_some_and(|service| service.opaque);
        server_policy(opaque).map(Some)
    }
}

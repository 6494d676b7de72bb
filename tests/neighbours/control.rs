//! A control plane that certifies whoever asks, knows one service, and says nothing of inbound ports, so that the
//! proxy's default policy is in force.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use causeway::api;
use causeway::model::outbound::{
    Backend, BackendKind, Distribution, HttpRoute, HttpRule, OpaqueRoute, OutboundProtocol,
};
use causeway::model::{Endpoint, OutboundPolicy, ResourceRef};
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
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) ca: Arc<TestCa>,
    /// The one service's only endpoint, which has no proxy.
    pub(crate) endpoint: SocketAddr,
}

pub(crate) async fn serve(listener: TcpListener, control: Control) {
    let serving = tonic::transport::Server::builder()
        .add_service(IdentityServer::new(control.clone()))
        .add_service(DestinationServer::new(control.clone()))
        .add_service(OutboundPoliciesServer::new(control.clone()))
        .add_service(InboundServerPoliciesServer::new(control));
    serving.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a stream says before it falls silent.
fn says<T: Send + 'static>(message: Option<T>) -> Response<Answers<T>> {
    Response::new(Box::pin(stream::iter(message.map(Ok)).chain(stream::pending())))
}

fn policy(endpoint: SocketAddr) -> OutboundPolicy {
    let meta = ResourceRef::default_named("endpoint");
    let kind = BackendKind::Forward(Box::new(Endpoint::plain(endpoint)));
    let backends = || Distribution::FirstAvailable(vec![Backend { meta: meta.clone(), kind: kind.clone() }]);
    let rule = || HttpRule { matches: Vec::new(), backends: backends() };
    let http = || vec![HttpRoute { meta: meta.clone(), rules: vec![rule()] }];
    let opaque = vec![OpaqueRoute { meta: meta.clone(), refusal: None, backends: backends() }];
    let protocol = OutboundProtocol::Detect { http1: http(), http2: http(), opaque };
    OutboundPolicy { parent: ResourceRef::object("core", "Service", "neighbour"), protocol }
}

#[tonic::async_trait]
impl Identity for Control {
    async fn certify(
        &self,
        req: Request<identity::CertifyRequest>,
    ) -> Result<Response<identity::CertifyResponse>, Status> {
        let req = req.into_inner();
        let chain = self.ca.sign_request(&req.certificate_signing_request, &[San::Dns(&req.identity)]);
        let mut chain = chain.into_iter().map(|der| der.to_vec());
        let leaf = chain.next().unwrap();
        let valid_until = SystemTime::now() + Duration::from_secs(24 * 3600);
        let issued = api::identity::Issued { leaf, intermediates: chain.collect(), valid_until };
        Ok(Response::new(api::identity::encode_issued(issued)))
    }
}

#[tonic::async_trait]
impl OutboundPolicies for Control {
    type WatchStream = Answers<outbound::OutboundPolicy>;

    async fn get(
        &self,
        _: Request<outbound::TrafficSpec>,
    ) -> Result<Response<outbound::OutboundPolicy>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch(&self, _: Request<outbound::TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(says(Some(api::outbound::encode_policy(&policy(self.endpoint)))))
    }
}

#[tonic::async_trait]
impl Destination for Control {
    type GetStream = Answers<destination::Update>;
    type GetProfileStream = Answers<destination::DestinationProfile>;

    async fn get(
        &self,
        _: Request<destination::GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        Ok(says(None))
    }

    async fn get_profile(
        &self,
        _: Request<destination::GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        Ok(says(None))
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for Control {
    type WatchPortStream = Answers<inbound::Server>;

    async fn get_port(&self, _: Request<inbound::PortSpec>) -> Result<Response<inbound::Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(
        &self,
        _: Request<inbound::PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        Ok(says(None))
    }
}

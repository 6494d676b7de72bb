//! A control plane that certifies whoever asks, and always answers the same.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use causeway::api;
use causeway::api::outbound::Target;
use causeway::model::{EndpointUpdate, OutboundPolicy, Profile, ServerPolicy};
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

/// What it answers from. Of what it does not know it says nothing: streams stay open in silence.
pub(crate) trait World: Send + Sync + 'static {
    fn ca(&self) -> &TestCa;

    fn policy(&self, target: &Target) -> Result<OutboundPolicy, Status>;

    /// `authority` is as destinations are asked for: name and port.
    fn endpoints(&self, _authority: &str) -> Result<Option<EndpointUpdate>, Status> {
        Ok(None)
    }

    fn profile(&self, _address: &str) -> Option<Profile> {
        None
    }

    fn server(&self, _port: u32) -> Result<Option<ServerPolicy>, Status> {
        Ok(None)
    }
}

/// Serves all of the world's services, for as long as it is polled.
pub(crate) async fn serve(
    listener: TcpListener,
    world: Arc<impl World>,
) -> Result<(), tonic::transport::Error> {
    let control = Control(world);
    tonic::transport::Server::builder()
        .add_service(IdentityServer::new(control.clone()))
        .add_service(DestinationServer::new(control.clone()))
        .add_service(OutboundPoliciesServer::new(control.clone()))
        .add_service(InboundServerPoliciesServer::new(control))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
}

struct Control<W>(Arc<W>);

impl<W> Clone for Control<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a stream says before it falls silent.
fn says<T: Send + 'static>(message: Option<T>) -> Response<Answers<T>> {
    Response::new(Box::pin(stream::iter(message.map(Ok)).chain(stream::pending())))
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tonic::async_trait]
impl<W: World> Identity for Control<W> {
    async fn certify(
        &self,
        req: Request<identity::CertifyRequest>,
    ) -> Result<Response<identity::CertifyResponse>, Status> {
        let req = req.into_inner();
        let chain = self.0.ca().sign_request(&req.certificate_signing_request, &[San::Dns(&req.identity)]);
        let mut chain = chain.into_iter().map(|der| der.to_vec());
        let leaf = chain.next().unwrap_or_default();
        let valid_until = SystemTime::now() + DAY;
        let issued = api::identity::Issued { leaf, intermediates: chain.collect(), valid_until };
        Ok(Response::new(api::identity::encode_issued(issued)))
    }
}

#[tonic::async_trait]
impl<W: World> OutboundPolicies for Control<W> {
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
        Ok(says(Some(api::outbound::encode_policy(&self.0.policy(&target)?))))
    }
}

#[tonic::async_trait]
impl<W: World> Destination for Control<W> {
    type GetStream = Answers<destination::Update>;
    type GetProfileStream = Answers<destination::DestinationProfile>;

    async fn get(
        &self,
        req: Request<destination::GetDestination>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let update = self.0.endpoints(&req.into_inner().path)?;
        Ok(says(update.map(|update| api::destination::encode_update(&update))))
    }

    async fn get_profile(
        &self,
        req: Request<destination::GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let profile = self.0.profile(&req.into_inner().path);
        Ok(says(profile.map(|profile| api::destination::encode_profile(&profile, None, None))))
    }
}

#[tonic::async_trait]
impl<W: World> InboundServerPolicies for Control<W> {
    type WatchPortStream = Answers<inbound::Server>;

    async fn get_port(&self, _: Request<inbound::PortSpec>) -> Result<Response<inbound::Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(
        &self,
        req: Request<inbound::PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let policy = self.0.server(req.into_inner().port)?;
        Ok(says(policy.map(|policy| api::inbound::encode_server(&policy))))
    }
}

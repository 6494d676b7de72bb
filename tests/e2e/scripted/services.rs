//! The four services, each reading its feed.

use std::sync::Arc;
use std::time::SystemTime;

use causeway::api;
use causeway::tls::testing::San;
use linkerd2_proxy_api::destination::destination_server::Destination;
use linkerd2_proxy_api::identity::identity_server::Identity;
use linkerd2_proxy_api::inbound::inbound_server_policies_server::InboundServerPolicies;
use linkerd2_proxy_api::outbound::outbound_policies_server::OutboundPolicies;
use linkerd2_proxy_api::{destination as dst, identity, inbound, outbound};
use tonic::{Request, Response, Status};

use super::Script;
use super::feed::Items;

/// One implementor of all services over one script.
#[derive(Clone)]
pub(super) struct Services(pub(super) Arc<Script>);

#[tonic::async_trait]
impl Destination for Services {
    type GetStream = Items<dst::Update>;
    type GetProfileStream = Items<dst::DestinationProfile>;

    async fn get(&self, req: Request<dst::GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        self.0.endpoints.subscribe(req.into_inner().path).map(Response::new)
    }

    async fn get_profile(
        &self,
        req: Request<dst::GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        self.0.profiles.subscribe(req.into_inner().path).map(Response::new)
    }
}

#[tonic::async_trait]
impl OutboundPolicies for Services {
    type WatchStream = Items<outbound::OutboundPolicy>;

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
        let target = api::outbound::target(req.into_inner().target);
        let target = match target.map_err(|e| Status::invalid_argument(e.to_string()))? {
            api::outbound::Target::Addr(addr) => addr.to_string(),
            api::outbound::Target::Authority(authority) => authority.to_string(),
        };
        self.0.policies.subscribe(target).map(Response::new)
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for Services {
    type WatchPortStream = Items<inbound::Server>;

    async fn get_port(&self, _: Request<inbound::PortSpec>) -> Result<Response<inbound::Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(
        &self,
        req: Request<inbound::PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let inbound::PortSpec { workload, port } = req.into_inner();
        self.0.ports.subscribe(format!("{workload}{port}")).map(Response::new)
    }
}

#[tonic::async_trait]
impl Identity for Services {
    async fn certify(
        &self,
        req: Request<identity::CertifyRequest>,
    ) -> Result<Response<identity::CertifyResponse>, Status> {
        let req = req.into_inner();
        if self.0.withheld.lock().contains(&req.identity) {
            return std::future::pending().await;
        }
        if req.token != super::TOKEN {
            return Err(Status::permission_denied("not the token that was mounted"));
        }
        let until = SystemTime::now() + *self.0.lifetime.lock();
        let names = [San::Dns(&req.identity)];
        let chain = self.0.ca.sign_request_until(&req.certificate_signing_request, &names, until);
        self.0.certified.lock().push(req.identity);
        let mut chain = chain.into_iter().map(|der| der.to_vec());
        Ok(Response::new(api::identity::encode_issued(api::identity::Issued {
            leaf: chain.next().unwrap(),
            intermediates: chain.collect(),
            valid_until: until,
        })))
    }
}

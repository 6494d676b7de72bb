//! `InboundServerPolicies`: who may reach a workload's port (controlplane 3.4), port 8090.

use linkerd2_proxy_api::inbound as pb;
use linkerd2_proxy_api::inbound::inbound_server_policies_server::{
    InboundServerPolicies, InboundServerPoliciesServer,
};
use tonic::{Request, Response, Status};

use super::stream::{Answers, Question, Source, status};
use crate::api::inbound::encode_server;
use crate::control::Snapshot;
use crate::control::index::{LookupError, Workload};
use crate::model::ServerPolicy;

pub(super) struct InboundService(Source);

impl InboundService {
    pub(super) fn server(source: Source) -> InboundServerPoliciesServer<Self> {
        InboundServerPoliciesServer::new(Self(source)).max_decoding_message_size(64 * 1024)
    }
}

/// The policy of one port of one workload.
struct Port {
    workload: Workload,
    port: u16,
}

impl Port {
    fn read(pb: pb::PortSpec) -> Result<Self, Status> {
        let port = u16::try_from(pb.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| Status::invalid_argument("expected a port from 1 to 65535"))?;
        Ok(Self { workload: Workload::parse(&pb.workload).map_err(status)?, port })
    }
}

impl Question for Port {
    type Answer = ServerPolicy;
    type Message = pb::Server;

    fn ask(&self, snapshot: &Snapshot) -> Result<ServerPolicy, LookupError> {
        let unknown = || LookupError::NotFound("unknown server".into());
        snapshot.server(&self.workload, self.port).ok_or_else(unknown)
    }

    fn difference(&self, told: Option<&ServerPolicy>, now: &ServerPolicy) -> Vec<pb::Server> {
        if told == Some(now) { Vec::new() } else { vec![encode_server(now)] }
    }

    fn gone(&self, _: &ServerPolicy) -> Option<ServerPolicy> {
        None
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for InboundService {
    type WatchPortStream = Answers<pb::Server>;

    async fn get_port(&self, request: Request<pb::PortSpec>) -> Result<Response<pb::Server>, Status> {
        let question = Port::read(request.into_inner())?;
        let policy = question.ask(&self.0.now()).map_err(status)?;
        Ok(Response::new(encode_server(&policy)))
    }

    async fn watch_port(
        &self,
        request: Request<pb::PortSpec>,
    ) -> Result<Response<Self::WatchPortStream>, Status> {
        let question = Port::read(request.into_inner())?;
        self.0.follow(question).map(Response::new)
    }
}

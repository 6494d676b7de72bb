//! `OutboundPolicies`: how traffic to a target is to be treated (controlplane 3.8), port 8090.

use linkerd2_proxy_api::outbound as pb;
use linkerd2_proxy_api::outbound::outbound_policies_server::{OutboundPolicies, OutboundPoliciesServer};
use tonic::{Request, Response, Status};

use super::stream::{Answers, Question, Source, status};
use crate::api::outbound::{Target, encode_policy, target};
use crate::control::Snapshot;
use crate::control::index::{self, LookupError, Workload};
use crate::model::OutboundPolicy;

pub(super) struct OutboundService(Source);

impl OutboundService {
    pub(super) fn server(source: Source) -> OutboundPoliciesServer<Self> {
        OutboundPoliciesServer::new(Self(source)).max_decoding_message_size(64 * 1024)
    }
}

/// The policy of a target, as one namespace's clients see it.
struct Policy {
    namespace: String,
    target: Target,
}

impl Policy {
    fn read(pb: pb::TrafficSpec) -> Result<Self, Status> {
        let target = target(pb.target).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let workload = Workload::parse(&pb.source_workload).map_err(status)?;
        Ok(Self { namespace: workload.namespace().to_owned(), target })
    }
}

impl Question for Policy {
    type Answer = OutboundPolicy;
    type Message = pb::OutboundPolicy;

    fn ask(&self, snapshot: &Snapshot) -> Result<OutboundPolicy, LookupError> {
        match &self.target {
            Target::Addr(addr) => snapshot.outbound(&self.namespace, index::Target::Addr(*addr)),
            Target::Authority(authority) => {
                snapshot.outbound(&self.namespace, index::Target::Authority(&authority.to_string()))
            }
        }
    }

    fn difference(&self, told: Option<&OutboundPolicy>, now: &OutboundPolicy) -> Vec<pb::OutboundPolicy> {
        if told == Some(now) { Vec::new() } else { vec![encode_policy(now)] }
    }

    fn gone(&self, _: &OutboundPolicy) -> Option<OutboundPolicy> {
        None
    }
}

#[tonic::async_trait]
impl OutboundPolicies for OutboundService {
    type WatchStream = Answers<pb::OutboundPolicy>;

    async fn get(&self, request: Request<pb::TrafficSpec>) -> Result<Response<pb::OutboundPolicy>, Status> {
        let question = Policy::read(request.into_inner())?;
        let policy = question.ask(&self.0.now()).map_err(status)?;
        Ok(Response::new(encode_policy(&policy)))
    }

    async fn watch(&self, request: Request<pb::TrafficSpec>) -> Result<Response<Self::WatchStream>, Status> {
        let question = Policy::read(request.into_inner())?;
        self.0.follow(question).map(Response::new)
    }
}

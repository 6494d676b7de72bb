//! `Destination`: endpoints and profiles (controlplane 2), port 8086.

use linkerd2_proxy_api::destination as pb;
use linkerd2_proxy_api::destination::destination_server::{Destination, DestinationServer};
use tonic::{Request, Response, Status};

use super::stream::{Answers, Question, Source};
use crate::api::destination::{encode_profile, encode_set, encode_update};
use crate::control::Snapshot;
use crate::control::index::{Context, EndpointSet, LookupError, ProfileAnswer};
use crate::model::EndpointUpdate;

pub(super) struct DestinationService(Source);

impl DestinationService {
    pub(super) fn server(source: Source) -> DestinationServer<Self> {
        DestinationServer::new(Self(source)).max_decoding_message_size(64 * 1024)
    }
}

/// Which endpoints a name has.
struct Endpoints {
    path: String,
    context: Context,
}

impl Question for Endpoints {
    type Answer = EndpointSet;
    type Message = pb::Update;

    fn ask(&self, snapshot: &Snapshot) -> Result<EndpointSet, LookupError> {
        snapshot.destination(&self.path, &self.context)
    }

    /// Additions and changes go first, so that a set which moves is never empty in between. An
    /// empty set is not told at the start.
    fn difference(&self, told: Option<&EndpointSet>, now: &EndpointSet) -> Vec<pb::Update> {
        let relabelled = told.is_some_and(|told| told.labels != now.labels);
        let known = |addr| told.filter(|_| !relabelled).and_then(|told| told.endpoints.get(addr));
        let changed = now.endpoints.iter().filter(|(addr, endpoint)| known(addr) != Some(endpoint));
        let changed: Vec<_> = changed.map(|(_, endpoint)| endpoint).collect();
        let gone = told.iter().flat_map(|told| told.endpoints.keys());
        let gone: Vec<_> = gone.filter(|addr| !now.endpoints.contains_key(addr)).copied().collect();
        let mut messages = Vec::new();
        if !changed.is_empty() {
            messages.push(encode_set(&now.labels, changed));
        }
        if !gone.is_empty() {
            messages.push(encode_update(&EndpointUpdate::Remove(gone)));
        }
        messages
    }

    /// A Service that is deleted loses its endpoints; the stream stays open (controlplane 2.3), unless
    /// it was a federated one's.
    fn gone(&self, told: &EndpointSet) -> Option<EndpointSet> {
        (!told.federated).then(|| EndpointSet { endpoints: Default::default(), ..told.clone() })
    }

    fn over(&self, told: &EndpointSet, now: &EndpointSet) -> bool {
        told.federated && !now.federated
    }
}

/// How the traffic to a name or address is to be treated.
struct Profile {
    path: String,
    context: Context,
}

impl Question for Profile {
    type Answer = ProfileAnswer;
    type Message = pb::DestinationProfile;

    fn ask(&self, snapshot: &Snapshot) -> Result<ProfileAnswer, LookupError> {
        snapshot.profile(&self.path, &self.context)
    }

    fn difference(&self, told: Option<&ProfileAnswer>, now: &ProfileAnswer) -> Vec<pb::DestinationProfile> {
        if told == Some(now) {
            return Vec::new();
        }
        if *now == ProfileAnswer::default() {
            return vec![pb::DestinationProfile::default()];
        }
        vec![encode_profile(&now.profile, now.parent.as_ref(), now.source.as_ref())]
    }

    fn gone(&self, _: &ProfileAnswer) -> Option<ProfileAnswer> {
        None
    }
}

#[tonic::async_trait]
impl Destination for DestinationService {
    type GetStream = Answers<pb::Update>;
    type GetProfileStream = Answers<pb::DestinationProfile>;

    async fn get(&self, request: Request<pb::GetDestination>) -> Result<Response<Self::GetStream>, Status> {
        let pb::GetDestination { path, context_token, .. } = request.into_inner();
        let question = Endpoints { path, context: Context::parse(&context_token) };
        self.0.follow(question).map(Response::new)
    }

    async fn get_profile(
        &self,
        request: Request<pb::GetDestination>,
    ) -> Result<Response<Self::GetProfileStream>, Status> {
        let pb::GetDestination { path, context_token, .. } = request.into_inner();
        let question = Profile { path, context: Context::parse(&context_token) };
        self.0.follow(question).map(Response::new)
    }
}

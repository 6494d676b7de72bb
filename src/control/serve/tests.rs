use std::future::Future;

use linkerd2_proxy_api::destination::destination_client::DestinationClient;
use linkerd2_proxy_api::destination::{DestinationProfile, GetDestination, Update};
use linkerd2_proxy_api::identity::CertifyRequest;
use linkerd2_proxy_api::identity::identity_client::IdentityClient;
use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use linkerd2_proxy_api::inbound::{PortSpec, Server as ServerMessage};
use linkerd2_proxy_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::testing::{DeadMount, Guide, LIMIT};
use super::*;
use crate::api;
use crate::backoff::Backoff;
use crate::config::Socket;
use crate::control::ca::TokenKey;
use crate::control::files::{Folder, Freshness};
use crate::controller::resolve::{Dns, Names};
use crate::controller::{Controller, ControllerConfig};
use crate::model::inbound::{Authentication, IdentityMatch, ServerProtocol};
use crate::model::name::Authority;
use crate::model::outbound::{BackendKind, Distribution, HttpRoute, OutboundProtocol};
use crate::model::{DnsName, EndpointUpdate, OutboundPolicy, ServerPolicy};
use crate::tls::CredentialStore;

mod endpoints;
mod mesh;
mod policies;

const BB: &str = "bb.mc-demo.svc.cluster.local:8080";
const BB_ID: &str = "default.mc-demo.serviceaccount.identity.linkerd.cluster.local";

/// One cluster of the guide, served on free ports of loopback.
struct World {
    guide: Guide,
    folder: Folder,
    bound: Listen,
    certifier: Arc<Certifier>,
    tokens: TokenKey,
    drain: Drain,
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("in time")
}

impl World {
    async fn of(cluster: &str) -> Self {
        Self::in_guide(Guide::new(), cluster).await
    }

    async fn in_guide(guide: Guide, cluster: &str) -> Self {
        let folder = guide.open(cluster);
        let (certifier, tokens) = guide.certifier(cluster);
        let drain = Drain::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = Listen { destination: any, policy: any, identity: any };
        let ports = Ports::bind(listen).await.unwrap();
        let bound = ports.bound().unwrap();
        start(ports, folder.snapshots(), certifier.clone(), &drain).unwrap();
        Self { guide, folder, bound, certifier, tokens, drain }
    }

    async fn destination(&self) -> DestinationClient<Channel> {
        DestinationClient::connect(format!("http://{}", self.bound.destination)).await.unwrap()
    }

    async fn outbound(&self) -> OutboundPoliciesClient<Channel> {
        OutboundPoliciesClient::connect(format!("http://{}", self.bound.policy)).await.unwrap()
    }

    async fn inbound(&self) -> InboundServerPoliciesClient<Channel> {
        InboundServerPoliciesClient::connect(format!("http://{}", self.bound.policy)).await.unwrap()
    }

    async fn endpoints(&self, path: &str) -> Result<Streaming<Update>, Status> {
        let request = GetDestination { path: path.into(), ..Default::default() };
        let mut client = self.destination().await;
        in_time(client.get(request)).await.map(tonic::Response::into_inner)
    }

    async fn profile(&self, path: &str) -> Result<Streaming<DestinationProfile>, Status> {
        let request = GetDestination { path: path.into(), ..Default::default() };
        let mut client = self.destination().await;
        in_time(client.get_profile(request)).await.map(tonic::Response::into_inner)
    }

    async fn ports(&self, workload: &str, port: u32) -> Result<Streaming<ServerMessage>, Status> {
        let request = PortSpec { workload: workload.into(), port };
        let mut client = self.inbound().await;
        in_time(client.watch_port(request)).await.map(tonic::Response::into_inner)
    }

    /// The name of the only pod, as workloads name themselves.
    fn workload(&self) -> String {
        let snapshot = self.folder.snapshots().borrow().clone();
        let pod = snapshot.pods().next().unwrap();
        format!("{{\"ns\":\"{}\", \"pod\":\"{}\"}}\n", pod.name.namespace, pod.name.name)
    }
}

async fn next<M>(stream: &mut Streaming<M>) -> M {
    in_time(stream.message()).await.unwrap().expect("the stream goes on")
}

async fn added(stream: &mut Streaming<Update>) -> Vec<crate::model::Endpoint> {
    match api::destination::update(next(stream).await) {
        Some(EndpointUpdate::Add { endpoints, .. }) => endpoints,
        other => panic!("expected additions, got {other:?}"),
    }
}

async fn removed(stream: &mut Streaming<Update>) -> Vec<SocketAddr> {
    match api::destination::update(next(stream).await) {
        Some(EndpointUpdate::Remove(addrs)) => addrs,
        other => panic!("expected removals, got {other:?}"),
    }
}

#[tokio::test]
async fn questions_without_an_answer_get_the_reference_s_codes() {
    let world = World::of("east").await;
    let cases = [
        ("10.0.0.1:80", Code::InvalidArgument),
        ("bb.mc-demo.svc.cluster.local.:8080", Code::InvalidArgument),
        ("example.com:80", Code::InvalidArgument),
        ("bb.mc-demo.svc.cluster.local:0", Code::InvalidArgument),
        ("nope.mc-demo.svc.cluster.local:80", Code::NotFound),
    ];
    for (path, code) in cases {
        assert_eq!(world.endpoints(path).await.map(drop).unwrap_err().code(), code, "{path}");
    }
    let workload = world.workload();
    let cases = [
        (r#"{"ns":"mc-demo","pod":"nope"}"#, 8080, Code::NotFound),
        (workload.as_str(), 0, Code::InvalidArgument),
        (workload.as_str(), 65536, Code::InvalidArgument),
        ("nonsense", 80, Code::InvalidArgument),
    ];
    for (workload, port, code) in cases {
        assert_eq!(
            world.ports(workload, port).await.map(drop).unwrap_err().code(),
            code,
            "{workload} {port}"
        );
    }
    let mut outbound = world.outbound().await;
    let targets = [
        (Some("example.com:80"), Code::NotFound),
        (Some("a b"), Code::InvalidArgument),
        (None, Code::InvalidArgument),
    ];
    for (authority, code) in targets {
        let target =
            authority.map(|a| linkerd2_proxy_api::outbound::traffic_spec::Target::Authority(a.into()));
        let request = linkerd2_proxy_api::outbound::TrafficSpec { source_workload: workload.clone(), target };
        assert_eq!(in_time(outbound.watch(request)).await.map(drop).unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn draining_ends_streams_without_error() {
    let world = World::of("east").await;
    let mut stream = world.endpoints(BB).await.unwrap();
    added(&mut stream).await;
    let finish = tokio::spawn({
        let drain = world.drain.clone();
        async move { drain.finish(LIMIT).await }
    });
    assert!(in_time(stream.message()).await.unwrap().is_none());
    assert_eq!(in_time(finish).await.unwrap(), 0);
}

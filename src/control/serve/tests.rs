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
        let bound = start(listen, folder.snapshots(), certifier.clone(), &drain).await.unwrap();
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
async fn endpoints_follow_the_folder() {
    let world = World::of("east").await;
    let mut stream = world.endpoints(BB).await.unwrap();
    let first = added(&mut stream).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].tls.as_ref().unwrap().id.to_string(), BB_ID);
    assert_eq!((first[0].addr.port(), first[0].inbound_port), (8080, Some(4143)));
    assert_eq!(first[0].labels["service"], "bb");

    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 3");
    assert_eq!(added(&mut stream).await.len(), 2, "only what is new");
    world.guide.edit("east/02-bb.yaml", "replicas: 3", "replicas: 1");
    assert_eq!(removed(&mut stream).await.len(), 2);
}

#[tokio::test]
async fn a_set_that_moves_is_added_before_it_is_removed() {
    let world = World::of("east").await;
    let mut stream = world.endpoints(BB).await.unwrap();
    let before = added(&mut stream).await[0].addr;
    world.guide.edit("east/02-bb.yaml", "targetPort: 8080", "targetPort: 9090");
    let after = added(&mut stream).await[0].addr;
    assert_eq!((after.ip(), after.port()), (before.ip(), 9090));
    assert_eq!(removed(&mut stream).await, [before]);
}

#[tokio::test]
async fn an_empty_set_is_silent_until_it_is_not() {
    let world = World::of("east").await;
    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    let mut snapshots = world.folder.snapshots();
    in_time(snapshots.wait_for(|s| s.pods().count() == 0)).await.unwrap();
    let mut stream = world.endpoints(BB).await.unwrap();
    world.guide.edit("east/02-bb.yaml", "replicas: 0", "replicas: 1");
    assert_eq!(added(&mut stream).await.len(), 1);
}

#[tokio::test]
async fn a_deleted_service_loses_its_endpoints_and_may_come_back() {
    let world = World::of("east").await;
    let mut stream = world.endpoints(BB).await.unwrap();
    let addr = added(&mut stream).await[0].addr;
    let text = world.guide.read("east/02-bb.yaml");
    let (deployment, _) = text.split_once("---").unwrap();
    world.guide.write("east/02-bb.yaml", deployment);
    assert_eq!(removed(&mut stream).await, [addr]);
    world.guide.write("east/02-bb.yaml", &text);
    assert_eq!(added(&mut stream).await[0].addr, addr);
}

const GATEWAY: &str = "spec:
  gatewayAddress: 10.0.0.9
  gatewayPort: '4143'
  gatewayIdentity: gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
  selector: {matchLabels: {mirror.linkerd.io/exported: 'true'}}
";

#[tokio::test]
async fn a_label_switches_a_mirror_between_flat_and_gateway_without_a_gap() {
    let world = World::of("west").await;
    let _east = world.guide.open("east");
    world.guide.edit("west/02-link.yaml", "spec:\n", GATEWAY);
    let mut stream = world.endpoints("bb-target.mc-demo.svc.cluster.local:8080").await.unwrap();
    let pod = added(&mut stream).await.remove(0);
    let (flat, gateway) = ("exported: remote-discovery", "exported: 'true'");
    let cluster_ip = || world.folder.snapshots().borrow().service("mc-demo", "bb-target").unwrap().cluster_ip;
    let before = cluster_ip();
    for _ in 0..2 {
        world.guide.edit("east/02-bb.yaml", flat, gateway);
        let through = added(&mut stream).await.remove(0);
        assert_eq!(through.addr, "10.0.0.9:4143".parse().unwrap());
        assert_eq!(through.authority_override.unwrap().to_string(), BB);
        assert_eq!((through.inbound_port, through.labels["target_cluster"].as_str()), (None, "target"));
        assert!(through.tls.unwrap().id.to_string().starts_with("gateway."));
        assert_eq!(removed(&mut stream).await, [pod.addr]);
        assert_eq!(cluster_ip(), before);
        world.guide.edit("east/02-bb.yaml", gateway, flat);
        assert_eq!(added(&mut stream).await, std::slice::from_ref(&pod));
        assert_eq!(removed(&mut stream).await, [through.addr]);
    }
}

#[tokio::test]
async fn members_join_and_leave_a_federated_service_and_its_end_ends_the_stream() {
    let world = World::of("west").await;
    let _east = world.guide.open("east");
    let (flat, member) = ("exported: remote-discovery", "federated: member");
    world.guide.edit("east/02-bb.yaml", flat, member);
    let mut snapshots = world.folder.snapshots();
    in_time(snapshots.wait_for(|s| s.service("mc-demo", "bb-federated").is_some())).await.unwrap();
    let mut stream = world.endpoints("bb-federated.mc-demo.svc.cluster.local:8080").await.unwrap();
    let theirs = added(&mut stream).await;
    assert_eq!((theirs.len(), theirs[0].labels["service"].as_str()), (1, "bb"));

    world.guide.write("west/06-bb.yaml", &world.guide.read("east/02-bb.yaml"));
    let ours = added(&mut stream).await;
    assert_eq!(ours.len(), 1);
    assert_ne!(ours[0].addr, theirs[0].addr);
    world.guide.edit("west/06-bb.yaml", member, flat);
    assert_eq!(removed(&mut stream).await, [ours[0].addr]);

    world.guide.edit("east/02-bb.yaml", member, flat);
    assert!(in_time(stream.message()).await.unwrap().is_none(), "ended without an error");
}

#[tokio::test]
async fn a_mirror_gives_the_other_cluster_s_pods() {
    let world = World::of("west").await;
    let east = world.guide.open("east");
    let mut stream = world.endpoints("bb-target.mc-demo.svc.cluster.local:8080").await.unwrap();
    let endpoint = added(&mut stream).await.remove(0);
    let theirs = east.snapshots().borrow().pods().next().unwrap().ip;
    assert_eq!(Some(endpoint.addr.ip()), theirs);
    assert_eq!(endpoint.tls.unwrap().id.to_string(), BB_ID);
    assert_eq!(endpoint.labels["service"], "bb");
}

#[tokio::test]
async fn a_linked_folder_that_never_answers_holds_up_no_other_cluster() {
    let guide = Guide::new();
    std::fs::create_dir(guide.path("north")).unwrap();
    guide.write("north/01-namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: mc-demo}\n");
    let link = guide.read("west/02-link.yaml").replace("target\n", "north\n").replace("../east", "../north");
    guide.write("west/04-north.yaml", &link);
    let _east = guide.open("east");
    let world = World::in_guide(guide, "west").await;
    let mut stream = world.endpoints("bb-target.mc-demo.svc.cluster.local:8080").await.unwrap();
    assert_eq!(added(&mut stream).await.len(), 1);
    // A pipe that nobody writes is no manifest, and is not waited for.
    let pipe = world.guide.path("north/02-pipe.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 2");
    assert_eq!(added(&mut stream).await.len(), 1);
    let Some(dead) = DeadMount::over(world.guide.path("north")) else { return };
    let mut freshness = world.folder.freshness();
    let of_north = |is: bool| {
        move |fresh: &Freshness| {
            let stale = |name| fresh.linked[name].stale(tokio::time::Instant::now());
            stale("north") == is && !stale("target")
        }
    };
    in_time(freshness.wait_for(of_north(true))).await.unwrap();
    world.guide.edit("east/02-bb.yaml", "replicas: 2", "replicas: 3");
    assert_eq!(added(&mut stream).await.len(), 1, "the other linked cluster is followed");
    world.guide.edit("west/03-slow-cooker.yaml", "replicas: 1", "replicas: 2");
    let mut snapshots = world.folder.snapshots();
    in_time(snapshots.wait_for(|snapshot| snapshot.pods().count() == 3)).await.unwrap();
    let problems = world.folder.reports().borrow().linked.iter().map(ToString::to_string).collect::<String>();
    assert!(problems.contains("north: it does not answer"), "{problems}");
    drop(dead);
    in_time(freshness.wait_for(of_north(false))).await.unwrap();
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
async fn a_port_s_policy_follows_the_folder() {
    let world = World::of("east").await;
    let mut stream = world.ports(&world.workload(), 8080).await.unwrap();
    let allowed = |policy: ServerPolicy| {
        assert_eq!((policy.meta.kind(), policy.meta.name()), ("server", "bb"));
        assert!(matches!(policy.protocol, ServerProtocol::Detect { .. }));
        match policy.authorizations[0].authentication.clone() {
            Authentication::Identities(ids) => ids,
            other => panic!("expected identities, got {other:?}"),
        }
    };
    let exactly = |name: &str| {
        let id = format!("{name}.mc-demo.serviceaccount.identity.linkerd.cluster.local");
        vec![IdentityMatch::Exact(id.parse().unwrap())]
    };
    let first = api::inbound::server(next(&mut stream).await).unwrap();
    assert_eq!(allowed(first), exactly("slow-cooker"));
    world.guide.edit("east/03-policy.yaml", "- 'slow-cooker.", "- 'web.");
    let second = api::inbound::server(next(&mut stream).await).unwrap();
    assert_eq!(allowed(second), exactly("web"));
    world.guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    assert!(in_time(stream.message()).await.unwrap().is_none(), "the workload is gone");
}

/// A route of a Service in east, that sends `weight` in ten to where requests were going.
fn canary(namespace: &str, weight: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: canary, namespace: {namespace}}}
spec:
  parentRefs: [{{kind: Service, name: bb, namespace: mc-demo, port: 8080}}]
  rules:
  - backendRefs: [{{name: bb, port: 8080, weight: {weight}}}, {{name: next, port: 8080, weight: 1}}]
"
    )
}

fn http_route(policy: &OutboundPolicy) -> &HttpRoute {
    let OutboundProtocol::Detect { http1, .. } = &policy.protocol else { panic!("{policy:?}") };
    &http1.routes[0]
}

#[tokio::test]
async fn a_route_is_told_to_its_clients_and_follows_the_folder() {
    let world = World::of("east").await;
    let target = api::outbound::Target::Authority("bb.mc-demo.svc:8080".parse().unwrap());
    let mut client = world.outbound().await;
    let mut watch = async |workload: &str| {
        let request = api::outbound::encode_request(workload, &target);
        in_time(client.watch(request)).await.unwrap().into_inner()
    };
    let mut own = watch(&world.workload()).await;
    let mut other = watch("elsewhere:pod").await;
    let told = async |stream: &mut Streaming<_>| api::outbound::policy(next(stream).await).unwrap();
    assert!(http_route(&told(&mut own).await).meta.is_default());
    let before = told(&mut other).await;

    let weights = |policy: &OutboundPolicy| match &http_route(policy).rules[0].backends {
        Distribution::RandomAvailable(all) => all.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    world.guide.write("east/04-canary.yaml", &canary("elsewhere", 9));
    assert_eq!(weights(&told(&mut other).await), [9, 1], "a consumer's own");
    world.guide.write("east/04-canary.yaml", &canary("mc-demo", 8));
    let shifted = told(&mut own).await;
    assert_eq!(weights(&shifted), [8, 1], "and nothing was told of the consumer's");
    assert_eq!(told(&mut other).await, shifted, "everybody's");
    let Distribution::RandomAvailable(all) = &http_route(&shifted).rules[0].backends else { unreachable!() };
    let [(here, _), (missing, _)] = all.as_slice() else { panic!("{all:?}") };
    assert!(
        matches!(&here.backend.kind, BackendKind::Balance { authority, .. } if authority.to_string() == BB)
    );
    assert!(missing.backend.kind == BackendKind::Fail && missing.filters.len() == 1, "{missing:?}");
    world.guide.write("east/04-canary.yaml", "");
    told(&mut own).await;
    assert_eq!(told(&mut other).await, before);
}

#[tokio::test]
async fn a_watch_follows_its_target_into_an_egress_network() {
    let world = World::of("east").await;
    let target = api::outbound::Target::Addr("192.0.2.1:80".parse().unwrap());
    let request = api::outbound::encode_request(&world.workload(), &target);
    let mut watched = in_time(world.outbound().await.watch(request)).await.unwrap().into_inner();
    let told = async |stream: &mut Streaming<_>| api::outbound::policy(next(stream).await).unwrap();
    assert_eq!(told(&mut watched).await.parent.name(), "egress-fallback");
    let network = "apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {name: outside, namespace: mc-demo}
spec: {trafficPolicy: Deny}
";
    world.guide.write("east/04-egress.yaml", network);
    let denied = told(&mut watched).await;
    assert_eq!((denied.parent.kind(), denied.parent.name()), ("EgressNetwork", "outside"));
    assert_eq!(http_route(&denied).meta.name(), "http-egress-deny");
    world.guide.edit("east/04-egress.yaml", "Deny", "Allow");
    assert_eq!(http_route(&told(&mut watched).await).meta.name(), "http-egress-allow");
    world.guide.write("east/04-egress.yaml", "");
    assert_eq!(told(&mut watched).await.parent.name(), "egress-fallback");
}

#[tokio::test]
async fn targets_have_policies_and_profiles() {
    let world = World::of("east").await;
    let ip = world.folder.snapshots().borrow().service("mc-demo", "bb").unwrap().cluster_ip.unwrap();
    let target = api::outbound::Target::Addr(SocketAddr::new(ip, 8080));
    let request = || api::outbound::encode_request(&world.workload(), &target);
    let mut client = world.outbound().await;
    let got = in_time(client.get(request())).await.unwrap().into_inner();
    let mut watched = in_time(client.watch(request())).await.unwrap().into_inner();
    let policy = api::outbound::policy(next(&mut watched).await).unwrap();
    assert_eq!(api::outbound::policy(got).unwrap(), policy);
    assert_eq!((policy.parent.name(), policy.parent.port()), ("bb", 8080));

    let mut profiles = world.profile(&format!("{ip}:8080")).await.unwrap();
    let pb = next(&mut profiles).await;
    assert!(pb.parent_ref.is_some() && pb.retry_budget.is_some());
    let profile = api::destination::profile(pb).unwrap();
    assert_eq!(profile.name.unwrap().as_str(), "bb.mc-demo.svc.cluster.local");
    assert!(!profile.opaque);
    let from = "  name: bb\n  namespace: mc-demo\n  labels:";
    let to = "  name: bb\n  namespace: mc-demo\n  annotations: {config.linkerd.io/opaque-ports: '8080'}\n  labels:";
    world.guide.edit("east/02-bb.yaml", from, to);
    assert!(next(&mut profiles).await.opaque_protocol);
    let opaque = api::outbound::policy(next(&mut watched).await).unwrap();
    assert!(matches!(opaque.protocol, OutboundProtocol::Opaque(_)));
}

#[tokio::test]
async fn a_port_that_a_service_lacks_has_an_empty_profile() {
    let world = World::of("east").await;
    let mut stream = world.profile("bb.mc-demo.svc.cluster.local:9").await.unwrap();
    assert_eq!(next(&mut stream).await, DestinationProfile::default());
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

/// A client behind mesh TLS, expecting `name` at `addr`.
fn meshed(world: &World, addr: SocketAddr, name: &str) -> Controller {
    let host = "linkerd-control.linkerd.svc.cluster.local";
    let names = Names::default();
    names.set(host.parse::<DnsName>().unwrap(), &[addr]);
    let config = ControllerConfig {
        host: host.parse::<Authority>().unwrap().host,
        port: addr.port(),
        name: Some(name.parse().unwrap()),
        connect_timeout: Duration::from_secs(5),
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(100), 0.1).unwrap(),
        socket: Socket::default(),
        stream_window: 65_535,
        connection_window: 1 << 20,
    };
    let anchors = world.certifier.authority.now().anchors().clone();
    let store = CredentialStore::new(BB_ID.parse().unwrap(), anchors);
    Controller::new(config, Dns::fixed(&names), store).unwrap()
}

#[tokio::test]
async fn mesh_tls_proves_the_controller_to_a_client_without_certificate() {
    let world = World::of("east").await;
    let of = |account: &str| format!("{account}.linkerd.serviceaccount.identity.linkerd.cluster.local");
    let mut client =
        DestinationClient::new(meshed(&world, world.bound.destination, &of("linkerd-destination")));
    let request = GetDestination { path: BB.into(), ..Default::default() };
    let mut stream = in_time(client.get(request)).await.unwrap().into_inner();
    assert_eq!(added(&mut stream).await.len(), 1);

    let mut identity = IdentityClient::new(meshed(&world, world.bound.identity, &of("linkerd-identity")));
    let key = rcgen::KeyPair::generate().unwrap();
    let mut csr = rcgen::CertificateParams::new([BB_ID.to_owned()]).unwrap();
    csr.distinguished_name = rcgen::DistinguishedName::new();
    let account = ServiceAccount::new("mc-demo", "default");
    let now = std::time::SystemTime::now();
    let request = |account: &ServiceAccount| CertifyRequest {
        identity: BB_ID.into(),
        token: world.tokens.issue(account, Duration::from_secs(60), now).into_bytes(),
        certificate_signing_request: csr.serialize_request(&key).unwrap().der().to_vec(),
    };
    in_time(identity.certify(request(&account))).await.unwrap();
    let ghost = ServiceAccount::new("nowhere", "default");
    let refused = in_time(identity.certify(request(&ghost))).await.unwrap_err();
    assert!(refused.message().contains("nowhere/default does not exist"), "{refused}");
}

#[tokio::test]
async fn each_port_presents_its_own_name_only() {
    let world = World::of("east").await;
    let name = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
    let mut client = DestinationClient::new(meshed(&world, world.bound.destination, name));
    let request = GetDestination { path: BB.into(), ..Default::default() };
    let wrong = timeout(Duration::from_secs(2), client.get(request)).await;
    assert!(!matches!(wrong, Ok(Ok(_))), "no answer from somebody else");
}

#[tokio::test(start_paused = true)]
async fn the_own_certificate_is_renewed_before_it_ends() {
    let guide = Guide::new();
    let (certifier, _) = guide.certifier("east");
    let drain = Drain::default();
    let store = own::keep(certifier.authority.clone(), BB_ID.parse().unwrap(), &drain).unwrap();
    let first = store.current().unwrap();
    let before = tokio::time::Instant::now();
    store.subscribe().wait_for(|count| *count == 2).await.unwrap();
    let waited = before.elapsed();
    let hours = |h: u64| Duration::from_secs(h * 3600);
    assert!(waited > hours(16) && waited < hours(17), "{waited:?}");
    assert_ne!(first.leaf(), store.current().unwrap().leaf());
    drain.finish(LIMIT).await;
}

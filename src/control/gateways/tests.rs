use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::control::index::{Allocations, LinkedClusters, Settings};
use crate::control::manifest;
use crate::telemetry::page::Page;
use crate::tls::server::accept;
use crate::tls::testing::TestCa;

const GATEWAY: &str = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
const PROBER: &str =
    "linkerd-service-mirror.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
const LIMIT: Duration = Duration::from_secs(20);

/// A cluster whose one Link has this gateway.
fn snapshot(address: &str, port: u16, probe: &str) -> Arc<Snapshot> {
    build(&link(address, port, probe))
}

fn link(address: &str, port: u16, probe: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Secret
type: mirror.linkerd.io/remote-kubeconfig
metadata: {{name: c, namespace: linkerd-multicluster}}
stringData:
  kubeconfig: |
    current-context: c
    contexts: [{{name: c, context: {{cluster: c}}}}]
    clusters: [{{name: c, cluster: {{server: 'file://../east'}}}}]
---
apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {{name: east, namespace: linkerd-multicluster}}
spec:
  targetClusterName: target
  clusterCredentialsSecret: c
  gatewayAddress: {address}
  gatewayPort: '4143'
  gatewayIdentity: {GATEWAY}
  probeSpec: {{path: /ready, port: '{port}', {probe}}}
"
    )
}

fn build(text: &str) -> Arc<Snapshot> {
    let file: Arc<std::path::Path> = Arc::from(std::path::Path::new("m.yaml"));
    let all = manifest::assemble([&manifest::parse(&file, text)], "linkerd-multicluster");
    assert_eq!(all.problems, []);
    let (settings, none) = (Settings::default(), LinkedClusters::new());
    let given = Allocations::new(&settings);
    Arc::new(Snapshot::build(&all.documents, &none, &Gateways::default(), &settings, &given).0)
}

/// What a gateway's proxy has at its admin port, for this test's purpose.
struct Admin {
    port: u16,
    status: Arc<AtomicU16>,
    /// Who asked, at which host, for what.
    asked: mpsc::UnboundedReceiver<(Option<String>, String, String)>,
}

async fn admin(ca: &TestCa, id: &str) -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (store, status) = (ca.store(id), Arc::new(AtomicU16::new(200)));
    let (tell, asked) = mpsc::unbounded_channel();
    let answered = status.clone();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let Ok((stream, accepted)) = accept(&store, io, false).await else { continue };
            let client = accepted.client.map(|id| id.to_string());
            let answer = service_fn(|req: http::Request<hyper::body::Incoming>| {
                let host = req.headers()["host"].to_str().unwrap().to_owned();
                let _ = tell.send((client.clone(), host, req.uri().to_string()));
                let rsp = http::Response::builder().status(answered.load(Relaxed));
                async move { Ok::<_, Infallible>(rsp.body(Full::<Bytes>::default()).unwrap()) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        }
    });
    Admin { port, status, asked }
}

struct Following {
    snapshots: watch::Sender<Arc<Snapshot>>,
    told: mpsc::UnboundedReceiver<Gateways>,
    metrics: Arc<Metrics>,
    _drain: Drain,
}

impl Following {
    fn start(ca: &TestCa, first: Arc<Snapshot>) -> Self {
        let (snapshots, seen) = watch::channel(first);
        let (tell, told) = mpsc::unbounded_channel();
        let (metrics, drain) = (Arc::<Metrics>::default(), Drain::default());
        let tell = move |known| drop(tell.send(known));
        follow(seen, ca.store(PROBER), metrics.clone(), tell, &drain);
        Self { snapshots, told, metrics, _drain: drain }
    }

    async fn next(&mut self) -> Gateways {
        timeout(LIMIT, self.told.recv()).await.expect("in time").unwrap()
    }

    fn page(&self) -> String {
        let mut page = Page::default();
        self.metrics.render(&mut page);
        page.finish()
    }

    async fn shows(&self, line: &str) {
        let found = async {
            while !self.page().lines().any(|l| l == line) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, found).await.unwrap_or_else(|_| panic!("{line} not in\n{}", self.page()));
    }
}

fn east() -> ObjectName {
    ObjectName::new("linkerd-multicluster", "east")
}

#[tokio::test]
async fn a_gateway_that_stops_answering_200_is_told_dead_and_alive_when_it_answers_again() {
    let ca = TestCa::new("mesh");
    let mut gateway = admin(&ca, GATEWAY).await;
    let probe = "period: 100ms, timeout: 5s, failureThreshold: '2'";
    let mut following = Following::start(&ca, snapshot("127.0.0.1", gateway.port, probe));
    let (client, host, path) = timeout(LIMIT, gateway.asked.recv()).await.unwrap().unwrap();
    assert_eq!(client.as_deref(), Some(PROBER), "in mutual TLS");
    assert_eq!((host, path.as_str()), (format!("probe-east:{}", gateway.port), "/ready"));
    following.shows(r#"gateway_alive{target_cluster_name="target"} 1"#).await;
    // Not 200, but a success all the same in other eyes.
    gateway.status.store(204, Relaxed);
    assert_eq!(following.next().await.dead, BTreeSet::from([east()]));
    following.shows(r#"gateway_alive{target_cluster_name="target"} 0"#).await;
    following.shows(r#"gateway_probes{target_cluster_name="target",probe_successful="false"} 2"#).await;
    gateway.status.store(200, Relaxed);
    assert_eq!(following.next().await.dead, BTreeSet::new());
    for line in [
        r#"gateway_alive{target_cluster_name="target"} 1"#,
        r#"gateway_enabled{target_cluster_name="target"} 1"#,
        r#"service_mirror_endpoint_repairs{target_cluster_name="target"} 1"#,
    ] {
        following.shows(line).await;
    }
    let page = following.page();
    assert!(
        page.contains(r#"gateway_probe_latency_ms_bucket{target_cluster_name="target",le="+Inf"} "#),
        "{page}"
    );
    assert!(page.contains(r#"gateway_latency{target_cluster_name="target"} "#), "{page}");
}

#[tokio::test]
async fn whoever_does_not_prove_the_gateways_identity_is_not_asked() {
    let ca = TestCa::new("mesh");
    let mut other = admin(&ca, "other.shop.serviceaccount.identity.linkerd.cluster.local").await;
    let probe = "period: 100ms, failureThreshold: '1'";
    let following = Following::start(&ca, snapshot("127.0.0.1", other.port, probe));
    following.shows(r#"gateway_probes{target_cluster_name="target",probe_successful="false"} 3"#).await;
    following.shows(r#"gateway_alive{target_cluster_name="target"} 0"#).await;
    assert!(other.asked.try_recv().is_err());
}

/// It answers in plain HTTP, which is not how proxies would go there.
#[tokio::test]
async fn a_gateway_without_identity_is_never_alive() {
    let ca = TestCa::new("mesh");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let identity = format!("  gatewayIdentity: {GATEWAY}\n");
    let text = link("127.0.0.1", port, "period: 100ms, failureThreshold: '1'");
    assert!(text.contains(&identity));
    let following = Following::start(&ca, build(&text.replace(&identity, "")));
    following.shows(r#"gateway_probes{target_cluster_name="target",probe_successful="false"} 3"#).await;
    following.shows(r#"gateway_alive{target_cluster_name="target"} 0"#).await;
    let asked = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(asked.is_err(), "nobody connects");
}

#[tokio::test]
async fn any_of_a_gateways_addresses_may_answer_and_names_are_resolved() {
    let ca = TestCa::new("mesh");
    let gateway = admin(&ca, GATEWAY).await;
    // Nothing listens on the first one.
    let addresses = "127.77.0.1, localhost, no-such-name.invalid";
    let mut following = Following::start(&ca, snapshot(addresses, gateway.port, "period: 100ms"));
    let known = following.next().await;
    assert!(known.resolved["localhost"].contains(&IpAddr::from([127, 0, 0, 1])), "{known:?}");
    assert!(!known.resolved.contains_key("no-such-name.invalid"));
    following.shows(r#"gateway_alive{target_cluster_name="target"} 1"#).await;
}

#[tokio::test]
async fn a_period_of_nothing_is_no_load_and_a_link_that_is_gone_is_not_probed() {
    let ca = TestCa::new("mesh");
    let mut gateway = admin(&ca, GATEWAY).await;
    let mut following =
        Following::start(&ca, snapshot("127.0.0.1", gateway.port, "period: '0', timeout: '0'"));
    let started = Instant::now();
    for _ in 0..4 {
        timeout(LIMIT, gateway.asked.recv()).await.unwrap().unwrap();
    }
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    gateway.status.store(500, Relaxed);
    assert_eq!(following.next().await.dead.len(), 1);
    following.snapshots.send_replace(build("{apiVersion: v1, kind: Namespace, metadata: {name: d}}"));
    assert_eq!(following.next().await, Gateways::default());
    assert!(!following.page().contains("target_cluster_name"), "{}", following.page());
    while gateway.asked.try_recv().is_ok() {}
    let more = timeout(Duration::from_millis(500), gateway.asked.recv()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn names_are_looked_up_each_minute_and_keep_what_was_found_last() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let tell = move |known| drop(tell.send((Instant::now(), known)));
    let known = Known { gateways: Mutex::default(), tell: Box::new(tell) };
    let snapshot = snapshot("gate.example", 4191, "period: 3s");
    let gateway = snapshot.gateways()[&east()].gateway.clone().unwrap();
    let answers = [Ok([10, 0, 0, 1]), Err(io::ErrorKind::NotFound), Ok([10, 0, 0, 2])];
    let round = AtomicU16::new(0);
    let look_up = async |name: &str| {
        assert_eq!(name, "gate.example");
        let answer = answers[usize::from(round.fetch_add(1, Relaxed)).min(2)];
        answer.map(|ip| BTreeSet::from([IpAddr::from(ip)])).map_err(io::Error::from)
    };
    let counts = Counts::default();
    let started = Instant::now();
    let _ = timeout(Duration::from_secs(130), repair(&known, &gateway, &counts, look_up)).await;
    let mut seen = Vec::new();
    while let Ok((at, known)) = told.try_recv() {
        seen.push((at.duration_since(started).as_secs(), known.addresses(&gateway)));
    }
    // Found, lost a minute later, and asked again soon.
    let ip = |last| vec![IpAddr::from([10, 0, 0, last])];
    assert_eq!(seen, [(0, ip(1)), (65, ip(2))]);
    assert_eq!(counts.repairs.value(), 4);
}

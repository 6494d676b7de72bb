//! Certificates, issuer and trust anchors are replaced while requests pass: none fails, and who comes from an anchor that
//! is gone has to go.
//!
//! Ordinarily leaves are renewed every two seconds for some seconds; with `CAUSEWAY_ROTATION=full` every 30 s for three
//! minutes, and the last streams of the refused peer are waited for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use causeway::control::ca::{Anchor, Authority};
use causeway::demo::kubelet::PROXY;
use causeway::demo::node::{self, ADMIN};
use causeway::demo::world::Running;
use causeway::model::WorkloadId;
use causeway::model::endpoint::EndpointTls;
use causeway::model::protocol::HttpVersion;
use causeway::net::transport_header::TransportHeader;
use causeway::tls::client::{ClientStream, connect};
use causeway::tls::{CredentialStore, TrustAnchors};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::drain::within;
use crate::idle::{deployment, service};
use crate::load::{Kind, Load, Seen, serve};
use crate::mesh::{DEADLINE, Files, Mesh, plan, serve_echo};

const HTTP: u16 = 9001;
const OPAQUE: u16 = 9002;
/// The proxies' own.
const DIRECT: u16 = 4143;

/// Two pods that are asked, one that asks, and no policy of their own.
pub(crate) const EAST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/east/01-namespace.yaml")),
    ("02-asked.yaml", deployment!("asked", 2)),
    ("03-service.yaml", service!("asked")),
    ("04-caller.yaml", deployment!("caller", 1)),
];

/// How often leaves are renewed, and for how long that goes on before the issuer is replaced.
fn pace() -> (Duration, Duration, bool) {
    let full = std::env::var("CAUSEWAY_ROTATION").is_ok_and(|size| size == "full");
    let seconds = Duration::from_secs;
    if full { (seconds(30), seconds(180), true) } else { (seconds(2), seconds(6), false) }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_issuer_and_anchor_rotate_under_load_and_who_has_no_anchor_has_to_go() {
    let (every, first, full) = pace();
    let env = |folder: &Path| {
        let refresh = format!("{}s", every.as_secs());
        vec![
            ("CAUSEWAY_TRUST_ANCHORS_FILE".to_owned(), bundle(folder).to_str().unwrap().to_owned()),
            ("LINKERD2_PROXY_IDENTITY_MIN_REFRESH".to_owned(), "1s".to_owned()),
            ("LINKERD2_PROXY_IDENTITY_MAX_REFRESH".to_owned(), refresh),
        ]
    };
    let Some(mesh) = Mesh::with_env(&[plan(EAST)], env).await else { return };
    let certs = Certs::new(mesh.folder());
    let proxies = processes(&mesh).await;
    assert_eq!(proxies.len(), 3);
    let seen = Seen::default();
    for (number, pod) in asked(&mesh).enumerate() {
        serve(pod.pod.namespace(), number, HTTP, &seen);
    }
    let pod = asked(&mesh).next().unwrap();
    let echoes = serve_echo(pod.pod.namespace(), OPAQUE);
    let to = SocketAddr::from((mesh.service("east", "asked").await, HTTP));
    let from = mesh.pod("caller");
    let (h1, h2) = (Load::at(250), Load::at(250));
    let began = Instant::now();
    let (one, two, peer) = tokio::join!(h1.run(from, to, Kind::Http1), h2.run(from, to, Kind::Grpc), async {
        tokio::time::sleep(first).await;
        certs.trust(&[&certs.old, &certs.new]);
        let trusted = |count| format!("causeway_trust_anchors {count}");
        every_pod(&mesh, &trusted(2)).await;
        // Whoever has a certificate of the old anchor only is let in until that goes.
        let peer = Peer::of(&certs, pod).await;
        certs.issue_from_new();
        let before = refreshes(&mesh).await;
        let renewed = async || {
            let now = refreshes(&mesh).await;
            now.iter().zip(&before).all(|(now, before)| now >= &(before + 2.0))
        };
        let deadline = Instant::now() + 4 * every + DEADLINE;
        while !renewed().await {
            assert!(Instant::now() < deadline, "certificates are renewed");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        certs.trust(&[&certs.new]);
        let removed = Instant::now();
        every_pod(&mesh, &trusted(1)).await;
        peer.is_gone(removed, full).await;
        h1.more(500).await;
        h1.end.cancel();
        h2.end.cancel();
        peer
    });
    peer.is_refused(pod).await;
    drop(echoes);
    for (kind, tally) in [("HTTP/1.1", &one), ("gRPC", &two)] {
        eprintln!(
            "{kind}, 250/s for {:?}, leaves every {every:?}, issuer and anchor replaced: {} answered, {} failed",
            began.elapsed(),
            tally.answered.len(),
            tally.failed.len()
        );
        assert!(tally.failed.is_empty() && tally.refused.is_empty(), "{kind}: {tally:#?}");
        assert!(tally.answered.len() > 1000, "{kind}: {}", tally.answered.len());
        seen.assert_once(&tally.answered);
    }
    assert_eq!(processes(&mesh).await, proxies, "the same processes as at the start");
}

fn asked(mesh: &Mesh) -> impl Iterator<Item = &Running> {
    mesh.world.pods().iter().filter(|running| running.listed.owner.name == "asked")
}

fn bundle(folder: &Path) -> PathBuf {
    folder.join("certs/ca-bundle.crt")
}

/// A proxy's metrics.
async fn page(mesh: &Mesh, pod: &Running) -> String {
    let admin = SocketAddr::from((pod.listed.ip, ADMIN));
    let page = node::fetch(mesh.world.network().router(), admin, "/metrics", DEADLINE).await.unwrap();
    String::from_utf8(page.to_vec()).unwrap()
}

async fn every_pod(mesh: &Mesh, line: &str) {
    for pod in mesh.world.pods() {
        within(line, async || page(mesh, pod).await.lines().any(|found| found == line)).await;
    }
}

/// Which process each proxy is, and when it says that it started: whoever says so is running.
async fn processes(mesh: &Mesh) -> Vec<(Option<u32>, String)> {
    let mut all = Vec::new();
    for pod in mesh.world.pods() {
        let page = page(mesh, pod).await;
        let started = page.lines().find_map(|line| line.strip_prefix("process_start_time_seconds "));
        all.push((pod.pod.id(PROXY), started.unwrap().to_owned()));
    }
    all
}

/// How often each proxy has been certified.
async fn refreshes(mesh: &Mesh) -> Vec<f64> {
    let mut all = Vec::new();
    for pod in mesh.world.pods() {
        let page = page(mesh, pod).await;
        let name = r#"control_identity_cert_refreshes_total{result="ok"} "#;
        all.push(page.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap());
    }
    all
}

/// The folder of trust material, its anchor and the one that follows it.
struct Certs {
    folder: PathBuf,
    old: Anchor,
    new: Anchor,
    /// By which the refused peer is certified, long after the cluster has another.
    issuer: Authority,
}

impl Certs {
    fn new(folder: &Path) -> Self {
        let now = SystemTime::now();
        let read = |file: &str| std::fs::read_to_string(folder.join("certs").join(file)).unwrap();
        let old = Anchor::from_pem(&read("ca-bundle.crt"), &read("ca.key")).unwrap();
        let issuer = Authority::from_pem(&read("east/issuer.crt"), &read("east/issuer.key"), old.pem(), now);
        let (folder, issuer) = (folder.to_owned(), issuer.unwrap());
        Self { folder, old, new: Anchor::generate(now).unwrap(), issuer }
    }

    /// Replaces the bundle, never half of it.
    fn trust(&self, anchors: &[&Anchor]) {
        let text: String = anchors.iter().map(|anchor| anchor.pem()).collect();
        self.replace(&bundle(&self.folder), &text);
    }

    fn issue_from_new(&self) {
        let issuer = self.new.issuer_for("east", SystemTime::now()).unwrap();
        let east = self.folder.join("certs/east");
        self.replace(&east.join("issuer.key"), &issuer.key);
        self.replace(&east.join("issuer.crt"), &issuer.certificate);
    }

    fn replace(&self, path: &Path, text: &str) {
        let new = self.folder.join("certs/replacing");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }
}

/// A client with a certificate of the old anchor, connected to a pod in three ways.
struct Peer {
    store: Arc<CredentialStore>,
    expect: EndpointTls,
    at: SocketAddr,
    opaque: tokio::task::JoinHandle<Instant>,
    idle: tokio::task::JoinHandle<Instant>,
    /// With a stream that its application never answers.
    stuck: tokio::task::JoinHandle<Instant>,
}

impl Peer {
    async fn of(certs: &Certs, pod: &Running) -> Self {
        let id: WorkloadId = "old.mc-demo.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
        let both = format!("{}{}", certs.old.pem(), certs.new.pem());
        let store = CredentialStore::new(id.clone(), TrustAnchors::from_pem(both.as_bytes()).unwrap());
        let (issued, key) = certs.issuer.own(&id, SystemTime::now()).unwrap();
        let intermediates = issued.intermediates.into_iter().map(Into::into).collect();
        store.install(issued.leaf.into(), intermediates, &key, issued.valid_until).unwrap();
        let server: WorkloadId =
            "default.mc-demo.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
        let WorkloadId::Dns(server_name) = server.clone() else { panic!("{server}") };
        let expect = EndpointTls { id: server, server_name };
        let at = SocketAddr::from((pod.listed.ip, DIRECT));
        let open = async |session, port| {
            let mut io = Self::connect(&store, &expect, at, pod).await.unwrap();
            let header = TransportHeader { port, name: None, session };
            io.write_all(&header.encode()).await.unwrap();
            io
        };
        let mut io = open(None, OPAQUE).await;
        let opaque = tokio::spawn(async move {
            let mut back = [0; 4];
            io.write_all(b"ping").await.unwrap();
            io.read_exact(&mut back).await.unwrap();
            let _ = io.read(&mut back).await;
            Instant::now()
        });
        let idle = http(open(Some(HttpVersion::Http2), HTTP).await, 1_000_000_000).await;
        let stuck = http(open(Some(HttpVersion::Http2), HTTP).await, crate::load::STUCK).await;
        Self { store, expect, at, opaque, idle, stuck }
    }

    async fn connect(
        store: &CredentialStore,
        expect: &EndpointTls,
        at: SocketAddr,
        pod: &Running,
    ) -> Option<ClientStream<TcpStream>> {
        let io = pod.pod.namespace().socket(at).unwrap().connect(at).await.ok()?;
        Some(connect(store, io, expect, causeway::tls::Offer::Transport).await.ok()?.stream)
    }

    /// All of its connections end: what has nothing to finish at once, the rest within a minute.
    async fn is_gone(&self, removed: Instant, full: bool) {
        let mut waiting =
            vec![("the opaque connection", &self.opaque), ("the idle HTTP/2 connection", &self.idle)];
        if full {
            waiting.push(("the HTTP/2 connection with a stuck stream", &self.stuck));
        }
        for (what, connection) in waiting {
            while !connection.is_finished() {
                assert!(removed.elapsed() < Duration::from_secs(60), "{what} is still open");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            eprintln!(
                "{what} of a peer without an anchor ended {:?} after the file was replaced",
                removed.elapsed()
            );
        }
        assert!(full || !self.stuck.is_finished(), "what is under way may finish");
    }
}

impl Peer {
    /// Nothing more is taken from it. The handshake may seem to succeed: its server looks at the certificate last.
    async fn is_refused(&self, pod: &Running) {
        let Some(mut io) = Self::connect(&self.store, &self.expect, self.at, pod).await else { return };
        let header = TransportHeader { port: OPAQUE, name: None, session: None };
        let _ = io.write_all(&header.encode()).await;
        let _ = io.write_all(b"ping").await;
        let mut back = [0; 4];
        let read = timeout(DEADLINE, io.read(&mut back)).await.expect("it is answered or closed");
        assert!(!matches!(read, Ok(1..)), "{back:?}");
    }
}

/// A connection with one request, and when it ends.
async fn http(io: ClientStream<TcpStream>, id: u64) -> tokio::task::JoinHandle<Instant> {
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    let body = http_body_util::Full::new(bytes::Bytes::from(id.to_string()));
    let req = http::Request::post(format!("http://asked/{id}")).body(body).unwrap();
    let ended = tokio::spawn(async move {
        let _ = driver.await;
        Instant::now()
    });
    let answer = sender.send_request(req);
    if id == crate::load::STUCK {
        tokio::spawn(async move {
            let _ = answer.await;
            drop(sender);
        });
    } else {
        assert_eq!(answer.await.unwrap().status(), 200);
        // It stays open until the server ends it.
        tokio::spawn(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
    }
    ended
}

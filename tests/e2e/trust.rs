//! Connections do not outlive what their peers have proven, whichever side looks.

use std::path::PathBuf;
use std::time::Duration;

use causeway::model::endpoint::ProtocolHint;
use causeway::tls::testing::TestCa;
use http_body_util::BodyExt;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::application::App;
use crate::client::{Kind, empty};
use crate::every_kind;
use crate::metrics::page;
use crate::pair::{BB, Pair};
use crate::policies::{add, balance, opaque};
use crate::raw::{read_to_end, read_until};
use crate::sandbox::{Pod, Sandbox, until, within};

/// A file of trust anchors that first is the sandbox's own, and an authority that nobody has a certificate of.
struct Anchors {
    dir: TempDir,
    other: TestCa,
}

/// Who follows the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Anchors {
    /// A pair of which one side follows the file.
    async fn pair(side: Side) -> (Self, Pair) {
        let world = Sandbox::new().await;
        let anchors = Self { dir: tempfile::tempdir().unwrap(), other: TestCa::new("other") };
        anchors.say(&[world.ca.root_pem()]);
        let path = anchors.path();
        let follows = [("CAUSEWAY_TRUST_ANCHORS_FILE", path.to_str().unwrap())];
        let pair = match side {
            Side::Client => Pair::with(world, &follows, &[]).await,
            Side::Server => Pair::with(world, &[], &follows).await,
        };
        (anchors, pair)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("ca-bundle.crt")
    }

    /// Replaces the file, as a mounted volume does: never half of it.
    fn say(&self, pem: &[&str]) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, pem.concat()).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    /// The sandbox's own anchor is no longer trusted, and its peers are known to have lost their right.
    async fn remove_ours(&self, pod: &Pod) {
        self.say(&[self.other.root_pem()]);
        shows(pod, "causeway_trust_anchors 1").await;
        shows(pod, r#"causeway_peers_ended_total{why="untrusted"} 1"#).await;
    }
}

/// Waits until the pod's metrics have this line.
async fn shows(pod: &Pod, line: &str) {
    let what = format!("the metrics show {line}");
    until(&what, async || page(pod).await.lines().any(|found| found == line)).await;
}

fn follower(pair: &Pair, side: Side) -> &Pod {
    match side {
        Side::Client => &pair.web,
        Side::Server => &pair.bb,
    }
}

/// Makes the pair's service opaque, and opens a connection to it that echoes.
async fn echoing(pair: &mut Pair) -> TcpStream {
    pair.app = App::echo(&pair.bb).await;
    let mut endpoint = pair.bb.endpoint(pair.app.addr);
    endpoint.hint = ProtocolHint::Opaque;
    pair.world.script().endpoints(BB, &add(vec![endpoint]));
    pair.world.script().policy(pair.service, &opaque(balance(BB)));
    let mut io = pair.web.connect(pair.service).await;
    echo(&mut io, "before").await;
    io
}

async fn echo(io: &mut TcpStream, text: &str) {
    io.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(read_until(io, text).await, text);
}

every_kind! {
    async fn what_has_begun_finishes_and_nothing_more_is_asked_of_an_endpoint_without_an_anchor(kind: Kind) {
        finishes_and_no_more(kind, Side::Client).await;
    }

    async fn what_has_begun_finishes_and_nothing_more_is_taken_from_a_client_without_an_anchor(kind: Kind) {
        finishes_and_no_more(kind, Side::Server).await;
    }
}

async fn finishes_and_no_more(kind: Kind, side: Side) {
    let (anchors, pair) = Anchors::pair(side).await;
    let mut client = pair.client(kind).await;
    let req = client.request("/held").body(empty()).unwrap();
    let (rsp, ()) = tokio::join!(client.start(req), async {
        pair.app.state.held.notified().await;
        anchors.say(&[anchors.other.root_pem(), pair.world.ca.root_pem()]);
        shows(follower(&pair, side), "causeway_trust_anchors 2").await;
        pair.get(kind).await.assert_answered();
        anchors.remove_ours(follower(&pair, side)).await;
        pair.app.state.release.notify_one();
    });
    let body = within("the body", rsp.unwrap().into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "released");
    assert_eq!(pair.app.seen().len(), 2);
    for _ in 0..3 {
        let answer = pair.get(kind).await;
        assert!(!answer.is_answered(), "{answer:?}");
    }
    assert_eq!(pair.app.seen().len(), 0);
}

#[tokio::test]
async fn opaque_connections_end_with_the_anchor_of_either_side() {
    for side in [Side::Client, Side::Server] {
        let (anchors, mut pair) = Anchors::pair(side).await;
        let mut io = echoing(&mut pair).await;
        anchors.remove_ours(follower(&pair, side)).await;
        assert_eq!(read_to_end(&mut io).await, b"", "{side:?}");
        let faults = format!(
            r#"causeway_faults_total{{direction="{}",reason="right-ended"}} 1"#,
            if side == Side::Client { "outbound" } else { "inbound" }
        );
        shows(follower(&pair, side), &faults).await;
    }
}

#[tokio::test]
async fn upgraded_connections_end_with_the_anchor_of_either_side() {
    for side in [Side::Client, Side::Server] {
        let (anchors, pair) = Anchors::pair(side).await;
        let mut io = pair.web.connect(pair.service).await;
        let request =
            "GET /upgrade HTTP/1.1\r\nhost: bb\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        io.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut io, "\r\n\r\n").await;
        echo(&mut io, "before").await;
        anchors.remove_ours(follower(&pair, side)).await;
        assert_eq!(read_to_end(&mut io).await, b"", "{side:?}");
    }
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_shows() {
    let (anchors, pair) = Anchors::pair(Side::Server).await;
    pair.get(Kind::Http2).await.assert_answered();
    anchors.say(&["", &anchors.other.root_pem()[..100]]);
    shows(&pair.bb, "causeway_trust_anchors_stale 1").await;
    shows(&pair.bb, r#"causeway_trust_reloads_total{result="error"} 1"#).await;
    pair.get(Kind::Http2).await.assert_answered();
    anchors.say(&[pair.world.ca.root_pem()]);
    shows(&pair.bb, "causeway_trust_anchors_stale 0").await;
    shows(&pair.bb, r#"causeway_peers_ended_total{why="untrusted"} 0"#).await;
}

/// A pair whose certificates live for three seconds and are renewed each second; `bb` does so with expired peers.
async fn short_lived(expired: &str) -> Pair {
    let world = Sandbox::new().await;
    world.script().certify_for(Duration::from_secs(3));
    let web = [("LINKERD2_PROXY_IDENTITY_MIN_REFRESH", "1s")];
    let bb = [web[0], ("CAUSEWAY_EXPIRED_PEERS", expired)];
    Pair::with(world, &web, &bb).await
}

#[tokio::test]
async fn requests_go_on_while_the_certificates_of_their_connections_expire() {
    let pair = short_lived("drain").await;
    let mut client = pair.client(Kind::Grpc).await;
    let line = r#"causeway_peers_ended_total{why="expired"} 0"#;
    let mut expired = 0;
    within("peers expire", async {
        while expired < 2 {
            client.get("/").await.assert_answered();
            let none = page(&pair.bb).await.lines().any(|found| found == line);
            expired = if none { 0 } else { expired + 1 };
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn opaque_connections_outlive_a_certificate_unless_that_is_not_wanted() {
    let expired = r#"causeway_peers_ended_total{why="expired"} 1"#;
    let mut pair = short_lived("drain").await;
    let mut io = echoing(&mut pair).await;
    shows(&pair.bb, expired).await;
    echo(&mut io, "after").await;

    let mut pair = short_lived("close").await;
    let mut io = echoing(&mut pair).await;
    shows(&pair.bb, expired).await;
    assert_eq!(read_to_end(&mut io).await, b"");
}

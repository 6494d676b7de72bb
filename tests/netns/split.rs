//! A route splits a Service's requests between this cluster and another: are the shares as written, what does it cost to
//! shift them, and where do the requests go when the other cluster dies?

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failover::{Calls, LAST_FAILURE, busy, in_full};
use crate::load::{Kind, Seen, Tally, serve_at_once};
use crate::mesh::{Files, Mesh, plans};

const HTTP: u16 = 9001;
/// Servers, by number.
const WEST: usize = 0;
const EAST: usize = 1;

/// Each second, and as many again of the other method. More than can be answered on two cores: then it is as many as can.
const RATE: u32 = 1_000;
/// For the last of the requests that a phase is to have.
const LIMIT: Duration = Duration::from_secs(180);
/// For a new split to be in force.
const SHIFTED: Duration = Duration::from_secs(5);
const DEAD: Duration = Duration::from_secs(5);
/// For a cluster that came back to be sent its share.
const BACK: Duration = Duration::from_secs(15);

/// The same in both clusters.
const SERVER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: mc-demo}
spec:
  replicas: 1
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec: {containers: [{name: idle, image: 'buoyantio/bb:v0.0.6', args: [terminus, '--h1-server-port=8080']}]}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: mc-demo, labels: {mirror.linkerd.io/exported: remote-discovery}}
spec:
  ports: [{name: http, port: 9001, targetPort: 9001}]
  selector: {app: server}
";

const CALLER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: caller, namespace: mc-demo}
spec:
  replicas: 1
  selector: {matchLabels: {app: caller}}
  template:
    metadata: {labels: {app: caller}}
    spec: {containers: [{name: idle, image: 'buoyantio/bb:v0.0.6', args: [terminus, '--h1-server-port=8080']}]}
";

const CANARY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary, namespace: mc-demo}
spec:
  parentRefs: [{group: core, kind: Service, name: server, port: 9001}]
  rules:
  - backendRefs:
    - {name: server, port: 9001, weight: 90}
    - {name: server-target, port: 9001, weight: 10}
";

const IN_EAST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/east/01-namespace.yaml")),
    ("02-server.yaml", SERVER),
];

const IN_WEST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/west/01-namespace.yaml")),
    ("02-link.yaml", include_str!("../../examples/guide/west/02-link.yaml")),
    ("03-server.yaml", SERVER),
    ("04-caller.yaml", CALLER),
    ("05-canary.yaml", CANARY),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_in_another_cluster_gets_its_share_is_shifted_for_nothing_and_lives_on_without_it() {
    let Some(mut stage) = Stage::set().await else { return };
    for kind in [Kind::Http1, Kind::Http2] {
        stage.play(kind).await;
    }
}

struct Stage {
    mesh: Mesh,
    seen: Seen,
    to: SocketAddr,
}

impl Stage {
    async fn set() -> Option<Self> {
        let mesh = Mesh::of(&plans(IN_EAST, IN_WEST), |_| None).await?;
        let seen = Seen::default();
        for running in mesh.world.pods().iter().filter(|running| running.listed.owner.name == "server") {
            let number = if running.cluster == "west" { WEST } else { EAST };
            serve_at_once(running.pod.namespace(), number, HTTP, &seen);
        }
        let to = SocketAddr::from((mesh.service("west", "server").await, HTTP));
        mesh.service("west", "server-target").await;
        Some(Self { mesh, seen, to })
    }

    async fn play(&mut self, kind: Kind) {
        let calls = Calls::start(&self.mesh, kind, self.to, RATE);
        // The mirror's endpoints are asked for with the first request that goes there.
        self.until_share(Instant::now(), 0.05..1.0).await;
        let (count, began) = (if in_full() { 20_000 } else { 4_000 }, Instant::now());
        self.requests(began, count).await;
        let split = self.share(began, Instant::now());

        self.weigh(90, 50);
        self.weigh(10, 50);
        self.until_share(Instant::now(), 0.4..0.6).await;
        let began = Instant::now();
        self.requests(began, 2_000).await;
        let shifted = self.share(began, Instant::now());

        self.mesh.world.cut("east").unwrap();
        let cut = Instant::now();
        sleep(DEAD).await;
        let gone = cut + LAST_FAILURE + busy();
        let (local, remote) = (self.seen_by(WEST, gone), self.seen_by(EAST, gone));
        self.mesh.world.mend("east").unwrap();
        let mended = Instant::now();
        while self.seen_by(EAST, mended) == 0 {
            assert!(mended.elapsed() < BACK, "{kind:?}: nothing went to the cluster that came back");
            sleep(Duration::from_millis(20)).await;
        }
        let back = mended.elapsed();
        let tallies = calls.end().await;
        self.mesh.edit(
            "west",
            "05-canary.yaml",
            "server, port: 9001, weight: 50",
            "server, port: 9001, weight: 90",
        );
        self.mesh.edit(
            "west",
            "05-canary.yaml",
            "target, port: 9001, weight: 50",
            "target, port: 9001, weight: 10",
        );

        let failed: Vec<_> = tallies.iter().map(|tally| tally.failed.len()).collect();
        eprintln!(
            "{kind:?}: {:.2} % of {count} and more requests, {:.2} % after the shift; GETs and POSTs failed {failed:?}; \
             {local} answered here without the other cluster, {remote} there; back after {back:?}",
            split * 100.0,
            shifted * 100.0
        );
        assert!((0.08..0.12).contains(&split), "{kind:?}: {split}");
        assert!((0.4..0.6).contains(&shifted), "{kind:?}: {shifted}");
        assert!(local > 500 && remote == 0, "{kind:?}: {local} here, {remote} there");
        judge(kind, &tallies, cut);
    }

    /// Writes another weight in place of one of the two.
    fn weigh(&self, from: u32, to: u32) {
        self.mesh.edit("west", "05-canary.yaml", &format!("weight: {from}}}"), &format!("weight: {to}}}"));
    }

    fn seen_by(&self, server: usize, from: Instant) -> usize {
        self.seen.times_by(server).iter().filter(|at| **at >= from).count()
    }

    /// The other cluster's part of what was seen.
    fn share(&self, from: Instant, to: Instant) -> f64 {
        let of =
            |server| self.seen.times_by(server).iter().filter(|at| (from..to).contains(*at)).count() as f64;
        of(EAST) / (of(WEST) + of(EAST))
    }

    async fn requests(&self, from: Instant, count: usize) {
        while self.seen_by(WEST, from) + self.seen_by(EAST, from) < count {
            assert!(from.elapsed() < LIMIT, "{count} requests take too long");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the last half second has such a share.
    async fn until_share(&self, from: Instant, wanted: std::ops::Range<f64>) {
        loop {
            sleep(Duration::from_millis(500)).await;
            let now = Instant::now();
            if wanted.contains(&self.share(now - Duration::from_millis(500), now)) {
                return;
            }
            assert!(from.elapsed() < SHIFTED + busy(), "a share of {wanted:?} is not reached");
        }
    }
}

/// Nothing fails but what the other cluster took to its death: of GETs, which are sent again, nothing at all. What fails
/// ends the application's connection, which may refuse others for it.
fn judge(kind: Kind, [gets, posts]: &[Tally; 2], cut: Instant) {
    assert!(gets.answered.len() > 1_000 && posts.answered.len() > 1_000, "{kind:?}: few requests");
    assert!(gets.failed.is_empty() && gets.refused.is_empty(), "{kind:?}: {:#?}", gets.failed);
    for failure in &posts.failed {
        let after = failure.told.checked_duration_since(cut);
        assert!(
            after.is_some_and(|after| after < LAST_FAILURE + busy()),
            "{kind:?}: failed {after:?} after the cut: {failure:?}"
        );
    }
}

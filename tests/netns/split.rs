//! A route splits a Service's requests between this cluster and another: are the shares as written, what does it cost to
//! shift them, and where do the requests go when the other cluster dies?

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, sleep};

use crate::deaths::{CALLER, Calls, LAST_FAILURE, busy, dead, in_full};
use crate::drain::within;
use crate::idle::{deployment, service};
use crate::load::{Failure, Kind, RATE, Seen, Tally, answer, serve_with};
use crate::mesh::{Files, Mesh, plans, reference};

const HTTP: u16 = 9001;
/// Servers, by number; to which what the route sends to the east is added, of a hundred.
const WEST: usize = 1_000;
const EAST: usize = 2_000;

/// The split that a request went through.
const SPLIT: &str = "x-split";

/// How far a share may be from what is written, which is four times its deviation or more. Where fewer requests tell,
/// two and a half times as much.
const POINTS: f64 = 0.02;
/// For the last of the requests that a phase is to have.
const LIMIT: Duration = Duration::from_secs(180);
/// For a cluster that came back to be sent its share.
const BACK: Duration = Duration::from_secs(15);

/// The same in both clusters.
const SERVER: &str = deployment!("server", 1);
const SERVICE: &str = service!("server", "labels: {mirror.linkerd.io/exported: remote-discovery}");

const CANARY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary, namespace: mc-demo}
spec:
  parentRefs: [{group: core, kind: Service, name: server, port: 9001}]
  rules:
  - filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-split, value: 'REMOTE'}]}}
    backendRefs:
    - {name: server, port: 9001, weight: LOCAL}
    - {name: server-target, port: 9001, weight: REMOTE}
";

const IN_EAST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/east/01-namespace.yaml")),
    ("02-server.yaml", SERVER),
    ("03-service.yaml", SERVICE),
];

const IN_WEST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/west/01-namespace.yaml")),
    ("02-link.yaml", include_str!("../../examples/guide/west/02-link.yaml")),
    ("03-server.yaml", SERVER),
    ("04-service.yaml", SERVICE),
    ("05-caller.yaml", CALLER),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_in_another_cluster_gets_its_share_is_shifted_for_nothing_and_lives_on_without_it() {
    let Some(mut stage) = Stage::set(None).await else { return };
    for kind in [Kind::Http1, Kind::Http2] {
        let seen = stage.play(kind).await;
        seen.print("ours");
        seen.judge();
    }
}

/// Its figures, for comparison: they are printed, not judged.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_in_another_cluster_with_the_reference_proxy() {
    let Some(reference) = reference() else { return };
    let Some(mut stage) = Stage::set(Some(reference)).await else { return };
    for kind in [Kind::Http1, Kind::Http2] {
        stage.play(kind).await.print("the reference");
    }
}

struct Stage {
    mesh: Mesh,
    seen: Seen,
    to: SocketAddr,
}

struct Outcome {
    kind: Kind,
    /// The other cluster's parts of requests, as the route was at first and after the shift.
    shares: [f64; 2],
    cut: Instant,
    /// Seen by either while the other cluster was away, and known to be.
    meanwhile: [usize; 2],
    /// Until something went there again.
    back: Option<Duration>,
    tallies: [Tally; 2],
}

impl Stage {
    async fn set(proxy: Option<PathBuf>) -> Option<Self> {
        let mesh = Mesh::of(&plans(IN_EAST, IN_WEST), |_| proxy.clone()).await?;
        let seen = Seen::default();
        for running in mesh.world.pods().iter().filter(|running| running.listed.owner.name == "server") {
            let number = if running.cluster == "west" { WEST } else { EAST };
            let seen = seen.clone();
            serve_with(running.pod.namespace(), HTTP, move |req| {
                let number = number + split_of(req.headers());
                answer(req, number, seen.clone(), Duration::ZERO)
            });
        }
        let to = SocketAddr::from((mesh.service("west", "server").await, HTTP));
        mesh.service("west", "server-target").await;
        Some(Self { mesh, seen, to })
    }

    async fn play(&mut self, kind: Kind) -> Outcome {
        let [most, some] = if in_full() { [20_000, 10_000] } else { [4_000, 2_000] };
        self.weigh(90, 10);
        let calls = Calls::start(&self.mesh, kind, self.to, RATE / 2);
        let first = self.share_of_the_next(most, 10).await;
        self.weigh(50, 50);
        let second = self.share_of_the_next(some, 50).await;

        self.mesh.world.cut("east").unwrap();
        let cut = Instant::now();
        sleep(dead()).await;
        let known = cut + LAST_FAILURE + busy();
        let meanwhile = [WEST, EAST].map(|server| self.seen_by(server + 50, known));
        self.mesh.world.mend("east").unwrap();
        let back = self.until_back().await;
        Outcome { kind, shares: [first, second], cut, meanwhile, back, tallies: calls.end().await }
    }

    /// Writes the route anew, for the other requests as they come.
    fn weigh(&self, here: u32, there: u32) {
        let route = CANARY.replace("LOCAL", &here.to_string()).replace("REMOTE", &there.to_string());
        std::fs::write(self.mesh.world.manifests("west").join("06-canary.yaml"), route).unwrap();
    }

    async fn until_back(&self) -> Option<Duration> {
        let mended = Instant::now();
        while mended.elapsed() < BACK {
            if self.seen_by(EAST + 50, mended) > 0 {
                return Some(mended.elapsed());
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    fn seen_by(&self, server: usize, from: Instant) -> usize {
        self.seen.times_by(server).iter().filter(|at| **at >= from).count()
    }

    /// The other cluster's part of the next requests that go through this split, from when both have seen one on: a
    /// cluster that nobody has asked yet has first to be connected to.
    async fn share_of_the_next(&self, count: usize, there: usize) -> f64 {
        let mut began = Instant::now();
        let seen = |from| [WEST, EAST].map(|server| self.seen_by(server + there, from));
        within("the split to be in force", async || seen(began).iter().all(|seen| *seen > 0)).await;
        began = Instant::now();
        let deadline = began + LIMIT;
        loop {
            let [west, east] = seen(began);
            if west + east >= count {
                return east as f64 / (west + east) as f64;
            }
            assert!(Instant::now() < deadline, "{count} requests take too long");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What the other cluster may take to its death: half of the POSTs of the 700 ms after which it is given up, and some.
fn most_lost() -> usize {
    if in_full() { 100 } else { (RATE / 4) as usize * (LAST_FAILURE + busy()).as_secs() as usize }
}

/// None before there is a route.
fn split_of(headers: &HeaderMap) -> usize {
    headers.get(SPLIT).map_or(0, |there| there.to_str().unwrap().parse().unwrap())
}

impl Outcome {
    fn print(&self, who: &str) {
        let Self { kind, shares: [first, second], meanwhile: [here, there], back, .. } = self;
        let failed = self.tallies.iter().map(|tally| tally.failed.len()).collect::<Vec<_>>();
        let last = self.failures().filter_map(|it| it.told.checked_duration_since(self.cut)).max();
        let slowest = self.tallies.iter().map(|tally| tally.slowest).max();
        let before = self.failures().filter(|it| it.told < self.cut).count();
        eprintln!(
            "{who}, {kind:?}: {:.2} % there, {:.2} % after the shift; GETs and POSTs failed {failed:?}, {before} before \
             the cut, the last {last:?} after it, the slowest answer took {slowest:?}; then {here} were seen here and {there} there; back after {back:?}",
            first * 100.0,
            second * 100.0
        );
    }

    fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.tallies.iter().flat_map(|tally| &tally.failed)
    }

    /// Nothing fails but what the other cluster took to its death: of GETs, which are sent again, nothing at all. What
    /// fails ends the application's connection, which may refuse others for it.
    fn judge(&self) {
        let Self { kind, shares: [first, second], meanwhile: [here, there], tallies: [gets, posts], .. } =
            self;
        assert!((first - 0.1).abs() < POINTS, "{kind:?}: {first}");
        assert!((second - 0.5).abs() < if in_full() { POINTS } else { 2.5 * POINTS }, "{kind:?}: {second}");
        assert!(*here > 500 && *there == 0, "{kind:?}: {here} here, {there} there");
        assert!(self.back.is_some(), "{kind:?}: nothing went to the cluster that came back");
        assert!(gets.answered.len() > 1_000 && posts.answered.len() > 1_000, "{kind:?}: few requests");
        assert!(gets.failed.is_empty() && gets.refused.is_empty(), "{kind:?}: {gets:#?}");
        let lost = posts.failed.iter().map(|failure| failure.told);
        let lost: Vec<_> = lost.chain(posts.refused.iter().map(|(_, told)| *told)).collect();
        for told in &lost {
            let after = told.checked_duration_since(self.cut);
            let in_time = after.is_some_and(|after| after < LAST_FAILURE + busy());
            assert!(
                in_time,
                "{kind:?}: lost {after:?} after the cut: {:#?} {:?}",
                posts.failed, posts.refused
            );
        }
        assert!(lost.len() < most_lost(), "{kind:?}: {} lost", lost.len());
    }
}

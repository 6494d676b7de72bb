//! One of three endpoints dies without a word, and again by a kill: who pays, for how long, and when is it used again?

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use causeway::demo::kubelet::PROXY;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::deaths::{CALLER, Calls, LAST_FAILURE, busy, dead, in_full};
use crate::idle::{deployment, service};
use crate::load::{Kind, RATE, Seen, Tally, serve_at_once};
use crate::mesh::{Files, Mesh, plan, reference};

const PORT: u16 = 9001;

/// It is used so soon after its return.
const USED_AGAIN: Duration = Duration::from_secs(5);
const ALIVE: Duration = Duration::from_secs(2);
/// Longer than it takes to be given up by a host that is gone.
const STOPPED: Duration = Duration::from_secs(2);
const EAST: Files = &[
    ("01-namespace.yaml", include_str!("../../examples/guide/east/01-namespace.yaml")),
    ("02-server.yaml", deployment!("server", 3)),
    ("03-service.yaml", service!("server")),
    ("04-caller.yaml", CALLER),
];

#[derive(Clone, Copy, Debug)]
enum Death {
    /// Its link: no FIN, no RST.
    Cut,
    /// SIGKILL.
    Kill,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_an_endpoint_costs_at_most_what_was_in_flight_to_it() {
    let Some(mut stage) = Stage::set(None).await else { return };
    for (number, (kind, death)) in CASES.into_iter().enumerate() {
        let seen = stage.play(number % 3, kind, death).await;
        seen.print("ours");
        seen.judge();
    }
}

/// Its kernel acknowledges what it is sent, so it lives: it is given time for what it has, and nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_stopped_for_a_while_costs_no_request_and_gets_none_meanwhile() {
    let Some(mut stage) = Stage::set(None).await else { return };
    // One after the other: who has been slow is chosen less for a while.
    for (victim, kind) in [Kind::Http1, Kind::Http2].into_iter().enumerate() {
        let calls = Calls::start(&stage.mesh, kind, stage.to, RATE / 2);
        sleep(ALIVE).await;
        stage.signal(victim, Signal::SIGSTOP);
        sleep(STOPPED).await;
        let others = [0, 1, 2].map(|server| stage.seen.times_by(server));
        let lately = others.iter().flatten().filter(|seen| seen.elapsed() < STOPPED / 4).count();
        let back = Instant::now();
        stage.signal(victim, Signal::SIGCONT);
        assert!(stage.used_since(victim, back).await.is_some(), "{kind:?}: not used again");
        let tallies = calls.end().await;
        // A quarter of what is called for, where a machine is busy.
        assert!(lately > RATE as usize / 8, "{kind:?}: {lately} requests were seen by the others");
        for Tally { answered, failed, refused, .. } in &tallies {
            assert!(failed.is_empty() && refused.is_empty(), "{kind:?}: {failed:#?} {refused:?}");
            assert!(answered.len() > 500, "{kind:?}: few requests");
        }
        // One at least: those who have none in flight are chosen before it.
        let slowest = tallies.iter().map(|tally| tally.slowest).max();
        assert!(slowest > Some(STOPPED / 2), "{kind:?}: no request waited for it, the slowest {slowest:?}");
    }
}

/// Its figures, for comparison: they are printed, not judged.
#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_an_endpoint_with_the_reference_proxy() {
    let Some(reference) = reference() else { return };
    let Some(mut stage) = Stage::set(Some(reference)).await else { return };
    for (number, (kind, death)) in CASES.into_iter().enumerate() {
        stage.play(number % 3, kind, death).await.print("the reference");
    }
}

const CASES: [(Kind, Death); 4] = [
    (Kind::Http1, Death::Cut),
    (Kind::Http2, Death::Cut),
    (Kind::Http1, Death::Kill),
    (Kind::Http2, Death::Kill),
];

struct Stage {
    mesh: Mesh,
    seen: Seen,
    to: SocketAddr,
    pods: Vec<Ipv4Addr>,
}

impl Stage {
    async fn set(proxy: Option<PathBuf>) -> Option<Self> {
        let mesh = Mesh::of(&[plan(EAST)], |_| proxy.clone()).await?;
        let seen = Seen::default();
        let servers = mesh.world.pods().iter().filter(|running| running.listed.owner.name == "server");
        let mut pods = Vec::new();
        for (number, running) in servers.enumerate() {
            serve_at_once(running.pod.namespace(), number, PORT, &seen);
            let std::net::IpAddr::V4(ip) = running.listed.ip else { unreachable!() };
            pods.push(ip);
        }
        let to = SocketAddr::from((mesh.service("east", "server").await, PORT));
        Some(Self { mesh, seen, to, pods })
    }

    /// Lets one server die under load and come back.
    async fn play(&mut self, victim: usize, kind: Kind, death: Death) -> Outcome {
        let calls = Calls::start(&self.mesh, kind, self.to, RATE / 2);
        sleep(ALIVE).await;
        let died = Instant::now();
        self.die(victim, death);
        sleep(dead()).await;
        let returned = self.revive(victim, death).await;
        let used = self.used_since(victim, returned).await;
        let [gets, posts] = calls.end().await;
        Outcome { what: format!("{kind:?}, {death:?}"), died, gets, posts, used }
    }

    fn die(&mut self, victim: usize, death: Death) {
        let ip = self.pods[victim];
        match death {
            Death::Cut => self.mesh.world.network().cut(ip.into()).unwrap(),
            Death::Kill => self.signal(victim, Signal::SIGKILL),
        }
    }

    fn signal(&mut self, server: usize, signal: Signal) {
        let ip = self.pods[server];
        let mut pods = self.mesh.world.pods_mut().iter_mut();
        pods.find(|running| running.listed.ip == ip).unwrap().pod.signal(PROXY, signal);
    }

    /// Says when it could be reached again.
    async fn revive(&mut self, victim: usize, death: Death) -> Instant {
        let ip = self.pods[victim].into();
        match death {
            Death::Cut => self.mesh.world.network().mend(ip).unwrap(),
            Death::Kill => self.mesh.world.restart_proxy(ip).await.unwrap(),
        }
        Instant::now()
    }

    /// How long after `returned` its application saw a request.
    async fn used_since(&self, victim: usize, returned: Instant) -> Option<Duration> {
        while returned.elapsed() < 3 * USED_AGAIN {
            let times = self.seen.times_by(victim);
            if let Some(first) = times.iter().rev().take_while(|when| **when > returned).last() {
                return Some(*first - returned);
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }
}

struct Outcome {
    what: String,
    died: Instant,
    gets: Tally,
    posts: Tally,
    /// After its return.
    used: Option<Duration>,
}

impl Outcome {
    fn print(&self, who: &str) {
        let of = |tally: &Tally| {
            let last = tally.failed.iter().map(|failure| failure.told - self.died).max();
            let (answered, failed) = (tally.answered.len(), tally.failed.len());
            let why = tally.failed.first().map(|failure| failure.why.as_str()).unwrap_or_default();
            let slowest = tally.slowest;
            format!(
                "{answered} answered, the slowest in {slowest:?}, {failed} failed, the last after {last:?} {why}"
            )
        };
        eprintln!(
            "{who}, {}: GET {}; POST {}; used again after {:?}",
            self.what,
            of(&self.gets),
            of(&self.posts),
            self.used
        );
    }

    fn judge(&self) {
        let what = &self.what;
        assert!(
            self.gets.answered.len() > 1_000 && self.posts.answered.len() > 1_000,
            "{what}: few requests"
        );
        assert!(self.gets.failed.is_empty(), "{what}: {:#?}", self.gets.failed);
        assert!(self.gets.slowest < LAST_FAILURE + busy(), "{what}: a GET waited {:?}", self.gets.slowest);
        let noticed = self.posts.failed.iter().map(|failure| failure.told).min();
        for failure in &self.posts.failed {
            assert!(failure.told - self.died < LAST_FAILURE + busy(), "{what}: {failure:?}");
            // Whatever was sent once it was known to be dead went elsewhere.
            assert!(noticed.is_none_or(|noticed| failure.sent <= noticed), "{what}: {failure:?}");
        }
        // A third of what is sent in 700 ms is 58, if nobody minded how many wait there.
        let most = if in_full() { 40 } else { 60 };
        assert!(self.posts.failed.len() <= most, "{what}: {:#?}", self.posts.failed);
        assert!(
            self.used.is_some_and(|used| used < USED_AGAIN + busy()),
            "{what}: used again {:?}",
            self.used
        );
    }
}

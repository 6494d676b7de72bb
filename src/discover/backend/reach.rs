//! How one endpoint of a backend is reached, and what is known of whether it can be.
//!
//! ```text
//!   ready ──silent──▶ doubted ──heard──▶ ready
//!     └────died, unreachable────▶ down ──tried in the background, answers──▶ returning ──▶ ready
//! ```

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::backoff::Backoff;
use crate::balance::circuit::{Change, Circuit, Verdict};
use crate::balance::{self, Balancer, Readiness};
use crate::connect::Client;
use crate::connect::pulse::Sign;
use crate::connect::track::Kept;
use crate::model::Authority;
use crate::model::outbound::Breaker;
use crate::telemetry::requests::{Outcome, Requests, ResponseError};

use super::wave;

/// An endpoint and its connections.
pub(super) struct Reach {
    pub(super) client: Arc<Client>,
    pub(super) requests: Arc<Requests>,
    /// Attempts in a row that failed.
    failures: AtomicU32,
    /// It is being tried in the background.
    reviving: AtomicBool,
    backoff: Backoff,
    /// Of an endpoint that is one of several.
    among: Option<Among>,
}

/// What is balanced over, for as long as it is watched.
pub(super) struct Set {
    pub(super) authority: Authority,
    pub(super) balancer: Arc<Balancer<Arc<Reach>>>,
    breaker: Option<Breaker>,
    /// Whether its clusters are about to be judged.
    judging: Arc<AtomicBool>,
}

/// The set that an endpoint is one of.
pub(super) struct Among {
    balancer: Weak<Balancer<Arc<Reach>>>,
    judging: Arc<AtomicBool>,
    readiness: Readiness,
    died: Mutex<Option<Instant>>,
    /// Judges its answers, where policy asks for it.
    circuit: Option<Circuit>,
}

/// One endpoint, chosen for one request or connection. Dropping it ends the measurement.
pub struct Pick {
    pub(super) reach: Arc<Reach>,
    pub(super) picked: Option<balance::Pick<Arc<Reach>>>,
}

/// Pauses between attempts at an endpoint grow no further: with the time for an attempt, one that is back is used within
/// five seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Deaths within this time of the first are looked at together.
const GATHER: Duration = Duration::from_millis(20);
/// Endpoints that are asked at once.
const ASKED: usize = 64;

impl Set {
    pub(super) fn new(
        authority: Authority,
        balancer: &Arc<Balancer<Arc<Reach>>>,
        breaker: Option<Breaker>,
    ) -> Self {
        Self { authority, balancer: balancer.clone(), breaker, judging: Arc::default() }
    }
}

impl Among {
    pub(super) fn new(set: &Set, readiness: Readiness) -> Self {
        let (balancer, judging) = (Arc::downgrade(&set.balancer), set.judging.clone());
        let circuit = set.breaker.map(|breaker| Circuit::new(breaker, Instant::now()));
        Self { balancer, judging, readiness, died: Mutex::default(), circuit }
    }
}

impl Reach {
    /// `connect` makes the client, which tells of its connections.
    pub(super) fn new(
        requests: Arc<Requests>,
        backoff: Backoff,
        among: Option<Among>,
        connect: impl FnOnce(crate::connect::pulse::Tell) -> Client,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let this = this.clone();
            let tell = move |sign| {
                if let Some(reach) = this.upgrade() {
                    reach.told(sign);
                }
            };
            Self {
                client: Arc::new(connect(Arc::new(tell))),
                requests,
                failures: AtomicU32::new(0),
                reviving: AtomicBool::new(false),
                backoff,
                among,
            }
        })
    }

    /// A connection has shown something of the endpoint.
    fn told(self: &Arc<Self>, sign: Sign) {
        let Some(Among { readiness, .. }) = &self.among else { return };
        match sign {
            Sign::Silent => readiness.doubt(),
            Sign::Answered => readiness.trust(),
            Sign::Died => {
                info!(endpoint = %self.client.endpoint.addr, "the connection to an endpoint died");
                self.client.prompt();
                self.fell();
            }
        }
    }

    /// It is not chosen again until it has answered.
    fn fell(self: &Arc<Self>) {
        let Some(among) = &self.among else { return };
        among.readiness.set(false);
        // One failure, however many waited for the same attempt.
        if self.reviving.swap(true, Ordering::Relaxed) {
            return;
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        *among.died.lock() = Some(Instant::now());
        self.client.doubt();
        tokio::spawn(revive(Arc::downgrade(self)));
        if !among.judging.swap(true, Ordering::Relaxed) {
            tokio::spawn(judge(among.balancer.clone(), among.judging.clone()));
        }
    }

    /// What it showed last.
    fn sign(&self, answered: Duration) -> wave::Sign {
        let died = self.among.as_ref().and_then(|among| *among.died.lock());
        match died.map(|died| died.elapsed()) {
            Some(ago) if ago < answered => wave::Sign::Died(ago),
            _ => wave::Sign::Answered(answered),
        }
    }

    /// Asks whether it is there. Until it has answered it is chosen only where there is no other.
    async fn ask(self: &Arc<Self>) {
        let Some(Among { readiness, .. }) = &self.among else { return };
        readiness.doubt();
        if self.client.prompt() {
            // Its connections will tell.
            return;
        }
        match self.client.answers().await {
            Ok(()) => readiness.trust(),
            Err(_) => self.fell(),
        }
    }

    /// An answer has shown how well it does; `probe` that of the request that was let through to see.
    fn judge(self: &Arc<Self>, outcome: Outcome, probe: bool) {
        let Some(Among { readiness, circuit: Some(circuit), .. }) = &self.among else { return };
        let endpoint = self.client.endpoint.addr;
        match circuit.record(verdict(outcome), probe, Instant::now()) {
            None => {}
            Some(Change::Recovered) => {
                info!(%endpoint, "an endpoint does well again: its circuit is closed");
                readiness.recover();
            }
            Some(Change::Tripped(pause)) => {
                info!(%endpoint, ?pause, "an endpoint fails too often: its circuit is open");
                readiness.trip();
                let reach = Arc::downgrade(self);
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    if let Some(among) = reach.upgrade().as_ref().and_then(|reach| reach.among.as_ref()) {
                        among.readiness.admit_one();
                    }
                });
            }
        }
    }

    fn pause(&self) -> Duration {
        let failures = self.failures.load(Ordering::Relaxed).saturating_sub(1);
        self.backoff.delay(failures, fastrand::f64()).min(LONGEST_PAUSE)
    }

    /// Whether it still is in its set.
    fn is_member(&self) -> bool {
        let balancer = self.among.as_ref().and_then(|among| among.balancer.upgrade());
        let member = balancer.and_then(|balancer| balancer.get(self.client.endpoint.addr));
        member.is_some_and(|member| std::ptr::eq(&***member, self))
    }
}

/// What an answer says of its endpoint (contract 3.10).
fn verdict(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Http(StatusCode::TOO_MANY_REQUESTS) | Outcome::Grpc(_, Some(RESOURCE_EXHAUSTED)) => {
            Verdict::Limited
        }
        outcome if outcome.is_success() => Verdict::Success,
        _ => Verdict::Failure,
    }
}

const RESOURCE_EXHAUSTED: u16 = 8;

/// Tries an endpoint again until it answers, or is gone from its set. Pauses grow until a connection is used, however
/// often it has been tried in between.
async fn revive(reach: Weak<Reach>) {
    loop {
        let Some(pause) = reach.upgrade().map(|reach| reach.pause()) else { return };
        tokio::time::sleep(pause).await;
        let Some(reach) = reach.upgrade().filter(|reach| reach.is_member()) else { return };
        let Some(Among { readiness, .. }) = &reach.among else { return };
        match reach.client.answers().await {
            Ok(()) => {
                debug!(endpoint = %reach.client.endpoint.addr, "an endpoint answers again");
                reach.reviving.store(false, Ordering::Relaxed);
                readiness.come_back();
                return;
            }
            Err(error) => debug!(%error, "an endpoint does not answer"),
        }
        reach.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where most endpoints of a cluster died, asks the others.
async fn judge(balancer: Weak<Balancer<Arc<Reach>>>, judging: Arc<AtomicBool>) {
    tokio::time::sleep(GATHER).await;
    judging.store(false, Ordering::Relaxed);
    let Some(members) = balancer.upgrade().map(|balancer| balancer.members()) else { return };
    let now = Instant::now();
    let signs = members
        .iter()
        .map(|member| (wave::Cluster::of(&member.client.endpoint), member.sign(member.answered(now))));
    let doubted = wave::in_doubt(signs);
    if doubted.is_empty() {
        return;
    }
    info!(clusters = ?doubted, "endpoints die together");
    let others = members
        .iter()
        .filter(|member| member.is_ready() && doubted.contains(&wave::Cluster::of(&member.client.endpoint)));
    let asked = others.map(|member| member.ask());
    futures_util::stream::iter(asked).for_each_concurrent(ASKED, |asked| asked).await;
}

impl Pick {
    /// Whether it is no choice among several, and has proven who it is.
    pub fn is_given_and_meshed(&self) -> bool {
        self.picked.is_none() && self.reach.client.endpoint.tls.is_some() && !self.reach.client.is_local()
    }

    pub fn client(&self) -> &Arc<Client> {
        &self.reach.client
    }

    pub fn requests(&self) -> &Arc<Requests> {
        &self.reach.requests
    }

    /// The endpoint answered an attempt to reach it. How long that took happens once a connection
    /// and is not held against it.
    pub fn reached(&mut self) {
        self.reach.failures.store(0, Ordering::Relaxed);
        if let Some(picked) = &mut self.picked {
            picked.restart();
        }
    }

    /// The endpoint could not be reached: it is not chosen again until it has been tried in the
    /// background. Returns whether there may be another to choose.
    pub fn unreachable(self) -> bool {
        self.reach.fell();
        let Some(picked) = self.picked else { return false };
        picked.abandon();
        true
    }

    /// Ends the use of an endpoint whose time says nothing of its latency: an opaque connection's, or a request's that
    /// was not answered.
    pub fn abandon(self) {
        if let Some(picked) = self.picked {
            picked.abandon();
        }
    }
}

impl Pick {
    /// There is no answer, though the request was sent.
    pub fn failed(&mut self, error: ResponseError) {
        self.judge(Outcome::Failed(None, error));
    }

    fn judge(&mut self, outcome: Outcome) {
        if let Some(picked) = &mut self.picked {
            let probe = picked.judged();
            self.reach.judge(outcome, probe);
        }
    }

    /// The head of an answer has come.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some(picked) = &mut self.picked {
            picked.answered(status, headers);
        }
    }
}

impl Kept for Pick {
    fn ended(&mut self, outcome: Outcome) {
        self.judge(outcome);
    }

    fn responded(&mut self) {
        if let Some(picked) = &mut self.picked {
            picked.responded();
        }
    }
}

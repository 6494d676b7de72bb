//! A gRPC watch that reconnects, and whose last good answer stays in force meanwhile.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status, Streaming};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;

/// Limits of one watch stream (contract 1.4). `None` is unlimited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// For the first message.
    pub initial: Option<Duration>,
    /// Between messages.
    pub idle: Option<Duration>,
    pub lifetime: Option<Duration>,
}

/// How watches reconnect.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub limits: Limits,
    pub backoff: Backoff,
}

/// Counts watches that are down. What depends on a watch that is down must not be forgotten, since
/// nobody could say it again.
#[derive(Clone, Debug, Default)]
pub struct Outages(Arc<AtomicUsize>);

impl Outages {
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Marks one watch as down while it lives.
struct Outage(Outages);

impl Outage {
    fn begin(outages: &Outages) -> Self {
        outages.0.fetch_add(1, Ordering::Relaxed);
        Self(outages.clone())
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Silence after which the operator is told that a first answer is missing.
const SILENCE: Duration = Duration::from_secs(3);

/// Follows one watch: every message goes to `on`, unless the server refuses it from the start.
///
/// Errors that `is_final` does not name, and any error after the first answer, are retried with backoff
/// for as long as it takes.
pub async fn follow<M, F>(
    what: &str,
    patience: Patience,
    outages: &Outages,
    is_final: fn(&Status) -> bool,
    mut open: impl FnMut() -> F,
    mut on: impl FnMut(M),
) -> Status
where
    F: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    let mut delays = patience.backoff.delays();
    let mut outage = None;
    let mut answered = false;
    let started = Instant::now();
    loop {
        let mut on = |message| {
            if outage.take().is_some() {
                info!(watch = what, "the control plane answers again");
            }
            delays.reset();
            answered = true;
            on(message);
        };
        let ended = run(patience.limits, open(), &mut on).await;
        let Err(status) = ended else { continue };
        if is_final(&status) {
            if !answered {
                debug!(watch = what, code = ?status.code(), "the control plane refused the look-up");
                return status;
            }
            // Gone for now, or the controller has not read everything yet. What was answered stays in
            // force: forgetting it could turn what was meshed into plaintext.
            debug!(watch = what, code = ?status.code(), "no longer answered; the last answer stays in force");
            sleep(delays.next_delay()).await;
            continue;
        }
        if outage.is_none() {
            outage = Some(Outage::begin(outages));
            warn!(watch = what, code = ?status.code(), error = status.message().escape_debug().to_string(),
                "lost the control plane; the last answer stays in force");
        }
        if !answered && started.elapsed() > SILENCE {
            warn!(watch = what, waiting = ?started.elapsed(), "still no first answer from the control plane");
        }
        sleep(delays.next_delay()).await;
    }
}

/// Runs one stream. `Ok` when a limit ended it and it is to be opened again at once.
async fn run<M, F>(limits: Limits, open: F, on: &mut impl FnMut(M)) -> Result<(), Status>
where
    F: Future<Output = Result<Response<Streaming<M>>, Status>>,
{
    let opened = Instant::now();
    let first_by = deadline(opened, limits.initial);
    let late = |_| Status::deadline_exceeded("no first answer in time");
    let mut stream = timeout_at(first_by, open).await.map_err(late)??.into_inner();
    let first = timeout_at(first_by, stream.message()).await.map_err(late)??;
    on(first.ok_or_else(|| Status::unavailable("the stream ended"))?);
    let lifetime = deadline(opened, limits.lifetime);
    loop {
        let until = deadline(Instant::now(), limits.idle).min(lifetime);
        match timeout_at(until, stream.message()).await {
            Err(_) => return Ok(()),
            Ok(message) => on(message?.ok_or_else(|| Status::unavailable("the stream ended"))?),
        }
    }
}

fn deadline(from: Instant, limit: Option<Duration>) -> Instant {
    // As tokio's own "never": far enough, and still representable.
    const FAR: Duration = Duration::from_secs(86_400 * 365 * 30);
    from + limit.unwrap_or(FAR)
}

#[cfg(test)]
mod tests;

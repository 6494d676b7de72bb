//! Keep-alive HTTP/1 connections of one endpoint.
//!
//! A connection goes back into the pool as soon as its answer's head has come. Whether it can take
//! the next request is its own to say: until the body has passed it is not ready, and is passed
//! over. So no task has to wait for a body's end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::io::InspectReader;

use crate::message::{RequestBody, vet};
use crate::model::protocol::HttpVersion;
use crate::tls::{Right, rights};

use super::Error;
use super::client::{Client, Unanswered};
use super::resend::{Kept, is_loss};

/// Limits of a pool (contract 1.3: `MAX_IDLE_CONNS_PER_ENDPOINT`, `…CONNECTION_POOL_IDLE_TIMEOUT`).
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    pub max_idle: usize,
    pub idle_timeout: Duration,
    /// Whether what a connection takes with it when it dies is wanted back.
    pub resends: bool,
}

pub(super) struct Pool {
    settings: PoolSettings,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: SendRequest<RequestBody>,
    right: Option<Right>,
    heard: Arc<AtomicBool>,
    since: Instant,
}

/// One connection, taken out of the pool for one request.
pub struct Lease<'a> {
    pool: &'a Pool,
    connection: SendRequest<RequestBody>,
    right: Option<Right>,
    /// Something has come since the request was begun.
    heard: Arc<AtomicBool>,
    /// It has carried a request before.
    pooled: bool,
}

impl Pool {
    pub(super) fn new(settings: PoolSettings) -> Self {
        Self { settings, idle: Mutex::default() }
    }

    pub(super) async fn lease<'a>(&'a self, client: &Client) -> Result<Lease<'a>, Error> {
        if let Some(Idle { connection, right, heard, .. }) = self.take_idle() {
            return Ok(Lease { pool: self, connection, right, heard, pooled: true });
        }
        // Rare, and large: room for it is not taken for every request.
        Box::pin(self.open(client)).await
    }

    async fn open(&self, client: &Client) -> Result<Lease<'_>, Error> {
        let io = client.open(Some(HttpVersion::Http1)).await?;
        let right = io.get_ref().right().cloned();
        let broken = |error| Error::Http(client.endpoint.addr, error);
        let heard = Arc::<AtomicBool>::default();
        let hears = heard.clone();
        let io = InspectReader::new(io, move |bytes: &[u8]| {
            if !bytes.is_empty() {
                hears.store(true, Ordering::Relaxed);
            }
        });
        let (connection, driver) = Builder::new()
            .max_header_size(vet::LIBRARY as usize)
            .max_buf_size(vet::HTTP1_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(broken)?;
        let until = right.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = driver.with_upgrades() => ended,
                () = rights::cut(until.as_ref()) => return,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP/1 connection to an endpoint ended");
            }
        });
        Ok(Lease { pool: self, connection, right, heard, pooled: false })
    }

    /// The most recently used connection that is ready: the others may grow old and be closed.
    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle.lock();
        idle.retain(|entry| !entry.is_over());
        let at = idle.iter().rposition(|entry| entry.connection.is_ready())?;
        Some(idle.remove(at))
    }

    fn give_back(&self, lease: Lease<'_>) {
        let Lease { connection, right, heard, .. } = lease;
        let mut idle = self.idle.lock();
        let entry = Idle { connection, right, heard, since: Instant::now() };
        if idle.len() < self.settings.max_idle && !entry.is_over() {
            idle.push(entry);
        }
    }

    pub(super) fn is_warm(&self) -> bool {
        !self.idle.lock().is_empty()
    }

    pub(super) fn sweep(&self, now: Instant) {
        self.idle.lock().retain_mut(|entry| {
            if !entry.connection.is_ready() && !entry.connection.is_closed() {
                // Its answer is still on its way: it has not begun to idle.
                entry.since = now;
            }
            !entry.is_over() && now.duration_since(entry.since) < self.settings.idle_timeout
        });
    }
}

impl Idle {
    /// Whether nothing more is to be sent on it: it is closed, or its peer has lost the right to it.
    fn is_over(&self) -> bool {
        self.connection.is_closed() || self.right.as_ref().is_some_and(Right::is_over)
    }
}

impl Lease<'_> {
    pub(super) fn right(&self) -> Option<&Right> {
        self.right.as_ref()
    }

    pub(super) async fn send(mut self, req: Request<RequestBody>) -> Result<Response<Incoming>, Unanswered> {
        let (req, kept) = if self.pool.settings.resends {
            let (req, kept) = Kept::of(req);
            (req, Some(kept))
        } else {
            (req, None)
        };
        self.heard.store(false, Ordering::Relaxed);
        let mut failed = match self.connection.try_send_request(req).await {
            Ok(rsp) => {
                self.pool.give_back(self);
                return Ok(rsp);
            }
            Err(failed) => failed,
        };
        if let Some(req) = failed.take_message() {
            return Err(Unanswered::Unsent(Box::new(req), failed.into_error()));
        }
        let error = failed.into_error();
        let blame = vet::to_blame(&error);
        let kept = kept.filter(|_| blame.is_none() && is_loss(&error));
        // Nobody acts on a part of a request; a server may close a connection that it has just left idle. Who has begun to
        // answer has acted.
        let silent = !self.heard.load(Ordering::Relaxed);
        let unread = silent && self.pooled && kept.as_ref().is_some_and(|kept| !kept.is_sent());
        Err(match kept.and_then(Kept::again) {
            Some(req) if unread => Unanswered::Refused(Box::new(req), error),
            Some(req) => Unanswered::Lost(Box::new(req), error),
            None => Unanswered::Broken(error, blame),
        })
    }
}

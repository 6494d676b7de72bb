//! Keep-alive HTTP/1 connections of one endpoint.
//!
//! A connection goes back into the pool as soon as its answer's head has come. Whether it can take
//! the next request is its own to say: until the body has passed it is not ready, and is passed
//! over. So no task has to wait for a body's end.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::message::{RequestBody, vet};
use crate::model::protocol::HttpVersion;

use super::Error;
use super::client::{Client, Unanswered};

/// Limits of a pool (contract 1.3: `MAX_IDLE_CONNS_PER_ENDPOINT`, `…CONNECTION_POOL_IDLE_TIMEOUT`).
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    pub max_idle: usize,
    pub idle_timeout: Duration,
}

pub(super) struct Pool {
    settings: PoolSettings,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: SendRequest<RequestBody>,
    since: Instant,
}

/// One connection, taken out of the pool for one request.
pub struct Lease<'a> {
    pool: &'a Pool,
    connection: SendRequest<RequestBody>,
}

impl Pool {
    pub(super) fn new(settings: PoolSettings) -> Self {
        Self { settings, idle: Mutex::default() }
    }

    pub(super) async fn lease<'a>(&'a self, client: &Client) -> Result<Lease<'a>, Error> {
        if let Some(connection) = self.take_idle() {
            return Ok(Lease { pool: self, connection });
        }
        let io = client.open(Some(HttpVersion::Http1)).await?;
        let broken = |error| Error::Http(client.endpoint.addr, error);
        let (connection, driver) = Builder::new()
            .max_header_size(vet::LIBRARY as usize)
            .max_buf_size(vet::HTTP1_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(broken)?;
        tokio::spawn(async move {
            if let Err(error) = driver.with_upgrades().await {
                tracing::debug!(%error, "an HTTP/1 connection to an endpoint ended");
            }
        });
        Ok(Lease { pool: self, connection })
    }

    /// The most recently used connection that is ready: the others may grow old and be closed.
    fn take_idle(&self) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.lock();
        idle.retain(|entry| !entry.connection.is_closed());
        let at = idle.iter().rposition(|entry| entry.connection.is_ready())?;
        Some(idle.remove(at).connection)
    }

    fn give_back(&self, connection: SendRequest<RequestBody>) {
        let mut idle = self.idle.lock();
        if idle.len() < self.settings.max_idle && !connection.is_closed() {
            idle.push(Idle { connection, since: Instant::now() });
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
            !entry.connection.is_closed() && now.duration_since(entry.since) < self.settings.idle_timeout
        });
    }
}

impl Lease<'_> {
    pub(super) async fn send(mut self, req: Request<RequestBody>) -> Result<Response<Incoming>, Unanswered> {
        match self.connection.try_send_request(req).await {
            Ok(rsp) => {
                self.pool.give_back(self.connection);
                Ok(rsp)
            }
            Err(mut failed) => Err(match failed.take_message() {
                Some(req) => Unanswered::Unsent(Box::new(req), failed.into_error()),
                None => {
                    let error = failed.into_error();
                    let blame = vet::to_blame(&error);
                    Unanswered::Broken(error, blame)
                }
            }),
        }
    }
}

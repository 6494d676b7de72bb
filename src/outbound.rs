//! The outbound line: an application's connection, from accept to close.

pub mod early;
mod form;
mod handles;
pub mod http;
mod ingress;
mod profile;
mod retry;
pub mod route;
mod rule;
mod send;
pub mod tcp;
mod terms;
mod timeout;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::detect;
use crate::discover::{Destination, Discover, Expect, Routing, Target};
use crate::drain::Drain;
use crate::error::{Fault, Reason};
use crate::message::Allowance;
use crate::message::server::HttpServer;
use crate::model::DnsName;
use crate::model::protocol::HttpVersion;
use crate::net::{Accepted, Prefixed};
use crate::telemetry::Metrics;
use crate::telemetry::classes::Cause;
use crate::telemetry::connections::Configured;
use crate::telemetry::transport::Metered;

use early::{Early, Silence};

/// Carries the connections that the application opens.
pub struct Outbound {
    pub discover: Arc<Discover>,
    pub detect_timeout: Duration,
    /// Requests go by the name that they ask for (contract 3.12).
    pub ingress: bool,
    /// After which the server may speak first.
    pub silence: Silence,
    /// Serves HTTP towards the application.
    pub http: HttpServer,
    /// Whether the application sees the mesh's own headers (contract 1.3).
    pub informational_headers: bool,
    /// Whether metrics of routes name the host that was asked for.
    pub hostname_labels: bool,
    /// Places for requests that wait for their answers.
    pub in_flight: Arc<Semaphore>,
    /// Bytes of requests that are kept to be sent again, of all.
    pub replays: Arc<Allowance>,
    pub metrics: Arc<Metrics>,
    pub drain: Drain,
}

/// What the application speaks on a connection.
struct Heard {
    /// `None`: bytes that are nobody's business.
    http: Option<HttpVersion>,
    /// Whom TLS asks for, where routes are chosen by that.
    server_name: Option<DnsName>,
    cause: Cause,
    /// To be used for such bytes.
    early: Option<Box<Early>>,
}

impl From<Expect> for Configured {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Opaque => Self::Opaque,
            Expect::Http1 => Self::Http1,
            Expect::Http2 => Self::Http2,
            Expect::Tls => Self::Tls,
            Expect::Detect => Self::Detect,
        }
    }
}

/// Resolves when a client resets its connection, or `patience` after it has ended what it sends without a word: until
/// then it may still listen. Never of one that has sent all that is taken in.
async fn gone<IO: AsyncRead + Unpin>(io: &mut Prefixed<IO>, patience: Duration) {
    if let Meanwhile::Full = meanwhile(io, patience).await {
        std::future::pending().await
    }
}

/// What becomes of a client that waits for the control plane.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// It has reset its connection, or ended what it sends `patience` ago.
    Gone,
    /// It has sent all that is taken in: whether it is still there cannot be told.
    Full,
}

pub(crate) async fn meanwhile<IO: AsyncRead + Unpin>(io: &mut Prefixed<IO>, patience: Duration) -> Meanwhile {
    let most = io.prefix().len() + FIRST_BYTES;
    while io.prefix().len() < most {
        match io.read_more(most).await {
            Err(_) => return Meanwhile::Gone,
            Ok(0) => {
                tokio::time::sleep(patience).await;
                return Meanwhile::Gone;
            }
            Ok(_) => {}
        }
    }
    Meanwhile::Full
}

/// Bytes taken in at most while a client waits for the control plane.
const FIRST_BYTES: usize = 1024;

impl Outbound {
    /// Carries one intercepted connection and records how it ended.
    pub async fn serve(self: Arc<Self>, conn: Accepted) {
        let (client, orig_dst) = (conn.client, conn.orig_dst);
        if let Err(fault) = self.carry(conn).await {
            self.metrics.errors.outbound_tcp(fault.reason, orig_dst);
            info!(%client, %orig_dst, reason = fault.reason.row().name, "outbound connection failed: {fault}");
        }
    }

    async fn carry(self: &Arc<Self>, conn: Accepted) -> Result<(), Fault> {
        if self.ingress {
            return Box::pin(self.carry_ingress(conn)).await;
        }
        let dest = self.discover.get(Target::Addr(conn.orig_dst)); // intercept, discover
        let mut io = Prefixed::new(conn.io);
        let routing = tokio::select! {
            biased;
            routing = dest.routing() => routing?,
            // Nobody is left to wait for the control plane.
            () = gone(&mut io, self.detect_timeout) => return Err(Reason::ClientBroken.into()),
        };
        let heard = self.detect(&mut io, &dest, &routing).await?; // detect
        let Heard { http, server_name, cause, early } = heard;
        self.metrics.outbound.count(http, cause);
        debug!(client = %conn.client, orig_dst = %conn.orig_dst, ?http, ?cause, "outbound connection");
        let transport = self.metrics.transport.accept_outbound(conn.orig_dst);
        let mut io = Metered::new(io, transport.open());
        match http {
            Some(version) => self.serve_http(io, conn.client, version, dest).await, // route, balance…
            None => self.relay_tcp(&mut io, &dest, &routing, server_name.as_ref(), early).await,
        }
    }

    /// What the connection speaks, looking at its bytes only where nothing else says (contract 3.3).
    async fn detect(
        &self,
        io: &mut Prefixed<TcpStream>,
        dest: &Destination,
        routing: &Routing,
    ) -> Result<Heard, Fault> {
        let (expect, policy) = match routing {
            Routing::Policy(policy) => (policy.expect(), Some(policy)),
            _ => (Expect::Detect, None),
        };
        let parent = policy.map(|policy| &policy.policy.parent);
        let connections = &self.metrics.connections;
        if let Some(parent) = parent {
            connections.protocol(expect.into(), parent);
        }
        let cause = if policy.is_some_and(|policy| policy.opaque) { Cause::Profile } else { Cause::Policy };
        let declared = |http| Ok(Heard { http, server_name: None, cause, early: None });
        match expect {
            Expect::Opaque => return declared(None),
            Expect::Http1 => return declared(Some(HttpVersion::Http1)),
            Expect::Http2 => return declared(Some(HttpVersion::Http2)),
            Expect::Tls => {
                let server_name = Some(self.server_name(io).await?);
                return Ok(Heard { http: None, server_name, cause, early: None });
            }
            Expect::Detect => {}
        }
        let (started, until) = (Instant::now(), early::by(Instant::now(), self.detect_timeout));
        let turn = self.turn(io, dest, routing, until).await;
        let first = early::first(io, turn, until).await;
        if let Some(parent) = parent {
            connections.detect_outbound(parent).record(&first.read, started.elapsed());
        }
        let http = match first.read.map_err(|error| Fault::new(Reason::ClientBroken, error))? {
            detect::Http::Is(version) => Some(version),
            detect::Http::Not | detect::Http::TimedOut => None,
        };
        Ok(Heard { http, server_name: None, cause: first.cause, early: first.early })
    }

    /// Whom a connection asks for that is TLS by policy. Its bytes stay as they are.
    async fn server_name(&self, io: &mut Prefixed<TcpStream>) -> Result<DnsName, Fault> {
        let until = early::by(Instant::now(), self.detect_timeout);
        let hello = tokio::time::timeout_at(until, detect::read_client_hello(io)).await;
        let name = hello.map_err(|_| Reason::TlsDetectTimeout)?;
        let name = name.map_err(|error| Fault::new(Reason::ClientBroken, error))?;
        name.ok_or_else(|| Reason::NoServerName.into())
    }

    /// One connection's HTTP: every request is routed by itself.
    async fn serve_http(
        &self,
        io: Metered<Prefixed<TcpStream>>,
        client: std::net::SocketAddr,
        version: HttpVersion,
        dest: Arc<Destination>,
    ) -> Result<(), Fault> {
        let session = http::Session::new(self, client);
        let close = session.close.clone();
        let at = Arc::new((session, dest));
        self.http
            .serve(io, version, &self.drain, close, move |req| {
                let at = at.clone();
                async move { at.0.respond(&at.1, req).await }
            })
            .await
    }
}

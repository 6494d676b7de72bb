//! The inbound line: a connection to this pod, from accept to close.

mod admin;
pub mod apps;
pub mod direct;
mod forward;
pub mod gateway;
mod handles;
pub mod http;
mod permit;
mod protocol;
mod service;
pub mod tcp;
mod waiting;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tracing::{debug, info};

use crate::detect;
use crate::discover::Profiles;
use crate::discover::ports::{Port, Ports};
use crate::drain::Drain;
use crate::error::{Fault, Reason};
use crate::message::server::HttpServer;
use crate::model::peer::NoTls;
use crate::model::{DnsName, Peer};
use crate::net::{Accepted, Prefixed};
use crate::outbound::early::Silence;
use crate::telemetry::Metrics;
use crate::tls::turns::Turns;
use crate::tls::{self, CredentialStore, Stream};

use apps::Apps;
use gateway::Gateway;
use http::Upstream;
use protocol::Heard;
use tcp::Onward;
pub use waiting::Waiting;

/// Carries the connections that others open to this pod.
pub struct Inbound {
    pub ports: Arc<Ports>,
    /// By which requests are counted.
    pub profiles: Arc<Profiles>,
    pub store: Arc<CredentialStore>,
    /// The name that mesh TLS to this proxy asks for.
    pub server_name: DnsName,
    /// This pod's addresses; empty allows every destination (contract 4.1).
    pub ips: Vec<IpAddr>,
    /// The inbound listener's own port: the direct one.
    pub own_port: u16,
    pub detect_timeout: Duration,
    /// After which the application may speak first.
    pub silence: Silence,
    /// The clients' handshakes take them.
    pub turns: Turns,
    /// Requests that wait for a connection to the application.
    pub waiting: Arc<Waiting>,
    /// Places for requests that wait for their answers.
    pub in_flight: Arc<Semaphore>,
    /// Serves HTTP towards callers.
    pub http: HttpServer,
    pub apps: Apps,
    /// Where this pod leads others into its cluster.
    pub gateway: Option<Gateway>,
    pub metrics: Arc<Metrics>,
    pub drain: Drain,
}

/// A connection that is identified, on its way to a port of this pod.
pub(crate) struct Call {
    pub(crate) io: Prefixed<Stream>,
    pub(crate) client: SocketAddr,
    pub(crate) target: SocketAddr,
    /// It came by the proxy's own port, and is for one of the application's.
    pub(crate) direct: bool,
    pub(crate) peer: Arc<Peer>,
    pub(crate) port: Arc<Port>,
    /// It said nothing in time of what it speaks.
    pub(crate) silent: bool,
}

impl Inbound {
    /// Carries one connection and records how it ended.
    pub async fn serve(self: Arc<Self>, conn: Accepted) {
        let (client, orig_dst) = (conn.client, conn.orig_dst);
        if let Err(fault) = self.carry(conn).await {
            self.metrics.errors.inbound_tcp(fault.reason, orig_dst);
            info!(%client, %orig_dst, reason = fault.reason.row().name, "inbound connection failed: {fault}");
        }
    }

    async fn carry(&self, conn: Accepted) -> Result<(), Fault> {
        self.own_address(conn.orig_dst)?; // intercept
        if conn.orig_dst.port() == self.own_port {
            return self.serve_direct(conn).await;
        }
        let port = self.ports.get(conn.orig_dst.port());
        let policy = port.policy();
        let (client, target) = (conn.client, conn.orig_dst);
        let (call, Heard { http, cause, early }) = self.receive(conn, port, &policy).await?; // identify, detect
        self.metrics.inbound.count(http, cause);
        debug!(%client, %target, peer = ?call.peer, ?http, ?cause, "inbound connection");
        match http {
            Some(version) => {
                let app = Upstream::App(self.apps.client(target));
                self.serve_http(call, version, app).await // authorize, forward
            }
            None => self.relay_tcp(call, Onward::App, early).await,
        }
    }

    /// Connections to addresses that are not this pod's are not ours to judge.
    fn own_address(&self, orig_dst: SocketAddr) -> Result<(), Fault> {
        let own = self.ips.is_empty() || self.ips.contains(&orig_dst.ip());
        if own { Ok(()) } else { Err(Reason::ForeignAddress.into()) }
    }

    /// Who is calling? Mesh TLS that asks for our name ends here; other TLS passes untouched.
    async fn identify(
        &self,
        mut io: Prefixed<TcpStream>,
        timeout: Duration,
    ) -> Result<(Stream, Peer), Fault> {
        let hello = tokio::time::timeout(timeout, detect::read_client_hello(&mut io)).await;
        let hello = hello
            .map_err(|_| Reason::TlsDetectTimeout)?
            .map_err(|error| Fault::new(Reason::ClientBroken, error))?;
        match hello {
            None => Ok((Stream::Plain(io), Peer::Plaintext(NoTls::NoTlsFromRemote))),
            Some(sni) if sni != self.server_name => Ok((Stream::Plain(io), Peer::Passthrough(sni))),
            Some(_) => {
                let (stream, accepted) = self.handshake(io, false).await?;
                Ok((stream, accepted.client.map_or(Peer::Anonymous, Peer::Identified)))
            }
        }
    }

    async fn handshake(
        &self,
        io: Prefixed<TcpStream>,
        direct: bool,
    ) -> Result<(Stream, tls::server::Accepted), Fault> {
        let steps = tls::server::accept(&self.store, io, direct);
        // Boxed: a connection needs room for it only until it is through.
        let steps = Box::pin(self.turns.take(steps));
        let accepting = tokio::time::timeout(self.detect_timeout, steps);
        let (stream, accepted) = accepting
            .await
            .map_err(|_| Reason::TlsDetectTimeout)?
            .map_err(|error| Fault::new(Reason::HandshakeFailed, error))?;
        Ok((Stream::accepted(stream, accepted.right.clone()), accepted))
    }
}

//! What is spoken on a connection, and what says so (contract 4.1, steps 4 to 9)?

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::Instant;
use tracing::info;

use crate::authorize::{self, explain};
use crate::detect;
use crate::discover::ports::Port;
use crate::error::{Fault, Reason};
use crate::model::inbound::{InboundRoute, ServerProtocol};
use crate::model::peer::NoTls;
use crate::model::protocol::HttpVersion;
use crate::model::{Peer, ResourceRef, ServerPolicy};
use crate::net::{Accepted, Prefixed};
use crate::outbound::early::{self, Early, Turn};
use crate::telemetry::classes::Cause;
use crate::tls::Stream;

use super::tcp::Onward;
use super::{Call, Inbound};

/// What the caller speaks on a connection.
pub(super) struct Heard {
    /// `None`: bytes that are nobody's business.
    pub(super) http: Option<HttpVersion>,
    pub(super) cause: Cause,
    /// To be used for such bytes.
    pub(super) early: Option<Box<Early>>,
}

/// Who might be waiting for the application to speak.
struct Caller<'a> {
    client: SocketAddr,
    target: SocketAddr,
    peer: &'a Peer,
    policy: &'a ServerPolicy,
}

impl Inbound {
    /// Learns who calls a port of the application, and what they speak.
    pub(super) async fn receive(
        &self,
        conn: Accepted,
        port: Arc<Port>,
        policy: &ServerPolicy,
    ) -> Result<(Call, Heard), Fault> {
        let Accepted { io, client, orig_dst: target } = conn;
        let call = |io, peer| Call {
            io: Prefixed::new(io),
            client,
            target,
            direct: false,
            peer: Arc::new(peer),
            port,
            silent: false,
        };
        if policy.protocol == ServerProtocol::Opaque {
            let call = call(Stream::plain(io), Peer::Plaintext(NoTls::PortSkipped));
            return Ok((call, Heard::declared(None)));
        }
        let (mut io, started) = (Prefixed::new(io), Instant::now());
        // Who says nothing has no TLS: what the application says then is for such a client.
        let unmeshed = Peer::Plaintext(NoTls::NoTlsFromRemote);
        let caller = Caller { client, target, peer: &unmeshed, policy };
        let early = match self.turn(&mut io, &caller, early::by(started, self.detect_timeout)).await {
            Turn::Server(early) => {
                let heard = Heard { http: None, cause: Cause::ServerFirst, early: Some(early) };
                return Ok((call(Stream::Plain(io), unmeshed), heard));
            }
            Turn::Client(early) => early,
        };
        let silent = started.elapsed();
        let (io, peer) = self.identify(io, self.detect_timeout.saturating_sub(silent)).await?; // identify
        let mut call = call(io, peer);
        // One silence of a client is enough.
        let untried = self.silence.after().is_some_and(|after| silent < after);
        let heard = self.hear(&mut call, policy, early, untried).await?; // detect
        Ok((call, heard))
    }

    async fn hear(
        &self,
        call: &mut Call,
        policy: &ServerPolicy,
        early: Option<Box<Early>>,
        untried: bool,
    ) -> Result<Heard, Fault> {
        let meshed = !matches!(*call.peer, Peer::Plaintext(_));
        let (timeout, otherwise) = match &policy.protocol {
            ServerProtocol::Opaque | ServerProtocol::Tls => return Ok(Heard::declared(None)),
            ServerProtocol::Http2(_) | ServerProtocol::Grpc(_) => {
                return Ok(Heard::declared(Some(HttpVersion::Http2)));
            }
            ServerProtocol::Http1(_) if !meshed => return Ok(Heard::declared(Some(HttpVersion::Http1))),
            // A meshed caller may carry HTTP/1 over HTTP/2.
            ServerProtocol::Http1(_) => (self.detect_timeout, Some(HttpVersion::Http1)),
            ServerProtocol::Detect { timeout, .. } => (*timeout, None),
        };
        let (started, until) = (Instant::now(), early::by(Instant::now(), timeout));
        let turn = if untried && early.is_none() {
            let (client, target, peer) = (call.client, call.target, call.peer.clone());
            self.turn(&mut call.io, &Caller { client, target, peer: &peer, policy }, until).await
        } else {
            Turn::Client(early)
        };
        let first = early::first(&mut call.io, turn, until).await;
        let detections = self.metrics.connections.detect_inbound(&policy.meta, call.target.port());
        detections.record(&first.read, started.elapsed());
        let (http, cause) = match first.read {
            Ok(detect::Http::Is(version)) => (Some(version), first.cause),
            Ok(detect::Http::Not) => (None, first.cause),
            Ok(detect::Http::TimedOut) => {
                call.silent = true;
                (otherwise, otherwise.map_or(first.cause, |_| Cause::Policy))
            }
            Err(error) => return Err(Fault::new(Reason::ClientBroken, error)),
        };
        Ok(Heard { http, cause, early: first.early })
    }

    /// Waits for the client, and after a silence for the application as well, where nothing says that HTTP is spoken and
    /// the client would be let in without it.
    async fn turn<IO: AsyncRead + Unpin>(
        &self,
        io: &mut Prefixed<IO>,
        caller: &Caller<'_>,
        until: Instant,
    ) -> Turn {
        let permitted = || authorize::tcp(caller.policy, caller.client.ip(), caller.peer).is_ok();
        match self.silence.after().filter(|_| is_undeclared(caller.policy) && permitted()) {
            Some(after) => Box::pin(early::turn(io, after, until, self.open_early(caller.target))).await,
            None => Turn::Client(None),
        }
    }

    async fn open_early(&self, target: SocketAddr) -> Option<Early> {
        let place = self.silence.place(&self.drain, &self.in_flight)?;
        let stream = self.apps.client(target).stream().await.ok()?;
        Some(Early::to_app(stream, place))
    }

    /// Relays a connection whose client has said nothing to its own proxy yet (see [`crate::tls::TENTATIVE_ALPN`]). It
    /// is counted, and its refusal is, once somebody speaks, or has said nothing for as long as detection takes.
    pub(super) async fn relay_tentative(&self, mut call: Call, onward: Onward<'_>) -> Result<(), Fault> {
        let policy = call.port.policy();
        if authorize::tcp(&policy, call.client.ip(), &call.peer).is_err() {
            if !call.io.prefix().is_empty() {
                return self.relay_tcp(call, onward, None).await;
            }
            let why = explain::tcp(&policy, call.client.ip(), &call.peer);
            info!(client = %call.client, target = %call.target, peer = ?call.peer, server = policy.meta.name(),
                reason = Reason::Denied.row().name, %why, "connection denied before anybody spoke: not counted");
            return Ok(());
        }
        let until = early::by(Instant::now(), self.detect_timeout);
        let open = async {
            match &onward {
                Onward::App => self.open_early(call.target).await,
                Onward::Gateway { outbound, dest, routing } => outbound.open_early(dest, routing).await,
                Onward::Nowhere => None,
            }
        };
        let early = match early::turn(&mut call.io, Duration::ZERO, until, open).await {
            Turn::Server(early) => Some(early),
            Turn::Client(early) if !call.io.prefix().is_empty() || Instant::now() >= until => early,
            Turn::Client(_) => return Ok(()),
        };
        self.relay_tcp(call, onward, early).await
    }
}

impl Heard {
    pub(super) fn declared(http: Option<HttpVersion>) -> Self {
        Self { http, cause: Cause::Policy, early: None }
    }
}

/// Whether nobody has said what is spoken: no protocol, no route that somebody made, and none for probes, which are
/// HTTP's.
fn is_undeclared(policy: &ServerPolicy) -> bool {
    let probes = ResourceRef::default_named("probe");
    let telling = |route: &InboundRoute| !route.meta.is_default() || route.meta == probes;
    match &policy.protocol {
        ServerProtocol::Detect { routes, .. } => !routes.iter().any(telling),
        _ => false,
    }
}

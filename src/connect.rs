//! Giving the path a ready transport to one endpoint.
//!
//! Decides where to connect and whether that is mesh TLS with a transport header (contract 3.6), and
//! dials within one deadline. With an identity it is mesh TLS or nothing: there is no plaintext
//! fallback.

pub mod client;
pub mod h1;
pub mod h2;
pub mod opaque;
pub mod pulse;
pub mod resend;
pub mod track;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::config;
use crate::error::{Fault, Reason};
use crate::model::endpoint::ProtocolHint;
use crate::model::name::Host;
use crate::model::protocol::HttpVersion;
use crate::model::{DnsName, Endpoint};
use crate::net::socket;
use crate::net::transport_header::TransportHeader;
use crate::tls::{self, Agreed, CredentialStore, Offer, Stream};

pub use client::Client;

/// Opens connections for one direction of the proxy.
pub struct Connector {
    pub store: Arc<CredentialStore>,
    pub options: config::Socket,
    /// For TCP, TLS and the transport header together.
    pub timeout: Duration,
    pub guard: LoopGuard,
    /// This pod's own addresses: endpoints there are reached in plaintext, as they are.
    pub local: Vec<IpAddr>,
    /// Who has opaque connections where.
    pub opaque: opaque::Opaque,
    /// The address to dial from; `None` leaves it to the kernel, as in a pod.
    pub dial_from: Option<IpAddr>,
}

/// What must never be dialled, because it would come back to this proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopGuard {
    /// Outbound: any loopback address (contract 3.1).
    Loopback,
    /// Inbound: the inbound listener's own port (contract 4.1).
    Port(u16),
    /// Where everything lives on loopback: tests and benches.
    Off,
}

/// Why an endpoint could not be reached. Names the address, never what the peer wrote.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("refused to connect to {0}: it leads back to this proxy")]
    Loop(SocketAddr),
    #[error("timed out after {1:?} connecting to {0}")]
    Timeout(SocketAddr, Duration),
    #[error("cannot connect to {0}")]
    Tcp(SocketAddr, #[source] io::Error),
    #[error("{0} needs mutual TLS, and this proxy has no certificate")]
    NoIdentity(SocketAddr),
    #[error("mutual TLS with {0} failed")]
    Tls(SocketAddr, #[source] tls::Error),
    #[error("cannot connect to {0}: another attempt has just failed")]
    JustFailed(SocketAddr),
    #[error("HTTP with {0} could not begin")]
    Http(SocketAddr, #[source] hyper::Error),
}

impl Error {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Loop(_) => Reason::Loop,
            Self::Timeout(..) => Reason::ConnectTimeout,
            Self::Tcp(..) | Self::JustFailed(_) | Self::Http(..) => Reason::ConnectFailed,
            Self::NoIdentity(_) => Reason::NoIdentity,
            Self::Tls(..) => Reason::IdentityMismatch,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::new(error.reason(), error)
    }
}

impl Connector {
    /// Connects to an endpoint. `session` is what HTTP speaks on this connection, `None` for opaque
    /// traffic.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written for the application then.
    pub async fn dial(&self, to: &Endpoint, session: Option<HttpVersion>) -> Result<Stream, Error> {
        let target = self.target(to);
        let dialled = tokio::time::timeout(self.timeout, self.dial_target(target, to, session)).await;
        dialled.unwrap_or(Err(Error::Timeout(target, self.timeout)))
    }

    /// Connects for opaque traffic, of which it is not known yet whether there will be any. A far proxy of ours counts
    /// the connection only once it is used. Others count it as soon as they have read the header: `Some(true)` then, and
    /// `None` where that must not be, before they have read it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn dial_tentatively(
        &self,
        to: &Endpoint,
        may_count: bool,
    ) -> Result<Option<(Stream, bool)>, Error> {
        let target = self.target(to);
        let dialled = async {
            let (mut stream, agreed) = self.shake(target, to, Offer::Tentative).await?;
            if agreed == Agreed::Transport && !may_count {
                return Ok(None);
            }
            write_header(&mut stream, agreed, target, to, None).await?;
            Ok(Some((stream, agreed == Agreed::Transport)))
        };
        let dialled = tokio::time::timeout(self.timeout, dialled).await;
        dialled.unwrap_or(Err(Error::Timeout(target, self.timeout)))
    }

    pub fn is_local(&self, to: &Endpoint) -> bool {
        self.local.contains(&to.addr.ip())
    }

    /// Whether the endpoint's host accepts a connection. Nothing is sent.
    ///
    /// # Errors
    /// It does not, or not in time.
    pub async fn knock(&self, to: &Endpoint) -> Result<(), Error> {
        let target = self.target(to);
        if self.guard.refuses(target) {
            return Err(Error::Loop(target));
        }
        let connecting = socket::connect(&self.options, target, self.dial_from);
        let connected = tokio::time::timeout(self.timeout, connecting).await;
        connected.map_err(|_| Error::Timeout(target, self.timeout))?.map_err(|e| Error::Tcp(target, e))?;
        Ok(())
    }

    fn target(&self, to: &Endpoint) -> SocketAddr {
        match to.inbound_port {
            Some(port) if !self.is_local(to) => SocketAddr::new(to.addr.ip(), port),
            _ => to.addr,
        }
    }

    async fn dial_target(
        &self,
        target: SocketAddr,
        to: &Endpoint,
        session: Option<HttpVersion>,
    ) -> Result<Stream, Error> {
        let (mut stream, agreed) = self.shake(target, to, Offer::Transport).await?;
        write_header(&mut stream, agreed, target, to, session).await?;
        Ok(stream)
    }

    /// A transport whose far end is who it should be, and what it has agreed to read first. `offer` is for those that
    /// have something to agree to.
    async fn shake(
        &self,
        target: SocketAddr,
        to: &Endpoint,
        offer: Offer,
    ) -> Result<(Stream, Agreed), Error> {
        if self.guard.refuses(target) {
            return Err(Error::Loop(target));
        }
        let expect = to.tls.as_ref().filter(|_| !self.is_local(to));
        if expect.is_some() && !self.store.is_ready() {
            return Err(Error::NoIdentity(target));
        }
        let tcp = |error| Error::Tcp(target, error);
        let io = socket::connect(&self.options, target, self.dial_from).await.map_err(tcp)?;
        let Some(expect) = expect else { return Ok((Stream::plain(io), Agreed::Nothing)) };
        let tagged = to.inbound_port.is_some() || to.authority_override.is_some();
        let offer = if tagged { offer } else { Offer::Nothing };
        let connected = tls::client::connect(&self.store, io, expect, offer)
            .await
            .map_err(|error| Error::Tls(target, error))?;
        Ok((Stream::connected(connected.stream, connected.right), connected.agreed))
    }
}

async fn write_header(
    stream: &mut Stream,
    agreed: Agreed,
    target: SocketAddr,
    to: &Endpoint,
    session: Option<HttpVersion>,
) -> Result<(), Error> {
    if agreed == Agreed::Nothing {
        return Ok(());
    }
    let header = transport_header(to, session).encode();
    stream.write_all(&header).await.map_err(|error| Error::Tcp(target, error))
}

impl LoopGuard {
    fn refuses(self, target: SocketAddr) -> bool {
        match self {
            Self::Loopback => target.ip().to_canonical().is_loopback(),
            Self::Port(port) => target.port() == port,
            Self::Off => false,
        }
    }
}

/// What the far proxy is told (contract 3.6, 3.8): the endpoint's real port, or a gateway's target.
fn transport_header(to: &Endpoint, session: Option<HttpVersion>) -> TransportHeader {
    let (port, name) = match to.authority_override.as_ref().map(|over| (over.port, &over.host)) {
        Some((Some(port), host)) => (port, host_name(host)),
        _ => (to.addr.port(), None),
    };
    // The far proxy treats the port as opaque: it would not look at a session protocol.
    let session = session.filter(|_| to.hint != ProtocolHint::Opaque);
    TransportHeader { port, name, session }
}

fn host_name(host: &Host) -> Option<DnsName> {
    match host {
        Host::Name(name) => Some(name.clone()),
        Host::Ip(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::tls::testing::{TestCa, expect};

    const API: &str = "api.ns.serviceaccount.identity.linkerd.cluster.local";

    /// Sends `ping` to an endpoint, and returns what came out of TLS there.
    async fn heard(id: &str, direct: bool) -> Vec<u8> {
        let ca = TestCa::new("root");
        let (web, api) = (ca.store("web.ns"), ca.store(id));
        let connector = Connector {
            store: web,
            options: Default::default(),
            timeout: Duration::from_secs(10),
            guard: LoopGuard::Off,
            local: Vec::new(),
            opaque: Default::default(),
            dial_from: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = Endpoint {
            tls: Some(expect(id)),
            inbound_port: Some(listener.local_addr().unwrap().port()),
            ..Endpoint::plain("127.0.0.1:8080".parse().unwrap())
        };
        let send = async {
            let mut io = connector.dial(&to, Some(HttpVersion::Http2)).await.unwrap();
            io.write_all(b"ping").await.unwrap();
            io.shutdown().await.unwrap();
        };
        let hear = async {
            let (io, _) = listener.accept().await.unwrap();
            let (mut io, _) = tls::server::accept(&api, io, direct).await.unwrap();
            let mut heard = Vec::new();
            io.read_to_end(&mut heard).await.unwrap();
            heard
        };
        tokio::join!(send, hear).1
    }

    #[tokio::test]
    async fn under_either_form_of_identity_the_header_comes_first_for_those_who_agree_to_it() {
        for id in [API, "spiffe://root/api"] {
            let header = TransportHeader { port: 8080, name: None, session: Some(HttpVersion::Http2) };
            assert_eq!(heard(id, true).await, [&header.encode()[..], b"ping"].concat());
            assert_eq!(heard(id, false).await, b"ping");
        }
    }

    #[test]
    fn the_guards_refuse_what_comes_back() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(LoopGuard::Loopback.refuses(at("127.0.0.9:80")));
        assert!(LoopGuard::Loopback.refuses(at("[::ffff:127.0.0.1]:80")));
        assert!(!LoopGuard::Loopback.refuses(at("10.0.0.1:80")));
        assert!(LoopGuard::Port(4143).refuses(at("10.0.0.1:4143")));
        assert!(!LoopGuard::Port(4143).refuses(at("10.0.0.1:8080")));
    }

    #[test]
    fn a_gateway_is_told_the_targets_name_and_port() {
        let mut to = Endpoint::plain("10.0.0.9:4143".parse().unwrap());
        to.authority_override = Some("bb.mc-demo.svc.cluster.local:8080".parse().unwrap());
        let header = transport_header(&to, Some(HttpVersion::Http2));
        assert_eq!(header.port, 8080);
        assert_eq!(header.name.unwrap().as_str(), "bb.mc-demo.svc.cluster.local");
        to.authority_override = Some("bb.mc-demo.svc.cluster.local".parse().unwrap());
        let header = transport_header(&to, None);
        assert_eq!((header.port, header.name), (4143, None));
    }

    #[test]
    fn an_opaque_port_is_told_no_session_protocol() {
        let mut to = Endpoint::plain("10.0.0.9:3306".parse().unwrap());
        to.hint = ProtocolHint::Opaque;
        assert_eq!(transport_header(&to, Some(HttpVersion::Http1)).session, None);
    }
}

//! One probe: does any of a gateway's addresses answer 200?
//!
//! In Linkerd the proxy beside the controller carries it, in mutual TLS that must prove the gateway's identity,
//! straight to the probe's port: that port is the gateway proxy's own admin port, so no transport header comes
//! first. Here no proxy stands beside, and the control plane does it itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_ok;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::model::endpoint::EndpointTls;
use crate::model::{DnsName, WorkloadId};
use crate::tls::{self, CredentialStore};

/// As a proxy would wait for it (contract 1.3).
const CONNECT: Duration = Duration::from_secs(1);

/// Why a gateway did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("it has no address")]
    NoAddress,
    #[error("timed out")]
    Timeout,
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, io::Error),
    #[error("{0}: {1}")]
    Tls(SocketAddr, tls::Error),
    #[error("its Link names no identity, and proxies send nothing in plaintext to a gateway")]
    NoIdentity,
    #[error("{0:?} is no identity")]
    Identity(String),
    #[error("the probe cannot be sent: {0}")]
    Request(#[from] http::Error),
    #[error("no answer: {0}")]
    Answer(#[from] hyper::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
}

/// What is asked, and of whom.
pub(super) struct Ask<'a> {
    pub(super) addresses: Vec<IpAddr>,
    /// Whom the certificate must name. `None`: nobody can be asked, as no proxy sends anything to such a gateway.
    pub(super) identity: Option<&'a str>,
    pub(super) host: String,
    pub(super) path: &'a str,
    pub(super) port: u16,
}

impl Ask<'_> {
    /// Asks all of them, until one answers 200. The caller bounds the time.
    pub(super) async fn any(&self, us: &CredentialStore) -> Result<(), Failure> {
        let asked = self.addresses.iter().map(|ip| Box::pin(self.one(us, SocketAddr::new(*ip, self.port))));
        match self.addresses.is_empty() {
            true => Err(Failure::NoAddress),
            false => select_ok(asked).await.map(|((), _)| ()),
        }
    }

    async fn one(&self, us: &CredentialStore, addr: SocketAddr) -> Result<(), Failure> {
        let identity = self.identity.ok_or(Failure::NoIdentity)?;
        let connected = timeout(CONNECT, TcpStream::connect(addr)).await;
        let io = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let io = io.map_err(|error| Failure::Connect(addr, error))?;
        let name: DnsName = identity.parse().map_err(|_| Failure::Identity(identity.to_owned()))?;
        let expect = EndpointTls { id: WorkloadId::Dns(name.clone()), server_name: name };
        let connected = tls::client::connect(us, io, &expect, tls::Offer::Nothing).await;
        self.get(connected.map_err(|error| Failure::Tls(addr, error))?.stream).await
    }

    async fn get(&self, io: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Failure> {
        let request = Request::get(self.path).header(header::HOST, &self.host);
        let request = request.header(header::CONNECTION, "close").body(Empty::<Bytes>::new())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        tokio::pin!(connection);
        let answer = sender.send_request(request);
        tokio::pin!(answer);
        // The connection is driven until the head is there; the body is nobody's concern.
        let answer = tokio::select! {
            answer = &mut answer => answer?,
            _ = &mut connection => answer.await?,
        };
        match answer.status() {
            StatusCode::OK => Ok(()),
            other => Err(Failure::Status(other)),
        }
    }
}

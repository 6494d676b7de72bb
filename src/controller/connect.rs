//! One connection to one address of a controller: TCP, mesh TLS unless loopback, HTTP/2 without upgrade.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tonic::body::Body;

use super::ControllerConfig;
use crate::model::endpoint::EndpointTls;
use crate::net::socket;
use crate::tls::{self, CredentialStore, Right, rights};

pub type Http2 = http2::SendRequest<Body>;

/// Watches are silent most of the time: without pings a dead controller would be noticed only when a
/// stream reaches its idle limit.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(3);

/// What goes between TCP and HTTP/2.
#[derive(Clone, Debug)]
pub(super) enum Session {
    Plaintext,
    Mesh(EndpointTls),
}

impl Session {
    /// Whom to find there.
    pub(super) fn expects(&self) -> Option<&EndpointTls> {
        match self {
            Self::Plaintext => None,
            Self::Mesh(expect) => Some(expect),
        }
    }
}

/// Why there is no connection to one address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot connect to {addr}: {error}")]
    Tcp { addr: SocketAddr, error: io::Error },
    #[error("no TLS with {addr}: {error}")]
    Tls { addr: SocketAddr, error: tls::Error },
    #[error("no HTTP/2 with {addr}: {error}")]
    Http { addr: SocketAddr, error: hyper::Error },
    #[error("timed out connecting to {addr} after {limit:?}")]
    Timeout { addr: SocketAddr, limit: Duration },
}

pub(super) async fn open(
    addr: SocketAddr,
    session: &Session,
    config: &ControllerConfig,
    store: &Arc<CredentialStore>,
) -> Result<Http2, Error> {
    let limit = config.connect_timeout;
    let opened = async {
        let io =
            socket::connect(&config.socket, addr, None).await.map_err(|error| Error::Tcp { addr, error })?;
        let Some(expect) = session.expects() else { return start(io, addr, config, None).await };
        let connected = tls::client::connect(store, io, expect, tls::Offer::Nothing).await;
        let connected = connected.map_err(|error| Error::Tls { addr, error })?;
        start(connected.stream, addr, config, Some(connected.right)).await
    };
    timeout(limit, opened).await.unwrap_or(Err(Error::Timeout { addr, limit }))
}

async fn start<IO>(
    io: IO,
    addr: SocketAddr,
    config: &ControllerConfig,
    right: Option<Right>,
) -> Result<Http2, Error>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (http, driver) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| Error::Http { addr, error })?;
    // Ends by itself once nobody can send requests and the last response is read or dropped. A watch may last for ever,
    // and what its last answer said stays in force: it is cut where its server has lost its right.
    tokio::spawn(async move {
        tokio::select! {
            ended = driver => if let Err(error) = ended {
                tracing::debug!(%addr, %error, "connection to the control plane ended");
            },
            () = rights::closed(right.as_ref()) => {}
        }
    });
    Ok(http)
}

//! Sockets for gRPC: mesh TLS ended here, or plaintext where the address is loopback.
//!
//! In a cluster a proxy beside the controllers would end TLS for them (controlplane 9). A client
//! certificate is not asked for more than at any proxy: workloads call `Certify` before they have
//! one. Which name the client asks for does not matter: it verifies the one it gets.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, Router};

use crate::drain::Drain;
use crate::net::listen::unbound;
use crate::tls::server::{ServerStream, accept};
use crate::tls::{self, CredentialStore};

/// From accept to the end of the handshake; generous, as clients wait 1 s at most.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections that wait for gRPC to take them.
const BACKLOG: usize = 64;

/// First byte of a TLS handshake record; HTTP/2 begins with `P`.
const TLS_HANDSHAKE: u8 = 22;

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address for any of what the control plane serves. Port 0 takes any free port.
///
/// # Errors
/// The address is taken, or not to be had; the error says which and why.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(unbound(addr))
}

/// One bound port and who answers there.
pub(super) struct Port {
    listener: TcpListener,
    store: Arc<CredentialStore>,
}

impl Port {
    pub(super) fn new(listener: TcpListener, store: Arc<CredentialStore>) -> Self {
        Self { listener, store }
    }

    /// Serves `router` until drained and every stream has ended.
    pub(super) fn serve(self, router: Router, drain: &Drain) {
        let (ready, connections) = mpsc::channel(BACKLOG);
        let (accepting, serving) = (drain.clone(), drain.clone());
        drain.spawn(accept_all(self, ready, accepting));
        drain.spawn(async move {
            let until = async move { serving.signaled().await };
            let served = router.serve_with_incoming_shutdown(ReceiverStream::new(connections), until).await;
            if let Err(error) = served {
                tracing::warn!(%error, "gRPC server ended");
            }
        });
    }
}

async fn accept_all(port: Port, ready: mpsc::Sender<io::Result<Connection>>, drain: Drain) {
    loop {
        let accepted = tokio::select! {
            () = drain.signaled() => return,
            accepted = port.listener.accept() => accepted,
        };
        let (io, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept; retrying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (store, ready) = (port.store.clone(), ready.clone());
        drain.spawn(async move {
            match timeout(HANDSHAKE, handshake(io, &store)).await {
                // It is of no use to a server that has ended.
                Ok(Ok(connection)) => drop(ready.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::debug!(%client, %error, "connection refused"),
                Err(_) => tracing::debug!(%client, "TLS handshake timed out"),
            }
        });
    }
}

async fn handshake(io: TcpStream, store: &CredentialStore) -> Result<Connection, tls::Error> {
    let _ = io.set_nodelay(true);
    if io.local_addr()?.ip().to_canonical().is_loopback() {
        let mut first = [0];
        if io.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
            return Ok(Connection::Plain(io));
        }
    }
    let (stream, _) = accept(store, io, false).await?;
    Ok(Connection::Mesh(Box::new(stream)))
}

/// A connection ready for HTTP/2.
pub(super) enum Connection {
    Plain(TcpStream),
    Mesh(Box<ServerStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Mesh(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Mesh(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Mesh(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Mesh(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

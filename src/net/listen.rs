//! Binding and accepting: who connected, and where were they going?

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use crate::config;
use crate::drain::Drain;

use super::orig_dst::{OrigDst, unmapped};
use super::socket;

/// A fresh connection: not yet identified, not yet permitted anything.
#[derive(Debug)]
pub struct Accepted {
    pub io: TcpStream,
    /// Unmapped: a v4 client of a `[::]` listener is a v4 client.
    pub client: SocketAddr,
    pub orig_dst: SocketAddr,
}

/// A bound socket with its options; connections queue in the kernel until [`Listener::serve`].
pub struct Listener {
    listener: TcpListener,
    options: config::Socket,
    orig_dst: OrigDst,
}

/// The platform's own default queue of `listen(2)` in Rust's standard library.
const DEFAULT_BACKLOG: u32 = 4096;

/// Connections that are accepted before others run: thousands that come at once must not hold up those who are there.
const AT_ONCE: usize = 8;

/// Pause after a failed accept: usually the process ran out of file descriptors, and spinning
/// would only make that worse.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Says of an error of `bind(2)` or `listen(2)` which address it is about, and what usually causes it.
pub fn unbound(addr: SocketAddr) -> impl Fn(io::Error) -> io::Error {
    move |error| {
        let cause = match error.kind() {
            io::ErrorKind::AddrInUse => ", another process listens there",
            io::ErrorKind::AddrNotAvailable => ", this machine does not have that address",
            io::ErrorKind::PermissionDenied => ", ports below 1024 take CAP_NET_BIND_SERVICE",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}{cause}"))
    }
}

impl Listener {
    /// Binds an address. Port 0 takes any free port.
    ///
    /// # Errors
    /// What `bind(2)` and `listen(2)` say; the address is named in the error.
    pub fn bind(addr: SocketAddr, accept: &config::Accept, orig_dst: OrigDst) -> io::Result<Self> {
        let listener = bind(addr, accept.backlog.unwrap_or(DEFAULT_BACKLOG)).map_err(unbound(addr))?;
        Ok(Self { listener, options: accept.socket, orig_dst })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until drained, serving each connection in a task of its own. `failed` is told each time that nothing
    /// could be accepted although somebody waits. To be run as a task that the drain waits for.
    pub async fn serve<F>(self, drain: Drain, serve: impl Fn(Accepted) -> F, failed: impl Fn())
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (mut failing, mut count) = (false, 0_usize);
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.signaled() => return self.serve_queued(&drain, serve),
                accepted = self.listener.accept() => accepted,
            };
            match accepted.and_then(|(io, client)| self.accepted(io, client)) {
                Ok(conn) => {
                    failing = false;
                    drain.spawn(serve(conn));
                    count = (count + 1) % AT_ONCE;
                    if count == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if is_about_one_connection(&error) => debug!(%error, "connection lost at accept"),
                Err(error) => {
                    failed();
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "cannot accept; retrying, and saying no more until one is accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves those whom the kernel has already connected: they may have sent a request.
    fn serve_queued<F>(self, drain: &Drain, serve: impl Fn(Accepted) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Asked directly: the runtime may not have been told of the newest ones yet.
        while let Ok((io, client)) = SockRef::from(&self.listener).accept() {
            let Some(client) = client.as_socket() else { continue };
            let io = io.set_nonblocking(true).and_then(|()| TcpStream::from_std(io.into()));
            match io.and_then(|io| self.accepted(io, client)) {
                Ok(conn) => drain.spawn(serve(conn)),
                Err(error) => debug!(%error, "connection lost at accept"),
            }
        }
    }

    fn accepted(&self, io: TcpStream, client: SocketAddr) -> io::Result<Accepted> {
        // Whatever fails from here on concerns this connection alone.
        let single = |error: io::Error| io::Error::new(io::ErrorKind::ConnectionAborted, error);
        socket::apply(&self.options, &io).map_err(single)?;
        let orig_dst = self.orig_dst.of(&io).map_err(single)?;
        Ok(Accepted { io, client: unmapped(client), orig_dst })
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

fn bind(addr: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restarted proxy must not wait for its old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_was_going_nobody_knows_where_is_dropped_and_the_next_is_served() {
        let asked = Arc::new(AtomicUsize::new(0));
        let orig_dst = OrigDst::Given(Arc::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::Error::other("nobody knows")),
            _ => Ok("10.0.0.9:80".parse().unwrap()),
        }));
        let accept = config::Accept { socket: Default::default(), backlog: None };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &accept, orig_dst).unwrap();
        let addr = listener.local_addr().unwrap();
        let (tx, mut served) = tokio::sync::mpsc::unbounded_channel();
        let serve = move |conn: Accepted| {
            tx.send(conn.orig_dst).unwrap();
            async move { drop(conn) }
        };
        let listening = tokio::spawn(listener.serve(Drain::default(), serve, || panic!("it can accept")));
        for served_at_last in [false, true] {
            let mut io = TcpStream::connect(addr).await.unwrap();
            assert!(matches!(io.read(&mut [0; 1]).await, Ok(0) | Err(_)), "it is closed");
            assert_eq!(served.try_recv().is_ok(), served_at_last);
        }
        listening.abort();
    }
}

//! Where an intercepted connection was going before redirection took it (contract 3.1).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;

type Source = dyn Fn(&TcpStream) -> io::Result<SocketAddr> + Send + Sync;

/// How a listener learns original destinations: from the kernel, or, where nothing redirects (in
/// tests and benches), from a function.
#[derive(Clone)]
pub enum OrigDst {
    Kernel,
    Given(Arc<Source>),
}

impl OrigDst {
    /// Every connection was going to one address.
    pub fn fixed(addr: SocketAddr) -> Self {
        Self::Given(Arc::new(move |_| Ok(addr)))
    }

    /// The original destination of a connection.
    ///
    /// # Errors
    /// The kernel knows none. Without redirection it may also answer the socket's own address,
    /// which is how a connection made directly to the listener looks.
    pub fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        match self {
            Self::Kernel => from_kernel(stream),
            Self::Given(source) => source(stream),
        }
    }
}

fn from_kernel(stream: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(stream);
    // A v4 client of a `[::]` listener was redirected by the v4 table.
    let original = if unmapped(stream.peer_addr()?).is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    match original {
        Ok(addr) => {
            addr.as_socket().map(unmapped).ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
        }
        // Nothing redirected this connection: it was made to the listener itself.
        Err(error) if error.kind() == io::ErrorKind::NotFound => stream.local_addr().map(unmapped),
        Err(error) => Err(error),
    }
}

/// A v4-mapped IPv6 address as the IPv4 address that it is.
pub fn unmapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), addr.port()),
            None => addr,
        },
        IpAddr::V4(_) => addr,
    }
}

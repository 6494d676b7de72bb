//! What DNS is asked through: the resolver's own sockets, marked as all that the proxy opens. A long answer comes over TCP,
//! which would be redirected otherwise.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use tokio::time::timeout;

use crate::config;
use crate::net::socket;

#[derive(Clone, Default)]
pub(super) struct Sockets {
    tokio: TokioRuntimeProvider,
    mark: Option<u32>,
}

type Opening<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

impl Sockets {
    pub(super) fn new(mark: Option<u32>) -> Self {
        Self { mark, ..Self::default() }
    }
}

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Opening<Self::Tcp> {
        let options = config::Socket { mark: self.mark, ..Default::default() };
        Box::pin(async move {
            let connect = socket::connect(&options, to, from.map(|from| from.ip()));
            let connected = timeout(limit.unwrap_or(CONNECT_TIMEOUT), connect).await?;
            connected.map(AsyncIoTokioAsStd)
        })
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Opening<Self::Udp> {
        let (bound, mark) = (self.tokio.bind_udp(local, server), self.mark);
        Box::pin(async move {
            let socket = bound.await?;
            socket::mark(&socket, mark).map(|()| socket)
        })
    }
}

/// The library's own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn questions_are_marked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (any, to) = ("127.0.0.1:0".parse().unwrap(), listener.local_addr().unwrap());
        let sockets = Sockets::new(Some(7));
        let udp = match sockets.bind_udp(any, to).await {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("SKIPPED, nothing was tested: marks need CAP_NET_ADMIN: {error}");
                return;
            }
            bound => bound.unwrap(),
        };
        let tcp = sockets.connect_tcp(to, None, None).await.unwrap();
        assert_eq!((SockRef::from(&udp).mark().unwrap(), SockRef::from(&tcp.0).mark().unwrap()), (7, 7));
    }
}

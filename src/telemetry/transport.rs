//! How many connections were opened and closed, and how many bytes went over them?
//!
//! One [`Transport`] stands for one set of TRANSPORT labels (contract 6.1). `peer="src"` is the accepted
//! side, `peer="dst"` the dialled one. Bytes are those that the path sees: after TLS, after a transport
//! header.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::ZoneCost;
use super::labels::{InboundTarget, Labels};
use super::metric::{ByKey, Counter, Gauge};
use super::page::Page;
use super::registry::{Budget, Family, Metric};
use crate::model::peer::{NoServerTls, NoTls};
use crate::model::{Authority, Endpoint, Peer};

/// All series about connections.
pub struct Transports(Family<Transport>);

/// The counts of one label set.
#[derive(Debug, Default)]
pub struct Transport {
    opened: Counter,
    open: Gauge,
    read: Counter,
    written: Counter,
    closed: ByKey<Option<Errno>, Counter>,
}

/// Why the system ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

/// What connections to one endpoint are counted as.
#[derive(Clone, Debug)]
pub struct Dialled {
    transport: Arc<Transport>,
    cost: Option<ZoneCost>,
}

/// One open connection. Dropping it counts a clean close.
#[derive(Debug)]
pub struct OpenConnection {
    /// `None` once it is closed.
    transport: Option<Arc<Transport>>,
    cost: Option<ZoneCost>,
}

impl Transports {
    pub fn new(budget: &Budget) -> Self {
        Self(budget.family("tcp_open_total"))
    }

    pub fn accept_inbound(&self, at: &InboundTarget<'_>) -> Arc<Transport> {
        let labels = Labels::new().inbound().with("peer", "src").target(at.target).server_tls(at.peer);
        self.0.get(&labels.srv(at.server, at.target.port()))
    }

    /// `target` is the original destination.
    pub fn accept_outbound(&self, target: SocketAddr) -> Arc<Transport> {
        let labels = Labels::new().outbound().with("peer", "src").target(target);
        self.0.get(&labels.server_tls(&Peer::Plaintext(NoTls::Loopback)))
    }

    /// Towards the application of this pod.
    pub fn connect_inbound(&self) -> Arc<Transport> {
        let labels = Labels::new().inbound().with("peer", "dst");
        self.0.get(&labels.client_tls(None, NoServerTls::Loopback))
    }

    /// `authority` names the balanced backend, if there is one.
    pub fn connect_outbound(
        &self,
        authority: Option<&Authority>,
        to: &Endpoint,
        otherwise: NoServerTls,
    ) -> Arc<Transport> {
        let labels = Labels::new().outbound().with("peer", "dst");
        self.0.get(&labels.endpoint(authority, to, otherwise))
    }

    pub fn render(&self, page: &mut Page) {
        let series = self.0.scrape();
        if series.is_empty() {
            return;
        }
        page.family("tcp_open_total", "counter", "Connections opened.");
        series.iter().for_each(|(labels, one)| page.sample("tcp_open_total", labels, one.opened.value()));
        page.family("tcp_open_connections", "gauge", "Connections open now.");
        series.iter().for_each(|(labels, one)| page.sample("tcp_open_connections", labels, one.open.value()));
        page.family("tcp_read_bytes_total", "counter", "Bytes read from peers.");
        series.iter().for_each(|(labels, one)| page.sample("tcp_read_bytes_total", labels, one.read.value()));
        page.family("tcp_write_bytes_total", "counter", "Bytes written to peers.");
        series
            .iter()
            .for_each(|(labels, one)| page.sample("tcp_write_bytes_total", labels, one.written.value()));
        page.family("tcp_close_total", "counter", "Connections closed.");
        for (labels, one) in &series {
            for (errno, count) in one.closed.iter() {
                let errno =
                    errno.map_or_else(|| "other".into(), |errno| errno.map(Errno::name).unwrap_or_default());
                page.sample("tcp_close_total", &format!("{labels},errno=\"{errno}\""), count.value());
            }
        }
    }
}

impl Transport {
    pub fn open(self: &Arc<Self>) -> OpenConnection {
        self.open_after(0, 0)
    }

    /// For connections whose labels are known only once bytes have already gone over them.
    pub fn open_after(self: &Arc<Self>, read: u64, written: u64) -> OpenConnection {
        self.opened.incr();
        self.open.incr();
        self.read.add(read);
        self.written.add(written);
        OpenConnection { transport: Some(self.clone()), cost: None }
    }
}

impl Dialled {
    pub fn new(transport: Arc<Transport>, cost: Option<ZoneCost>) -> Self {
        Self { transport, cost }
    }

    pub fn open(&self) -> OpenConnection {
        let mut connection = self.transport.open();
        connection.cost = self.cost.clone();
        connection
    }
}

impl Metric for Transport {
    fn activity(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(|(_, count)| count.value()).sum();
        [self.opened.value(), self.read.value(), self.written.value(), closed]
            .into_iter()
            .fold(0, u64::wrapping_add)
    }
}

impl OpenConnection {
    pub fn read(&self, bytes: u64) {
        if let Some(transport) = &self.transport {
            transport.read.add(bytes);
        }
        if let Some(cost) = &self.cost {
            cost.received(bytes);
        }
    }

    pub fn wrote(&self, bytes: u64) {
        if let Some(transport) = &self.transport {
            transport.written.add(bytes);
        }
        if let Some(cost) = &self.cost {
            cost.sent(bytes);
        }
    }

    pub fn close(mut self, errno: Option<Errno>) {
        self.end(errno);
    }

    fn end(&mut self, errno: Option<Errno>) {
        if let Some(transport) = self.transport.take() {
            transport.open.decr();
            transport.closed.get(errno).incr();
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Errno {
    /// The system's reason for an error; `None` when the error is not the system's.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.raw_os_error().map(Self)
    }

    /// As in `errno.h`, such as `ECONNRESET`.
    pub fn name(self) -> String {
        format!("{:?}", nix::errno::Errno::from_raw(self.0))
    }
}

pin_project! {
    /// Counts what goes through `io`. The first error closes the connection as far as metrics go.
    #[derive(Debug)]
    pub struct Metered<IO> {
        #[pin]
        io: IO,
        connection: OpenConnection,
    }
}

impl<IO> Metered<IO> {
    pub fn new(io: IO, connection: OpenConnection) -> Self {
        Self { io, connection }
    }

    pub fn get_ref(&self) -> &IO {
        &self.io
    }
}

/// Whether an error ends the connection. Neither of these does.
fn ends(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl OpenConnection {
    fn watch<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && ends(error)
        {
            self.end(Errno::of(error));
        }
        outcome
    }
}

impl<IO: AsyncRead> AsyncRead for Metered<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let outcome = ready!(this.io.poll_read(cx, buf));
        this.connection.read((buf.filled().len() - before) as u64);
        Poll::Ready(this.connection.watch(outcome))
    }
}

impl<IO: AsyncWrite> AsyncWrite for Metered<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.project();
        let outcome = ready!(this.io.poll_write(cx, buf));
        if let Ok(bytes) = &outcome {
            this.connection.wrote(*bytes as u64);
        }
        Poll::Ready(this.connection.watch(outcome))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let outcome = ready!(this.io.poll_write_vectored(cx, bufs));
        if let Ok(bytes) = &outcome {
            this.connection.wrote(*bytes as u64);
        }
        Poll::Ready(this.connection.watch(outcome))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let outcome = ready!(this.io.poll_flush(cx));
        Poll::Ready(this.connection.watch(outcome))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let outcome = ready!(this.io.poll_shutdown(cx));
        Poll::Ready(this.connection.watch(outcome))
    }
}

#[cfg(test)]
mod tests;

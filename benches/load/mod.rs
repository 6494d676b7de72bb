//! What is asked of a pair of proxies: workloads, the clients that do them and the applications behind. How a client
//! dials says whether proxies are in between.

#![allow(dead_code, reason = "each bench uses its part")]

pub(crate) mod apps;
pub(crate) mod figures;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod opaque;
pub(crate) mod plan;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

/// How the client gets to an application.
#[derive(Clone)]
pub(crate) struct Dial {
    socket: Arc<dyn Fn() -> anyhow::Result<TcpSocket> + Send + Sync>,
    to: SocketAddr,
}

/// The applications, seen from the client.
#[derive(Clone)]
pub(crate) struct Targets {
    pub(crate) http1: Dial,
    pub(crate) http2: Dial,
    pub(crate) opaque: Dial,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Workload {
    /// HTTP/1.1 requests one after the other on each connection.
    Http1 { connections: usize, until: Until },
    /// HTTP/2 requests one after the other on each stream.
    Http2 { connections: usize, streams: usize, grpc: bool, until: Until },
    /// HTTP/1.1 requests at a steady rate, whether answers come or not.
    Rate { per_second: u32, time: Duration },
    /// Opaque bytes, one way, on one connection.
    Stream { bytes: u64 },
    /// Opaque connections, each with a byte both ways, so many at a time.
    Connections { count: usize, at_once: usize },
}

/// When a client has asked enough; once in any case: on a busy machine a brief run may be over before it has begun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Until {
    Time(Duration),
    /// Requests of each connection or stream.
    Count(usize),
}

/// How a round went.
pub(crate) struct Done {
    pub(crate) took: Duration,
    /// Requests, gigabytes or connections.
    pub(crate) units: f64,
    /// Of each request, sorted; of streams there are none.
    pub(crate) latencies: Vec<Duration>,
}

impl Dial {
    pub(crate) fn plain(to: SocketAddr) -> Self {
        Self::with(to, || Ok(TcpSocket::new_v4()?))
    }

    pub(crate) fn with(
        to: SocketAddr,
        socket: impl Fn() -> anyhow::Result<TcpSocket> + Send + Sync + 'static,
    ) -> Self {
        Self { socket: Arc::new(socket), to }
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<TcpStream> {
        let io = (self.socket)()?.connect(self.to).await?;
        io.set_nodelay(true)?;
        Ok(io)
    }
}

impl Workload {
    pub(crate) async fn run(&self, to: &Targets) -> anyhow::Result<Done> {
        match *self {
            Self::Http1 { connections, until } => http1::closed(&to.http1, connections, until).await,
            Self::Http2 { connections, streams, grpc, until } => {
                http2::closed(&to.http2, connections, streams, grpc, until).await
            }
            Self::Rate { per_second, time } => http1::open(&to.http1, per_second, time).await,
            Self::Stream { bytes } => opaque::stream(&to.opaque, bytes).await,
            Self::Connections { count, at_once } => opaque::connections(&to.opaque, count, at_once).await,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Http1 { connections, .. } => format!("http1-{connections}"),
            Self::Http2 { grpc: false, .. } => "http2".into(),
            Self::Http2 { grpc: true, .. } => "grpc".into(),
            Self::Rate { .. } => "rate".into(),
            Self::Stream { .. } => "tcp".into(),
            Self::Connections { .. } => "connections".into(),
        }
    }

    pub(crate) fn title(&self) -> String {
        match self {
            Self::Http1 { connections, .. } => format!("HTTP/1.1, connections: {connections}"),
            Self::Http2 { connections, streams, grpc, .. } => {
                let what = if *grpc { "gRPC, unary" } else { "HTTP/2" };
                format!("{what}, {connections} connections x {streams} streams")
            }
            Self::Rate { per_second, .. } => format!("HTTP/1.1 at {per_second} requests/s"),
            Self::Stream { bytes } => format!("opaque TCP, one stream, {} MiB", bytes >> 20),
            Self::Connections { count, at_once } => format!("{count} new connections, {at_once} at once"),
        }
    }

    /// What is counted.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Self::Stream { .. } => "gigabyte",
            Self::Connections { .. } => "connection",
            _ => "request",
        }
    }

    /// An eighth of it: discovery, handshakes and first allocations belong to no round.
    pub(crate) fn warm_up(&self) -> Self {
        let eighth = |until| match until {
            Until::Time(time) => Until::Time(time / 8),
            Until::Count(count) => Until::Count(count.div_ceil(8)),
        };
        match *self {
            Self::Http1 { connections, until } => Self::Http1 { connections, until: eighth(until) },
            Self::Http2 { connections, streams, grpc, until } => {
                Self::Http2 { connections, streams, grpc, until: eighth(until) }
            }
            Self::Rate { per_second, time } => Self::Rate { per_second, time: time / 8 },
            Self::Stream { bytes } => Self::Stream { bytes: bytes / 8 },
            Self::Connections { count, at_once } => Self::Connections { count: count.div_ceil(8), at_once },
        }
    }
}

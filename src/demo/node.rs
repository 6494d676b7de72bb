//! What does the node want from a pod? Kubelet asks whether the proxy lives and is ready, Prometheus reads its figures:
//! plain HTTP from the router's namespace to the pod's own address.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::namespace::{self, Namespace};

/// Port of the proxy's admin server, which injection never redirects.
pub const ADMIN: u16 = 4191;

/// Why a pod gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    #[error("http://{addr}{path}: {source}")]
    Io { addr: SocketAddr, path: String, source: io::Error },
    #[error("http://{addr}{path}: {reason}")]
    Http { addr: SocketAddr, path: String, reason: String },
    #[error("http://{addr}{path}: no answer within {}", humantime::format_duration(*.limit))]
    Timeout { addr: SocketAddr, path: String, limit: Duration },
    #[error("http://{addr}{path}: answered {status}, expected 200")]
    Status { addr: SocketAddr, path: String, status: StatusCode },
}

/// Reads `path` of the server at `addr`, over a connection of its own.
///
/// # Errors
/// For anything but a whole answer within `limit`.
pub async fn get(
    from: &Namespace,
    addr: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), Error> {
    let socket = from.socket(addr)?;
    let answer = timeout(limit, exchange(socket, addr, path)).await;
    answer.map_err(|_| Error::Timeout { addr, path: path.to_owned(), limit })?
}

/// [`get`], of which only 200 will do.
///
/// # Errors
/// As [`get`], and for every other status.
pub async fn fetch(from: &Namespace, addr: SocketAddr, path: &str, limit: Duration) -> Result<Bytes, Error> {
    match get(from, addr, path, limit).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(Error::Status { addr, path: path.to_owned(), status }),
    }
}

/// Kubelet's probes of the proxy container (controlplane 5.3), until aborted: `/ready` from 2 s on and `/live` from
/// 10 s on, each every 10 s.
pub async fn probe(node: Arc<Namespace>, title: String, pod: IpAddr) {
    let now = Instant::now();
    let mut ready = interval_at(now + Duration::from_secs(2), PROBE_PERIOD);
    let mut live = interval_at(now + Duration::from_secs(10), PROBE_PERIOD);
    ready.set_missed_tick_behavior(MissedTickBehavior::Delay);
    live.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let path = tokio::select! {
            _ = ready.tick() => "/ready",
            _ = live.tick() => "/live",
        };
        if let Err(e) = fetch(&node, SocketAddr::from((pod, ADMIN)), path, PROBE_TIMEOUT).await {
            let _ = writeln!(io::stderr(), "{title}: probe failed: {e}");
        }
    }
}

/// Makes a port that `from` reaches reachable from the machine, at the address returned, until the task ends.
///
/// # Errors
/// When no port is free on the machine's loopback.
pub async fn forward(
    from: Arc<Namespace>,
    to: SocketAddr,
    tasks: &mut JoinSet<()>,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let Ok((mut client, _)) = listener.accept().await else { return };
            while open.try_join_next().is_some() {}
            let Ok(socket) = from.socket(to) else { return };
            open.spawn(async move {
                // Whoever is forwarded sees a failure as a closed connection.
                if let Ok(Ok(mut server)) = timeout(PROBE_TIMEOUT, socket.connect(to)).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    Ok(addr)
}

async fn exchange(
    socket: tokio::net::TcpSocket,
    addr: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Error> {
    let failed = |reason: String| Error::Http { addr, path: path.to_owned(), reason };
    let stream =
        socket.connect(addr).await.map_err(|source| Error::Io { addr, path: path.to_owned(), source })?;
    let (mut client, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(e.to_string()))?;
    let req = Request::get(path).header(header::HOST, addr.to_string()).header(header::CONNECTION, "close");
    let req = req.body(Empty::<Bytes>::new()).map_err(|e| failed(e.to_string()))?;
    let answer = async {
        let rsp = client.send_request(req).await.map_err(|e| failed(e.to_string()))?;
        let status = rsp.status();
        let body = Limited::new(rsp.into_body(), LARGEST_ANSWER).collect().await;
        Ok((status, body.map_err(|e| failed(e.to_string()))?.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        // The connection may end first when the answer is already complete.
        _ = connection => answer.await,
    }
}

/// As the injector writes into the probes (controlplane 5.3).
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Kubernetes' default.
const PROBE_PERIOD: Duration = Duration::from_secs(10);
/// A page of metrics of a demo is some hundred kilobytes.
const LARGEST_ANSWER: usize = 64 << 20;

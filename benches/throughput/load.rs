//! The applications behind the mesh, and the clients in front of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What client and application hand the kernel at once; large, so that the load is not what is
/// measured.
const BUFFER: usize = 256 * 1024;

/// The answer to every request.
static ANSWER: [u8; 100] = [b'.'; 100];

/// Two applications on a thread of their own: one counts bytes, one answers requests.
pub(crate) struct Apps {
    pub(crate) stream: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// How a round of requests went.
pub(crate) struct Done {
    pub(crate) took: Duration,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Apps {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stream, http) = runtime.block_on(async {
            anyhow::Ok((TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?))
        })?;
        let apps = Self { stream: stream.local_addr()?, http: http.local_addr()? };
        let serve = async move { tokio::join!(count(stream), answer(http)) };
        std::thread::Builder::new().name("apps".into()).spawn(move || runtime.block_on(serve))?;
        Ok(apps)
    }
}

/// Reads each connection to its end and answers how many bytes came.
async fn count(listener: TcpListener) {
    while let Ok((mut io, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut buf, mut total) = (vec![0; BUFFER], 0_u64);
            loop {
                match io.read(&mut buf).await {
                    Ok(0) => break,
                    Ok(n) => total += n as u64,
                    Err(_) => return,
                }
            }
            let _ = io.write_u64(total).await;
        });
    }
}

async fn answer(listener: TcpListener) {
    while let Ok((io, _)) = listener.accept().await {
        let _ = io.set_nodelay(true);
        tokio::spawn(async move {
            let answer = service_fn(async |_| {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&ANSWER))))
            });
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), answer).await
        });
    }
}

/// Sends so many bytes and waits until the application has counted them.
pub(crate) async fn stream(to: SocketAddr, bytes: u64) -> anyhow::Result<Duration> {
    let mut io = TcpStream::connect(to).await?;
    let piece = vec![7_u8; BUFFER];
    let started = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let n = left.min(BUFFER as u64);
        io.write_all(&piece[..n as usize]).await?;
        left -= n;
    }
    io.shutdown().await?;
    let counted = io.read_u64().await?;
    let took = started.elapsed();
    ensure!(counted == bytes, "{counted} of {bytes} bytes arrived");
    Ok(took)
}

/// Keeps so many connections busy for so long.
pub(crate) async fn requests(to: SocketAddr, connections: usize, time: Duration) -> anyhow::Result<Done> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(to, started + time));
    }
    let mut latencies = Vec::new();
    while let Some(client) = clients.join_next().await {
        latencies.extend(client??);
    }
    let took = started.elapsed();
    latencies.sort();
    ensure!(!latencies.is_empty(), "no request was answered");
    Ok(Done { took, latencies })
}

async fn client(to: SocketAddr, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let io = TcpStream::connect(to).await?;
    io.set_nodelay(true)?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    let driver = tokio::spawn(driver);
    let mut latencies = Vec::new();
    // At least one: on a busy machine a brief run may be over before it has begun.
    loop {
        let asked = Instant::now();
        let request =
            Request::get("/").header("host", "http.bench.svc.cluster.local").body(Empty::<Bytes>::new())?;
        sender.ready().await?;
        let rsp = sender.send_request(request).await?;
        let status = rsp.status();
        let body = rsp.into_body().collect().await?.to_bytes();
        ensure!(status.is_success() && body[..] == ANSWER, "answered {status}");
        latencies.push(asked.elapsed());
        if Instant::now() >= until {
            break;
        }
    }
    drop(sender);
    driver.await??;
    Ok(latencies)
}

impl Done {
    /// Microseconds.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let at = (self.latencies.len() as f64 * q) as usize;
        self.latencies[at.min(self.latencies.len() - 1)].as_secs_f64() * 1e6
    }
}

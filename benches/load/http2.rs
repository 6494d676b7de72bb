//! Clients of HTTP/2, plain and gRPC.

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::apps::{ANSWER, MESSAGE};
use super::{Dial, Done, Until};

/// Keeps so many streams busy on each of so many connections.
pub(super) async fn closed(
    to: &Dial,
    connections: usize,
    streams: usize,
    grpc: bool,
    until: Until,
) -> anyhow::Result<Done> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let io = TokioIo::new(to.connect().await?);
        let (sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(driver);
        for _ in 0..streams {
            let mut sender = sender.clone();
            clients.spawn(async move {
                let mut latencies = Vec::new();
                while latencies.is_empty() || until.goes_on(started, latencies.len()) {
                    let asked = Instant::now();
                    if grpc {
                        call(&mut sender).await?
                    } else {
                        ask(&mut sender).await?
                    }
                    latencies.push(asked.elapsed());
                }
                Ok(latencies)
            });
        }
    }
    Done::of(clients, started).await
}

type Sender = SendRequest<Full<Bytes>>;

async fn ask(sender: &mut Sender) -> anyhow::Result<()> {
    let request = Request::get("http://http2.bench.svc.cluster.local/").version(Version::HTTP_2);
    sender.ready().await?;
    let rsp = sender.send_request(request.body(Full::default())?).await?;
    let status = rsp.status();
    let body = rsp.into_body().collect().await?.to_bytes();
    ensure!(status.is_success() && body[..] == ANSWER, "answered {status}");
    Ok(())
}

async fn call(sender: &mut Sender) -> anyhow::Result<()> {
    let request = Request::post("http://http2.bench.svc.cluster.local/bench.Echo/Call")
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "10S");
    sender.ready().await?;
    let rsp = sender.send_request(request.body(Full::new(Bytes::from_static(&MESSAGE)))?).await?;
    let answer = rsp.into_body().collect().await?;
    let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
    ensure!(status.is_some_and(|status| status == "0"), "a call failed");
    ensure!(answer.to_bytes()[..] == MESSAGE, "another message was answered");
    Ok(())
}

//! Clients of HTTP/1.1.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::apps::ANSWER;
use super::{Dial, Done, Until};

/// Connections that share a steady rate: enough that one slow answer does not hold up the next requests.
const STEADY: u32 = 20;

/// Keeps so many connections busy.
pub(super) async fn closed(to: &Dial, connections: usize, until: Until) -> anyhow::Result<Done> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let to = to.clone();
        clients.spawn(async move {
            let mut client = Client::connect(&to).await?;
            let mut latencies = Vec::new();
            while latencies.is_empty() || until.goes_on(started, latencies.len()) {
                let asked = Instant::now();
                client.ask().await?;
                latencies.push(asked.elapsed());
            }
            client.end().await?;
            Ok(latencies)
        });
    }
    Done::of(clients, started).await
}

/// Asks at a steady rate. Latency counts from when a request was due, so that waiting for a slow answer shows.
pub(super) async fn open(to: &Dial, per_second: u32, time: Duration) -> anyhow::Result<Done> {
    let period = Duration::from_secs(1) * STEADY / per_second;
    let each = (time.as_secs_f64() / period.as_secs_f64()).ceil() as u32;
    let started = Instant::now() + Duration::from_millis(20);
    let mut clients = JoinSet::new();
    for client in 0..STEADY {
        let (to, offset) = (to.clone(), period * client / STEADY);
        clients.spawn(async move {
            let mut client = Client::connect(&to).await?;
            let mut latencies = Vec::new();
            for request in 0..each {
                let due = started + offset + period * request;
                sleep_until(due).await;
                client.ask().await?;
                latencies.push(due.elapsed());
            }
            client.end().await?;
            Ok(latencies)
        });
    }
    Done::of(clients, started).await
}

/// Connections on which one request was answered, and which are idle now.
pub(crate) async fn idle(to: &Dial, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Client::connect(to).await?;
        client.ask().await?;
        open.push(client);
    }
    Ok(open)
}

pub(crate) struct Client {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Client {
    async fn connect(to: &Dial) -> anyhow::Result<Self> {
        let io = to.connect().await?;
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
        Ok(Self { sender, driver: tokio::spawn(driver) })
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        let request =
            Request::get("/").header("host", "http.bench.svc.cluster.local").body(Empty::<Bytes>::new())?;
        self.sender.ready().await?;
        let rsp = self.sender.send_request(request).await?;
        let status = rsp.status();
        let body = rsp.into_body().collect().await?.to_bytes();
        ensure!(status.is_success() && body[..] == ANSWER, "answered {status}");
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        drop(self.sender);
        Ok(self.driver.await??)
    }
}

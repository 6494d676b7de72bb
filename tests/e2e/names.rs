//! What do names leave behind that callers make up? Distinct authorities and paths through both proxies,
//! server names in ClientHellos that pass inbound and outbound: the series of metrics stay within their
//! budget, and memory stays flat.
//!
//! A process of its own, since it measures itself. `CAUSEWAY_MILLION=1` sends a million of each kind;
//! `--nocapture` shows the figures.

// Everything here is a test, and fails by panicking.
#![allow(clippy::unwrap_used, clippy::large_futures, unreachable_pub)]
#![allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]

mod application;
mod client;
#[path = "../hello/mod.rs"]
mod hello;
mod pair;
mod policies;
mod raw;
mod sandbox;
mod scripted;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use causeway::model::Endpoint;
use causeway::telemetry::registry::{MOST_SERIES, MOST_UNPROVEN};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use client::{Client, Kind, empty};
use hello::client_hello;
use pair::Pair;
use policies::{forward, opaque};
use sandbox::{Pod, service_addr, within};

/// Callers at the same time.
const CALLERS: u64 = 16;

/// Names before measuring: buffers, caches and the series that there may be.
const WARM: u64 = 1_000;

/// Bytes that memory may have grown by. The reference keeps some 18 KiB for each authority it meets
/// inbound: 70 MiB for the names of a short run.
const FLAT: u64 = 16 << 20;

fn names() -> u64 {
    if std::env::var_os("CAUSEWAY_MILLION").is_some() { 1_000_000 } else { 4_000 }
}

/// What is measured before and after.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    resident: u64,
    /// Of both proxies.
    series: u64,
    lines: usize,
    absorbed: u64,
}

async fn footprint(pair: &Pair) -> Footprint {
    let (mut series, mut lines, mut absorbed) = (0, 0, 0);
    for pod in [&pair.web, &pair.bb] {
        let page = page(pod).await;
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        lines += samples.clone().count();
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        let of = |name: &'static str| samples.clone().filter(move |line| line.starts_with(name)).map(value);
        series += of("causeway_metrics_series").sum::<u64>();
        absorbed += of("causeway_metrics_absorbed_total").sum::<u64>();
    }
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident = statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096;
    Footprint { resident, series, lines, absorbed }
}

async fn page(pod: &Pod) -> String {
    let io = within("a connection", TcpStream::connect(pod.admin)).await.unwrap();
    let page = Client::new(Kind::Http1, io).await.get("/metrics").await;
    String::from_utf8(page.body.to_vec()).unwrap()
}

/// Sends names with so many callers, and measures what they have left.
async fn measured(
    what: &str,
    pair: &Pair,
    send: impl AsyncFn(&Pair, &AtomicU64, u64),
) -> (Footprint, Footprint) {
    let next = AtomicU64::new(0);
    send(pair, &next, WARM).await;
    // Every caller has taken one too many.
    next.store(WARM, Relaxed);
    let (before, started) = (footprint(pair).await, Instant::now());
    send(pair, &next, WARM + names()).await;
    let took = started.elapsed();
    let after = footprint(pair).await;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{what}: {} names in {took:.0?}; resident {:.1} → {:.1} MiB; series {} → {}, lines {} → {}; absorbed {}",
        names(),
        mib(before.resident),
        mib(after.resident),
        before.series,
        after.series,
        before.lines,
        after.lines,
        after.absorbed - before.absorbed,
    );
    let grown = after.resident.saturating_sub(before.resident);
    assert!(grown < FLAT, "{what}: {grown} bytes for {} names", names());
    assert!(after.series < 2 * MOST_SERIES as u64, "{what}: {after:?}");
    (before, after)
}

/// Requests, each with an authority and a path of its own, on as many connections as there are callers.
async fn requests(pair: &Pair, kind: Kind, unmeshed: bool, next: &AtomicU64, until: u64) {
    let caller = async || {
        let mut client = if unmeshed { pair.unmeshed(kind).await } else { pair.client(kind).await };
        loop {
            let n = next.fetch_add(1, Relaxed);
            if n >= until {
                return;
            }
            let (host, path) = (format!("n{n}.{kind:?}.example"), format!("/p{n}/{kind:?}?q={n}"));
            let req = match kind {
                Kind::Http1 => Request::get(path).header("host", host),
                Kind::Http2 | Kind::Grpc => Request::get(format!("http://{host}{path}")),
            };
            client.send(req.body(empty()).unwrap()).await.assert_answered();
            pair.app.seen();
        }
    };
    futures_util::future::join_all((0..CALLERS).map(|_| caller())).await;
}

/// Connections that begin with a ClientHello for a name of their own, and end when the far side ends them.
async fn hellos(connect: impl AsyncFn() -> TcpStream, next: &AtomicU64, until: u64) {
    let caller = async || {
        loop {
            let n = next.fetch_add(1, Relaxed);
            if n >= until {
                return;
            }
            let mut io = connect().await;
            io.write_all(&client_hello(Some(&format!("n{n}.example")))).await.unwrap();
            let mut answer = [0; 8];
            let read = within("an answer", io.read(&mut answer)).await.unwrap();
            assert_eq!(&answer[..read], b"seen");
            // Nothing waits: a million connections would not find a million ports otherwise.
            socket2::SockRef::from(&io).set_linger(Some(Duration::ZERO)).unwrap();
        }
    };
    futures_util::future::join_all((0..CALLERS).map(|_| caller())).await;
}

/// An application that answers what it reads, and ends. It keeps nothing of its connections.
async fn seen(pod: &Pod) -> SocketAddr {
    let listener = pod.listen().await;
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                if matches!(io.read(&mut bytes).await, Ok(1..)) {
                    let _ = io.write_all(b"seen").await;
                }
                let _ = io.shutdown().await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn names_leave_series_within_the_budget_and_memory_flat() {
    let pair = Pair::new().await;
    for (what, kind, unmeshed) in [
        ("authorities and paths, HTTP/1 through both proxies", Kind::Http1, false),
        ("authorities and paths, HTTP/2 through both proxies", Kind::Http2, false),
        ("authorities and paths, HTTP/1 inbound without a proxy", Kind::Http1, true),
    ] {
        let send = async |pair: &Pair, next: &AtomicU64, until| {
            requests(pair, kind, unmeshed, next, until).await;
        };
        let (before, after) = measured(what, &pair, send).await;
        // In a long run idle series may go meanwhile.
        assert!(after.series <= before.series && after.absorbed == before.absorbed, "{what}");
    }

    let app = seen(&pair.bb).await;
    let send = async |pair: &Pair, next: &AtomicU64, until| {
        let connect = async || pair.world.connect_unmeshed(app, &pair.bb).await;
        hellos(connect, next, until).await;
    };
    let (before, after) = measured("server names, inbound", &pair, send).await;
    // Of opened connections and of what was let in: nothing else has the name for a label.
    assert_eq!(after.absorbed - before.absorbed, 2 * names(), "warm-up has filled the families");
    assert!(after.series < 100 + 2 * MOST_UNPROVEN as u64, "{after:?}");

    let service: SocketAddr = service_addr();
    pair.world.script().policy(service, &opaque(forward(Endpoint::plain(app))));
    let send = async |pair: &Pair, next: &AtomicU64, until| {
        let connect = async || pair.web.connect(service).await;
        hellos(connect, next, until).await;
    };
    let (before, after) = measured("server names, outbound", &pair, send).await;
    assert!(after.series <= before.series && after.absorbed == before.absorbed, "{before:?} {after:?}");
}

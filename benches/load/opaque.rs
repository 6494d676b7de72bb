//! Clients of opaque bytes.

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::apps::{BUFFER, COUNT, ECHO_AND_CLOSE, ECHO_AND_STAY};
use super::{Dial, Done};

const GIGABYTE: f64 = 1e9;

/// Sends so many bytes and waits until the application has counted them.
pub(super) async fn stream(to: &Dial, bytes: u64) -> anyhow::Result<Done> {
    let mut io = to.connect().await?;
    let piece = vec![7_u8; BUFFER];
    io.write_u8(COUNT).await?;
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
    Ok(Done { took, units: bytes as f64 / GIGABYTE, latencies: Vec::new() })
}

/// Opens so many connections, so many at a time. The application hangs up first, so that no port of a client is kept
/// waiting.
pub(super) async fn connections(to: &Dial, count: usize, at_once: usize) -> anyhow::Result<Done> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..at_once {
        let (to, share) = (to.clone(), (count + client) / at_once);
        clients.spawn(async move {
            let mut latencies = Vec::with_capacity(share);
            for _ in 0..share {
                let asked = Instant::now();
                let mut io = to.connect().await?;
                io.write_u8(ECHO_AND_CLOSE).await?;
                ensure!(io.read_u8().await? == ECHO_AND_CLOSE, "not what was sent");
                latencies.push(asked.elapsed());
                ensure!(io.read(&mut [0]).await? == 0, "more than was sent");
            }
            Ok(latencies)
        });
    }
    Done::of(clients, started).await
}

/// Connections that have carried a byte both ways and are idle now.
pub(crate) async fn idle(to: &Dial, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let mut io = to.connect().await?;
        io.write_u8(ECHO_AND_STAY).await?;
        ensure!(io.read_u8().await? == ECHO_AND_STAY, "not what was sent");
        open.push(io);
    }
    Ok(open)
}

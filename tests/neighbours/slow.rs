//! Those who ask for much and take it slowly, or never.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::h2::{self, WINDOW_UPDATE};
use crate::siege::Siege;
use crate::world::{Side, World, many};

/// Streams of one connection: half of what the proxy allows.
const STREAMS: usize = 100;

/// How long the slow ones stay.
const STAY: Duration = Duration::from_secs(5);

/// Asks for so many large answers, each with this window.
async fn ask(world: &World, side: Side, window: u32) -> TcpStream {
    let mut io = h2::open(world, side, window).await;
    let more = h2::frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
    let requests = h2::streams().take(STREAMS).flat_map(|stream| h2::get(stream, "/large"));
    io.write_all(&more.into_iter().chain(requests).collect::<Vec<_>>()).await.unwrap();
    io
}

fn slow(name: &str, side: Side, window: u32) {
    let Some(world) = World::new() else { return };
    let direction = if side == Side::Outbound { "outbound" } else { "inbound" };
    let counted = &[(direction, "answer-unread")];
    Siege::new(name, side, counted).over_http2().run(&world, |world| {
        world.runtime.block_on(async {
            let all = stream::iter(0..many(10_000) / STREAMS).map(|_| ask(world, side, window));
            let mut all: Vec<_> = all.buffer_unordered(8).collect().await;
            let until = tokio::time::Instant::now() + STAY;
            while tokio::time::Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(200)).await;
                for io in &mut all {
                    let mut little = [0; 512];
                    let _ = tokio::time::timeout(Duration::from_millis(1), io.read(&mut little)).await;
                }
            }
            println!("{name}: {:.1} MiB", world.memory() as f64 / f64::from(1 << 20));
        });
    });
}

#[test]
fn streams_that_are_read_slowly() {
    slow("slow readers' streams (inbound)", Side::Inbound, 1 << 20);
    slow("slow readers' streams (outbound)", Side::Outbound, 1 << 20);
}

#[test]
fn windows_that_never_open() {
    slow("zero windows (inbound)", Side::Inbound, 0);
    slow("zero windows (outbound)", Side::Outbound, 0);
}

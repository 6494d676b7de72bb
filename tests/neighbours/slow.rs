//! Those who ask for much and take it slowly, or never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::h2::{self, RST_STREAM, WINDOW_UPDATE};
use crate::siege::Siege;
use crate::world::{Side, World, many};

/// Streams of one connection: half of what the proxy allows.
const STREAMS: usize = 100;

/// How long the slow ones stay.
const STAY: Duration = Duration::from_secs(8);

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

/// The body of such a request may be under way still: that must not keep the stream.
#[test]
fn who_is_given_up_while_asking_is_told() {
    let Some(world) = World::new() else { return };
    for side in [Side::Inbound, Side::Outbound] {
        let resets = Arc::<AtomicUsize>::default();
        world.runtime.block_on(async {
            for _ in 0..5 {
                let mut io = h2::open(&world, side, 0).await;
                let requests = h2::streams().take(STREAMS).flat_map(|stream| h2::post(stream, "/large"));
                io.write_all(&requests.collect::<Vec<_>>()).await.unwrap();
                tokio::spawn(count_resets(io, resets.clone()));
            }
        });
        // Five hundred ask, and what may wait for ever is half of that.
        world.until("streams are reset", || resets.load(Ordering::Relaxed) >= 200);
    }
}

async fn count_resets(mut io: TcpStream, resets: Arc<AtomicUsize>) {
    let mut header = [0; 9];
    while io.read_exact(&mut header).await.is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
        if io.read_exact(&mut payload).await.is_err() {
            return;
        }
        if header[3] == RST_STREAM {
            resets.fetch_add(1, Ordering::Relaxed);
        }
    }
}

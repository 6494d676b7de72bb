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

/// Connections of HTTP/1, each of which has buffers of its own.
const HTTP1: usize = 300;

/// How often each takes a little.
const ROUND: Duration = Duration::from_millis(200);

/// How long the slow ones stay.
const STAY: Duration = Duration::from_secs(8);

/// Asks so many times, each with this window.
async fn ask(world: &World, side: Side, path: &str, window: u32) -> TcpStream {
    let mut io = h2::open(world, side, window).await;
    let more = h2::frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
    let requests = h2::streams().take(STREAMS).flat_map(|stream| h2::get(stream, path));
    io.write_all(&more.into_iter().chain(requests).collect::<Vec<_>>()).await.unwrap();
    io
}

/// Both sides are besieged by ten thousand streams.
fn slow(name: &str, path: &str, window: u32) {
    for side in [Side::Inbound, Side::Outbound] {
        besiege(World::beside_others(), name, side, async |world: &World| {
            let all = stream::iter(0..many(10_000) / STREAMS).map(|_| ask(world, side, path, window));
            all.buffer_unordered(8).collect().await
        });
    }
}

/// Those who have asked read little, and stay for a while.
fn besiege(
    world: Option<World>,
    name: &str,
    side: Side,
    begin: impl AsyncFn(&World) -> Vec<TcpStream> + Sync,
) {
    let Some(world) = world else { return };
    let direction = if side == Side::Outbound { "outbound" } else { "inbound" };
    let (name, counted) = (format!("{name} ({direction})"), &[(direction, "answer-unread")]);
    Siege::new(&name, side, counted).over_http2().run(&world, |world| {
        world.runtime.block_on(async {
            let mut all = begin(world).await;
            let pause = ROUND / all.len() as u32;
            let until = tokio::time::Instant::now() + STAY;
            while tokio::time::Instant::now() < until {
                for io in &mut all {
                    // Each in its own time: whatever wakes hundreds at once is a burst for anybody.
                    tokio::time::sleep(pause).await;
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
    slow("slow readers' streams", "/large", 1 << 20);
}

#[test]
fn windows_that_never_open() {
    slow("zero windows", "/large", 0);
}

/// The library has taken such an answer whole: nobody waits for its window any more.
#[test]
fn windows_of_one_byte_for_answers_of_one_piece() {
    slow("windows of one byte", "/piece", 1);
}

#[test]
fn http1_answers_that_are_read_slowly() {
    for side in [Side::Inbound, Side::Outbound] {
        // Alone: the application has a thread for each of them, and their first pieces keep the processors busy.
        besiege(World::new(), "slow readers over HTTP/1", side, async |world: &World| {
            let all = stream::iter(0..HTTP1).map(|_| async {
                let mut io = world.dial(side).await;
                io.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
                io
            });
            all.buffer_unordered(32).collect().await
        });
    }
}

/// The body of such a request may be under way still: that must not keep the stream.
#[test]
fn who_is_given_up_while_asking_is_told() {
    let Some(world) = World::beside_others() else { return };
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

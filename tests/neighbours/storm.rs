//! Every endpoint fails and every client's requests may be sent again: what is asked of the endpoints stays within what
//! the route allows, and what is kept to be sent again within what all requests may keep.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::app::BUSY;
use crate::knowledge::STORM;
use crate::siege::SLACK;
use crate::world::World;

const CLIENTS: usize = 100;

/// What is kept of all requests, 32 MiB, and what waits on either side of 100 connections, 192 KiB each: 70 MiB, with
/// room for how memory is handed out. Their bodies are 1,000 MiB.
const ROOM: usize = 128 << 20;

#[test]
fn a_storm_of_retries_costs_what_its_route_allows_and_no_more() {
    let Some(world) = World::new() else { return };
    let (small, large) = (1 << 10, 10 << 20);
    let began = Instant::now();
    let asked = storm(&world, small).asked;
    assert_eq!(asked, CLIENTS * (1 + usize::from(STORM.limit)), "each as often as it may be");
    let pauses = STORM.pause * u32::from(STORM.limit);
    assert!(began.elapsed() >= pauses, "with pauses: {:?}", began.elapsed());

    // Twice: what the first leaves behind would be on top of the second.
    let before = world.memory();
    for _ in 0..2 {
        let Weather { asked, peak } = storm(&world, large);
        let peak = peak.saturating_sub(before);
        println!(
            "{CLIENTS} clients with {} MiB each: {asked} sendings, {:.1} MiB more at most",
            large >> 20,
            peak as f64 / f64::from(1 << 20)
        );
        // Those for which there was room were kept and sent again: three, and whoever came after them.
        assert!(asked > CLIENTS && asked < 2 * CLIENTS, "{asked} sendings");
        assert!(peak < ROOM, "{peak} bytes more");
    }
    let ended = Instant::now();
    while world.memory() > before + SLACK {
        assert!(ended.elapsed() < LONGEST, "{} bytes, and {before} before", world.memory());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a storm cost.
struct Weather {
    /// Requests that the endpoint read whole.
    asked: usize,
    /// Resident bytes.
    peak: usize,
}

/// All clients at once, each with one body of so many bytes.
fn storm(world: &World, length: usize) -> Weather {
    let asked = BUSY.load(Ordering::Relaxed);
    let peak = world.runtime.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let io = world.dial_to(STORM.service).await;
            clients.spawn(timeout(LONGEST, busy(io, length)));
        }
        let mut peak = 0;
        let mut each = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                answered = clients.join_next() => match answered {
                    Some(answered) => assert_eq!(answered.unwrap().unwrap(), "HTTP/1.1 503"),
                    None => return peak,
                },
                _ = each.tick() => peak = peak.max(world.memory()),
            }
        }
    });
    Weather { asked: BUSY.load(Ordering::Relaxed) - asked, peak }
}

const LONGEST: Duration = Duration::from_secs(60);

/// The status line of the answer, up to the status.
async fn busy(mut io: TcpStream, length: usize) -> String {
    let head = format!("POST /busy HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'.'; length.min(64 << 10)];
    for _ in 0..length / piece.len() {
        io.write_all(&piece).await.unwrap();
    }
    let mut answer = [0; 12];
    io.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

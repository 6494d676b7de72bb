//! Frames that cost their sender next to nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::h2::{
    self, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
};
use crate::siege::{Siege, flood_time};
use crate::world::{Side, World, full};

/// Connections that flood at once.
const AT_ONCE: usize = 2;

/// Keeps flooding, on a new connection after each that was closed. `begin` starts what each connection sends.
fn flood<P: FnMut() -> Vec<u8> + Send>(
    side: Side,
    name: &str,
    reason: &str,
    begin: impl Fn() -> P + Copy + Send + Sync,
) {
    let Some(world) = World::new() else { return };
    let direction = if side == Side::Outbound { "outbound" } else { "inbound" };
    let name = format!("{name} ({direction})");
    // A build that is not for speed may not even take in as many resets as are allowed.
    let counted = [(direction, reason)];
    let counted = if full() || reason != "rapid-reset" { &counted[..] } else { &[] };
    Siege::new(&name, side, counted).run(&world, |world| {
        world.runtime.block_on(async {
            let until = Instant::now() + flood_time();
            let one = || async {
                while Instant::now() < until {
                    let io = h2::open(world, side, 65_535).await;
                    let _ = tokio::time::timeout_at(until, h2::pour(io, begin(), until)).await;
                }
            };
            futures_util::future::join_all((0..AT_ONCE).map(|_| one())).await;
        });
    });
}

fn on_both_sides<P: FnMut() -> Vec<u8> + Send>(
    name: &str,
    reason: &str,
    begin: impl Fn() -> P + Copy + Send + Sync,
) {
    flood(Side::Inbound, name, reason, begin);
    flood(Side::Outbound, name, reason, begin);
}

#[test]
fn rapid_reset() {
    on_both_sides("rapid reset", "rapid-reset", || {
        let mut streams = h2::streams();
        move || {
            let pair = |stream| [h2::get(stream, "/"), h2::frame(RST_STREAM, 0, stream, &CANCEL)].concat();
            streams.by_ref().take(100).flat_map(pair).collect()
        }
    });
}

#[test]
fn pings() {
    let pings = h2::frame(PING, 0, 0, &[0; 8]).repeat(1000);
    on_both_sides("PING flood", "ping-flood", || || pings.clone());
}

#[test]
fn settings() {
    let settings = h2::frame(SETTINGS, 0, 0, &[]).repeat(1000);
    on_both_sides("SETTINGS flood", "settings-flood", || || settings.clone());
}

#[test]
fn continuations() {
    on_both_sides("CONTINUATION flood", "continuation-flood", || {
        let mut begun = false;
        move || {
            let start = h2::frame(HEADERS, END_STREAM, 1, &h2::head(0x82, "/"));
            let more = h2::frame(CONTINUATION, 0, 1, b"").repeat(100);
            if std::mem::replace(&mut begun, true) { more } else { start }
        }
    });
}

#[test]
fn empty_data() {
    on_both_sides("empty DATA flood", "empty-data-flood", || {
        let mut begun = false;
        move || {
            let empty = h2::frame(DATA, 0, 1, b"").repeat(100);
            if std::mem::replace(&mut begun, true) { empty } else { h2::post(1, "/") }
        }
    });
}

#[test]
fn frames_of_unknown_kinds() {
    let unknown = h2::frame(0x77, END_HEADERS, 0, &[]).repeat(1000);
    on_both_sides("unknown frames", "frame-flood", || || unknown.clone());
}

/// Five each millisecond, given up a moment later or at once, for which nobody is to be punished.
#[test]
fn an_application_that_cancels_5000_streams_a_second_is_served_on() {
    let Some(world) = World::new() else { return };
    let cancelled = world.runtime.block_on(async {
        let io = h2::open(&world, Side::Outbound, 65_535).await;
        let (began, mut streams, mut sent) = (Instant::now(), h2::streams(), 0_u64);
        let mut pending = Vec::new();
        let pieces = || {
            let due = began.elapsed().as_millis() as u64 * 5;
            let mut piece: Vec<u8> = std::mem::take(&mut pending);
            while sent < due {
                let stream = streams.next().unwrap();
                piece.extend(h2::get(stream, "/never"));
                let reset = h2::frame(RST_STREAM, 0, stream, &CANCEL);
                if sent % 2 == 0 {
                    piece.extend(reset)
                } else {
                    pending.extend(reset)
                }
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
            piece
        };
        let until = Instant::now() + flood_time() * 2;
        h2::pour(io, pieces, until).await;
        assert!(Instant::now() >= until, "closed after {:?}\n{}", began.elapsed(), world.log());
        sent
    });
    println!("honest cancels: {cancelled} in {:?}", flood_time() * 2);
    for reason in ["rapid-reset", "http2-violation", "frame-flood", "client-broken"] {
        assert_eq!(world.faults("outbound", reason), 0, "{reason}\n{}", world.log());
    }
}

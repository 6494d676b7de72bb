//! Floods and honest traffic, and how they are told apart.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LIST: u32 = 64 * 1024;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    [&length.to_be_bytes()[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

fn verdict_on(frames: &[u8]) -> Result<(), Reason> {
    let mut client = Frames::of_client(tokio::io::empty(), LIST);
    client.inspect(&[b'p'; PREFACE])?;
    client.inspect(frames)
}

#[test]
fn each_flood_has_a_reason_of_its_own() {
    for (frame, reason) in [
        (frame(3, 0, &[0; 4]), Reason::RapidReset),
        (frame(4, 0, &[]), Reason::SettingsFlood),
        (frame(6, 0, &[0; 8]), Reason::PingFlood),
        (frame(9, 0, b"x"), Reason::ContinuationFlood),
        (frame(2, 0, &[0; 5]), Reason::FrameFlood),
        (frame(77, 0, &[]), Reason::FrameFlood),
    ] {
        assert_eq!(verdict_on(&frame.repeat(5)), Ok(()));
        assert_eq!(verdict_on(&frame.repeat(50_000)), Err(reason));
    }
}

#[test]
fn what_traffic_needs_is_not_counted() {
    for frame in [
        frame(0, 0, b"data"),
        frame(1, 4, b"headers"),
        frame(8, 0, &[0; 4]),
        frame(6, 1, &[0; 8]),
        frame(4, 1, &[]),
        [frame(1, 0, b"h"), frame(9, 0, b"e"), frame(9, 4, b"a")].concat(),
    ] {
        assert_eq!(verdict_on(&frame.repeat(50_000)), Ok(()));
    }
}

#[test]
fn who_cancels_5000_streams_a_second_may_go_on() {
    let mut now = Instant::now();
    let mut resets = Allowance::new(MOST_RESETS, now);
    for tenth in 0..600 {
        // A second of it comes at once.
        for _ in 0..if tenth % 10 == 0 { 5_000 } else { 0 } {
            if resets.left == 0 {
                resets.refill(now);
            }
            resets.left = resets.left.checked_sub(1).unwrap();
        }
        now += Duration::from_millis(100);
    }
}

#[tokio::test]
async fn a_server_that_sends_much_is_read_to_the_end() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut server = Frames::of_server(near, LIST);
    let data = frame(DATA, 0, &[0; 16_384]).repeat(200);
    let sent = data.len();
    tokio::spawn(async move { far.write_all(&data).await });
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), sent);
}

#[tokio::test]
async fn a_connection_that_floods_lets_others_run_and_is_ended() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut client = Frames::of_client(near, LIST);
    let verdict = client.verdict();
    far.write_all(&[b'p'; PREFACE]).await.unwrap();
    let pings = frame(6, 0, &[0; 8]).repeat(20_000);
    let flood = tokio::spawn(async move { while far.write_all(&pings).await.is_ok() {} });
    let mut piece = [0; 8192];
    let mut turns = 0;
    let ended = loop {
        let mut read = std::pin::pin!(client.read(&mut piece));
        match futures_util::poll!(read.as_mut()) {
            Poll::Pending => {
                turns += 1;
                verdict.begin_turn();
                yield_now().await;
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => break error,
        }
    };
    flood.abort();
    assert!(turns > 10, "{turns} turns");
    assert_eq!(ended.to_string(), Reason::PingFlood.row().message);
    assert_eq!(verdict.0.ended.get(), Some(&Reason::PingFlood));
}

/// How many frames of a client are read in a tenth of a second, who never stops.
async fn read_in_100_ms(pieces: Vec<u8>, frame: usize) -> usize {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut client = Frames::of_client(near, LIST);
    let verdict = client.verdict();
    far.write_all(&[b'p'; PREFACE]).await.unwrap();
    let flood = tokio::spawn(async move { while far.write_all(&pieces).await.is_ok() {} });
    let (mut piece, mut read) = ([0; 8192], 0);
    let reading = async {
        loop {
            let n = std::future::poll_fn(|cx| {
                let polled = std::pin::pin!(client.read(&mut piece)).poll(cx);
                if polled.is_pending() {
                    verdict.begin_turn();
                }
                polled
            });
            read += n.await.unwrap();
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(100), reading).await;
    flood.abort();
    read / frame
}

#[tokio::test(start_paused = true)]
async fn who_resets_all_the_time_is_made_to_pause_and_may_reset_more_than_5000_times_a_second() {
    let pair = [frame(HEADERS, 0x5, &[0x82; 17]), frame(RST_STREAM, 0, &[0; 4])].concat();
    let (length, hasty) = (pair.len(), pair.repeat(100));
    let resets = read_in_100_ms(hasty, length).await;
    assert!((750..5_000).contains(&resets), "{resets} in 100 ms");
}

proptest! {
    #[test]
    fn the_verdict_is_the_same_however_the_bytes_are_split(
        frames in proptest::collection::vec((0_u8..12, any::<u8>(), 0_usize..40), 0..40),
        cut in 1_usize..64,
    ) {
        let frames: Vec<u8> =
            frames.iter().flat_map(|(kind, flags, n)| frame(*kind, *flags, &vec![6; *n])).collect();
        let mut client = Frames::of_client(tokio::io::empty(), LIST);
        let mut split = client.inspect(&[b'p'; PREFACE]);
        for piece in frames.chunks(cut) {
            split = split.and_then(|()| client.inspect(piece));
        }
        prop_assert_eq!(split, verdict_on(&frames));
    }
}

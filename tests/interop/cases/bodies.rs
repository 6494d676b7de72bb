//! A hundred megabytes, each way, whole.

use std::sync::OnceLock;

use tokio::io::AsyncWriteExt as _;

use super::endings::serve_one;
use super::exchanges::ask;
use super::{Case, cases};
use crate::messages::Wire;
use crate::stage::Road;
use crate::tally::{Tally, pattern};

pub(super) fn cases() -> Vec<Case> {
    let over_http = cases![upload_of_a_length, upload_in_chunks, download_of_a_length, download_in_chunks];
    let opaque = cases![opaque_both_ways].into_iter().map(Case::opaque);
    over_http.into_iter().chain(opaque).map(Case::meshed).collect()
}

pub(super) const LARGE: usize = 100 << 20;

pub(super) fn large() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| pattern(LARGE))
}

/// The sum that both ends must have seen.
pub(super) fn whole() -> String {
    static SUM: OnceLock<String> = OnceLock::new();
    let sum = || {
        let mut tally = Tally::new();
        tally.add(large());
        tally.describe()
    };
    SUM.get_or_init(sum).clone()
}

async fn send_chunks(wire: &mut Wire) {
    for piece in large().chunks(1_000_000) {
        wire.send(format!("{:x}\r\n", piece.len())).await;
        wire.send(piece).await;
        wire.send("\r\n").await;
    }
    wire.send("0\r\n\r\n").await;
}

async fn upload_of_a_length(road: Road) {
    upload(road, false).await;
}

async fn upload_in_chunks(road: Road) {
    upload(road, true).await;
}

async fn upload(road: Road, chunked: bool) {
    let app = serve_one(&road, |mut wire, road| async move {
        let request = wire.message(None).await.unwrap().lines();
        assert!(request.iter().any(|line| line.contains(&whole())), "{request:?}");
        road.seen.app(request);
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    });
    let mut wire = Wire::new(road.dial().await);
    let framing =
        if chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {LARGE}") };
    wire.send(format!("POST / HTTP/1.1\r\nhost: sink\r\n{framing}\r\n\r\n")).await;
    if chunked {
        send_chunks(&mut wire).await;
    } else {
        wire.send(large()).await;
    }
    ask(&road, &mut wire, "POST").await;
    let _ = app.await;
}

async fn download_of_a_length(road: Road) {
    download(road, false).await;
}

async fn download_in_chunks(road: Road) {
    download(road, true).await;
}

async fn download(road: Road, chunked: bool) {
    let app = serve_one(&road, move |mut wire, road| async move {
        road.seen.app(wire.message(None).await.unwrap().lines());
        let framing = if chunked {
            "transfer-encoding: chunked".to_owned()
        } else {
            format!("content-length: {LARGE}")
        };
        wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")).await;
        if chunked {
            send_chunks(&mut wire).await;
        } else {
            wire.send(large()).await;
        }
    });
    let mut wire = Wire::new(road.dial().await);
    wire.send("GET / HTTP/1.1\r\nhost: sink\r\n\r\n").await;
    let answer = wire.message(Some("GET")).await.unwrap().lines();
    assert!(answer.iter().any(|line| line.contains(&whole())), "{answer:?}");
    road.seen.client(answer);
    let _ = app.await;
}

/// At once in both directions.
async fn opaque_both_ways(road: Road) {
    let app = serve_one(&road, |wire, road| async move { road.seen.app(both_ways(wire).await) });
    let seen = both_ways(Wire::new(road.dial().await)).await;
    assert_eq!(seen, [whole(), "ended".to_owned()]);
    road.seen.client(seen);
    let _ = app.await;
}

async fn both_ways(wire: Wire) -> [String; 2] {
    let (mut read, mut write) = wire.io.into_split();
    let writing = async {
        write.write_all(large()).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let reading = async {
        let mut tally = Tally::new();
        let mut piece = vec![0; 1 << 18];
        loop {
            match tokio::io::AsyncReadExt::read(&mut read, &mut piece).await {
                Ok(0) => return [tally.describe(), "ended".to_owned()],
                Ok(n) => tally.add(&piece[..n]),
                Err(error) => return [tally.describe(), error.kind().to_string()],
            }
        }
    };
    tokio::join!(writing, reading).1
}

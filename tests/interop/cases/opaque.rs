//! Bytes that are nobody's business.

use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::endings::{reset, serve_one};
use super::{Case, cases};
use crate::messages::Wire;
use crate::stage::{Road, SETTLED};
use crate::tally::Tally;

pub(super) fn cases() -> Vec<Case> {
    let declared = cases![
        application_speaks_first,
        talk,
        http_is_not_looked_at,
        half_closed_by_client,
        half_closed_by_application,
        half_closed_before_a_word,
        reset_by_client,
        reset_by_application,
        closed_by_application_at_once,
        nobody_listens,
    ];
    let detected = cases![
        undeclared_talk,
        undeclared_in_small_pieces,
        undeclared_half_closed_by_client,
        undeclared_reset_by_client,
        undeclared_reset_by_application,
        undeclared_nobody_listens,
        undeclared_closed_unsaid,
    ];
    declared.into_iter().map(Case::opaque).chain(detected).collect()
}

async fn heard(wire: &mut Wire, length: u64) -> [String; 1] {
    let mut tally = Tally::new();
    let read = wire.take(length, &mut tally).await;
    [read.err().unwrap_or_else(|| tally.describe())]
}

async fn application_speaks_first(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        wire.send("220 ready\r\n").await;
        road.seen.app(heard(&mut wire, 6).await);
        wire.send("221 bye\r\n").await;
    });
    let mut wire = Wire::new(road.dial().await);
    road.seen.client(heard(&mut wire, 11).await);
    wire.send("QUIT\r\n").await;
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

const WORDS: [&str; 2] = ["\0\u{1}not http, and more than fourteen bytes", "x"];

async fn talk(road: Road) {
    talk_in(road, &WORDS).await;
}

async fn undeclared_talk(road: Road) {
    talk_in(road, &WORDS).await;
}

async fn undeclared_in_small_pieces(road: Road) {
    talk_in(road, &["\0", "ab", "\u{1}cde"]).await;
}

/// Not changed even where it is HTTP.
async fn http_is_not_looked_at(road: Road) {
    talk_in(road, &["GET / HTTP/1.1\r\nHost: sink\r\nConnection: x\r\nx: y\r\n\r\n"]).await;
}

/// Each piece comes back before the next is sent.
async fn talk_in(road: Road, pieces: &'static [&'static str]) {
    let app = serve_one(&road, move |mut wire, road| async move {
        for piece in pieces {
            road.seen.app(heard(&mut wire, piece.len() as u64).await);
            wire.send(piece).await;
        }
        road.seen.app([wire.end().await]);
    });
    let mut wire = Wire::new(road.dial().await);
    for piece in pieces {
        wire.send(piece).await;
        road.seen.client(heard(&mut wire, piece.len() as u64).await);
    }
    wire.io.shutdown().await.unwrap();
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

const FIRST: &str = "\0first words, enough to be judged";

async fn half_closed_by_client(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app([wire.end().await]);
        wire.send("answer after the end").await;
    });
    let mut wire = Wire::new(road.dial().await);
    wire.send(FIRST).await;
    wire.io.shutdown().await.unwrap();
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

async fn undeclared_half_closed_by_client(road: Road) {
    half_closed_by_client(road).await;
}

async fn half_closed_before_a_word(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app([wire.end().await]);
        wire.send("answer to nothing").await;
    });
    let mut wire = Wire::new(road.dial().await);
    wire.io.shutdown().await.unwrap();
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

async fn half_closed_by_application(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app(heard(&mut wire, FIRST.len() as u64).await);
        wire.send("that is all").await;
        wire.io.shutdown().await.unwrap();
        road.seen.app([wire.end().await]);
    });
    let mut wire = Wire::new(road.dial().await);
    wire.send(FIRST).await;
    road.seen.client([wire.end().await]);
    wire.send("and yet").await;
    drop(wire);
    let _ = app.await;
}

async fn reset_by_client(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app(heard(&mut wire, FIRST.len() as u64).await);
        wire.send("heard").await;
        road.seen.app([wire.end().await]);
    });
    let mut wire = Wire::new(road.dial().await);
    wire.send(FIRST).await;
    road.seen.client(heard(&mut wire, 5).await);
    reset(wire.io);
    let _ = app.await;
}

async fn undeclared_reset_by_client(road: Road) {
    reset_by_client(road).await;
}

async fn reset_by_application(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app(heard(&mut wire, FIRST.len() as u64).await);
        wire.send("heard").await;
        sleep(SETTLED).await;
        reset(wire.io);
    });
    let mut wire = Wire::new(road.dial().await);
    wire.send(FIRST).await;
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

async fn undeclared_reset_by_application(road: Road) {
    reset_by_application(road).await;
}

async fn closed_by_application_at_once(road: Road) {
    let app = serve_one(&road, |wire, _| async move { drop(wire) });
    let mut wire = Wire::new(road.dial().await);
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

/// Whether by FIN or RST depends on who reads first.
async fn nobody_listens(road: Road) {
    let mut wire = Wire::new(road.dial().await);
    wire.send(FIRST).await;
    road.seen.client([wire.end().await.replace("reset", "ended")]);
}

async fn undeclared_nobody_listens(road: Road) {
    nobody_listens(road).await;
}

async fn undeclared_closed_unsaid(road: Road) {
    let mut wire = Wire::new(road.dial().await);
    wire.io.shutdown().await.unwrap();
    road.seen.client([wire.end().await]);
}

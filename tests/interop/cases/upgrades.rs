//! Connections that stop being HTTP.

use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::endings::{reset, serve_one};
use super::exchanges::ask;
use super::{Case, cases};
use crate::messages::Wire;
use crate::stage::{Road, SETTLED};
use crate::tally::Tally;

pub(super) fn cases() -> Vec<Case> {
    cases![
        websocket,
        websocket_half_closed_by_client,
        websocket_half_closed_by_application,
        websocket_reset_by_client,
        websocket_reset_by_application,
        websocket_speaks_with_its_answer,
        websocket_refused,
        upgrade_with_a_body,
        connect,
        connect_answered_with_length,
        connect_refused,
        connect_without_port,
    ]
}

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nhost: sink\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CONNECT: &str = "CONNECT sink:8080 HTTP/1.1\r\nhost: sink:8080\r\nproxy-connection: keep-alive\r\n\r\n";

/// Agrees on another protocol, then the application goes on with one function, the client with another.
async fn switch<A: Future<Output = ()> + Send + 'static>(
    road: &Road,
    (request, answer): (&'static str, &'static str),
    app: impl FnOnce(Wire, Road) -> A + Send + 'static,
) -> (Wire, tokio::sync::oneshot::Receiver<()>) {
    let app = serve_one(road, move |mut wire, road| async move {
        road.seen.app(wire.head().await.unwrap().lines());
        wire.send(answer).await;
        app(wire, road).await;
    });
    let mut wire = Wire::new(road.dial().await);
    wire.send(request).await;
    let method = request.split(' ').next().unwrap();
    ask(road, &mut wire, method).await;
    (wire, app)
}

async fn heard(wire: &mut Wire, length: u64) -> [String; 1] {
    let mut tally = Tally::new();
    let read = wire.take(length, &mut tally).await;
    [read.err().unwrap_or_else(|| tally.describe())]
}

/// Bytes both ways, twice.
async fn talk(road: Road, agreed: (&'static str, &'static str)) {
    let (mut wire, app) = switch(&road, agreed, |mut wire, road| async move {
        for _ in 0..2 {
            road.seen.app(heard(&mut wire, 4).await);
            wire.send("\0\u{1}pong").await;
        }
        road.seen.app([wire.end().await]);
    })
    .await;
    for _ in 0..2 {
        wire.send("ping").await;
        road.seen.client(heard(&mut wire, 6).await);
    }
    wire.io.shutdown().await.unwrap();
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

async fn websocket(road: Road) {
    talk(road, (WEBSOCKET, SWITCHING)).await;
}

async fn connect(road: Road) {
    talk(road, (CONNECT, "HTTP/1.1 200 Connection Established\r\n\r\n")).await;
}

async fn connect_answered_with_length(road: Road) {
    talk(road, (CONNECT, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\n")).await;
}

async fn connect_without_port(road: Road) {
    talk(road, ("CONNECT sink HTTP/1.1\r\nhost: sink\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n")).await;
}

async fn connect_refused(road: Road) {
    let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!";
    let (_, app) = switch(&road, (CONNECT, refusal), |_, _| async {}).await;
    let _ = app.await;
}

async fn websocket_refused(road: Road) {
    let refusal = "HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!";
    let (_, app) = switch(&road, (WEBSOCKET, refusal), |_, _| async {}).await;
    let _ = app.await;
}

async fn websocket_half_closed_by_client(road: Road) {
    let (mut wire, app) = switch(&road, (WEBSOCKET, SWITCHING), |mut wire, road| async move {
        road.seen.app([wire.end().await]);
        wire.send("goodbye").await;
    })
    .await;
    wire.send("last words").await;
    wire.io.shutdown().await.unwrap();
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

async fn websocket_half_closed_by_application(road: Road) {
    let (mut wire, app) = switch(&road, (WEBSOCKET, SWITCHING), |mut wire, road| async move {
        wire.send("last words").await;
        wire.io.shutdown().await.unwrap();
        road.seen.app([wire.end().await]);
    })
    .await;
    road.seen.client([wire.end().await]);
    wire.send("goodbye").await;
    drop(wire);
    let _ = app.await;
}

async fn websocket_reset_by_client(road: Road) {
    let (mut wire, app) = switch(&road, (WEBSOCKET, SWITCHING), |mut wire, road| async move {
        wire.send("hello").await;
        road.seen.app([wire.end().await]);
    })
    .await;
    road.seen.client(heard(&mut wire, 5).await);
    reset(wire.io);
    let _ = app.await;
}

async fn websocket_reset_by_application(road: Road) {
    let (mut wire, app) = switch(&road, (WEBSOCKET, SWITCHING), |mut wire, road| async move {
        road.seen.app(heard(&mut wire, 5).await);
        reset(wire.io);
    })
    .await;
    wire.send("hello").await;
    road.seen.client([wire.end().await]);
    let _ = app.await;
}

/// Its first bytes are in one segment with the answer.
async fn websocket_speaks_with_its_answer(road: Road) {
    let answer = String::leak(format!("{SWITCHING}first words"));
    let (mut wire, app) = switch(&road, (WEBSOCKET, answer), |mut wire, road| async move {
        road.seen.app([wire.end().await]);
    })
    .await;
    road.seen.client(heard(&mut wire, 11).await);
    wire.io.shutdown().await.unwrap();
    let _ = app.await;
}

/// A request whose body comes before the protocol changes.
async fn upgrade_with_a_body(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app(wire.message(None).await.unwrap().lines());
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n").await;
        road.seen.app(heard(&mut wire, 4).await);
        wire.send("pong").await;
    });
    let mut wire = Wire::new(road.dial().await);
    wire.send(
        "POST / HTTP/1.1\r\nhost: sink\r\nconnection: upgrade\r\nupgrade: other\r\ncontent-length: 5\r\n\r\nhello",
    )
    .await;
    if ask(&road, &mut wire, "POST").await {
        sleep(SETTLED).await;
        wire.send("ping").await;
        road.seen.client(heard(&mut wire, 4).await);
    }
    let _ = app.await;
}

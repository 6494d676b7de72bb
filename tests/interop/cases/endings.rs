//! When what is sent, and how connections end: 100-continue, early answers, giving up, half-close.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::exchanges::ask;
use super::{Case, cases};
use crate::messages::{Framing, Wire};
use crate::stage::{Road, SETTLED};
use crate::tally::Tally;

pub(super) fn cases() -> Vec<Case> {
    cases![
        continued,
        continued_unasked,
        refused_instead_of_continued,
        answered_before_the_body,
        answered_and_closed_before_the_body,
        body_in_lockstep,
        long_poll,
        client_leaves_the_answer,
        client_leaves_before_the_answer,
        client_leaves_its_request,
        client_leaves_its_chunks,
        application_leaves_a_length,
        application_leaves_chunks,
        application_resets_chunks,
        application_resets_until_the_end,
        application_closes_unanswered,
        application_resets_unanswered,
        application_leaves_its_head,
        nobody_listens,
        half_closed_client_is_answered,
        half_closed_client_without_length,
        client_stays_when_the_application_closes,
        application_closes_an_idle_connection,
        head_in_pieces,
    ]
}

/// The application's side of one connection; its end is waited for.
pub(super) fn serve_one<F: Future<Output = ()> + Send + 'static>(
    road: &Road,
    serve: impl FnOnce(Wire, Road) -> F + Send + 'static,
) -> oneshot::Receiver<()> {
    let (done, waiting) = oneshot::channel();
    let (listener, own) = (road.listen(), road.clone());
    road.beside(async move {
        let (io, _) = listener.accept().await.unwrap();
        serve(Wire::new(io), own).await;
        let _ = done.send(());
    });
    waiting
}

async fn dial(road: &Road) -> Wire {
    Wire::new(road.dial().await)
}

/// Ends a connection with RST.
pub(super) fn reset(io: TcpStream) {
    SockRef::from(&io).set_linger(Some(Duration::ZERO)).unwrap();
}

const EXPECTING: &str = "POST /x HTTP/1.1\r\nhost: sink\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: sink\r\n\r\n";

/// Reads a request's head, and says how it was.
async fn head(wire: &mut Wire, road: &Road) -> Framing {
    let head = wire.head().await.unwrap();
    road.seen.app(head.lines());
    head.framing(None)
}

async fn continued(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        let framing = head(&mut wire, &road).await;
        wire.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        road.seen.app(wire.body(framing).await);
        wire.send(OK).await;
    });
    let mut wire = dial(&road).await;
    wire.send(EXPECTING).await;
    let message = wire.message(Some("POST")).await.unwrap();
    road.seen.client(message.lines());
    if message.head.status() == 100 {
        wire.send("hello").await;
        ask(&road, &mut wire, "POST").await;
    }
    let _ = app.await;
}

async fn continued_unasked(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        let framing = head(&mut wire, &road).await;
        road.seen.app(wire.body(framing).await);
        wire.send(OK).await;
    });
    let mut wire = dial(&road).await;
    wire.send(EXPECTING).await;
    wire.send("hello").await;
    ask(&road, &mut wire, "POST").await;
    let _ = app.await;
}

async fn refused_instead_of_continued(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        head(&mut wire, &road).await;
        wire.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    });
    let mut wire = dial(&road).await;
    wire.send(EXPECTING).await;
    while note_status(&road, &mut wire).await == 100 {}
    let _ = app.await;
}

/// Only the status: whether the connection ends with a body that did not come depends on who is faster.
async fn note_status(road: &Road, wire: &mut Wire) -> u16 {
    match wire.message(Some("POST")).await {
        Ok(message) => {
            road.seen.client([&message.head.start]);
            message.head.status()
        }
        Err(how) => {
            road.seen.client([how]);
            0
        }
    }
}

async fn answered_before_the_body(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        let framing = head(&mut wire, &road).await;
        wire.send(OK).await;
        road.seen.app(wire.body(framing).await);
    });
    let mut wire = dial(&road).await;
    wire.send("POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 10\r\n\r\nhello").await;
    ask(&road, &mut wire, "POST").await;
    wire.send("world").await;
    let _ = app.await;
}

async fn answered_and_closed_before_the_body(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        head(&mut wire, &road).await;
        wire.send("HTTP/1.1 413 Too Much\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!").await;
        wire.io.shutdown().await.unwrap();
        // Whatever was still on its way.
        wire.end().await;
    });
    let mut wire = dial(&road).await;
    wire.send("POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 1000000\r\n\r\nhello").await;
    note_status(&road, &mut wire).await;
    drop(wire);
    let _ = app.await;
}

/// Each piece arrives before the next is sent, on one request and one answer.
async fn body_in_lockstep(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        head(&mut wire, &road).await;
        wire.send(CHUNKED).await;
        for _ in 0..3 {
            let mut tally = Tally::new();
            wire.take(10, &mut tally).await.unwrap();
            road.seen.app([tally.describe()]);
            wire.send("4\r\npong\r\n").await;
        }
        wire.send("0\r\n\r\n").await;
        road.seen.app([wire.take(5, &mut Tally::new()).await.err().unwrap_or_default()]);
    });
    let mut wire = dial(&road).await;
    wire.send("POST / HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n").await;
    road.seen.client(wire.head().await.unwrap().lines());
    for _ in 0..3 {
        wire.send("5\r\nping!\r\n").await;
        let mut tally = Tally::new();
        wire.take(9, &mut tally).await.unwrap();
        road.seen.client([tally.describe()]);
    }
    wire.send("0\r\n\r\n").await;
    let mut tally = Tally::new();
    wire.take(5, &mut tally).await.unwrap();
    road.seen.client([tally.describe()]);
    let _ = app.await;
}

async fn long_poll(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        head(&mut wire, &road).await;
        // Beyond every timeout of connecting and queueing.
        sleep(Duration::from_secs(4)).await;
        wire.send(OK).await;
    });
    let mut wire = dial(&road).await;
    wire.send(GET).await;
    ask(&road, &mut wire, "GET").await;
    let _ = app.await;
}

async fn client_leaves_the_answer(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        head(&mut wire, &road).await;
        wire.send(CHUNKED).await;
        wire.send("5\r\nhello\r\n").await;
        road.seen.app([gone(&wire.end().await)]);
    });
    let mut wire = dial(&road).await;
    wire.send(GET).await;
    road.seen.client(wire.head().await.unwrap().lines());
    wire.take(10, &mut Tally::new()).await.unwrap();
    drop(wire);
    let _ = app.await;
}

async fn client_leaves_before_the_answer(road: Road) {
    let (arrived, arrival) = oneshot::channel();
    let app = serve_one(&road, |mut wire, road| async move {
        head(&mut wire, &road).await;
        arrived.send(()).unwrap();
        road.seen.app([gone(&wire.end().await)]);
    });
    let mut wire = dial(&road).await;
    wire.send(GET).await;
    arrival.await.unwrap();
    reset(wire.io);
    let _ = app.await;
}

/// That the connection ended, whether by FIN or by RST.
fn gone(how: &str) -> String {
    if ["ended", "reset"].contains(&how) { "the client has gone".to_owned() } else { how.to_owned() }
}

async fn client_leaves_its_request(road: Road) {
    leaves_request(road, "POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 10\r\n\r\nhello").await;
}

async fn client_leaves_its_chunks(road: Road) {
    leaves_request(road, "POST / HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
}

async fn leaves_request(road: Road, request: &str) {
    let (arrived, arrival) = oneshot::channel();
    let app = serve_one(&road, |mut wire, road| async move {
        let framing = head(&mut wire, &road).await;
        arrived.send(()).unwrap();
        let body = wire.body(framing).await;
        let cut = body.iter().map(|line| line.replace("cut off: reset", "cut off: ended"));
        road.seen.app(cut);
    });
    let mut wire = dial(&road).await;
    wire.send(request).await;
    arrival.await.unwrap();
    sleep(SETTLED).await;
    drop(wire);
    let _ = app.await;
}

/// The application answers with bytes and leaves in some way.
async fn leaves_answer(road: Road, answer: &'static str, leave: fn(TcpStream)) {
    let app = serve_one(&road, move |mut wire, road| async move {
        head(&mut wire, &road).await;
        wire.send(answer).await;
        sleep(SETTLED).await;
        leave(wire.io);
    });
    let mut wire = dial(&road).await;
    wire.send(GET).await;
    ask(&road, &mut wire, "GET").await;
    let _ = app.await;
}

async fn application_leaves_a_length(road: Road) {
    leaves_answer(road, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", drop).await;
}

async fn application_leaves_chunks(road: Road) {
    leaves_answer(road, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", drop).await;
}

async fn application_resets_chunks(road: Road) {
    leaves_answer(road, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", reset).await;
}

async fn application_resets_until_the_end(road: Road) {
    leaves_answer(road, "HTTP/1.1 200 OK\r\n\r\nhello", reset).await;
}

async fn application_closes_unanswered(road: Road) {
    leaves_answer(road, "", drop).await;
}

async fn application_resets_unanswered(road: Road) {
    leaves_answer(road, "", reset).await;
}

async fn application_leaves_its_head(road: Road) {
    leaves_answer(road, "HTTP/1.1 200 OK\r\ncontent-le", drop).await;
}

async fn nobody_listens(road: Road) {
    let mut wire = dial(&road).await;
    wire.send(GET).await;
    ask(&road, &mut wire, "GET").await;
}

async fn half_closed_client_is_answered(road: Road) {
    half_closed(road, "POST / HTTP/1.1\r\nhost: sink\r\ncontent-length: 5\r\n\r\nhello").await;
}

async fn half_closed_client_without_length(road: Road) {
    half_closed(road, "GET / HTTP/1.0\r\nhost: sink\r\n\r\n").await;
}

async fn half_closed(road: Road, request: &str) {
    let (arrived, arrival) = oneshot::channel();
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app(wire.message(None).await.unwrap().lines());
        arrived.send(()).unwrap();
        sleep(SETTLED).await;
        wire.send(OK).await;
    });
    let mut wire = dial(&road).await;
    wire.send(request).await;
    arrival.await.unwrap();
    wire.io.shutdown().await.unwrap();
    if ask(&road, &mut wire, "POST").await {
        road.seen.client([wire.end().await]);
    }
    let _ = app.await;
}

/// The application's connections are its own matter.
async fn client_stays_when_the_application_closes(road: Road) {
    let own = road.clone();
    road.serve(move |io| {
        let road = own.clone();
        async move {
            let mut wire = Wire::new(io);
            road.seen.app(wire.message(None).await.unwrap().lines());
            wire.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        }
    });
    let mut wire = dial(&road).await;
    for _ in 0..2 {
        wire.send(GET).await;
        if !ask(&road, &mut wire, "GET").await {
            return;
        }
    }
}

async fn application_closes_an_idle_connection(road: Road) {
    let own = road.clone();
    road.serve(move |io| {
        let road = own.clone();
        async move {
            let mut wire = Wire::new(io);
            road.seen.app(wire.message(None).await.unwrap().lines());
            wire.send(OK).await;
            sleep(Duration::from_millis(50)).await;
        }
    });
    let mut wire = dial(&road).await;
    for _ in 0..3 {
        wire.send(GET).await;
        ask(&road, &mut wire, "GET").await;
        sleep(SETTLED).await;
    }
}

async fn head_in_pieces(road: Road) {
    let app = serve_one(&road, |mut wire, road| async move {
        road.seen.app(wire.message(None).await.unwrap().lines());
        wire.send(OK).await;
    });
    let mut wire = dial(&road).await;
    // The first piece is enough to see what it is.
    for piece in ["GET /pieces HTTP/1.1\r\nho", "st: si", "nk\r\nx: y\r", "\n\r", "\n"] {
        wire.send(piece).await;
        sleep(Duration::from_millis(20)).await;
    }
    ask(&road, &mut wire, "GET").await;
    let _ = app.await;
}

//! Requests that a peer refuses without looking at them (RFC 9113, 8.7): not one of them is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use causeway::model::Endpoint;
use causeway::model::endpoint::ProtocolHint;
use h2::Reason;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::application::App;
use crate::client::{Client, Kind, full};
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::add;
use crate::sandbox::{Pod, Sandbox, within};

/// Reads the first so many requests whole and refuses them; echoes the others.
async fn refusing(pod: &Pod, first: usize) -> (App, Arc<AtomicUsize>) {
    let seen = Arc::<AtomicUsize>::default();
    let count = seen.clone();
    let app = App::serve(pod.listen().await, move |io, _, _| {
        let seen = seen.clone();
        async move {
            let mut connection = h2::server::handshake(io).await.unwrap();
            while let Some(Ok((req, mut respond))) = connection.accept().await {
                let number = seen.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let body = read(req.into_body()).await;
                    if number < first {
                        return respond.send_reset(Reason::REFUSED_STREAM);
                    }
                    let rsp = Response::builder().header("x-app", "bb").body(()).unwrap();
                    respond.send_response(rsp, false).unwrap().send_data(body, true).unwrap();
                });
            }
        }
    });
    (app, count)
}

async fn read(mut body: h2::RecvStream) -> Bytes {
    let mut read = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        read.extend_from_slice(&data);
    }
    read.into()
}

/// On its first connection reads one request and goes away without it; is like [`refusing`] none after.
async fn leaving(pod: &Pod) -> (App, Arc<AtomicUsize>) {
    let (behind, seen) = refusing(pod, 0).await;
    let behind = Arc::new(behind);
    let left = Arc::<AtomicUsize>::default();
    let app = App::serve(pod.listen().await, move |mut io, _, _| {
        let first = left.fetch_add(1, Ordering::Relaxed) == 0;
        let behind = behind.clone();
        async move {
            if first {
                return go_away(io).await;
            }
            let mut to = TcpStream::connect(behind.addr).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut io, &mut to).await;
        }
    });
    (app, seen)
}

async fn go_away(mut io: TcpStream) {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_SEEN: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
    // The last stream that was looked at is 0, there was no error.
    const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut preface = [0; 24];
    io.read_exact(&mut preface).await.unwrap();
    io.write_all(SETTINGS).await.unwrap();
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        io.read_exact(&mut payload).await.unwrap();
        let (kind, flags) = (head[3], head[4]);
        match (kind, flags) {
            (4, 0) => io.write_all(SETTINGS_SEEN).await.unwrap(),
            // HEADERS or DATA with the end of the stream.
            (0 | 1, flags) if flags & 1 == 1 => break,
            _ => {}
        }
    }
    io.write_all(GOAWAY).await.unwrap();
    let _ = io.read_to_end(&mut Vec::new()).await;
}

/// An endpoint without a mesh that speaks HTTP/2 for every kind of client.
fn plain(addr: SocketAddr) -> Endpoint {
    Endpoint { hint: ProtocolHint::H2, ..Endpoint::plain(addr) }
}

async fn post(client: &mut Client, body: &'static [u8]) -> crate::client::Answer {
    let req = client.request("/").method("POST").body(full(body)).unwrap();
    client.send(req).await
}

every_kind! {
    async fn a_refused_request_is_sent_again_whole(kind: Kind) {
        let pair = Pair::new().await;
        let (app, seen) = refusing(&pair.bb, 2).await;
        pair.world.script().endpoints(BB, &add(vec![plain(app.addr)]));
        let mut client = pair.client(kind).await;
        let answer = post(&mut client, b"the body").await;
        answer.assert_answered();
        assert_eq!((answer.body.as_ref(), seen.load(Ordering::Relaxed)), (b"the body".as_slice(), 3));
    }

    async fn a_refused_request_without_a_body_is_sent_again(kind: Kind) {
        let pair = Pair::new().await;
        let (app, seen) = refusing(&pair.bb, 1).await;
        pair.world.script().endpoints(BB, &add(vec![plain(app.addr)]));
        pair.get(kind).await.assert_answered();
        assert_eq!(seen.load(Ordering::Relaxed), 2);
    }

    async fn a_request_above_the_last_stream_of_a_connection_goes_to_another(kind: Kind) {
        let pair = Pair::new().await;
        let (app, seen) = leaving(&pair.bb).await;
        pair.world.script().endpoints(BB, &add(vec![plain(app.addr)]));
        let mut client = pair.client(kind).await;
        let answer = post(&mut client, b"the body").await;
        answer.assert_answered();
        assert_eq!((answer.body.as_ref(), seen.load(Ordering::Relaxed)), (b"the body".as_slice(), 1));
        assert_eq!(app.connections(), 2);
    }

    async fn a_request_that_is_always_refused_is_given_up(kind: Kind) {
        let pair = Pair::new().await;
        let (app, seen) = refusing(&pair.bb, usize::MAX).await;
        pair.world.script().endpoints(BB, &add(vec![plain(app.addr)]));
        let mut client = pair.client(kind).await;
        let req = client.request("/").method("POST").body(full("the body")).unwrap();
        match client.try_send(req).await {
            Ok(answer) => assert_eq!((kind, answer.status.as_u16()), (Kind::Http1, 502)),
            Err(error) => assert_eq!(reset(&error), Some(Reason::REFUSED_STREAM)),
        }
        assert_eq!(seen.load(Ordering::Relaxed), 4);
    }

    async fn a_request_of_which_much_has_passed_is_never_sent_twice(kind: Kind) {
        let pair = Pair::new().await;
        let (app, seen) = refusing(&pair.bb, 1).await;
        pair.world.script().endpoints(BB, &add(vec![plain(app.addr)]));
        let mut client = pair.client(kind).await;
        let req = client.request("/").method("POST").body(full(vec![7; 40_000])).unwrap();
        match client.try_send(req).await {
            Ok(answer) => assert_eq!((kind, answer.status.as_u16()), (Kind::Http1, 502)),
            Err(error) => assert_eq!(reset(&error), Some(Reason::REFUSED_STREAM)),
        }
        assert_eq!(seen.load(Ordering::Relaxed), 1);
    }
}

fn reset(error: &hyper::Error) -> Option<Reason> {
    std::error::Error::source(error)?.downcast_ref::<h2::Error>()?.reason()
}

/// The inbound side, whose application refuses. HTTP/1 reaches it as HTTP/1.
#[tokio::test]
async fn what_an_application_refuses_is_sent_to_it_again() {
    for kind in [Kind::Http2, Kind::Grpc] {
        for leaves in [false, true] {
            let pair = Pair::with(Sandbox::new().await, &[], &[]).await;
            let (app, seen) = if leaves { leaving(&pair.bb).await } else { refusing(&pair.bb, 2).await };
            pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(app.addr)]));
            let mut client = pair.client(kind).await;
            let answer = within("an answer", post(&mut client, b"the body")).await;
            answer.assert_answered();
            assert_eq!(answer.body, "the body");
            assert_eq!(seen.load(Ordering::Relaxed), if leaves { 1 } else { 3 });
        }
    }
}

/// What proxies send again does not multiply along the way.
#[tokio::test]
async fn what_an_application_always_refuses_is_sent_four_times_in_all() {
    for kind in [Kind::Http2, Kind::Grpc] {
        let pair = Pair::new().await;
        let (app, seen) = refusing(&pair.bb, usize::MAX).await;
        pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(app.addr)]));
        let mut client = pair.client(kind).await;
        let req = client.request("/").method("POST").body(full("the body")).unwrap();
        let error = client.try_send(req).await.unwrap_err();
        assert_eq!(reset(&error), Some(Reason::REFUSED_STREAM));
        assert_eq!(seen.load(Ordering::Relaxed), 4);
    }
}

/// Only what no byte of an answer has come for may have been left unread on a connection that was idle.
#[tokio::test]
async fn a_request_whose_answer_has_begun_is_not_sent_again_though_its_body_was_under_way() {
    let pair = Pair::new().await;
    let app = App::serve(pair.bb.listen().await, |mut io, _, _| async move {
        until(&mut io, "\r\n\r\n").await;
        io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        until(&mut io, "0123\r\n").await;
        let _ = io.write_all(b"HTTP/1.1 200 OK\r\nx-").await;
    });
    pair.world.script().endpoints(BB, &add(vec![Endpoint::plain(app.addr)]));
    let mut io = pair.web.connect(pair.service).await;
    io.write_all(b"GET / HTTP/1.1\r\nhost: bb\r\n\r\n").await.unwrap();
    within("the first answer", until(&mut io, "\r\n\r\n")).await;
    let post = b"POST / HTTP/1.1\r\nhost: bb\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n";
    io.write_all(post).await.unwrap();
    let answer = within("an answer", until(&mut io, "\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(app.connections(), 1);
}

/// What comes up to this text.
async fn until(io: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        match io.read_u8().await {
            Ok(byte) => text.push(byte.into()),
            Err(_) => break,
        }
    }
    text
}

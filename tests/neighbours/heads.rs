//! Request heads that never end, come in bits, are too large or can be read in two ways; lists of headers at the limit.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;

use crate::app::{HELLO, padding};
use crate::siege::Siege;
use crate::silence::closed;
use crate::world::{Side, World, full, many};

const SIDES: [(&str, Side); 2] = [("inbound", Side::Inbound), ("outbound", Side::Outbound)];

/// The limit of a header list (RFC 9113, 6.5.2), and what one may have that is passed on, as trailers are.
const LIMIT: usize = 64 * 1024;
const PASSED_ON: usize = causeway::message::vet::PASSED_ON;

#[test]
fn a_request_line_without_end() {
    let Some(world) = World::new() else { return };
    for (direction, side) in SIDES {
        let name = format!("endless request line ({direction})");
        Siege::new(&name, side, &[(direction, "head-too-large")]).run(&world, |world| {
            for _ in 0..many(500) {
                let mut io = world.connect(side);
                let _ = io.write_all(b"GET /");
                // Until it is told that it was too much.
                while io.write_all(&[b'a'; 16 * 1024]).is_ok() {}
            }
        });
    }
}

/// Whole heads have ten seconds from their first byte.
#[test]
fn heads_that_are_never_whole() {
    let Some(world) = World::beside_others() else { return };
    for (name, count, every) in
        [("silent in a head", many(10_000), None), ("trickling head", many(1_000), Some(1))]
    {
        let counted = &[("inbound", "head-timeout")];
        Siege::new(name, Side::Inbound, counted).run(&world, |world| {
            world.runtime.block_on(async {
                let started = stream::iter(0..count).map(|_| async {
                    let mut io = world.dial(Side::Inbound).await;
                    io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-").await.unwrap();
                    io
                });
                let started: Vec<_> = started.buffer_unordered(32).collect().await;
                let trickle = started.into_iter().map(|mut io| async move {
                    if let Some(every) = every {
                        while io.write_all(b"x").await.is_ok() {
                            tokio::time::sleep(Duration::from_secs(every)).await;
                        }
                    }
                    closed(io).await;
                });
                futures_util::future::join_all(trickle).await;
            });
        });
    }
}

#[test]
fn requests_that_can_be_read_in_two_ways() {
    let Some(world) = World::beside_others() else { return };
    for (what, head) in [
        ("CL and TE", "content-length: 3\r\ntransfer-encoding: chunked\r\n"),
        ("two CLs", "content-length: 3\r\ncontent-length: 4\r\n"),
        ("obs-fold", "x-a: b\r\n c\r\n"),
        ("NUL", "x-a: b\0c\r\n"),
        ("bare LF", "x-a: b\nx-c: d\r\n"),
    ] {
        for (direction, side) in SIDES {
            let name = format!("{what} ({direction})");
            Siege::new(&name, side, &[(direction, "bad-request")]).run(&world, |world| {
                for _ in 0..if full() { 200 } else { 5 } {
                    let mut io = world.connect(side);
                    let whole = format!("POST / HTTP/1.1\r\nhost: a\r\n{head}\r\n0\r\n\r\n");
                    // Not half-closed: such a client is given up, whatever it sent.
                    io.write_all(whole.as_bytes()).unwrap();
                    let mut answer = Vec::new();
                    let _ = io.read_to_end(&mut answer);
                    let answer = String::from_utf8_lossy(&answer);
                    // The answer may be lost: what was sent behind the head is never read, so the end is a reset.
                    let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 400 ");
                    assert!(refused, "{name}: {answer}");
                }
            });
        }
    }
}

/// What one GET over HTTP/2 is answered with; `None` for an answer that broke off.
async fn get(world: &World, side: Side, path: &str, headers: http::HeaderMap) -> Option<(StatusCode, Bytes)> {
    let io = TokioIo::new(world.dial(side).await);
    let mut client = http2::Builder::new(TokioExecutor::new());
    let (mut sender, driver) = client.max_header_list_size(1 << 20).handshake(io).await.unwrap();
    let driver = tokio::spawn(driver);
    let mut req = Request::get(format!("http://a{path}")).body(Full::new(Bytes::new())).unwrap();
    *req.headers_mut() = headers;
    // A reset may overtake the head of the answer that it breaks off.
    let rsp = sender.send_request(req).await.ok()?;
    let status = rsp.status();
    let body = rsp.into_body().collect().await;
    driver.abort();
    Some((status, body.ok()?.to_bytes()))
}

/// Of `:method`, `:scheme`, `:authority` and `:path`: names, values and 32 for each.
const PSEUDO: usize = (7 + 3) + (7 + 4) + (10 + 1) + (5 + 1) + 4 * 32;

#[test]
fn header_lists_at_the_limit() {
    let Some(world) = World::new() else { return };
    for (direction, side) in SIDES {
        let answered =
            |path: String, list: usize| world.runtime.block_on(get(&world, side, &path, padding(list)));
        for over in [-1, 0, 1] {
            let size = LIMIT.checked_add_signed(over).unwrap();
            let faults = |reason| world.faults(direction, reason);
            let (heads, answers) = (faults("head-too-large"), faults("answer-too-large"));
            let request = answered("/".to_owned(), size - PSEUDO).map(|(status, _)| status.as_u16());
            // The application's own `date`.
            let date = "date".len() + "Sat, 21 Nov 2026 15:00:00 GMT".len() + 32;
            let length = "content-length".len() + HELLO.len().to_string().len() + 32;
            let answer = answered(format!("/headers?{}", size - date - length), 0);
            let answer = answer.map(|(status, _)| status.as_u16());
            let list = PASSED_ON.checked_add_signed(over).unwrap();
            let trailers = answered(format!("/trailers?{list}"), 0).map(|(_, body)| body);
            let told = (faults("head-too-large") - heads, faults("answer-too-large") - answers);
            println!(
                "header lists of {size} ({direction}): {request:?}, {answer:?}, {trailers:?}; counted {told:?}"
            );
            let hello = Bytes::from_static(HELLO.as_bytes());
            if over <= 0 {
                assert_eq!((request, answer, trailers), (Some(200), Some(200), Some(hello)), "{size}");
                assert_eq!(told, (0, 0), "{size}");
            } else {
                assert_eq!((request, answer, trailers), (Some(431), Some(502), None), "{size}");
                assert!(told.0 >= 1 && told.1 >= 1, "{told:?}");
            }
        }
    }
}

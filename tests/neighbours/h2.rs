//! HTTP/2 by hand: frames that no library would send.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Side, World};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// `CANCEL`.
pub(crate) const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// One frame (RFC 9113, 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A whole GET of a path with 127 bytes at most.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &head(0x82, path))
}

/// The start of a POST, whose body follows.
pub(crate) fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &head(0x83, path))
}

/// `:method` by its index, `:scheme http`, `:path` and `:authority a`, uncompressed (RFC 7541, 6).
pub(crate) fn head(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    assert!(length < 127);
    [&[method, 0x86, 0x04, length], path.as_bytes(), &[0x01, 1, b'a']].concat()
}

/// The stream ids of a client.
pub(crate) fn streams() -> impl Iterator<Item = u32> {
    (1_u32..).step_by(2)
}

/// What opens a connection: preface and SETTINGS, with this initial window.
pub(crate) fn opening(window: u32) -> Vec<u8> {
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat()
}

/// A connection that has been opened.
pub(crate) async fn open(world: &World, side: Side, window: u32) -> TcpStream {
    let mut io = world.dial(side).await;
    io.write_all(&opening(window)).await.unwrap();
    // The far side's SETTINGS may stay unacknowledged: nobody waits for that.
    io
}

/// Writes pieces until the far side has had enough or time is up; what it says is read and dropped.
pub(crate) async fn pour(io: TcpStream, mut piece: impl FnMut() -> Vec<u8>, until: tokio::time::Instant) {
    let (mut read, mut write) = io.into_split();
    let reading = tokio::spawn(async move {
        let mut dropped = vec![0; 64 * 1024];
        while matches!(read.read(&mut dropped).await, Ok(1..)) {}
    });
    while tokio::time::Instant::now() < until && !reading.is_finished() {
        if write.write_all(&piece()).await.is_err() {
            break;
        }
    }
    reading.abort();
}

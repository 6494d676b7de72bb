//! What the guard before the HTTP/1 parser lets pass is the same however bytes were split and however the parser reads,
//! but for how much of a request had passed before its body turned out to be malformed; and it holds no whole head that
//! two readers could read in two ways.
#![no_main]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use causeway::message::guard::{Guard, Verdict};
use causeway_fuzz::strict::{self, Parsed};
use tokio::io::{AsyncRead, ReadBuf};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [piece, room, bytes @ ..] = input else { return };
    let (whole, ended) = passed(bytes, bytes.len().max(1), 1 << 16);
    let (split, split_ended) = passed(bytes, usize::from(*piece) + 1, usize::from(*room) + 1);
    check(&whole);
    check(&split);
    let (whole, split) = (without_blank_lines(&whole), without_blank_lines(&split));
    match (ended, split_ended) {
        (Ended::Well, Ended::Well) => assert_eq!(split, whole),
        _ => assert!(split.starts_with(&whole) || whole.starts_with(&split)),
    }
});

enum Ended {
    /// Or waits for an answer.
    Well,
    Malformed,
}

/// Everything that the parser is given.
fn passed(bytes: &[u8], piece: usize, room: usize) -> (Vec<u8>, Ended) {
    let mut guard = Guard::new(Pieces { bytes, piece }, Verdict::default());
    let (mut passed, mut space) = (Vec::new(), vec![0; room]);
    loop {
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut guard).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => passed.extend_from_slice(buf.filled()),
            Poll::Ready(Err(_)) => return (passed, Ended::Malformed),
            _ => return (passed, Ended::Well),
        }
    }
}

/// Blank lines before a request mean nothing, and may pass or not.
fn without_blank_lines(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect()
}

fn check(mut bytes: &[u8]) {
    loop {
        // Blank lines mean nothing, and the parser refuses what begins with other blanks.
        bytes = bytes.trim_ascii_start();
        match strict::parse(bytes) {
            Parsed::Request(_, took) => bytes = &bytes[took..],
            // The parser itself refuses half a head.
            Parsed::Ambiguous(what) if has_end(bytes) => {
                panic!("{what} passed: {:?}", String::from_utf8_lossy(bytes));
            }
            _ => return,
        }
    }
}

fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|end| end == b"\n\n") || bytes.windows(3).any(|end| end == b"\n\r\n")
}

/// Bytes that come in pieces.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (piece, rest) = self.bytes.split_at(self.piece.min(buf.remaining()).min(self.bytes.len()));
        buf.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

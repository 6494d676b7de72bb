//! HTTP/1 that is not quite HTTP/1: what is refused, and with what; what is let through, and as what.

use super::Case;
use super::exchanges::exchanges;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

pub(super) fn cases() -> Vec<Case> {
    let one = |(name, request): &(&str, &'static str)| {
        let exchange = [(*request, OK)];
        Case::new(format!("refusals::{name}"), move |road| exchanges(road, exchange.to_vec()))
    };
    TARGETS.iter().chain(FRAMINGS).chain(HEADS).map(one).collect()
}

#[rustfmt::skip]
const TARGETS: &[(&str, &str)] = &[
    ("connect to a path", "CONNECT /path HTTP/1.1\r\nhost: sink\r\n\r\n"),
    ("connect in absolute form", "CONNECT http://sink/ HTTP/1.1\r\nhost: sink\r\n\r\n"),
    ("connect 1.0", "CONNECT sink:80 HTTP/1.0\r\nhost: sink\r\n\r\n"),
    ("get of an authority", "GET sink:8080 HTTP/1.1\r\nhost: sink\r\n\r\n"),
    ("get of a star", "GET * HTTP/1.1\r\nhost: sink\r\n\r\n"),
    ("get of a name", "GET relative HTTP/1.1\r\nhost: sink\r\n\r\n"),
    ("two hosts", "GET /refused HTTP/1.1\r\nhost: sink\r\nhost: other\r\n\r\n"),
    ("two hosts alike", "GET /refused HTTP/1.1\r\nhost: sink\r\nhost: sink\r\n\r\n"),
    ("absolute form and another host", "GET http://sink/abs HTTP/1.1\r\nhost: other\r\n\r\n"),
    ("a space in the target", "GET /a b HTTP/1.1\r\nhost: sink\r\n\r\n"),
    ("a control character in the target", "GET /a\u{1}b HTTP/1.1\r\nhost: sink\r\n\r\n"),
];

#[rustfmt::skip]
const FRAMINGS: &[(&str, &str)] = &[
    ("length and coding",
        "POST /refused HTTP/1.1\r\nhost: sink\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("coding and length",
        "POST /refused HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("two lengths", "POST /refused HTTP/1.1\r\nhost: sink\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    ("a list of lengths", "POST /refused HTTP/1.1\r\nhost: sink\r\ncontent-length: 5, 5\r\n\r\nhello"),
    ("a length with a sign", "POST /refused HTTP/1.1\r\nhost: sink\r\ncontent-length: +5\r\n\r\nhello"),
    ("a length below zero", "POST /refused HTTP/1.1\r\nhost: sink\r\ncontent-length: -5\r\n\r\nhello"),
    ("a length that is none", "POST /refused HTTP/1.1\r\nhost: sink\r\ncontent-length: five\r\n\r\nhello"),
    ("a length beyond 64 bits", "POST /refused HTTP/1.1\r\nhost: sink\r\ncontent-length: 18446744073709551621\r\n\r\nhello"),
    ("chunked twice",
        "POST /refused HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("chunked twice in a list",
        "POST /refused HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("an unknown coding", "POST /refused HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: magic\r\n\r\nhello"),
    ("another coding and chunked",
        "POST /refused HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("chunked and another coding",
        "POST /refused HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("identity", "POST /refused HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello"),
    ("chunked in capitals", "POST /capitals HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("chunked 1.0", "POST /refused HTTP/1.0\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk of no size", "POST /chunk HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n"),
    ("a chunk beyond 64 bits",
        "POST /chunk HTTP/1.1\r\nhost: sink\r\ntransfer-encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n"),
];

#[rustfmt::skip]
const HEADS: &[(&str, &str)] = &[
    ("bare line feeds", "GET /refused HTTP/1.1\nhost: sink\n\n"),
    ("a bare line feed after the request line", "GET /refused HTTP/1.1\nhost: sink\r\n\r\n"),
    ("a bare line feed after a header", "GET /refused HTTP/1.1\r\nhost: sink\nx: y\r\n\r\n"),
    ("a carriage return in a value", "GET /refused HTTP/1.1\r\nhost: sink\r\nx: a\rb\r\n\r\n"),
    ("a folded header", "GET /refused HTTP/1.1\r\nhost: sink\r\nx: a\r\n b\r\n\r\n"),
    ("a space before the colon", "GET /refused HTTP/1.1\r\nhost : sink\r\n\r\n"),
    ("a space before the first name", "GET /refused HTTP/1.1\r\n host: sink\r\n\r\n"),
    ("a header without colon", "GET /refused HTTP/1.1\r\nhost: sink\r\nnonsense\r\n\r\n"),
    ("a header without name", "GET /refused HTTP/1.1\r\nhost: sink\r\n: x\r\n\r\n"),
    ("a name that is none", "GET /refused HTTP/1.1\r\nhost: sink\r\nbad name: x\r\n\r\n"),
    ("NUL in a value", "GET /refused HTTP/1.1\r\nhost: sink\r\nx: a\0b\r\n\r\n"),
    ("NUL in a name", "GET /refused HTTP/1.1\r\nhost: sink\r\nx\0y: a\r\n\r\n"),
    ("two spaces in the request line", "GET  /refused HTTP/1.1\r\nhost: sink\r\n\r\n"),
    ("no version", "GET /refused-because-of-no-version\r\nhost: sink\r\n\r\n"),
    ("version 1.2", "GET /refused HTTP/1.2\r\nhost: sink\r\n\r\n"),
    ("version 2.0", "GET /refused HTTP/2.0\r\nhost: sink\r\n\r\n"),
];

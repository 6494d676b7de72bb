//! Where mutation starts from: a few inputs of each kind that the parsers take, made here, so that no corpus needs to
//! be kept.

use causeway::api::inbound::encode_server;
use causeway::model::protocol::HttpVersion;
use causeway::net::transport_header::TransportHeader;
use causeway::tls::Offer;
use causeway::tls::testing::{San, TestCa, expect};
use prost::Message;
use tokio::io::AsyncReadExt;

use crate::inbound::{CLIENT, mode};
use crate::policies;

/// Inputs for a target; none for those whose input has no form of its own.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "client_hello" => [Offer::Nothing, Offer::Transport, Offer::Tentative].map(client_hello).into(),
        "http_preface" => http1().chain([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()]).collect(),
        "guard" => http1().map(|bytes| [&[3, 7], &bytes[..]].concat()).collect(),
        "transport_header" => transport_headers(),
        "inbound" => inbound(),
        "policy" => policies::examples().iter().map(|one| encode_server(one).encode_to_vec()).collect(),
        "subject" => certificates(),
        _ => Vec::new(),
    }
}

/// What a proxy of ours begins with.
fn client_hello(offer: Offer) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let store = TestCa::new("seeds").store(CLIENT);
        let (near, mut far) = tokio::io::duplex(1 << 14);
        let expect = expect(CLIENT);
        let mut hello = vec![0; 1 << 14];
        tokio::select! {
            _ = causeway::tls::client::connect(&store, near, &expect, offer) => Vec::new(),
            read = far.read(&mut hello) => hello[..read.unwrap_or(0)].to_vec(),
        }
    })
}

fn transport_headers() -> Vec<Vec<u8>> {
    let sessions = [None, Some(HttpVersion::Http1), Some(HttpVersion::Http2)];
    let header = |session, name: Option<&str>| TransportHeader {
        port: 8080,
        name: name.and_then(|name| name.parse().ok()),
        session,
    };
    let all = sessions.into_iter().flat_map(|s| [header(s, None), header(s, Some("bb.mc-demo.svc"))]);
    all.map(|header| header.encode().to_vec()).collect()
}

/// Leaves with names of each kind, and names by themselves.
fn certificates() -> Vec<Vec<u8>> {
    let ca = TestCa::new("seeds");
    let named = [
        &[San::Dns(CLIENT)][..],
        &[San::Uri("spiffe://td/ns/web")],
        &[
            San::Ip([10, 0, 0, 1]),
            San::Dns("*.example"),
            San::Uri("spiffe://td/web"),
            San::Dns("Web.example"),
        ],
        &[San::Dns("spiffe://td/web"), San::Uri("web.example"), San::Dns("dotted.example.")],
        &[],
    ];
    let leaves = named.into_iter().map(|names| ca.leaf(names).leaf.to_vec());
    let alone = [CLIENT, "spiffe://td/ns/web", "_m.1.foo_"].map(|name| name.as_bytes().to_vec());
    leaves.chain([ca.common_name_leaf(CLIENT).leaf.to_vec()]).chain(alone).collect()
}

fn inbound() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for tls in [0, mode::TLS] {
        seeds.extend(http1().map(|bytes| [&[tls, 40], &bytes[..]].concat()));
        seeds.extend(frames().map(|bytes| [&[tls | mode::FRAMES, 40], &bytes[..]].concat()));
    }
    seeds
}

fn http1() -> impl Iterator<Item = Vec<u8>> {
    [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD /a?b=c HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\nx: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://b:80/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.1\r\nhost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: t\r\n\r\n\
         2;e=f\r\nab\r\n0\r\nt: u\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length, transfer-encoding\r\ncontent-length: 1\r\n\r\na",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nx: y\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\r\nhost: a\r\nl5d-client-id: me\r\nl5d-orig-proto: HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nbytes",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: \r\n\r\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
}

/// Lists of frames, as [`crate::inbound`] takes them.
fn frames() -> impl Iterator<Item = Vec<u8>> {
    let head = |fields: &[(&str, &str)]| fields.iter().flat_map(|(n, v)| literal(n, v)).collect::<Vec<_>>();
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")];
    let with = |more: &[(&str, &str)], from: &[(&str, &str)]| head(&[from, more].concat());
    let spoofed = [("l5d-client-id", "me"), ("l5d-orig-proto", "HTTP/1.1"), ("host", "b")];
    let (end_headers, end) = (4, 5);
    [
        frame(1, end, 1, &head(&get)),
        [frame(1, end, 1, &head(&get)), frame(1, end, 3, &with(&spoofed, &get))].concat(),
        [frame(1, end_headers, 1, &with(&[("content-length", "3")], &post)), frame(0, 1, 1, b"abc")].concat(),
        [
            frame(1, end_headers, 1, &with(&spoofed[1..2], &post)),
            frame(0, 0, 1, b"abc"),
            frame(1, end, 1, &head(&[("t", "u")])),
        ]
        .concat(),
        [frame(1, 0, 1, &head(&get[..2])), frame(9, 4, 1, &head(&get[2..])), frame(3, 0, 1, &[0, 0, 0, 8])]
            .concat(),
        [frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), frame(6, 0, 0, &[0; 8]), frame(8, 0, 0, &[0, 0, 1, 0])]
            .concat(),
        [
            frame(1, end, 1, &with(&[("te", "trailers"), ("connection", "close")], &post)),
            frame(7, 0, 0, &[0; 8]),
        ]
        .concat(),
        frame(1, end, 1, &head(&[(":method", "CONNECT"), (":authority", "a:80")])),
    ]
    .into_iter()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, flags, stream, payload.len() as u8], payload].concat()
}

/// A field as HPACK has it where nothing is indexed or compressed.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

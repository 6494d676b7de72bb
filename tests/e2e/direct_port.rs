//! The proxy's own port: mutual TLS and a transport header, or nothing (contract 4.2).

use bytes::Bytes;
use causeway::model::endpoint::EndpointTls;
use causeway::model::protocol::HttpVersion;
use causeway::net::transport_header::TransportHeader;
use causeway::tls::client::{ClientStream, connect};
use causeway::tls::{self, CredentialStore, Offer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::Kind;
use crate::pair::Pair;
use crate::raw::{exchange, read_to_end};
use crate::sandbox::{Pod, identity, within};

const GET: &str = "GET / HTTP/1.1\r\nhost: bb\r\nconnection: close\r\n\r\n";

/// A TLS client of a pod's own port.
pub async fn shake_hands(
    pod: &Pod,
    store: &CredentialStore,
    name: &str,
    offer: Offer,
) -> Result<ClientStream<TcpStream>, tls::Error> {
    let io = TcpStream::connect(pod.inbound).await.unwrap();
    let expect = EndpointTls { id: pod.id.parse().unwrap(), server_name: name.parse().unwrap() };
    within("a handshake", connect(store, io, &expect, offer)).await.map(|connected| connected.stream)
}

fn header(port: u16, session: Option<HttpVersion>) -> Bytes {
    TransportHeader { port, name: None, session }.encode()
}

/// What comes back for these bytes, from a client with identity and transport protocol.
async fn answer_to(pair: &Pair, bytes: &[u8]) -> String {
    let store = pair.world.ca.store(&identity("raw"));
    let mut io = shake_hands(&pair.bb, &store, &pair.bb.id, Offer::Transport).await.unwrap();
    let _ = io.write_all(bytes).await;
    String::from_utf8(read_to_end(&mut io).await).unwrap()
}

#[tokio::test]
async fn identity_protocol_and_header_are_let_in() {
    let pair = Pair::new().await;
    let port = pair.app.addr.port();
    let request = [&header(port, Some(HttpVersion::Http1))[..], GET.as_bytes()].concat();
    assert!(answer_to(&pair, &request).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(pair.app.seen_once().header("l5d-client-id"), Some(identity("raw").as_str()));
    // Without a session protocol the bytes are nobody's business.
    let request = [&header(port, None)[..], GET.as_bytes()].concat();
    assert!(answer_to(&pair, &request).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(pair.app.seen_once().header("l5d-client-id"), None);
}

#[tokio::test]
async fn plaintext_is_refused() {
    let pair = Pair::new().await;
    let io = TcpStream::connect(pair.bb.inbound).await.unwrap();
    assert_eq!(exchange(io, GET).await, "");
    let mut io = TcpStream::connect(pair.bb.inbound).await.unwrap();
    io.write_all(&header(pair.app.addr.port(), None)).await.unwrap();
    io.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!(pair.app.connections(), 0);
}

#[tokio::test]
async fn tls_without_the_transport_protocol_is_refused() {
    let pair = Pair::new().await;
    let store = pair.world.ca.store(&identity("raw"));
    let io = shake_hands(&pair.bb, &store, &pair.bb.id, Offer::Nothing).await.unwrap();
    assert_eq!(exchange(io, GET).await, "");
    assert_eq!(pair.app.connections(), 0);
}

#[tokio::test]
async fn tls_without_a_client_certificate_is_refused() {
    let pair = Pair::new().await;
    let store = pair.world.ca.empty_store(&identity("raw"));
    let mut io = shake_hands(&pair.bb, &store, &pair.bb.id, Offer::Transport).await.unwrap();
    let request = [&header(pair.app.addr.port(), Some(HttpVersion::Http1))[..], GET.as_bytes()].concat();
    let _ = io.write_all(&request).await;
    assert_eq!(read_to_end(&mut io).await, b"");
    assert_eq!(pair.app.connections(), 0);
}

#[tokio::test]
async fn tls_for_another_name_is_refused() {
    let pair = Pair::new().await;
    let store = pair.world.ca.store(&identity("raw"));
    assert!(shake_hands(&pair.bb, &store, "elsewhere.example", Offer::Transport).await.is_err());
}

#[tokio::test]
async fn bytes_that_are_no_header_are_refused() {
    let pair = Pair::new().await;
    let mut long = header(1, None).to_vec();
    long[23..27].copy_from_slice(&u32::MAX.to_be_bytes());
    let named = TransportHeader { port: 80, name: Some("bb.demo.svc".parse().unwrap()), session: None };
    for bytes in [GET.as_bytes(), b"transport.l5d.io/v1\r\n\r\n\0\0\0\0", &long, &named.encode()] {
        assert_eq!(answer_to(&pair, bytes).await, "");
    }
    assert_eq!(pair.app.connections(), 0);
    pair.get(Kind::Http2).await.assert_answered();
}

#[tokio::test]
async fn a_header_for_the_proxys_own_port_goes_no_further() {
    let pair = Pair::new().await;
    let port = pair.bb.inbound.port();
    let request = [&header(port, Some(HttpVersion::Http1))[..], GET.as_bytes()].concat();
    let answer = answer_to(&pair, &request).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("causeway-reason: loop\r\n"), "{answer}");
    assert_eq!(answer_to(&pair, &[&header(port, None)[..], b"bytes"].concat()).await, "");
}

#[tokio::test]
async fn a_request_must_say_whom_it_is_for() {
    let pair = Pair::new().await;
    let header = header(pair.app.addr.port(), Some(HttpVersion::Http1));
    for (line, host, status) in [
        ("GET / HTTP/1.1", "", "400 "),
        ("GET / HTTP/1.0", "", "400 "),
        ("GET / HTTP/1.1", "host:\r\n", "400 "),
        ("GET / HTTP/1.1", "host: bb\r\n", "200 "),
        ("GET http://bb/ HTTP/1.1", "", "200 "),
    ] {
        let request = format!("{line}\r\n{host}connection: close\r\n\r\n");
        let answer = answer_to(&pair, &[&header[..], request.as_bytes()].concat()).await;
        assert_eq!(answer.get(9..13), Some(status), "{request}{answer}");
        assert_eq!(pair.app.seen().len(), usize::from(status == "200 "), "{request}");
    }
    // Who comes by the application's own port is for its address.
    let io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    assert!(exchange(io, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200 "));
}

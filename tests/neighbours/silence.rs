//! Thousands who connect, and then say nothing, or hardly anything.

use std::time::Duration;

use causeway::model::endpoint::EndpointTls;
use causeway::net::transport_header::TransportHeader;
use causeway::tls::Offer;
use causeway::tls::client::{ClientStream, connect};
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lone_pod::ID;
use crate::siege::Siege;
use crate::world::{Side, World, detect_timeout, many};

/// Handshakes, or connections, that are made at the same time.
const AT_ONCE: usize = 32;

/// For one handshake.
const ATTEMPTS: usize = 10;

/// A neighbour with an identity, at the proxy's own port.
async fn shake_hands(world: &World) -> ClientStream<TcpStream> {
    let store = world.ca.store("neighbour.demo.serviceaccount.identity.linkerd.cluster.local");
    shake_hands_as(world, &store).await
}

async fn shake_hands_as(world: &World, store: &causeway::tls::CredentialStore) -> ClientStream<TcpStream> {
    let expect = EndpointTls { id: ID.parse().unwrap(), server_name: ID.parse().unwrap() };
    // Attackers give way to everybody, on a busy machine for longer than the proxy waits.
    for _ in 0..ATTEMPTS {
        if let Ok(connected) = connect(store, world.dial(Side::Direct).await, &expect, Offer::Transport).await
        {
            return connected.stream;
        }
    }
    panic!("{ATTEMPTS} handshakes failed");
}

/// Waits until the proxy has closed a connection.
pub(crate) async fn closed(mut io: impl AsyncReadExt + Unpin) {
    let mut dropped = [0; 1024];
    let limit = Duration::from_secs(60);
    let ended = async { while matches!(io.read(&mut dropped).await, Ok(1..)) {} };
    tokio::time::timeout(limit, ended).await.expect("the proxy closes a silent connection");
}

#[test]
fn before_tls() {
    let Some(world) = World::beside_others() else { return };
    let siege = Siege::new("silent before TLS", Side::Direct, &[("inbound", "tls-detect-timeout")]);
    siege.run(&world, |world| {
        world.runtime.block_on(async {
            let silent = stream::iter(0..many(10_000)).map(|_| world.dial(Side::Direct));
            let silent: Vec<_> = silent.buffer_unordered(AT_ONCE).collect().await;
            futures_util::future::join_all(silent.into_iter().map(closed)).await;
        });
    });
}

#[test]
fn after_tls() {
    let Some(world) = World::beside_others() else { return };
    let counted = &[("inbound", "transport-header-timeout")];
    let siege = Siege::new("silent after TLS", Side::Direct, counted);
    siege.run(&world, |world| {
        world.runtime.block_on(async {
            let store = world.ca.store("neighbour.demo.serviceaccount.identity.linkerd.cluster.local");
            let silent = stream::iter(0..many(10_000)).map(|_| shake_hands_as(world, &store));
            let silent: Vec<_> = silent.buffer_unordered(AT_ONCE).collect().await;
            futures_util::future::join_all(silent.into_iter().map(closed)).await;
        });
    });
}

#[test]
fn a_client_hello_one_byte_at_a_time() {
    let Some(world) = World::beside_others() else { return };
    let counted = &[("inbound", "tls-detect-timeout")];
    let siege = Siege::new("ClientHello byte by byte", Side::Direct, counted);
    siege.run(&world, |world| {
        world.runtime.block_on(async {
            let hello = client_hello().await;
            let pause = detect_timeout() * 2 / u32::try_from(hello.len()).unwrap();
            let slow = stream::iter(0..100).map(|_| async {
                let mut io = world.dial(Side::Direct).await;
                for byte in &hello {
                    if io.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
                closed(io).await;
            });
            slow.buffer_unordered(100).collect::<Vec<_>>().await;
        });
    });
}

/// What a client says first.
async fn client_hello() -> Vec<u8> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let ca = causeway::tls::testing::TestCa::new("nobody");
    let store = ca.store("nobody.demo.serviceaccount.identity.linkerd.cluster.local");
    let expect = EndpointTls { id: ID.parse().unwrap(), server_name: ID.parse().unwrap() };
    let client = tokio::spawn(async move {
        let _ = connect(&store, TcpStream::connect(to).await.unwrap(), &expect, Offer::Transport).await;
    });
    let (mut io, _) = listener.accept().await.unwrap();
    let mut hello = vec![0; 5];
    io.read_exact(&mut hello).await.unwrap();
    let mut rest = vec![0; usize::from(u16::from_be_bytes([hello[3], hello[4]]))];
    io.read_exact(&mut rest).await.unwrap();
    client.abort();
    hello.extend(rest);
    hello
}

#[test]
fn transport_headers_that_are_none() {
    let Some(world) = World::new() else { return };
    let whole = TransportHeader { port: 8080, name: None, session: None }.encode();
    let framed = |message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [b"transport.l5d.io/v1\r\n\r\n", &length[..], message].concat()
    };
    let oversized = [b"transport.l5d.io/v1\r\n\r\n", &u32::MAX.to_be_bytes()[..]].concat();
    let gateway =
        TransportHeader { port: 80, name: Some("bb.demo.svc.cluster.local".parse().unwrap()), session: None };
    for (name, bytes, reason) in [
        ("truncated transport header", whole[..whole.len() - 1].to_vec(), "transport-header-truncated"),
        ("oversized transport header", oversized, "transport-header-too-long"),
        ("transport header for port 0", framed(b""), "transport-header-port"),
        ("transport header for port 65536", framed(b"\x08\x80\x80\x04"), "transport-header-port"),
        ("transport header for another name", gateway.encode().to_vec(), "gateway-domain"),
        ("transport header for no name", framed(b"\x08\x01\x12\x03a b"), "transport-header-name"),
        ("no transport header", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "transport-header-malformed"),
    ] {
        Siege::new(name, Side::Direct, &[("inbound", reason)]).run(&world, |world| {
            world.runtime.block_on(async {
                let wrong = stream::iter(0..many(1_000)).map(|_| async {
                    let mut io = shake_hands(world).await;
                    let _ = io.write_all(&bytes).await;
                    let _ = io.shutdown().await;
                    closed(io).await;
                });
                wrong.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
            });
        });
    }
}

#[test]
fn garbage() {
    let Some(world) = World::new() else { return };
    let garbage: Vec<u8> = (0..64 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let after_preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &garbage[..]].concat();
    for (name, side, bytes, counted) in [
        ("garbage (direct)", Side::Direct, &garbage, ("inbound", "direct-refused")),
        ("garbage in HTTP/2 (inbound)", Side::Inbound, &after_preface, ("inbound", "http2-violation")),
        ("garbage in HTTP/2 (outbound)", Side::Outbound, &after_preface, ("outbound", "http2-violation")),
    ] {
        Siege::new(name, side, &[counted]).run(&world, |world| pour_in(world, side, bytes));
    }
    // Where anything may be spoken, it is the application's to judge.
    for (name, side) in [("garbage (inbound)", Side::Inbound), ("garbage (outbound)", Side::Outbound)] {
        Siege::new(name, side, &[]).run(&world, |world| pour_in(world, side, &garbage));
    }
}

fn pour_in(world: &World, side: Side, bytes: &[u8]) {
    world.runtime.block_on(async {
        let all = stream::iter(0..many(10_000)).map(|_| async {
            let mut io = world.dial(side).await;
            let _ = tokio::time::timeout(Duration::from_secs(5), io.write_all(bytes)).await;
            let _ = io.shutdown().await;
            closed(io).await;
        });
        all.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
    });
}

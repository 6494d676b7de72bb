//! What is on the wire? A packet socket in the router's namespace sees every link; each TCP stream is put together again
//! from what was captured, so that a text is found however it was cut into segments.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use causeway::demo::namespace::Namespace;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::world::{ALICE, BOB, World, arrival, connect, listen};

/// A capture that is running. A thread of its own keeps up with the wire: without root there is little room to queue.
pub(crate) struct Capture {
    frames: Receiver<Vec<u8>>,
    /// The thread ends with it.
    _running: Arc<()>,
}

/// Every TCP stream that was seen, one for each direction of a connection.
pub(crate) struct Streams(BTreeMap<(SocketAddrV4, SocketAddrV4), Vec<u8>>);

impl Capture {
    /// Everything that crosses `router` from now on.
    pub(crate) fn start(router: &Namespace) -> Self {
        let open = || {
            let socket =
                Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ETH_P_ALL.to_be()))))?;
            // Past the limit if that is permitted. What is lost all the same is noticed as a gap.
            if setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).is_err() {
                socket.set_recv_buffer_size(64 << 20)?;
            }
            socket.set_read_timeout(Some(SILENCE))?;
            Ok::<_, io::Error>(socket)
        };
        let mut socket = router.run(open).unwrap().unwrap();
        let running = Arc::new(());
        let (wanted, (tell, frames)) = (Arc::downgrade(&running), mpsc::channel());
        std::thread::spawn(move || {
            let mut frame = vec![0; 128 << 10];
            while wanted.strong_count() > 0 {
                match socket.read(&mut frame) {
                    Ok(len) if tell.send(frame[..len].to_vec()).is_err() => return,
                    Ok(_) => {}
                    Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock, "{e}"),
                }
            }
        });
        Self { frames, _running: running }
    }

    /// Ends when the wire is silent for a moment, so call it after both ends have what they wanted.
    pub(crate) fn finish(self) -> Streams {
        self.finish_within(Duration::from_secs(30))
    }

    /// Ends when the wire is silent for a moment, or after `limit` where it never is.
    pub(crate) fn finish_within(self, limit: Duration) -> Streams {
        let deadline = tokio::time::Instant::now() + limit;
        let mut segments: BTreeMap<_, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
        let mut first: BTreeMap<_, u32> = BTreeMap::new();
        while tokio::time::Instant::now() < deadline {
            let frame = match self.frames.recv_timeout(SILENCE) {
                Ok(frame) => frame,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the capture has ended"),
            };
            if let Some((flow, seq, payload)) = tcp(&frame) {
                let start = *first.entry(flow).or_insert(seq);
                // Each packet is seen on two links, and some are sent again: one of each will do.
                let parts = segments.entry(flow).or_default();
                let known = parts.entry(seq.wrapping_sub(start)).or_default();
                if payload.len() > known.len() {
                    *known = payload.to_vec();
                }
            }
        }
        Streams(segments.into_iter().map(|(flow, parts)| (flow, joined(parts))).collect())
    }
}

impl Streams {
    pub(crate) fn contain(&self, text: &str) -> bool {
        self.0.values().any(|stream| stream.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    /// Bytes sent to this address.
    pub(crate) fn sent_to(&self, addr: impl Into<IpAddr>, port: u16) -> usize {
        let to = SocketAddr::new(addr.into(), port);
        self.0.iter().filter(|((_, dst), _)| SocketAddr::V4(*dst) == to).map(|(_, stream)| stream.len()).sum()
    }
}

/// The bytes of segments, some of which may have been sent again in other pieces.
fn joined(segments: BTreeMap<u32, Vec<u8>>) -> Vec<u8> {
    segments.into_iter().fold(Vec::new(), |mut whole, (start, bytes)| {
        let known = whole.len().checked_sub(usize::try_from(start).unwrap());
        let known = known.expect("the capture lost packets, so it proves nothing");
        whole.extend(bytes.get(known..).unwrap_or_default());
        whole
    })
}

/// A wire on which nothing is seen for so long is silent.
const SILENCE: Duration = Duration::from_millis(200);

type Segment<'a> = ((SocketAddrV4, SocketAddrV4), u32, &'a [u8]);

/// Flow, sequence number and payload of an IPv4 TCP segment in an Ethernet frame. The payload may be empty.
fn tcp(frame: &[u8]) -> Option<Segment<'_>> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [0x08, 0x00])?;
    let addr = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    // The frame may be filled up; the packet knows its length. It is 0 for one put together by the kernel.
    let len = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let ip = if len == 0 { ip } else { ip.get(..len)? };
    let tcp = ip.get(usize::from(ip[0] & 0x0f) * 4..).filter(|_| ip[9] == 6)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let seq = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let flow = (SocketAddrV4::new(addr(12)?, port(0)?), SocketAddrV4::new(addr(16)?, port(2)?));
    let syn = tcp.get(13)? & 0x02 != 0;
    // A handshake takes a number and carries nothing: what follows it starts one later.
    let seq = if syn { seq.wrapping_add(1) } else { seq };
    Some((flow, seq, tcp.get(usize::from(tcp[12] >> 4) * 4..)?))
        .filter(|(_, _, payload)| syn || !payload.is_empty())
}

const ETH_P_ALL: u16 = 0x0003;

#[test]
fn a_capture_sees_what_plain_connections_carry() {
    let Some(world) = World::new() else { return };
    let capture = Capture::start(world.network.router());
    let listener = listen(&world.bob, 8080);
    arrival(&listener, connect(&world.alice, BOB, 8080));
    let streams = capture.finish();
    assert!(streams.contain("canary"));
    assert!(!streams.contain("another text"));
    assert_eq!((streams.sent_to(BOB, 8080), streams.sent_to(ALICE, 8080)), (6, 0));
}

#[test]
fn a_text_cut_into_segments_is_found_whole() {
    use std::io::Write as _;
    let Some(world) = World::new() else { return };
    let capture = Capture::start(world.network.router());
    let listener = listen(&world.bob, 8080);
    let mut client = connect(&world.alice, BOB, 8080);
    client.set_nodelay(true).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for part in ["one", "two", "three"] {
        client.write_all(part.as_bytes()).unwrap();
        server.read_exact(&mut vec![0; part.len()]).unwrap();
    }
    assert!(capture.finish().contain("onetwothree"));
}

//! Two pods on a network, and connections between them with deadlines.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use causeway::demo::namespace::Namespace;
use causeway::demo::network::Network;
use causeway::net::orig_dst::unmapped;
use socket2::SockRef;

pub(crate) use crate::namespace::namespace;

pub(crate) const ALICE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 2);
pub(crate) const BOB: Ipv4Addr = Ipv4Addr::new(10, 23, 0, 2);
/// The same pods in IPv6.
pub(crate) const ALICE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 2);
pub(crate) const BOB6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x23, 0, 0, 0, 0, 0, 2);
const DEADLINE: Duration = Duration::from_secs(5);

pub(crate) struct World {
    pub(crate) alice: Namespace,
    pub(crate) bob: Namespace,
    pub(crate) network: Network,
}

impl World {
    /// `None` where the machine gives no namespaces and none are required.
    pub(crate) fn new() -> Option<Self> {
        let (alice, bob) = (namespace("alice")?, namespace("bob")?);
        let network = Network::new().unwrap();
        network.attach(&alice, &[ALICE.into(), ALICE6.into()]).unwrap();
        network.attach(&bob, &[BOB.into(), BOB6.into()]).unwrap();
        Some(Self { alice, bob, network })
    }
}

/// A listener on every address of the namespace, of both families; accepting has a deadline.
pub(crate) fn listen(namespace: &Namespace, port: u16) -> TcpListener {
    let listener = namespace.listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap();
    SockRef::from(&listener).set_read_timeout(Some(DEADLINE)).unwrap();
    listener
}

pub(crate) fn connect(namespace: &Namespace, addr: impl Into<IpAddr>, port: u16) -> TcpStream {
    let to = SocketAddr::new(addr.into(), port);
    namespace.run(move || TcpStream::connect_timeout(&to, DEADLINE)).unwrap().unwrap()
}

/// Accepts, proves that `client` is at the other end, and says who called and where the caller meant to go.
pub(crate) fn arrival(listener: &TcpListener, mut client: TcpStream) -> Arrival {
    let (mut accepted, from) = listener.accept().unwrap();
    client.write_all(b"canary").unwrap();
    let mut seen = [0; 6];
    accepted.set_read_timeout(Some(DEADLINE)).unwrap();
    accepted.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"canary");
    let (from, socket) = (unmapped(from), SockRef::from(&accepted));
    let meant = if from.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    Arrival { from, meant: meant.ok().and_then(|addr| addr.as_socket()) }
}

pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    /// What `SO_ORIGINAL_DST` says.
    pub(crate) meant: Option<SocketAddr>,
}

//! Namespaces joined by the router.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use causeway::demo::network::NODE;
use causeway::redirect;

use crate::world::{ALICE, BOB, BOB6, World, arrival, connect, listen, namespace};

/// Whoever is told of something is told at once, here.
const SILENCE: Duration = Duration::from_millis(500);

#[test]
fn pods_reach_each_other_with_their_own_addresses() {
    let Some(world) = World::new() else { return };
    let listener = listen(&world.bob, 8080);
    let arrival = arrival(&listener, connect(&world.alice, BOB, 8080));
    assert_eq!(arrival.from.ip(), ALICE);
}

#[test]
fn the_node_reaches_a_pod() {
    let Some(world) = World::new() else { return };
    let listener = listen(&world.bob, 4191);
    let arrival = arrival(&listener, connect(world.network.router(), BOB, 4191));
    assert_eq!(arrival.from.ip(), NODE);
}

#[test]
fn a_cut_link_is_silent_until_another_pod_has_the_address() {
    let Some(world) = World::new() else { return };
    let listener = listen(&world.bob, 8080);
    let mut client = connect(&world.alice, BOB, 8080);
    let (mut server, _) = listener.accept().unwrap();
    world.network.cut(BOB.into()).unwrap();
    // Neither data nor an end passes, in either direction, and nobody is told.
    server.write_all(b"lost").unwrap();
    drop((server, listener));
    client.write_all(b"lost").unwrap();
    client.set_read_timeout(Some(SILENCE)).unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let to = SocketAddr::from((BOB, 8080));
    let refused = world.alice.run(move || TcpStream::connect_timeout(&to, SILENCE)).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(world.network.cut(BOB.into()).is_err(), "it is cut already");

    let again = namespace("bob again").unwrap();
    world.network.attach(&again, &[BOB.into()]).unwrap();
    let listener = listen(&again, 8080);
    assert_eq!(arrival(&listener, connect(&world.alice, BOB, 8080)).from.ip(), ALICE);
}

#[test]
fn a_load_balancers_address_leads_to_its_server_and_answers_as_itself() {
    let Some(world) = World::new() else { return };
    let listener = listen(&world.bob, 4143);
    let families: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::new(172, 31, 255, 99).into(), BOB.into()),
        (Ipv6Addr::new(0xfd00, 0x31, 0x255, 0, 0, 0, 0, 99).into(), BOB6.into()),
    ];
    for (address, server) in families {
        world.network.router().run(move || redirect::deliver(address, server)).unwrap().unwrap();
        let client = connect(&world.alice, address, 4143);
        assert_eq!(client.peer_addr().unwrap().ip(), address);
        arrival(&listener, client);
    }
}

#[test]
fn a_covered_file_is_covered_for_its_namespace_alone() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (below, above) = (folder.path().join("below"), folder.path().join("above"));
    std::fs::write(&below, "the machine's").unwrap();
    std::fs::write(&above, "the pod's").unwrap();
    world.alice.cover(below.clone(), above).unwrap();
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let path = below.clone();
    assert_eq!(world.alice.run(move || read(&path)).unwrap(), "the pod's");
    let path = below.clone();
    assert_eq!(world.bob.run(move || read(&path)).unwrap(), "the machine's");
    assert_eq!(read(&below), "the machine's");
}

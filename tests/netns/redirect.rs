//! Redirect rules against real connections. This process is root, so "the proxy's user" is played by uid 0.

use std::net::SocketAddrV4;

use causeway::demo::namespace::Namespace;
use causeway::redirect::{self, Rules};

use crate::world::{ALICE, BOB, World, arrival, connect, listen};

#[test]
fn incoming_tcp_goes_to_the_inbound_port_and_keeps_its_original_destination() {
    let Some(world) = World::new() else { return };
    install(&world.bob, Rules::default());
    let proxy = listen(&world.bob, 4143);
    let arrival = arrival(&proxy, connect(&world.alice, BOB, 8080));
    assert_eq!(arrival.from.ip(), ALICE);
    assert_eq!(arrival.meant, Some(SocketAddrV4::new(BOB, 8080)));
}

#[test]
fn ignored_incoming_ports_are_left_alone() {
    let Some(world) = World::new() else { return };
    install(&world.bob, Rules { inbound_ignored: vec![4191..=4191, 9000..=9002], ..Rules::default() });
    let proxy = listen(&world.bob, 4143);
    for port in [4191, 9000, 9001, 9002] {
        let direct = listen(&world.bob, port);
        arrival(&direct, connect(&world.alice, BOB, port));
    }
    for port in [4190, 4192, 8999, 9003] {
        let meant = arrival(&proxy, connect(&world.alice, BOB, port)).meant;
        assert_eq!(meant, Some(SocketAddrV4::new(BOB, port)));
    }
}

#[test]
fn ignored_subnets_are_left_alone_as_sources_only() {
    let Some(world) = World::new() else { return };
    let rules = Rules { ignored_subnets: vec!["10.42.0.0/16".parse().unwrap()], ..Rules::default() };
    install(&world.bob, rules);
    let (direct, proxy) = (listen(&world.bob, 8080), listen(&world.bob, 4143));
    arrival(&direct, connect(&world.alice, BOB, 8080));
    arrival(&proxy, connect(world.network.router(), BOB, 8080));
    let outbound = listen(&world.bob, 4140);
    arrival(&outbound, connect(&world.bob, ALICE, 8080));
}

#[test]
fn only_the_ports_asked_for_are_redirected() {
    let Some(world) = World::new() else { return };
    install(&world.bob, Rules { inbound_redirected: vec![80..=80, 8080..=8081], ..Rules::default() });
    let (direct, proxy) = (listen(&world.bob, 8082), listen(&world.bob, 4143));
    arrival(&direct, connect(&world.alice, BOB, 8082));
    for port in [80, 8080, 8081] {
        arrival(&proxy, connect(&world.alice, BOB, port));
    }
}

#[test]
fn outgoing_tcp_goes_to_the_outbound_port_and_keeps_its_original_destination() {
    let Some(world) = World::new() else { return };
    install(&world.alice, Rules::default());
    let proxy = listen(&world.alice, 4140);
    let meant = arrival(&proxy, connect(&world.alice, BOB, 8080)).meant;
    assert_eq!(meant, Some(SocketAddrV4::new(BOB, 8080)));
}

#[test]
fn what_the_proxy_sends_is_left_alone() {
    let Some(world) = World::new() else { return };
    let direct = listen(&world.bob, 8080);
    for rules in [
        Rules { proxy_uid: Some(0), ..Rules::default() },
        Rules { proxy_uid: None, proxy_gid: Some(0), ..Rules::default() },
    ] {
        install(&world.alice, rules);
        arrival(&direct, connect(&world.alice, BOB, 8080));
    }
}

#[test]
fn what_stays_in_the_pod_is_left_alone() {
    let Some(world) = World::new() else { return };
    install(&world.alice, Rules::default());
    let direct = listen(&world.alice, 8080);
    arrival(&direct, connect(&world.alice, std::net::Ipv4Addr::LOCALHOST, 8080));
    arrival(&direct, connect(&world.alice, ALICE, 8080));
}

#[test]
fn ignored_outgoing_ports_are_left_alone() {
    let Some(world) = World::new() else { return };
    install(&world.alice, Rules { outbound_ignored: vec![443..=443, 6443..=6444], ..Rules::default() });
    let proxy = listen(&world.alice, 4140);
    for port in [443, 6443, 6444] {
        let direct = listen(&world.bob, port);
        arrival(&direct, connect(&world.alice, BOB, port));
    }
    arrival(&proxy, connect(&world.alice, BOB, 6445));
}

#[test]
fn installing_again_replaces_and_removing_leaves_nothing() {
    let Some(world) = World::new() else { return };
    install(&world.bob, Rules::default());
    install(&world.bob, Rules { inbound_port: 5143, ipv6: false, ..Rules::default() });
    let (first, second) = (listen(&world.bob, 4143), listen(&world.bob, 5143));
    arrival(&second, connect(&world.alice, BOB, 8080));
    install(&world.bob, Rules::default());
    arrival(&first, connect(&world.alice, BOB, 8080));
    for _ in 0..2 {
        world.bob.run(redirect::remove).unwrap().unwrap();
    }
    let direct = listen(&world.bob, 8080);
    arrival(&direct, connect(&world.alice, BOB, 8080));
}

#[test]
fn rules_of_one_namespace_do_not_touch_another() {
    let Some(world) = World::new() else { return };
    install(&world.alice, Rules::default());
    let direct = listen(&world.bob, 8080);
    arrival(&direct, connect(world.network.router(), BOB, 8080));
}

fn install(namespace: &Namespace, rules: Rules) {
    namespace.run(move || redirect::install(&rules)).unwrap().unwrap();
}

//! Redirect rules against real connections: ours, and the contract's by iptables. This process is root, so "the proxy's
//! user" is played by uid 0.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use causeway::config;
use causeway::demo::namespace::Namespace;
use causeway::net::socket;
use causeway::redirect::{self, Rules};

use crate::iptables::{Iptables, variants};
use crate::world::{ALICE, ALICE6, BOB, BOB6, World, arrival, connect, listen};

/// Who installs the rules.
#[derive(Clone, Copy, Debug)]
enum By {
    Causeway,
    Iptables(Iptables),
}

impl By {
    fn install(self, namespace: &Namespace, rules: Rules) {
        match self {
            Self::Causeway => install(namespace, rules),
            Self::Iptables(variant) => {
                variant.remove(namespace);
                variant.install(namespace, &rules);
            }
        }
    }
}

/// Two pods, as they are in one family of addresses.
#[derive(Clone, Copy, Debug)]
struct Family {
    alice: IpAddr,
    bob: IpAddr,
    localhost: IpAddr,
}

/// Runs a test in a fresh world for each who installs rules.
fn each(test: impl Fn(&World, By, [Family; 2])) {
    let Some(probe) = crate::world::namespace("probe") else { return };
    let families = [
        Family { alice: ALICE.into(), bob: BOB.into(), localhost: Ipv4Addr::LOCALHOST.into() },
        Family { alice: ALICE6.into(), bob: BOB6.into(), localhost: Ipv6Addr::LOCALHOST.into() },
    ];
    for by in std::iter::once(By::Causeway).chain(variants(&probe).into_iter().map(By::Iptables)) {
        eprintln!("by {by:?}");
        test(&World::new().unwrap(), by, families);
    }
}

#[test]
fn incoming_tcp_goes_to_the_inbound_port_and_keeps_its_original_destination() {
    each(|world, by, families| {
        by.install(&world.bob, Rules::default());
        let proxy = listen(&world.bob, 4143);
        for Family { alice, bob, .. } in families {
            let arrival = arrival(&proxy, connect(&world.alice, bob, 8080));
            assert_eq!(arrival.from.ip(), alice);
            assert_eq!(arrival.meant, Some(SocketAddr::new(bob, 8080)));
        }
    });
}

#[test]
fn ignored_incoming_ports_are_left_alone() {
    each(|world, by, families| {
        let ignored = vec![4191..=4191, 9000..=9002];
        by.install(&world.bob, Rules { inbound_ignored: ignored, ..Rules::default() });
        let proxy = listen(&world.bob, 4143);
        for port in [4191, 9000, 9001, 9002] {
            let direct = listen(&world.bob, port);
            for Family { bob, .. } in families {
                arrival(&direct, connect(&world.alice, bob, port));
            }
        }
        for (Family { bob, .. }, port) in families.into_iter().zip([4190, 9003]) {
            let meant = arrival(&proxy, connect(&world.alice, bob, port)).meant;
            assert_eq!(meant, Some(SocketAddr::new(bob, port)));
        }
        for port in [4192, 8999] {
            let meant = arrival(&proxy, connect(&world.alice, BOB, port)).meant;
            assert_eq!(meant, Some(SocketAddr::new(BOB.into(), port)));
        }
    });
}

#[test]
fn ignored_subnets_are_left_alone_as_sources_only() {
    each(|world, by, families| {
        let subnets = ["10.42.0.0/16", "fd00:42::/32"].map(|net| net.parse().unwrap());
        by.install(&world.bob, Rules { ignored_subnets: subnets.into(), ..Rules::default() });
        let (direct, proxy) = (listen(&world.bob, 8080), listen(&world.bob, 4143));
        let outbound = listen(&world.bob, 4140);
        for Family { alice, bob, .. } in families {
            arrival(&direct, connect(&world.alice, bob, 8080));
            arrival(&proxy, connect(world.network.router(), bob, 8080));
            arrival(&outbound, connect(&world.bob, alice, 8080));
        }
    });
}

#[test]
fn only_the_ports_asked_for_are_redirected() {
    each(|world, by, families| {
        let only = vec![80..=80, 8080..=8081];
        by.install(&world.bob, Rules { inbound_redirected: only, ..Rules::default() });
        let (direct, proxy) = (listen(&world.bob, 8082), listen(&world.bob, 4143));
        for Family { bob, .. } in families {
            arrival(&direct, connect(&world.alice, bob, 8082));
            for port in [80, 8080, 8081] {
                arrival(&proxy, connect(&world.alice, bob, port));
            }
        }
    });
}

#[test]
fn outgoing_tcp_goes_to_the_outbound_port_and_keeps_its_original_destination() {
    each(|world, by, families| {
        by.install(&world.alice, Rules::default());
        let proxy = listen(&world.alice, 4140);
        for Family { bob, .. } in families {
            let meant = arrival(&proxy, connect(&world.alice, bob, 8080)).meant;
            assert_eq!(meant, Some(SocketAddr::new(bob, 8080)));
        }
    });
}

#[test]
fn what_the_proxy_sends_is_left_alone() {
    each(|world, by, families| {
        let direct = listen(&world.bob, 8080);
        for rules in [
            Rules { proxy_uid: Some(0), ..Rules::default() },
            Rules { proxy_uid: None, proxy_gid: Some(0), ..Rules::default() },
        ] {
            by.install(&world.alice, rules);
            for Family { bob, .. } in families {
                arrival(&direct, connect(&world.alice, bob, 8080));
            }
        }
    });
}

#[test]
fn what_the_proxy_marks_is_left_alone() {
    each(|world, by, families| {
        let rules = Rules { proxy_uid: None, proxy_mark: Some(7), ..Rules::default() };
        by.install(&world.alice, rules);
        let (direct, proxy) = (listen(&world.bob, 8080), listen(&world.alice, 4140));
        for Family { bob, .. } in families {
            arrival(&direct, marked(&world.alice, bob, 7));
            arrival(&proxy, marked(&world.alice, bob, 8));
            arrival(&proxy, connect(&world.alice, bob, 8080));
        }
    });
}

/// A connection as a proxy with `CAUSEWAY_MARK` opens it.
fn marked(from: &Namespace, to: IpAddr, mark: u32) -> TcpStream {
    let options = config::Socket { mark: Some(mark), ..Default::default() };
    let open = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { socket::connect(&options, (to, 8080).into(), None).await?.into_std() })
    };
    let stream = from.run(open).unwrap().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn what_stays_in_the_pod_is_left_alone() {
    each(|world, by, families| {
        by.install(&world.alice, Rules::default());
        let direct = listen(&world.alice, 8080);
        for Family { alice, localhost, .. } in families {
            arrival(&direct, connect(&world.alice, localhost, 8080));
            arrival(&direct, connect(&world.alice, alice, 8080));
        }
    });
}

#[test]
fn ignored_outgoing_ports_are_left_alone() {
    each(|world, by, families| {
        let ignored = vec![443..=443, 6443..=6444];
        by.install(&world.alice, Rules { outbound_ignored: ignored, ..Rules::default() });
        let proxy = listen(&world.alice, 4140);
        for Family { bob, .. } in families {
            for port in [443, 6443, 6444] {
                let direct = listen(&world.bob, port);
                arrival(&direct, connect(&world.alice, bob, port));
            }
            arrival(&proxy, connect(&world.alice, bob, 6445));
        }
    });
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

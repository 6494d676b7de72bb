//! Pods with IPv6 addresses, and both families at one listener.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use causeway::config::Accept;
use causeway::drain::Drain;
use causeway::net::{Accepted, Listener, OrigDst};
use causeway::redirect::{self, Rules};
use tokio::sync::mpsc;

use crate::iptables;
use crate::mesh::{DEADLINE, HTTP, Mesh};
use crate::world::{ALICE, ALICE6, BOB, BOB6, World, connect};

#[tokio::test(flavor = "multi_thread")]
async fn pods_with_ipv6_addresses_talk_through_their_proxies() {
    let Some(mesh) = Mesh::ipv6().await else { return };
    let sink = mesh.service("west", "sink-target").await;
    let (bb, caller) = (mesh.pod_ip("bb"), mesh.pod_ip("slow-cooker"));
    assert!(sink.is_ipv6() && bb.is_ipv6() && caller.is_ipv6(), "{sink} {bb} {caller}");
    iptables::everywhere(&mesh, sink);
    // Addresses in labels are spelled as the reference does.
    let target = SocketAddr::new(bb, HTTP).to_string();
    assert!(target.starts_with("[fd00:22:"), "{target}");
    let page = page(&mesh, bb).await;
    for family in ["request_total", "tcp_open_total"] {
        let line = |line: &&str| {
            line.starts_with(family)
                && line.contains("direction=\"inbound\"")
                && line.contains(&format!("target_addr=\"{target}\""))
        };
        assert!(page.lines().any(|l| line(&l)), "no {family} of {target} in {page}");
    }
}

async fn page(mesh: &Mesh, pod: IpAddr) -> String {
    let admin = SocketAddr::new(pod, 4191);
    let node = mesh.world.network().router();
    let page = causeway::demo::node::fetch(node, admin, "/metrics", DEADLINE).await.unwrap();
    String::from_utf8(page.to_vec()).unwrap()
}

#[tokio::test]
async fn one_listener_takes_both_families_and_knows_where_each_was_going() {
    let Some(world) = World::new() else { return };
    world.bob.run(|| redirect::install(&Rules::default())).unwrap().unwrap();
    let runtime = tokio::runtime::Handle::current();
    let bind = move || {
        let _inside = runtime.enter();
        let accept = Accept { socket: Default::default(), backlog: None };
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 4143));
        Listener::bind(any, &accept, OrigDst::Kernel)
    };
    let listener = world.bob.run(bind).unwrap().unwrap();
    let (drain, (tell, mut told)) = (Drain::default(), mpsc::unbounded_channel());
    let serve = move |conn: Accepted| {
        let _ = tell.send((conn.client.ip(), conn.orig_dst));
        async {}
    };
    drain.spawn(listener.serve(drain.clone(), serve, || {}));
    let cases: [(IpAddr, IpAddr); 2] = [(ALICE.into(), BOB.into()), (ALICE6.into(), BOB6.into())];
    for (client, to) in cases {
        let _stream = connect(&world.alice, to, 8080);
        let seen = tokio::time::timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
        assert_eq!(seen, (client, SocketAddr::new(to, 8080)));
    }
}

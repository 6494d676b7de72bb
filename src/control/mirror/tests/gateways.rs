//! Liveness and resolved names of gateways, as plain data in (controlplane 1.9).

use std::net::SocketAddr;

use super::headless::HEADLESS;
use super::*;
use crate::control::index::Context;

const GATEWAY: &str = "
  gatewayAddress: gate.example, 10.9.0.10, 10.9.0.9
  gatewayPort: '4143'
  gatewayIdentity: gate.example
  selector:";

/// `web` through a gateway, `hosts` with an endpoint mirror.
fn west(gateways: &Gateways) -> Snapshot {
    let ready = format!("---{HEADLESS}");
    let exported = |name, spec| exported(name, "mirror.linkerd.io/exported: 'true'", spec);
    let headless = ready.replace("name: s,", "name: t,").replace(": web", ": hosts");
    let east = [exported("web", ""), ready, exported("hosts", "clusterIP: None, "), headless].concat();
    let settings = Settings { enable_headless_services: true, ..Settings::default() };
    snapshot_in(&settings, &LINK.replace("\n  selector:", GATEWAY), &[&east], gateways)
}

fn found(snapshot: &Snapshot, name: &str) -> Vec<SocketAddr> {
    let set = snapshot.destination(&format!("{name}.d.svc.cluster.local:80"), &Context::default()).unwrap();
    set.endpoints.into_keys().collect()
}

fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn dead(link: &str) -> Gateways {
    Gateways { dead: [ObjectName::new("linkerd-multicluster", link)].into(), ..Gateways::default() }
}

#[test]
fn a_dead_gateways_addresses_are_not_ready_and_come_back() {
    let both = addrs(&["10.9.0.9:4143", "10.9.0.10:4143"]);
    let alive = west(&Gateways::default());
    assert_eq!((found(&alive, "web-east"), found(&alive, "a-east")), (both.clone(), both));
    let west_of_dead = west(&dead("east"));
    assert_eq!((found(&west_of_dead, "web-east"), found(&west_of_dead, "a-east")), (vec![], vec![]));
    assert_eq!(west(&dead("north")), alive, "another Link's gateway is none of its business");
    // The mirror of the headless Service holds the addresses of its hosts' mirrors, not the gateway's.
    let hosts =
        |snapshot: &Snapshot| snapshot.mirrored().endpoints[&ObjectName::new("d", "hosts-east")].clone();
    assert_eq!(hosts(&west_of_dead), hosts(&alive));
    let printed = print::manifests(west_of_dead.mirrored(), |name| west_of_dead.cluster_ip(name));
    let lines = "subsets:\n- notReadyAddresses:\n  - ip: \"10.9.0.10\"\n  - ip: \"10.9.0.9\"\n  ports:\n";
    assert!(printed.contains(lines), "{printed}");
}

#[test]
fn names_of_gateways_lead_to_what_they_resolve_to() {
    let ips = ["10.9.0.9", "10.9.1.1"].map(|ip| ip.parse().unwrap());
    let resolved = BTreeMap::from([("gate.example".to_owned(), ips.into())]);
    let west = west(&Gateways { resolved, ..Gateways::default() });
    assert_eq!(found(&west, "web-east"), addrs(&["10.9.0.9:4143", "10.9.0.10:4143", "10.9.1.1:4143"]));
    let notes: Vec<_> = west.notes().collect();
    assert!(notes.iter().all(|note| !note.message.contains("not resolved")), "{notes:?}");
}

//! Folders in, answers out: each case is a folder of clusters beside the answers they give.
//!
//! `INSTA_UPDATE=always cargo test --test manifests` writes the answers anew; read the difference.

// Everything here is a test, and fails by panicking.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod answers;
mod clusters;

use causeway::control::index::{Context, ObjectName, RouteStatus, Settings, Workload};

use clusters::compare;

#[test]
fn guide() {
    case("guide", "examples/guide");
}

#[test]
fn policies() {
    case("policies", "tests/manifests/policies");
}

/// Routes and rate limits of ports, and who may use them.
#[test]
fn inbound() {
    compare(
        "inbound",
        "tests/manifests/inbound",
        |_| {},
        |answers| {
            answers.snapshot.route_faults().for_each(|fault| answers.line(0, fault.message));
            let name = |name: &str| ObjectName::new("shop", name);
            for port in [8080, 9090, 7070, 3306, 9999] {
                answers.line(0, "");
                answers.server(&Workload::Pod(name("web")), port);
            }
            for port in [80, 81] {
                answers.line(0, "");
                answers.server(&Workload::External(name("vm")), port);
            }
        },
    );
}

#[test]
fn printed_by_kubectl() {
    case("printed", "tests/manifests/printed");
}

#[test]
fn workloads() {
    compare(
        "workloads",
        "tests/manifests/workloads",
        |_| {},
        |answers| {
            answers.discovery();
            let asked = [
                "10.100.1.9:8080",
                "10.100.1.9:4191",
                "192.168.5.1:9100",
                "192.168.5.1:8080",
                "192.168.9.1:3306",
                "192.168.9.1:1",
                "192.168.9.2:8089",
                "10.1.2.3:25",
                "joiner.ring.d.svc.cluster.local:7000",
                "nobody.ring.d.svc.cluster.local:7000",
                "nothing.d.svc.cluster.local",
            ];
            answers.line(0, "");
            asked.iter().for_each(|path| answers.profile(path));
        },
    );
}

#[test]
fn zones() {
    compare(
        "zones",
        "tests/manifests/zones",
        |_| {},
        |answers| {
            answers.context = Context { node_name: "node-a".into(), ..Context::default() };
            answers.discovery();
        },
    );
}

/// Which ServiceProfile speaks for a Service depends on who asks.
#[test]
fn profiles() {
    compare(
        "profiles",
        "tests/manifests/profiles",
        |_| {},
        |answers| {
            for client in ["", "shop", "client"] {
                answers.context = Context { namespace: client.into(), ..Context::default() };
                answers.line(0, format!("\nasked from {client:?}"));
                ["web.shop.svc.cluster.local:80", "10.200.1.1:81", "plain.shop.svc.cluster.local:80"]
                    .iter()
                    .for_each(|path| answers.profile(path));
            }
            let ports = answers.snapshot.service("shop", "names").unwrap();
            answers.service_briefly(ports);
            for target in ["10.200.1.3:53", "10.200.1.3:514", "10.200.1.3:515"] {
                answers.profile(target);
                answers.outbound("shop", target);
            }
            answers.line(0, "\nnames");
            for name in NAMES {
                answers.debug(1, name, answers.snapshot.resolve(&format!("{name}.svc.cluster.local.")));
            }
        },
    );
}

/// Which routes count depends on who asks, and on what for.
#[test]
fn outbound() {
    compare(
        "outbound",
        "tests/manifests/outbound",
        |_| {},
        |answers| {
            let statuses = answers.snapshot.route_statuses().iter();
            for RouteStatus { name, kind, parent, accepted, resolved, .. } in statuses {
                let (kind, of) = (kind.name(), parent.kind.name());
                let port = parent.port;
                answers.line(
                    0,
                    format!("{kind} {name} of {of} {} {port:?}: {accepted:?} {resolved:?}", parent.name),
                );
            }
            for (client, target) in ASKED {
                answers.outbound(client, target);
            }
        },
    );
}

/// Mirrors are backends, and parents, like any other Service.
#[test]
fn split() {
    compare(
        "split",
        "tests/manifests/split",
        |_| {},
        |answers| {
            answers.outbound("mc-demo", "bb.mc-demo.svc:8080");
            answers.outbound("mc-demo", "flat-target.mc-demo.svc:8080");
            answers.outbound("client", "flat-target.mc-demo.svc:8080");
        },
    );
}

const ASKED: [(&str, &str); 21] = [
    ("shop", "web.shop.svc.cluster.local:80"),
    ("buyer", "web.shop.svc:80"),
    ("shop", "web.shop.svc:81"),
    ("shop", "next.shop.svc:80"),
    ("shop", "calls.shop.svc:90"),
    ("shop", "calls.shop.svc:91"),
    ("shop", "calls.shop.svc:92"),
    ("shop", "calls.shop.svc:93"),
    ("shop", "db.shop.svc:5000"),
    ("shop", "db.shop.svc:5001"),
    ("shop", "db.shop.svc:5002"),
    ("shop", "nowhere.shop.svc:80"),
    ("shop", "192.0.2.1:80"),
    ("shop", "192.0.2.1:90"),
    ("shop", "192.0.2.1:443"),
    ("shop", "192.0.2.1:9000"),
    ("shop", "192.0.2.1:3306"),
    ("shop", "198.51.100.1:80"),
    ("shop", "198.51.100.200:80"),
    ("buyer", "203.0.113.1:80"),
    ("buyer", "192.0.2.1:80"),
];

const NAMES: [&str; 8] = [
    "web.shop",
    "_http._tcp.web.shop",
    "_http._tcp.hosts.shop",
    "_dns._udp.names.shop",
    "_log._tcp.names.shop",
    "one.hosts.shop",
    "old.shop",
    "none.shop",
];

#[test]
fn gateway() {
    mirroring("gateway", "tests/manifests/gateway", |_| {});
}

#[test]
fn federated() {
    mirroring("federated", "tests/manifests/federated", |_| {});
}

#[test]
fn three_clusters() {
    mirroring("three-clusters", "examples/three-clusters", |_| {});
}

#[test]
fn headless() {
    mirroring("headless", "tests/manifests/headless", |settings| {
        settings.enable_headless_services = true;
        settings.enable_namespace_creation = true;
    });
}

/// What is mirrored, and what is answered about it.
fn mirroring(name: &str, clusters: &str, change: fn(&mut Settings)) {
    compare(name, clusters, change, |answers| {
        for service in answers.snapshot.services().filter(|service| service.mirrored) {
            answers.service(service);
        }
    });
}

/// Asks everything there is to ask.
fn case(name: &str, clusters: &str) {
    compare(name, clusters, |_| {}, |answers| answers.all());
}

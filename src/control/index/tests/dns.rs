//! Names of the cluster.

use super::*;

#[test]
fn names_of_the_control_plane_resolve_to_it() {
    let (east, _) = east();
    for name in ["linkerd-dst-headless", "linkerd-policy", "linkerd-identity-headless"] {
        let found = east.dns(&format!("{name}.linkerd.svc.cluster.local."));
        assert_eq!(found, ["10.9.9.9".parse::<IpAddr>().unwrap()]);
    }
    assert!(east.dns("linkerd-policy.other.svc.cluster.local").is_empty());
    assert!(east.dns("example.com").is_empty());
}

const NAMES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: d}
spec: {clusterIP: 10.145.0.9, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: ring, namespace: d}
spec: {clusterIP: None, ports: [{name: sql, port: 5000, targetPort: 5001}], selector: {app: ring}}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: d}
spec: {clusterIP: None, ports: [{port: 80}], selector: {app: nobody}}
---
apiVersion: v1
kind: Pod
metadata: {name: named, namespace: d, labels: {app: ring}}
spec: {hostname: one, subdomain: ring, containers: [{name: c, image: x}]}
status: {podIP: 10.23.9.1}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: d, labels: {app: ring}}
spec: {containers: [{name: c, image: x}]}
status: {podIP: 10.23.9.2}
---
apiVersion: v1
kind: Service
metadata: {name: nameless, namespace: d}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: d}
spec: {type: ExternalName, externalName: second.d.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: second, namespace: d}
spec: {type: ExternalName, externalName: web.d.svc.cluster.local.}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: d}
spec: {type: ExternalName, externalName: DB.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: circle, namespace: d}
spec: {type: ExternalName, externalName: circle.d.svc.cluster.local}
";

fn records(cluster: &Snapshot, name: &str) -> Records {
    match cluster.resolve(name) {
        Resolved::Known(records) => records,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn ports_of_services_and_of_hosts_have_service_records() {
    let cluster = alone(&[NAMES]);
    let found = |name: &str| -> Vec<(String, u16)> {
        let services = records(&cluster, name).services.into_iter();
        services.map(|service| (service.target, service.port)).collect()
    };
    let web = "web.d.svc.cluster.local".to_owned();
    assert_eq!(found("_http._tcp.web.d.svc.cluster.local."), [(web.clone(), 80)]);
    assert_eq!(found("_dns._udp.web.d.svc.cluster.local"), [(web, 53)]);
    let hosts = ["10-23-9-2.ring.d.svc.cluster.local", "one.ring.d.svc.cluster.local"];
    let ports: Vec<_> = hosts.iter().map(|host| ((*host).to_owned(), 5001)).collect();
    assert_eq!(found("_SQL._TCP.ring.d.svc.cluster.local"), ports);
    let both = NAMES.replace("protocol: UDP}", "protocol: UDP}, {name: dns-tcp, port: 53}");
    let all = records(&alone(&[&both]), "web.d.svc.cluster.local").services;
    assert_eq!(all.iter().filter(|record| record.port == 53).count(), 1, "a record that is there once");
    let ring = NAMES.replace("targetPort: 5001}", "targetPort: 5001}, {name: gossip, port: 5002, protocol: UDP, targetPort: g}, {name: bare, port: 7, protocol: SCTP}");
    let ring = ring.replace("containers: [{name: c, image: x}]}\nstatus: {podIP: 10.23.9.1}", "containers: [{name: c, image: x, ports: [{name: g, containerPort: 9}, {name: g, containerPort: 8, protocol: UDP}]}]}\nstatus: {podIP: 10.23.9.1}");
    let services =
        |name: &str| records(&alone(&[&ring]), &format!("{name}.ring.d.svc.cluster.local")).services;
    let gossip: Vec<_> =
        services("_gossip._udp").into_iter().map(|service| (service.target, service.port)).collect();
    assert_eq!(
        gossip,
        [(hosts[1].to_owned(), 8)],
        "a port's name is of one protocol, and not every pod has it"
    );
    assert_eq!(services("_bare._SCTP").len(), 2);
    let own = "10-9-9-9.linkerd-policy.linkerd.svc.cluster.local".to_owned();
    assert_eq!(found("linkerd-policy.linkerd.svc.cluster.local"), [(own.clone(), 8090)]);
    assert_eq!(cluster.dns(&own), ["10.9.9.9".parse::<IpAddr>().unwrap()]);
    for none in ["_x._tcp.web", "_http._udp.web", "_sql._udp.ring", "http._tcp.web", "_._tcp.nameless"] {
        assert_eq!(cluster.resolve(&format!("{none}.d.svc.cluster.local")), Resolved::Unknown, "{none}");
    }
}

#[test]
fn hosts_are_found_by_name_and_those_without_by_address() {
    let cluster = alone(&[NAMES]);
    let ip = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    assert_eq!(cluster.dns("one.ring.d.svc.cluster.local"), ip("10.23.9.1"));
    assert_eq!(cluster.dns("10-23-9-2.ring.d.svc.cluster.local"), ip("10.23.9.2"));
    assert_eq!(cluster.dns("10-7-7-7.d.pod.cluster.local"), ip("10.7.7.7"), "any pod of a namespace");
    for none in ["10-23-9-1.ring.d.svc", "plain.ring.d.svc", "nobody.d.svc", "10-7-7-7.none.pod", "x.d.pod"] {
        assert_eq!(cluster.resolve(&format!("{none}.cluster.local")), Resolved::Unknown, "{none}");
    }
}

#[test]
fn names_above_services_exist_and_lead_nowhere() {
    let cluster = alone(&[NAMES]);
    for name in ["cluster.local", "svc.cluster.local.", "d.svc.cluster.local", "d.pod.cluster.local"] {
        assert_eq!(records(&cluster, name), Records::default(), "{name}");
    }
    for none in ["none.svc", "a.b.c.d.e.svc", "other"] {
        assert_eq!(cluster.resolve(&format!("{none}.cluster.local")), Resolved::Unknown, "{none}");
    }
    for foreign in ["example.com", "notcluster.local", "local", ""] {
        assert_eq!(cluster.resolve(foreign), Resolved::Foreign, "{foreign}");
    }
}

#[test]
fn external_names_are_followed_within_the_cluster_and_end() {
    let cluster = alone(&[NAMES]);
    let alias = records(&cluster, "alias.d.svc.cluster.local");
    assert_eq!(alias.aliases, ["second.d.svc.cluster.local", "web.d.svc.cluster.local"]);
    assert_eq!(alias.addresses, ["10.145.0.9".parse::<IpAddr>().unwrap()]);
    let outside = records(&cluster, "outside.d.svc.cluster.local");
    assert_eq!((outside.aliases, outside.addresses), (vec!["db.example.com".to_owned()], vec![]));
    let circle = records(&cluster, "circle.d.svc.cluster.local");
    assert!(circle.addresses.is_empty() && circle.aliases.len() == 8);
}

#[test]
fn addresses_have_names() {
    let cluster = alone(&[NAMES]);
    let names = |name: &str| records(&cluster, name).names;
    assert_eq!(names("9.0.145.10.in-addr.arpa."), ["web.d.svc.cluster.local"]);
    assert_eq!(names("1.9.23.10.in-addr.arpa"), ["one.ring.d.svc.cluster.local"]);
    let front = "
apiVersion: v1
kind: Service
metadata: {name: front, namespace: d}
spec: {ports: [{port: 80}], selector: {app: ring}}
";
    let twice = records(&alone(&[NAMES, front]), "2.9.23.10.in-addr.arpa").names;
    assert_eq!(twice, ["10-23-9-2.front.d.svc.cluster.local", "10-23-9-2.ring.d.svc.cluster.local"]);
    for foreign in ["9.9.9.9.in-addr.arpa", "9.in-addr.arpa", "0.ip6.arpa"] {
        assert_eq!(cluster.resolve(foreign), Resolved::Foreign, "{foreign}");
    }
}

//! Headless Services, their hosts, and what becomes of either (controlplane 1.10).

use super::*;

pub(super) const HEADLESS: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, namespace: d, labels: {kubernetes.io/service-name: web}}
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], hostname: a}
- {addresses: [10.1.0.2], hostname: b, conditions: {ready: false}}
";

const EXPORTED: &str = "mirror.linkerd.io/exported: 'true'";

/// The headless Service `web` with these labels, and its slice.
fn headless(labels: &str, slice: &str) -> String {
    exported("web", labels, "clusterIP: None, ") + "---" + slice
}

/// Where headless mirrors are asked for.
fn enabled() -> Settings {
    Settings { enable_headless_services: true, ..Settings::default() }
}

#[test]
fn a_headless_service_is_mirrored_with_an_address_unless_asked_otherwise() {
    let service = headless(EXPORTED, HEADLESS);
    let flat = service.replace("'true'", "remote-discovery");
    for service in [&service, &flat] {
        let mirrored = mirror_of(LINK, service);
        assert!(!mirrored.services[&ObjectName::new("d", "web-east")].headless);
        assert_eq!(mirrored.services.len(), 1);
    }
}

#[test]
fn a_headless_service_without_ports_or_ready_hosts() {
    let settings = enabled();
    let service = headless(EXPORTED, HEADLESS);
    let names = |service: &str| -> Vec<String> {
        let mirrored = mirror_in(&settings, LINK, &[service]);
        mirrored.services.keys().map(|name| name.name.to_string()).collect()
    };
    assert_eq!(names(&service), ["a-east", "web-east"]);
    let nobody = service.replace("hostname: a}", "hostname: a, conditions: {ready: false}}");
    assert_eq!(names(&nobody), ["web-east"]);
    let bare = service.replace("ports: [{name: http, port: 80}]", "ports: []");
    for settings in [&settings, &Settings::default()] {
        let mirrored = mirror_in(settings, LINK, &[&bare]);
        assert!(mirrored.services.is_empty());
        assert!(mirrored.notes[0].message.contains("it has no ports"), "{:?}", mirrored.notes);
    }
}

#[test]
fn remote_discovery_wins_for_headless_services_without_hosts_too() {
    let settings = enabled();
    let service = headless(&format!("{EXPORTED}, flat: y"), HEADLESS);
    let service = service.replace(", hostname: a", "").replace(", hostname: b", "");
    let link = gateway_link("10.0.0.9");
    let gateway = mirror_in(&settings, &link, &[&service]);
    assert!(gateway.endpoints.contains_key(&ObjectName::new("d", "web-east")));
    let link = link.replace("{mirror.linkerd.io/exported: remote-discovery}", "{flat: y}");
    let flat = mirror_in(&settings, &link, &[&service]);
    let mirror = &flat.services[&ObjectName::new("d", "web-east")];
    assert_eq!(mirror.labels()["multicluster.linkerd.io/remote-discovery"], "east");
    assert!(flat.endpoints.is_empty(), "{:?}", flat.endpoints);
}

#[test]
fn a_gateway_that_hosts_cannot_use_is_noted() {
    let settings = enabled();
    let service = headless(EXPORTED, HEADLESS);
    for (link, why) in [
        (LINK.to_owned(), "d/web has no endpoints: the Link has no gateway"),
        (gateway_link("gateway.example"), "the gateway gateway.example is left out"),
    ] {
        let mirrored = mirror_in(&settings, &link, &[&service]);
        assert_eq!(mirrored.services.len(), 2);
        let [note] = mirrored.notes.as_slice() else { panic!("{:?}", mirrored.notes) };
        assert!(note.message.contains(why), "{note:?}");
    }
}

#[test]
fn a_host_whose_name_no_service_can_have_is_left_out_by_name() {
    let settings = enabled();
    let service = headless(EXPORTED, HEADLESS);
    for host in ["A_", "0a"] {
        let service = service.replace("hostname: a", &format!("hostname: {host}"));
        let mirrored = mirror_in(&settings, &gateway_link("10.0.0.9"), &[&service]);
        assert_eq!(mirrored.services.len(), 1);
        let [note] = mirrored.notes.as_slice() else { panic!("{:?}", mirrored.notes) };
        let expected =
            format!("the host {host} of d/web is not mirrored: d/{host}-east is no name for a Service");
        assert!(note.message.contains(&expected), "{note:?}");
    }
}

#[test]
fn ports_of_slices_are_mirrored_with_their_protocols() {
    let settings = enabled();
    let slice = HEADLESS.replace("port: 8080}", "port: 8080}, {name: dns, port: 53, protocol: UDP}");
    let service = headless(EXPORTED, &slice);
    let mirrored = mirror_in(&settings, &gateway_link("10.0.0.9"), &[&service]);
    let ports = mirrored.endpoints[&ObjectName::new("d", "web-east")].subsets[0].ports();
    let port =
        |name: &str, protocol: &str, port| SlicePort { name: name.into(), protocol: protocol.into(), port };
    assert_eq!(ports, [port("http", "TCP", 8080), port("dns", "UDP", 53)]);
}

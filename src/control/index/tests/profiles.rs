//! `GetProfile` of names and addresses.

use super::*;

#[test]
fn profiles_of_services_pods_and_strangers_differ() {
    let (east, _) = east();
    let ask = |path: &str| east.profile(path, &Context::default());
    let ip = east.service("mc-demo", "bb").unwrap().cluster_ip.unwrap();
    let by_ip = ask(&format!("{ip}:8080")).unwrap();
    assert_eq!(by_ip, ask(&path("bb", 8080)).unwrap());
    assert_eq!(by_ip.profile.name.as_ref().unwrap().as_str(), "bb.mc-demo.svc.cluster.local");
    assert_eq!(ask(&format!("{ip}:9")).unwrap(), ProfileAnswer::default());
    let pod = east.pods().next().unwrap().ip.unwrap();
    let endpoint = ask(&format!("{pod}:4191")).unwrap().profile.endpoint.unwrap();
    assert_eq!(endpoint.labels["namespace"], "mc-demo");
    assert!(endpoint.tls.is_some() && endpoint.inbound_port.is_none(), "the admin port takes no header");
    let stranger = ask("10.1.2.3:3306").unwrap().profile;
    assert!(stranger.opaque && stranger.endpoint.unwrap().tls.is_none());
    assert!(matches!(ask(&path("none", 80)), Err(LookupError::Unknown(_))));
}

#[test]
fn an_address_of_several_has_no_profile() {
    let service = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: d}}\n\
             spec: {{clusterIP: 10.145.0.9, ports: [{{port: 80}}]}}\n"
        )
    };
    let pod = |name: &str, more: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: d}}\n\
             spec: {{containers: [{{name: c, image: x, ports: [{{containerPort: 80, hostPort: 8080}}]}}]}}\n\
             status: {{podIP: 10.23.9.1, hostIP: 192.168.0.1{more}}}\n"
        )
    };
    let twice = [service("a"), service("b"), pod("p", ""), pod("q", ", phase: Pending")].concat();
    let cluster = alone(&[&twice]);
    for path in ["10.145.0.9:80", "10.23.9.1:80", "192.168.0.1:8080"] {
        let found = cluster.profile(path, &Context::default());
        assert!(matches!(found, Err(LookupError::FailedPrecondition(_))), "{path}: {found:?}");
    }
    // What has finished has given its address back.
    let cluster = alone(&[&[pod("p", ""), pod("q", ", phase: Succeeded")].concat()]);
    let of = |path| cluster.profile(path, &Context::default()).unwrap().profile.endpoint.unwrap();
    assert_eq!(of("10.23.9.1:80").labels["pod"], "p");
    assert_eq!((of("192.168.0.1:8080").labels["pod"].as_str(), of("192.168.0.1:80").labels.len()), ("p", 0));
}

#[test]
fn a_pod_that_does_not_run_yet_is_a_plain_address() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: d, annotations: {linkerd.io/inject: enabled}}\n\
               spec: {containers: [{name: c, image: x}]}\nstatus: {podIP: 10.23.9.1, phase: PHASE}\n";
    let of = |phase: &str| {
        let profile = alone(&[&pod.replace("PHASE", phase)]).profile("10.23.9.1:25", &Context::default());
        profile.unwrap().profile
    };
    let waiting = of("Pending");
    assert!(waiting.opaque && waiting.endpoint.unwrap().tls.is_none());
    assert!(of("Running").endpoint.unwrap().tls.is_some());
}

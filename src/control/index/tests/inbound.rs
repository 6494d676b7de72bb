//! Policies of inbound ports.

use super::*;
use crate::model::matching::{self, Head};

#[test]
fn the_guides_policy_names_the_server_and_its_authorization() {
    let (east, _) = east();
    let pod = east.pods().next().unwrap();
    let policy = east.server(&workload(pod), 8080).unwrap();
    assert_eq!((policy.meta.kind(), policy.meta.name()), ("server", "bb"));
    let [authorization] = policy.authorizations.as_slice() else { panic!("{policy:?}") };
    assert_eq!((authorization.meta.kind(), authorization.meta.name()), ("authorizationpolicy", "bb-authz"));
    let Authentication::Identities(ids) = &authorization.authentication else { panic!("{policy:?}") };
    let id =
        |name: &str| format!("{name}.mc-demo.serviceaccount.identity.linkerd.cluster.local").parse().unwrap();
    assert!(ids[0].matches(&id("slow-cooker")) && !ids[0].matches(&id("slow-cooker-evil")));
    let routes = policy.protocol.routes().unwrap();
    assert_eq!(routes.iter().map(|route| route.meta.name()).collect::<Vec<_>>(), ["default"]);
}

#[test]
fn the_proxys_own_probes_have_their_route_on_the_admin_port() {
    let (east, _) = east();
    let pod = east.pods().next().unwrap();
    let policy = east.server(&workload(pod), 4191).unwrap();
    assert_eq!((policy.meta.kind(), policy.meta.name()), ("default", "all-unauthenticated"));
    let ServerProtocol::Detect { routes, .. } = &policy.protocol else { panic!("{policy:?}") };
    assert_eq!(routes[1].meta.name(), "probe");
    assert_eq!(routes[1].authorizations[0].meta.name(), "probe");
    let rule = &routes[1].rules[0].matches;
    let matched = |method: http::Method, path: &str| {
        let req = http::Request::builder().method(method).uri(path).body(()).unwrap();
        matching::best(rule, &Head::of(&req)).is_some()
    };
    assert!(matched(http::Method::GET, "/live") && matched(http::Method::GET, "/ready"));
    assert!(!matched(http::Method::POST, "/live") && !matched(http::Method::GET, "/metrics"));
}

#[test]
fn unknown_and_unmeshed_workloads_have_no_policy() {
    let (east, _) = east();
    assert_eq!(east.server(&Workload { namespace: "mc-demo".into(), pod: "no".into() }, 80), None);
    let bare = alone(&EAST[1..]);
    let pod = bare.pods().next().unwrap();
    assert!(!pod.meshed());
    assert_eq!(bare.server(&workload(pod), 8080), None);
    assert_eq!(pod.proxy_env(), []);
}

#[test]
fn server_of_the_oldest_wins_then_of_the_first_name() {
    let server = |name: &str, created: &str| {
        format!(
            "---\napiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {{name: {name}, namespace: d{created}}}\n\
             spec: {{podSelector: {{}}, port: http, proxyProtocol: HTTP/1, accessPolicy: audit}}\n"
        )
    };
    let (a, b) = (
        server("a", ", creationTimestamp: '2026-01-02T00:00:00Z'"),
        server("b", ", creationTimestamp: '2026-01-01T00:00:00Z'"),
    );
    let cluster = alone(&[OPAQUE, &a, &b]);
    let pod = cluster.pod("d", "db-0").unwrap();
    let policy = cluster.server(&workload(pod), 8080).unwrap();
    assert_eq!(policy.meta.name(), "b");
    assert_eq!(policy.authorizations[0].meta.name(), "audit");
    assert!(matches!(policy.protocol, ServerProtocol::Http1(_)));
    let cluster = alone(&[OPAQUE, &a, &server("z", "")]);
    assert_eq!(cluster.server(&workload(pod), 8080).unwrap().meta.name(), "z", "no time sorts first");
}

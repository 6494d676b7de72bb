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
    assert_eq!(east.server(&Workload::Pod(ObjectName::new("mc-demo", "no")), 80), None);
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

/// An injected pod with this annotation, in a cluster with this default policy: what its port 8080 is told.
fn by_default(cluster: DefaultPolicy, annotation: &str) -> ServerPolicy {
    let pod = format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: d, annotations: {{linkerd.io/inject: enabled, {annotation}}}}}
spec: {{containers: [{{name: app, ports: [{{name: http, containerPort: 8080}}]}}]}}
"
    );
    let world = with(&[&pod], |settings| settings.default_policy = cluster);
    world.server(&Workload::Pod(ObjectName::new("d", "web")), 8080).unwrap()
}

#[test]
fn every_default_policy_lets_in_whom_it_names() {
    use DefaultPolicy as P;
    let cluster = Settings::default().cluster_networks.len();
    for (policy, networks, identified) in [
        (P::AllUnauthenticated, 2, false),
        (P::AllAuthenticated, 2, true),
        (P::ClusterUnauthenticated, cluster, false),
        (P::ClusterAuthenticated, cluster, true),
        (P::Audit, 2, false),
    ] {
        let annotated =
            by_default(P::Deny, &format!("config.linkerd.io/default-inbound-policy: {}", policy.as_str()));
        let told = by_default(policy, "a: b");
        assert_eq!(told, annotated, "the pod's own word counts more than the cluster's");
        assert_eq!((told.meta.kind(), told.meta.name()), ("default", policy.as_str()));
        let [one] = told.authorizations.as_slice() else { panic!("{told:?}") };
        assert_eq!((one.meta.name(), one.networks.len()), (policy.as_str(), networks));
        assert_eq!(matches!(one.authentication, Authentication::Identities(_)), identified);
    }
    let denied = by_default(P::Deny, "a: b");
    assert_eq!((denied.meta.name(), denied.authorizations.len()), ("deny", 0));
    let mistyped = by_default(P::Deny, "config.linkerd.io/default-inbound-policy: open");
    assert_eq!(mistyped, denied, "what says nothing is passed over");
}

#[test]
fn ports_can_require_identity_and_be_opaque() {
    use DefaultPolicy as P;
    let required = "config.linkerd.io/proxy-require-identity-inbound-ports: '8000-8100'";
    for (policy, name) in [
        (P::AllUnauthenticated, "all-authenticated"),
        (P::ClusterUnauthenticated, "cluster-authenticated"),
        (P::Audit, "audit"),
        (P::Deny, "deny"),
    ] {
        let told = by_default(policy, required);
        assert_eq!(told.meta.name(), name);
        assert!(told.authorizations.iter().all(|one| one.meta.name() == name));
    }
    let opaque = |ports: &str| {
        let told = by_default(P::Deny, &format!("config.linkerd.io/opaque-ports: '{ports}'"));
        told.protocol == ServerProtocol::Opaque
    };
    assert!(opaque("8080") && opaque("80,8000-9000"));
    assert!(!opaque("81") && !opaque("http"));
    assert!(!opaque("8080,http"), "one name empties the set");
}

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

const PROFILED: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: d}
spec: {ports: [{port: 80}]}
---
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: web.d.svc.cluster.local, namespace: d}
spec:
  routes:
  - name: get
    condition: {method: get, pathRegex: /a/.*}
    isRetryable: true
    timeout: 300ms
    responseClasses:
    - {condition: {not: {status: {min: 200, max: 399}}}, isFailure: true}
  - {name: rest, condition: {any: [{all: [{method: PUT}]}, {not: {method: POST}}]}}
  dstOverrides: [{authority: a.d.svc.cluster.local, weight: 500m}, {authority: 'b.d.svc.cluster.local:81', weight: 1}]
  retryBudget: {retryRatio: 0.5, minRetriesPerSecond: 3, ttl: 1m}
---
apiVersion: linkerd.io/v1alpha1
kind: ServiceProfile
metadata: {name: web.d.svc.cluster.local, namespace: client}
spec: {routes: []}
";

#[test]
fn a_service_profile_of_the_clients_namespace_comes_before_the_services_own() {
    use crate::model::matching::Pattern;
    use crate::model::service_profile::{Condition, RequestMatch, RetryBudget};
    let cluster = alone(&[PROFILED]);
    let of = |namespace: &str| {
        let context = Context { namespace: namespace.into(), ..Context::default() };
        cluster.profile("web.d.svc.cluster.local:80", &context).unwrap()
    };
    let own = of("other");
    assert_eq!(own.source.as_ref().map(ResourceRef::namespace), Some("d"));
    let [get, rest] = own.profile.service.routes.as_slice() else { panic!("{own:?}") };
    let Condition::All(tests) = &get.condition else { panic!("{get:?}") };
    assert_eq!(tests[1], Condition::Is(RequestMatch::Path(Pattern::new("/a/.*").unwrap())));
    assert_eq!((get.retryable, get.timeout, rest.timeout), (true, Some(Duration::from_millis(300)), None));
    assert!(matches!(&rest.condition, Condition::Any(tests) if tests.len() == 2));
    let weights: Vec<_> =
        own.profile.service.overrides.iter().map(|to| (to.authority.port, to.weight)).collect();
    assert_eq!(weights, [(None, 5000), (Some(81), 10000)]);
    assert_eq!(
        own.profile.service.budget,
        RetryBudget { ratio: 0.5, per_second: 3, ttl: Duration::from_secs(60) }
    );

    let theirs = of("client");
    assert_eq!(theirs.source.as_ref().map(ResourceRef::namespace), Some("client"));
    assert!(theirs.profile.service.routes.is_empty());
    assert_eq!(theirs.profile.service.budget, RetryBudget::default());
}

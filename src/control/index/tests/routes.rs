//! Routes, rate limits and the older authorizations of Servers, and policies of external workloads.

use super::*;
use crate::model::filter::Filter;
use crate::model::inbound::{Authorization, IdentityMatch, InboundRoute};
use crate::model::matching::{HostMatch, PathMatch, ValueMatch};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: d, labels: {app: web}, annotations: {linkerd.io/inject: enabled}}
spec:
  containers:
  - name: app
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /ready, port: http}}
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web, namespace: d, labels: {tier: front}}
spec: {podSelector: {matchLabels: {app: web}}, port: http, proxyProtocol: KIND}
";

/// What a port is told, of a pod with a Server of this protocol and with these objects.
fn told(protocol: &str, objects: &[&str]) -> ServerPolicy {
    let pod = POD.replace("KIND", protocol);
    let texts: Vec<&str> = [pod.as_str()].into_iter().chain(objects.iter().copied()).collect();
    alone(&texts).server(&Workload::Pod(ObjectName::new("d", "web")), 8080).unwrap()
}

fn routes(protocol: &str, objects: &[&str]) -> Vec<InboundRoute> {
    told(protocol, objects).protocol.routes().unwrap().to_vec()
}

fn named(routes: &[InboundRoute]) -> Vec<String> {
    let name =
        |route: &InboundRoute| format!("{}/{}/{}", route.meta.group(), route.meta.kind(), route.meta.name());
    routes.iter().map(name).collect()
}

/// A route of the Server `web`.
fn route(group: &str, version: &str, kind: &str, name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: {group}/{version}
kind: {kind}
metadata: {{name: {name}, namespace: d}}
spec:
  parentRefs: [{{group: policy.linkerd.io, kind: Server, name: web}}]
  {rest}
"
    )
}

fn policy_route(name: &str, rest: &str) -> String {
    route("policy.linkerd.io", "v1beta3", "HTTPRoute", name, rest)
}

const GATEWAY: &str = "gateway.networking.k8s.io";

fn grpc_route(name: &str, rest: &str) -> String {
    route(GATEWAY, "v1", "GRPCRoute", name, rest)
}

#[test]
fn routes_of_every_kind_and_version_take_the_place_of_both_defaults() {
    let defaults = ["/default/default", "/default/probe"];
    assert_eq!(named(&routes("HTTP/1", &[])), defaults);
    for (group, kind, versions) in [
        ("policy.linkerd.io", "HTTPRoute", &["v1alpha1", "v1beta1", "v1beta2", "v1beta3"][..]),
        (GATEWAY, "HTTPRoute", &["v1", "v1beta1"]),
    ] {
        for version in versions {
            let made = route(group, version, kind, "api", "rules: [{matches: [{path: {value: /api}}]}]");
            for protocol in ["unknown", "HTTP/1", "HTTP/2"] {
                assert_eq!(named(&routes(protocol, &[&made])), [format!("{group}/{kind}/api")], "{version}");
            }
            assert_eq!(named(&routes("gRPC", &[&made])), ["/default/default"], "no calls are its");
        }
    }
    for version in ["v1", "v1alpha2"] {
        let made = route(GATEWAY, version, "GRPCRoute", "calls", "rules: [{}]");
        assert_eq!(named(&routes("gRPC", &[&made])), [format!("{GATEWAY}/GRPCRoute/calls")]);
        assert_eq!(named(&routes("HTTP/2", &[&made])), defaults, "those of HTTP stay");
    }
}

#[test]
fn a_route_says_which_requests_it_is_for_and_what_is_done_to_them() {
    let made = policy_route(
        "api",
        "hostnames: [web.example, '*.web.example']
  rules:
  - matches:
    - path: {type: Exact, value: /a}
      method: GET
      headers: [{name: x-tier, value: gold}, {name: x-n, type: RegularExpression, value: '[0-9]+'}]
      queryParams: [{name: q, value: '1'}]
    - path: {type: RegularExpression, value: '/b/.*'}
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: a, value: b}], remove: [c]}}
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: other, port: 8443, statusCode: 302, path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [d]}}
  - {}",
    );
    let [route] = routes("HTTP/1", &[&made]).try_into().unwrap();
    let suffix = HostMatch::Suffix(vec!["example".into(), "web".into()]);
    assert_eq!(route.hosts, [HostMatch::Exact("web.example".into()), suffix]);
    let [first, second] = route.rules.as_slice() else { panic!("{route:?}") };
    let [exact, regex] = first.matches.as_slice() else { panic!("{first:?}") };
    assert_eq!(exact.path, Some(PathMatch::Exact("/a".into())));
    assert_eq!(exact.method, Some(http::Method::GET));
    assert_eq!(exact.headers[0].value, ValueMatch::Exact(b"gold".to_vec()));
    assert!(matches!(exact.headers[1].value, ValueMatch::Regex(_)));
    assert_eq!((exact.query[0].name.as_str(), exact.query.len()), ("q", 1));
    assert!(matches!(regex.path, Some(PathMatch::Regex(_))));
    let [Filter::RequestHeaders(change), Filter::Redirect(to)] = first.filters.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!((change.add.len(), change.set.len(), change.remove.len()), (1, 0, 1));
    assert_eq!((to.port, to.status), (Some(8443), http::StatusCode::from_u16(302).ok()));
    assert!(second.matches.is_empty() && second.filters.is_empty());
    let calls = grpc_route(
        "calls",
        "rules: [{matches: [{method: {service: a.B, method: C}, headers: [{name: x, value: y}]}, {method: {service: d}}]}]",
    );
    let [route] = routes("gRPC", &[&calls]).try_into().unwrap();
    let rpc = |service: &str, method: Option<&str>| {
        Some(PathMatch::Rpc { service: Some(service.into()), method: method.map(str::to_owned) })
    };
    let paths: Vec<_> = route.rules[0].matches.iter().map(|call| call.path.clone()).collect();
    assert_eq!(paths, [rpc("a.B", Some("C")), rpc("d", None)]);
}

#[test]
fn older_routes_come_first_and_those_without_a_time_last() {
    let dated = |name: &str, time: &str| {
        let made = policy_route(name, "rules: [{}]");
        made.replace("namespace: d}", &format!("namespace: d, creationTimestamp: {time}}}"))
    };
    let (old, new) = (dated("z", "'2026-01-01T00:00:00Z'"), dated("y", "'2026-01-02T00:00:00Z'"));
    let made = [policy_route("a", "rules: [{}]"), new, old, policy_route("b", "rules: [{}]")];
    let texts: Vec<&str> = made.iter().map(String::as_str).collect();
    let order: Vec<_> = routes("HTTP/1", &texts).iter().map(|route| route.meta.name().to_owned()).collect();
    assert_eq!(order, ["z", "y", "a", "b"]);
}

#[test]
fn a_route_has_its_own_authorizations_before_the_servers() {
    let http = policy_route("api", "rules: [{}]");
    let twin = route(GATEWAY, "v1", "HTTPRoute", "api", "rules: [{}]");
    let policy = |name: &str, target: &str| {
        format!(
            "
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: d}}
spec:
  targetRef: {{{target}}}
  requiredAuthenticationRefs: [{{kind: ServiceAccount, name: {name}}}]
"
        )
    };
    let of_route = policy("route", "group: policy.linkerd.io, kind: HTTPRoute, name: api");
    let of_server = policy("server", "group: policy.linkerd.io, kind: Server, name: web");
    let of_namespace = policy("namespace", "kind: Namespace, name: d");
    let found = routes("HTTP/1", &[&http, &twin, &of_route, &of_server, &of_namespace]);
    let names = |route: &InboundRoute| -> Vec<String> {
        route.authorizations.iter().map(|of| of.meta.name().to_owned()).collect()
    };
    assert_eq!(found[0].meta.group(), GATEWAY);
    assert_eq!(names(&found[0]), ["namespace", "server"], "a route of the other group is another one");
    assert_eq!(names(&found[1]), ["route", "namespace", "server"]);
}

#[test]
fn routes_that_no_status_would_accept_do_not_count() {
    let http = policy_route("api", "rules: [{}]");
    let elsewhere = http.replace("name: web}", "name: other}");
    let by_port = http.replace("name: web}", "name: web, port: 8080}");
    let by_section = http.replace("name: web}", "name: web, sectionName: a}");
    let foreign = http.replace("name: web}", "name: web, namespace: e}");
    let of_gateway = http.replace("group: policy.linkerd.io, kind: Server", "kind: Gateway");
    for (made, why) in [
        (&elsewhere, "HTTPRoute d/api is not accepted by Server d/other: NoMatchingParent"),
        (&by_port, "a route with a parent Server by port is not used"),
        (&by_section, "a route with a parent Server by section is not used"),
        (&foreign, "a route with a parent Server in another namespace is not used"),
        (&of_gateway, "a HTTPRoute without a Server, a Service or an EgressNetwork for parent is not used"),
    ] {
        assert_eq!(named(&routes("HTTP/1", &[made])), ["/default/default", "/default/probe"], "{made}");
        assert_eq!(notes(&[&POD.replace("KIND", "HTTP/1"), made]), [why], "{made}");
    }
    let calls = grpc_route("calls", "rules: [{}]");
    assert_eq!(named(&routes("HTTP/2", &[&http, &calls])), ["/default/default", "/default/probe"]);
    let conflicted =
        "HTTPRoute d/api is not accepted by Server d/web: RouteReasonConflicted, it has a GRPCRoute";
    assert_eq!(notes(&[&POD.replace("KIND", "gRPC"), &http, &calls]), [conflicted]);
}

fn notes(texts: &[&str]) -> Vec<String> {
    let file: Arc<Path> = Arc::from(Path::new("m.yaml"));
    let parsed: Vec<_> = texts.iter().map(|text| manifest::parse(&file, text)).collect();
    let all = manifest::assemble(&parsed, "linkerd-multicluster");
    assert_eq!(all.problems, []);
    all.notes.into_iter().map(|note| note.message).collect()
}

fn limit(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: policy.linkerd.io/v1alpha1
kind: HTTPLocalRateLimitPolicy
metadata: {{name: {name}, namespace: d}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: web}}
  {rest}
"
    )
}

#[test]
fn the_first_rate_limit_of_a_server_counts_on_ports_that_speak_http() {
    let full = limit(
        "a",
        "total: {requestsPerSecond: 100}
  identity: {requestsPerSecond: 10}
  overrides:
  - requestsPerSecond: 50
    clientRefs: [{kind: ServiceAccount, name: api}, {kind: ServiceAccount, name: far, namespace: e}]",
    );
    for protocol in ["unknown", "HTTP/1", "HTTP/2"] {
        let told = told(protocol, &[&full, &limit("b", "total: {requestsPerSecond: 1}")]);
        let limit = told.rate_limit.unwrap();
        let meta = limit.meta.as_ref().unwrap();
        assert_eq!(
            (meta.group(), meta.kind(), meta.name()),
            ("policy.linkerd.io", "HTTPLocalRateLimitPolicy", "a")
        );
        assert_eq!((limit.total.map(u32::from), limit.identity.map(u32::from)), (Some(100), Some(10)));
        assert_eq!(u32::from(limit.overrides[0].rate), 50);
        let clients: Vec<_> = limit.overrides[0].clients.iter().map(ToString::to_string).collect();
        let id = |name: &str| format!("{name}.serviceaccount.identity.linkerd.cluster.local");
        assert_eq!(clients, [id("api.d"), id("far.e")]);
    }
    for protocol in ["gRPC", "opaque", "TLS"] {
        assert_eq!(told(protocol, &[&full]).rate_limit, None);
    }
    let all = [&POD.replace("KIND", "HTTP/1"), &full, &limit("b", "total: {requestsPerSecond: 1}")];
    let twice = "HTTPLocalRateLimitPolicy d/b is not accepted by Server d/web: RateLimitReasonAlreadyExists";
    assert_eq!(notes(&all.map(String::as_str)), [twice]);
    let lost = full.replace("name: web", "name: lost");
    let missing = "HTTPLocalRateLimitPolicy d/a is not accepted by Server d/lost: NoMatchingTarget";
    assert_eq!(notes(&[&lost]), [missing]);
}

fn older(server: &str, client: &str) -> String {
    format!(
        "
apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {{name: older, namespace: d}}
spec: {{server: {server}, client: {client}}}
"
    )
}

/// Of the Server alone.
fn let_in(server: &str, client: &str) -> Vec<Authorization> {
    told("opaque", &[&older(server, client)]).authorizations
}

#[test]
fn server_authorizations_let_in_whom_they_name_from_the_cluster_networks() {
    let [found] = let_in("{name: web}", "{unauthenticated: true}").try_into().unwrap();
    assert_eq!((found.meta.kind(), found.meta.name()), ("serverauthorization", "older"));
    assert_eq!(found.authentication, Authentication::Unauthenticated);
    let nets: Vec<_> = found.networks.iter().map(|of| of.net).collect();
    assert_eq!(nets, Settings::default().cluster_networks);
    let client =
        "{networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}], meshTLS: {unauthenticatedTLS: true}}";
    let [found] = let_in("{selector: {matchLabels: {tier: front}}}", client).try_into().unwrap();
    assert_eq!(found.authentication, Authentication::TlsUnauthenticated);
    assert_eq!(found.networks[0].except, ["10.1.0.0/16".parse().unwrap()]);
    let client = "{meshTLS: {identities: ['*'], serviceAccounts: [{name: a}, {name: b, namespace: e}]}}";
    let [found] = let_in("{name: web}", client).try_into().unwrap();
    let id = |name: &str| {
        let id = format!("{name}.serviceaccount.identity.linkerd.cluster.local");
        IdentityMatch::Exact(id.parse().unwrap())
    };
    let wanted = vec![IdentityMatch::Suffix(Vec::new()), id("a.d"), id("b.e")];
    assert_eq!(found.authentication, Authentication::Identities(wanted));
    assert_eq!(let_in("{selector: {matchLabels: {tier: back}}}", "{unauthenticated: true}"), []);
    let old = older("{name: web}", "{unauthenticated: true}").replace("v1beta1", "v1alpha1");
    assert_eq!(told("opaque", &[&old]).authorizations.len(), 1);
}

#[test]
fn external_workloads_have_policies_too() {
    let world = alone(&["
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm, namespace: d, labels: {app: vm}, annotations: {config.linkerd.io/default-inbound-policy: deny}}
spec:
  meshTLS: {identity: 'spiffe://root/vm', serverName: vm.example}
  workloadIPs: [{ip: 192.0.2.1}]
  ports: [{name: http, port: 80}]
---
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: vm, namespace: d}
spec: {externalWorkloadSelector: {matchLabels: {app: vm}}, port: http, proxyProtocol: HTTP/1}
"]);
    let ask = |name: &str, port| world.server(&Workload::External(ObjectName::new("d", name)), port);
    let told = ask("vm", 80).unwrap();
    assert_eq!((told.meta.kind(), told.meta.name()), ("server", "vm"));
    assert_eq!(named(told.protocol.routes().unwrap()), ["/default/default"], "nobody probes it");
    let other = ask("vm", 81).unwrap();
    assert_eq!((other.meta.name(), other.authorizations.len()), ("deny", 0));
    assert_eq!(ask("other", 80), None);
    assert_eq!(world.server(&Workload::Pod(ObjectName::new("d", "vm")), 80), None);
}

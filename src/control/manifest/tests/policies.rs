//! Routes, rate limits and authorizations.

use super::*;

/// What a route, a rate limit or an authorization is refused for (controlplane 3.7), each at its place.
#[test]
fn policies_that_cannot_be_done_as_asked_are_refused() {
    let object = |group: &str, kind: &str, spec: &str| {
        let group = if group == "gateway" { "gateway.networking.k8s.io/v1" } else { group };
        format!("---\napiVersion: {group}\nkind: {kind}\nmetadata: {{name: x, namespace: d}}\nspec: {spec}\n")
    };
    let parent = "parentRefs: [{group: policy.linkerd.io, kind: Server, name: bb}]";
    let http = |rule: &str| {
        object("policy.linkerd.io/v1beta3", "HTTPRoute", &format!("{{{parent}, rules: [{rule}]}}"))
    };
    let grpc = |rule: &str| object("gateway", "GRPCRoute", &format!("{{{parent}, rules: [{rule}]}}"));
    let server = "targetRef: {group: policy.linkerd.io, kind: Server, name: bb}";
    let limit =
        |rest: &str| object("policy.linkerd.io/v1alpha1", "HTTPLocalRateLimitPolicy", &format!("{{{rest}}}"));
    let older = |client: &str| {
        let spec = format!("{{server: {{name: bb}}, client: {client}}}");
        object("policy.linkerd.io/v1beta1", "ServerAuthorization", &spec)
    };
    for (text, message) in [
        (http("{matches: [{path: {value: a}}]}"), "the path \"a\" is not absolute"),
        (http("{matches: [{path: {type: Other, value: /a}}]}"), "\"Other\" is no type of match here"),
        (http("{matches: [{path: {type: RegularExpression, value: '('}}]}"), "\"(\" cannot be used"),
        (http("{matches: [{method: get}]}"), "\"get\" is no method"),
        (http("{matches: [{headers: [{name: 'a b', value: c}]}]}"), "\"a b\" is no name of a header"),
        (http("{filters: [{type: URLRewrite}]}"), "a filter \"URLRewrite\" is not supported"),
        (http("{filters: [{type: RequestMirror}]}"), "a filter \"RequestMirror\" is not supported"),
        (http("{filters: [{type: ExtensionRef}]}"), "a filter \"ExtensionRef\" is not supported"),
        (
            http("{filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath}}}]}"),
            "the redirect does not say where to",
        ),
        (grpc("{filters: [{type: RequestRedirect}]}"), "a filter \"RequestRedirect\" is not supported"),
        (
            grpc("{matches: [{method: {type: RegularExpression, service: a}}]}"),
            "\"RegularExpression\" is no type of match here",
        ),
        (grpc("{matches: [{method: {}}]}"), "the match names no call"),
        (limit("targetRef: {kind: Service, name: bb}"), "Service of group \"\" is no target"),
        (limit(&format!("{server}, total: {{requestsPerSecond: 0}}")), "`requestsPerSecond` is 0"),
        (
            limit(&format!("{server}, total: {{requestsPerSecond: 1}}, identity: {{requestsPerSecond: 2}}")),
            "2 requests a second are more than the total",
        ),
        (
            limit(&format!(
                "{server}, overrides: [{{requestsPerSecond: 1, clientRefs: [{{kind: Pod, name: a}}]}}]"
            )),
            "Pod of group \"\" is no client",
        ),
        (older("{}"), "this lets no client in"),
        (older("{meshTLS: {}}"), "this lets no client in"),
        (older("{unauthenticated: true, meshTLS: {identities: ['*']}}"), "clients without TLS and with it"),
        (
            older("{meshTLS: {unauthenticatedTLS: true, identities: ['*']}}"),
            "clients without a certificate and with one",
        ),
        (
            older("{unauthenticated: true, networks: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]}"),
            "11.0.0.0/8 covers or lies outside 10.0.0.0/8",
        ),
    ] {
        let found = problems(&format!("{SERVER}{text}"));
        assert!(found.len() == 1 && found[0].contains(message), "{text}{found:?}");
    }
    let lost = older("{unauthenticated: true}").replace("name: bb", "name: lost");
    assert!(problems(&format!("{SERVER}{lost}"))[0].contains("Server d/lost does not exist"));
    let target = "kind: HTTPRoute, name: bb}";
    let of_route = format!("{SERVER}{POLICY}{GOOD}").replace("kind: Server, name: bb}", target);
    assert!(problems(&of_route)[0].contains("HTTPRoute d/bb does not exist"));
    let route = http("{}").replace("name: x", "name: bb");
    assert_eq!(problems(&format!("{of_route}{route}")), [] as [String; 0]);
}

/// What routes to Services and out of the cluster are refused for, each at its place.
#[test]
fn outbound_routes_that_cannot_be_done_as_asked_are_refused() {
    let route = |version: &str, kind: &str, spec: &str| {
        let group =
            if version.starts_with("v1beta3") { "policy.linkerd.io" } else { "gateway.networking.k8s.io" };
        format!(
            "apiVersion: {group}/{version}\nkind: {kind}\nmetadata: {{name: x, namespace: d}}\nspec: {{{spec}}}\n"
        )
    };
    let to = "parentRefs: [{kind: Service, name: bb}]";
    let http = |rule: &str| route("v1", "HTTPRoute", &format!("{to}, rules: [{rule}]"));
    let outside = |port: &str| {
        let parent = format!("{{group: policy.linkerd.io, kind: EgressNetwork, name: all{port}}}");
        route("v1", "HTTPRoute", &format!("parentRefs: [{parent}], rules: [{{}}]"))
    };
    let network = |spec: &str| {
        format!(
            "apiVersion: policy.linkerd.io/v1alpha1\nkind: EgressNetwork\nmetadata: {{name: all, namespace: d}}\nspec: {{{spec}}}\n"
        )
    };
    let annotated = |text: &str, annotations: &str| {
        text.replace("namespace: d", &format!("namespace: d, annotations: {{{annotations}}}"))
    };
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: d}\nspec: {ports: [{port: 80}]}\n";
    let limit = "retry.linkerd.io/limit: '-1'";
    for (text, place, message) in [
        (http("{backendRefs: [{name: bb}]}"), "{name: bb}]}", "the field `port` is missing"),
        (http("{backendRefs: [{name: b.b, port: 80}]}"), "b.b", "`name` is \"b.b\""),
        (http("{backendRefs: [{name: bb, port: 80, weight: -1}]}"), "-1", "`weight` is -1"),
        (http("{timeouts: {request: 1s, backendRequest: 2s}}"), "2s", "one attempt may take longer"),
        (http("{timeouts: {request: soon}}"), "soon", "`request` is \"soon\""),
        (
            http("{filters: [{type: RequestMirror}]}"),
            "RequestMirror}",
            "a filter \"RequestMirror\" is not supported",
        ),
        (
            http("{backendRefs: [{name: bb, port: 80, filters: [{type: URLRewrite}]}]}"),
            "URLRewrite}",
            "a filter \"URLRewrite\" is not supported",
        ),
        (
            route(
                "v1",
                "GRPCRoute",
                &format!("{to}, rules: [{{filters: [{{type: ResponseHeaderModifier}}]}}]"),
            ),
            "ResponseHeaderModifier}",
            "a filter \"ResponseHeaderModifier\" is not supported",
        ),
        (
            route("v1alpha2", "TCPRoute", &format!("{to}, rules: [{{}}, {{}}]")),
            "[{}, {}]",
            "a TCPRoute with 2 rules",
        ),
        (route("v1alpha2", "TLSRoute", to), "{parentRefs", "a TLSRoute with 0 rules"),
        (outside(""), "{group", "a parent EgressNetwork has no port"),
        (network("trafficPolicy: Maybe"), "Maybe", "`trafficPolicy` is \"Maybe\""),
        (network("trafficPolicy: Deny, networks: []"), "[]", "there are no networks"),
        (
            network("trafficPolicy: Deny, networks: [{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}]"),
            "[11.0",
            "11.0.0.0/8 covers or lies outside 10.0.0.0/8",
        ),
        (annotated(service, limit), "'-1'", "the annotation retry.linkerd.io/limit is \"-1\""),
        (annotated(&http("{}"), limit), "'-1'", "the annotation retry.linkerd.io/limit is \"-1\""),
        (annotated(&network("trafficPolicy: Deny"), limit), "'-1'", "the annotation retry.linkerd.io/limit"),
    ] {
        let found = read(&text).problems;
        let [problem] = found.as_slice() else { panic!("{text}{found:#?}") };
        let line = text.lines().nth(problem.at.line as usize - 1).unwrap();
        let there = &line[problem.at.column as usize - 1..];
        assert!(there.starts_with(place) && problem.message.contains(message), "{there}\n{text}{problem:#?}");
    }
    assert_eq!(problems(&outside(", port: 80")), [] as [String; 0]);
    let both = "retry.linkerd.io/limit: x, timeout.linkerd.io/idle: 1.5s, balancer.linkerd.io/failure-accrual: never";
    assert_eq!(problems(&annotated(service, both)).len(), 3, "all of them at once");
    let twice = format!("{}---\n{}", http("{}"), http("{}"));
    assert!(problems(&twice)[0].contains("HTTPRoute d/x is given twice"));
}

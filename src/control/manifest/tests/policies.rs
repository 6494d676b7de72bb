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

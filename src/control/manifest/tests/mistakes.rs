//! What is said of mistakes: where, what is there, and what was expected.

use super::*;

#[test]
fn fields_that_there_are_not_are_told_with_their_nearest_and_refuse_nothing() {
    let found = |text: &str| {
        let all = read(text);
        assert_eq!(
            (all.problems.as_slice(), all.documents.servers.len() + all.documents.links.len()),
            (&[][..], 1)
        );
        all.unknown.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let server = |version: &str, field: &str| format!("{}  {field}\n", SERVER.replace("v1beta1", version));
    let fault = |version: &str, field: &str, expected: &str| {
        format!(
            "m.yaml:7:3: a Server of {version} has no field {field:?} here: it counts for nothing; expected {expected}"
        )
    };
    assert_eq!(
        found(&server("v1beta3", "accesspolicy: deny")),
        [fault("v1beta3", "accesspolicy", "`accessPolicy`")]
    );
    assert_eq!(found(&server("v1beta3", "accessPolicy: deny")), [""; 0]);
    let all = "`podSelector`, `externalWorkloadSelector`, `port`, `proxyProtocol`";
    assert_eq!(found(&server("v1beta1", "accessPolicy: deny")), [fault("v1beta1", "accessPolicy", all)]);
    assert_eq!(
        found(&server("v1beta3", "x: {}"))[0],
        fault("v1beta3", "x", &format!("{all}, `accessPolicy`"))
    );
    let link = LINK.replacen("  targetClusterName", "  probespec: {path: /ready}\n  targetClusterName", 1);
    assert!(found(&link)[0].contains("has no field \"probespec\" here"), "{:?}", found(&link));
}

#[test]
fn unknown_fields_are_found_below_lists_and_known_ones_of_every_kind_are_not_told() {
    let policy = |kind: &str, version: &str, spec: &str| {
        read(&format!(
            "apiVersion: policy.linkerd.io/{version}\nkind: {kind}\nmetadata: {{name: a, namespace: d}}\nspec: {spec}\n"
        ))
        .unknown
        .iter()
        .map(|problem| format!("{} {}", problem.at.column, problem.expected))
        .collect::<Vec<_>>()
    };
    let wrong = [
        (
            "NetworkAuthentication",
            "{networks: [{cidr: 10.0.0.0/8, excepts: [10.1.0.0/16]}]}",
            ("excepts", "except"),
        ),
        (
            "MeshTLSAuthentication",
            "{identities: ['*'], identitiyRefs: []}",
            ("identitiyRefs", "identityRefs"),
        ),
        (
            "AuthorizationPolicy",
            "{targetRef: {kind: Server, name: x}, requiredAuthenticationRefs: [], requiredAuthentications: []}",
            ("requiredAuthentications", "requiredAuthenticationRefs"),
        ),
        ("HTTPRoute", "{rules: [{match: [{method: GET}]}]}", ("match", "matches")),
        ("HTTPRoute", "{rules: [{matches: [{path: {value: /a, typ: Exact}}]}]}", ("typ", "type")),
        (
            "ServerAuthorization",
            "{server: {name: x}, client: {unautenticated: true}}",
            ("unautenticated", "unauthenticated"),
        ),
        (
            "HTTPLocalRateLimitPolicy",
            "{total: {requestPerSecond: 5}}",
            ("requestPerSecond", "requestsPerSecond"),
        ),
    ];
    for (kind, spec, (field, meant)) in wrong {
        let column = "spec: ".len() + spec.find(&format!("{field}:")).unwrap() + 1;
        let version = if kind == "HTTPRoute" { "v1beta3" } else { "v1alpha1" };
        assert_eq!(policy(kind, version, spec), [format!("{column} `{meant}`")], "{kind} {spec}");
    }
    let right = [
        (
            "HTTPRoute",
            "{rules: [{name: n, retry: {a: b}, filters: [{type: URLRewrite, urlRewrite: {hostname: h}}]}]}",
        ),
        (
            "ServerAuthorization",
            "{server: {selector: {}}, client: {meshTLS: {serviceAccounts: [{name: a}]}}}",
        ),
    ];
    for (kind, spec) in right {
        let version = if kind == "HTTPRoute" { "v1beta3" } else { "v1alpha1" };
        assert_eq!(policy(kind, version, spec), [""; 0], "{kind} {spec}");
    }
}

#[test]
fn a_misspelled_term_is_a_problem_wherever_a_selector_is_read() {
    let template = "{metadata: {labels: {app: bb}}, spec: {containers: [{name: c, image: i}]}}";
    let workload = |kind: &str| format!("apiVersion: apps/v1\nkind: {kind}\nspec:\n  template: {template}\n");
    let server =
        |version: &str| format!("apiVersion: policy.linkerd.io/{version}\nkind: Server\nspec:\n  port: 80\n");
    let (_, link) = LINK.split_once("---\n").unwrap();
    let link = format!(
        "{link}---\napiVersion: multicluster.linkerd.io/v1alpha3\nkind: Link\n\
         spec:\n  targetClusterName: target\n  clusterCredentialsSecret: cluster-credentials-target\n"
    );
    let meta = "metadata: {name: bb, namespace: linkerd-multicluster}\n";
    let all = [
        (server("v1beta1"), "podSelector"),
        (server("v1beta3"), "externalWorkloadSelector"),
        (link.clone(), "selector"),
        (link.clone(), "remoteDiscoverySelector"),
        (link, "federatedServiceSelector"),
        (workload("Deployment"), "selector"),
        (workload("ReplicaSet"), "selector"),
        (workload("DaemonSet"), "selector"),
        (workload("StatefulSet"), "selector"),
        (workload("Job").replace("apps/", "batch/"), "selector"),
    ];
    for (head, field) in all {
        let line = head.lines().count() + 1;
        let column = 5 + field.len();
        let selector =
            format!("  {field}: {{matchLabel: {{a: b}}, matchLabels: {{app: bb}}, matchexpressions: }}\n");
        let found = problems(&format!("{head}{selector}{meta}"));
        let expected = "expected `matchLabels` or `matchExpressions`";
        let second = column + "{matchLabel: {a: b}, matchLabels: {app: bb}, ".len();
        let one = format!("m.yaml:{line}:{}: there is no \"matchLabel\" here; {expected}", column + 1);
        let other = format!("m.yaml:{line}:{second}: there is no \"matchexpressions\" here; {expected}");
        assert_eq!(found, [one, other], "{head}{selector}");
    }
    let authorization = "apiVersion: policy.linkerd.io/v1beta1\nkind: ServerAuthorization\nmetadata: {name: a}\n\
                         spec: {server: {selector: {app: bb}}, client: {unauthenticated: true}}\n";
    let found = problems(authorization);
    assert_eq!(
        found,
        ["m.yaml:4:28: there is no \"app\" here; expected `matchLabels` or `matchExpressions`"]
    );
}

#[test]
fn a_value_of_the_wrong_type_is_shown() {
    let service = |port: &str| {
        let found = problems(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{{port: {port}}}]}}\n"
        ));
        let told = found[0].strip_prefix("m.yaml:4:23: `port` is ").unwrap();
        told.strip_suffix("; expected a number from 1 to 65535").unwrap().to_owned()
    };
    let long = "x\u{1b}".repeat(40);
    let cut = format!("the text \"{}\"…", "x\\u{1b}".repeat(30));
    let shown = [
        ("1x", "the text \"1x\""),
        ("'a\"b'", "the text \"a\\\"b\""),
        ("80.5", "the number 80.5"),
        ("true", "the boolean true"),
        ("[80]", "a list"),
        ("{a: b}", "a mapping"),
        ("70000", "70000"),
        (&format!("\"{}\"", long.replace('\u{1b}', "\\e")), &cut),
    ];
    for (written, told) in shown {
        assert_eq!(service(written), told, "{written}");
    }
}

#[test]
fn what_may_be_a_secret_is_not_shown() {
    let secret = LINK.split_once("---\n").unwrap().1;
    let (head, _) = secret.split_once("  kubeconfig:").unwrap();
    let pod = |started: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: c, {started}}}]}}\n"
        )
    };
    let pods = [
        "env: [{name: PIN, value: 73129}]",
        "env: [PIN=73129]",
        "env: PIN=73129",
        "args: --pin=73129",
        "command: [--pin, 73129]",
    ];
    let others = [format!("{head}  kubeconfig: 73129\n"), "s3cret-73129\n".to_owned()];
    for text in pods.map(pod).into_iter().chain(others) {
        let found = problems(&text);
        assert!(!found.is_empty() && !found.iter().any(|told| told.contains("73129")), "{found:?}");
    }
}

#[test]
fn all_mistakes_of_an_objects_metadata_and_workload_are_told_at_once() {
    let found = problems(
        "apiVersion: apps/v1
kind: Deployment
metadata: {name: 5, labels: {a: 1}, annotations: [x], creationTimestamp: yesterday, ownerReferences: {}}
spec:
  replicas: many
  selector: {matchLabels: {app: b b}}
  template: {spec: {containers: [{name: 6, ports: [{containerPort: 0}]}]}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {namespace: 7, uid: 8, resourceVersion: 9}
",
    );
    let expected = [
        "3:18: `name` is the number 5",
        "3:33: `a` is the number 1",
        "3:50: `annotations` is a list",
        "3:74: `creationTimestamp` is \"yesterday\"",
        "3:102: `ownerReferences` is a mapping",
        "5:13: `replicas` is the text \"many\"",
        "6:13: the selector does not match the labels of the template",
        "6:33: \"b b\" is no value for the label app",
        "7:41: `name` is the number 6",
        "7:68: `containerPort` is 0",
        "11:11: the field `name` is missing",
        "11:23: `namespace` is the number 7",
        "11:31: `uid` is the number 8",
        "11:51: `resourceVersion` is the number 9",
        "9:1: the field `spec` is missing",
    ];
    for text in expected {
        assert!(found.iter().any(|told| told.starts_with(&format!("m.yaml:{text}"))), "{text}: {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_misspelled_kind_is_named_as_it_is_written() {
    let found = problems("apiVersion: v1\nkind: service\nmetadata: {name: a}\n");
    let expected = "expected kind Service of apiVersion v1";
    assert_eq!(found, [format!("m.yaml:2:7: there is no \"service\" of v1; {expected}")]);
    let found = problems("apiVersion: v2/x\nkind: Service\nmetadata: {name: a}\n");
    assert_eq!(found, [format!("m.yaml:1:13: there is no \"Service\" of v2/x; {expected}")]);
}

#[test]
fn unreadable_yaml_is_told_in_words_about_the_file() {
    let bomb: String =
        (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
    for (text, told) in [
        ("a: 1\na: 2\n", "this is not YAML: the key \"a\" is given twice; expected"),
        (&format!("a0: &a0 [x]\n{bomb}"), "this is not YAML: it is larger, or nested deeper, than anything"),
    ] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].contains(told), "{found:?}");
    }
}

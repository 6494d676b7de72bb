use super::*;

fn read(text: &str) -> Assembled {
    let parsed = parse(&Arc::from(Path::new("m.yaml")), text);
    assemble([&parsed], "linkerd-multicluster")
}

fn problems(text: &str) -> Vec<String> {
    read(text).problems.iter().map(ToString::to_string).collect()
}

const SERVER: &str = "apiVersion: policy.linkerd.io/v1beta1
kind: Server
metadata: {namespace: d, name: bb}
spec:
  podSelector: {matchLabels: {app: bb}}
  port: 8080
";

const POLICY: &str = "---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata:
  namespace: d
  name: bb-authz
spec:
  targetRef: {group: policy.linkerd.io, kind: Server, name: bb}
  requiredAuthenticationRefs:
  - group: policy.linkerd.io
    kind: MeshTLSAuthentication
    name: bb-good
";

const GOOD: &str = "---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {namespace: d, name: bb-good}
spec: {identities: ['web.d.serviceaccount.identity.linkerd.cluster.local', '*.x.y', '*']}
";

#[test]
fn sound_policy_documents_have_no_problems() {
    let all = read(&format!("{SERVER}{POLICY}{GOOD}"));
    assert_eq!(all.problems, []);
    let name = ObjectName::new("d", "bb");
    assert_eq!(all.documents.servers[&name].1.port, workload::PortRef::Number(8080));
    assert_eq!(all.documents.mesh_tls_authentications.len(), 1);
}

#[test]
fn dangling_references_stand_where_they_are_made() {
    let found = problems(POLICY);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("m.yaml:8:14: Server d/bb does not exist"), "{found:?}");
    assert!(found[1].starts_with("m.yaml:10:5: MeshTLSAuthentication d/bb-good does not exist"), "{found:?}");
}

#[test]
fn a_pod_whose_account_does_not_exist_is_a_problem() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: d}\n\
               spec: {serviceAccountName: web, containers: [{name: c, image: i}]}\n";
    let found = problems(pod);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("ServiceAccount d/web does not exist"), "{found:?}");
    let account = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: d}\n";
    assert_eq!(problems(&format!("{pod}{account}")), Vec::<String>::new());
}

#[test]
fn a_mistyped_policy_is_a_problem_and_not_passed_over() {
    for (wrong, right) in
        [("policy.linkerd.oi/v1beta3", "policy.linkerd.io/v1beta3"), ("v1beta3", "policy.linkerd.io/v1beta3")]
    {
        let found =
            problems(&format!("apiVersion: {wrong}\nkind: server\nmetadata: {{name: bb, namespace: d}}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(&format!("expected kind Server of apiVersion {right}")), "{found:?}");
    }
    let foreign = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: bb, namespace: d}\n";
    assert_eq!(problems(foreign), Vec::<String>::new());
}

#[test]
fn every_mistake_of_every_document_is_reported_at_once() {
    let text =
        format!("{}---\nkind: [\n---\n{}", SERVER.replace("8080", "'80 80'"), SERVER.replace("bb}", "B_B}"));
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("m.yaml:6:9: `port` is \"80 80\""), "{found:?}");
    assert!(found[1].contains("this is not YAML"), "{found:?}");
    assert!(found[2].starts_with("m.yaml:12:"), "{found:?}");
    assert!(found.iter().all(|problem| problem.contains("; expected ")), "{found:?}");
}

#[test]
fn wrong_types_and_missing_fields_are_placed() {
    let found =
        problems("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n  - port: http\n");
    assert_eq!(found, ["m.yaml:7:11: `port` is text; expected a number from 1 to 65535"]);
    let found = problems("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n");
    assert_eq!(found, ["m.yaml:1:1: the field `spec` is missing; expected `spec: …` here"]);
    let found = problems("kind: Service\n");
    assert!(found[0].contains("`apiVersion` is missing"), "{found:?}");
    let found = problems("- a\n");
    assert!(found[0].contains("this document is a list"), "{found:?}");
}

#[test]
fn labels_must_be_text() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  labels:\n    x: true\n";
    assert!(problems(text)[0].starts_with("m.yaml:6:8: `x` is true or false; expected text"));
}

#[test]
fn lists_are_read_and_status_and_unknown_fields_are_ignored() {
    let text = "apiVersion: v1
kind: List
metadata: {resourceVersion: ''}
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: d, managedFields: [{a: b}], creationTimestamp: '2026-01-01T00:00:00Z'}
  status: {phase: Active}
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: c}
---
apiVersion: v1
kind: ServiceList
items:
- metadata: {name: a, namespace: d}
  spec: {ports: [{port: 80}], clusterIP: 10.43.0.9, future: {x: 1}}
";
    let all = read(text);
    assert_eq!(all.problems, []);
    assert_eq!(all.documents.namespaces.len(), 1);
    assert_eq!(all.documents.services.len(), 1);
    assert_eq!(all.notes.len(), 1, "{:?}", all.notes);
    assert!(all.notes[0].message.contains("ConfigMap"));
}

#[test]
fn versions_that_do_not_exist_are_refused_with_those_that_do() {
    let found = problems(&SERVER.replace("v1beta1", "v2"));
    assert!(found[0].contains("Server has no version policy.linkerd.io/v2"), "{found:?}");
    assert!(found[0].contains("policy.linkerd.io/v1beta3"), "{found:?}");
}

#[test]
fn an_object_given_twice_is_a_problem_at_the_later_place() {
    let found = problems(&format!("{SERVER}---\n{SERVER}"));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("m.yaml:8:1: Server d/bb is given twice; also at m.yaml:1:1"), "{found:?}");
}

#[test]
fn admission_refuses_what_the_webhook_would() {
    let twice = format!("{POLICY}  - {{kind: ServiceAccount, name: web}}\n");
    assert!(
        problems(&format!("{SERVER}{twice}{GOOD}"))[0].contains("more than one reference names identities")
    );
    let elsewhere = POLICY.replace("name: bb}", "name: bb, namespace: other}");
    assert!(problems(&format!("{SERVER}{elsewhere}{GOOD}"))[0].contains("another namespace"));
    let kind = POLICY.replace("kind: Server", "kind: Service");
    assert!(problems(&format!("{SERVER}{kind}{GOOD}"))[0].contains("is no target"));
    let identity = GOOD.replace("'*'", "'a b'");
    assert!(problems(&format!("{SERVER}{POLICY}{identity}"))[0].contains("is no identity"));
    let access =
        SERVER.replace("v1beta1", "v1beta3").replace("port: 8080", "port: 8080\n  accessPolicy: open");
    assert!(problems(&access)[0].contains("is no accessPolicy"));
}

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: bb, namespace: d}
spec:
  selector: {matchLabels: {app: bb}}
  template:
    metadata: {labels: {app: bb}}
    spec:
      containers:
      - name: terminus
        image: x
        ports: [{containerPort: 8080}]
";

#[test]
fn a_deployment_that_does_not_select_its_own_pods_is_refused() {
    assert_eq!(read(DEPLOYMENT).problems, []);
    let found = problems(&DEPLOYMENT.replace("labels: {app: bb}", "labels: {app: other}"));
    assert!(found[0].starts_with("m.yaml:5:13: the selector does not match"), "{found:?}");
    assert!(found[0].contains("app: other"), "{found:?}");
}

#[test]
fn the_template_hash_follows_the_content_alone() {
    let hash = |text: &str| read(text).documents.deployments.values().next().unwrap().1.template_hash.clone();
    assert_eq!(hash(DEPLOYMENT), hash(&format!("# c\n{}", DEPLOYMENT.replace("image: x", "image:  'x'"))));
    assert_ne!(hash(DEPLOYMENT), hash(&DEPLOYMENT.replace("image: x", "image: y")));
}

#[test]
fn a_service_that_selects_nothing_is_only_noted() {
    let all = read(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}], selector: {a: b}}\n",
    );
    assert_eq!(all.problems, []);
    assert_eq!(all.notes.len(), 1);
}

const LINK: &str = "apiVersion: multicluster.linkerd.io/v1alpha3
kind: Link
metadata: {name: target, namespace: linkerd-multicluster}
spec:
  targetClusterName: target
  clusterCredentialsSecret: cluster-credentials-target
---
apiVersion: v1
kind: Secret
type: mirror.linkerd.io/remote-kubeconfig
metadata: {name: cluster-credentials-target, namespace: linkerd-multicluster}
stringData:
  kubeconfig: |
    current-context: c
    contexts: [{name: c, context: {cluster: c}}]
    clusters: [{name: c, cluster: {server: 'file://../east'}}]
";

#[test]
fn links_need_their_secret_and_secrets_their_folder() {
    assert_eq!(read(LINK).problems, []);
    let found = problems(LINK.split("---").next().unwrap());
    assert!(found[0].starts_with("m.yaml:6:29: Secret linkerd-multicluster/"), "{found:?}");
    let found = problems(&LINK.replace("file://../east", "https://10.0.0.1"));
    assert!(found[0].contains("is no folder"), "{found:?}");
    let found = problems(&LINK.replace("stringData", "data"));
    assert!(found[0].contains("not base64"), "{found:?}");
    let found = problems(&LINK.replace("current-context: c", "current-context: d"));
    assert!(found[0].contains("leads nowhere"), "{found:?}");
}

const WHOLE_LINK: &str = "  targetClusterDomain: east.local
  targetClusterLinkerdNamespace: mesh
  gatewayAddress: 10.0.0.9,gateway.east.example
  gatewayPort: '4143'
  gatewayIdentity: gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local
  probeSpec: {path: /ready, port: '4191', period: 3s}
  selector: {matchLabels: {mirror.linkerd.io/exported: 'true'}, matchExpressions: [{key: tier, operator: In, values: [a, b]}]}
  remoteDiscoverySelector: {matchExpressions: [{key: hidden, operator: DoesNotExist}]}
  federatedServiceSelector: {matchLabels: {mirror.linkerd.io/federated: member}}
  excludedAnnotations: [a.io/*]
  excludeAnnotations: [b]
  excludeLabels: [c]
  excludedLabels: [d]
";

fn whole_link(version: &str, from: &str, to: &str) -> Assembled {
    assert!(from.is_empty() || WHOLE_LINK.contains(from));
    let spec = if from.is_empty() { WHOLE_LINK.to_owned() } else { WHOLE_LINK.replace(from, to) };
    let link = LINK.replacen("v1alpha3", version, 1);
    read(&link.replacen("---\n", &format!("{spec}---\n"), 1))
}

#[test]
fn every_field_of_a_link_is_read_and_exclusions_in_both_spellings() {
    let all = whole_link("v1alpha3", "", "");
    assert_eq!((&all.problems, &all.notes), (&vec![], &vec![]));
    let (_, link) = all.documents.links.values().next().unwrap();
    let gateway = link.gateway.as_ref().unwrap();
    let name = GatewayAddress::Name("gateway.east.example".into());
    assert_eq!(gateway.addresses, [GatewayAddress::Ip("10.0.0.9".parse().unwrap()), name]);
    assert_eq!(gateway.port, 4143);
    assert!(gateway.identity.as_ref().unwrap().starts_with("gateway."));
    let probe = gateway.probe.as_ref().unwrap();
    assert_eq!((probe.path.as_str(), probe.port, probe.failure_threshold), ("/ready", 4191, 3));
    assert_eq!((probe.period.as_secs(), probe.timeout.as_secs()), (3, 30));
    assert_eq!(link.excluded_annotations, ["a.io/*", "b"]);
    assert_eq!(link.excluded_labels, ["d", "c"]);
    assert_eq!((&*link.target_cluster_domain, &*link.target_control_namespace), ("east.local", "mesh"));
    let selectors = [&link.selector, &link.remote_discovery_selector, &link.federated_selector];
    assert!(selectors.iter().all(|selector| !selector.is_empty()));
}

#[test]
fn a_link_of_an_older_version_lacks_the_newer_fields_and_says_so() {
    for (version, missing) in [("v1alpha1", 5), ("v1alpha2", 4)] {
        let all = whole_link(version, "", "");
        assert_eq!(all.problems, []);
        assert_eq!(all.notes.len(), missing, "{:?}", all.notes);
        let (_, link) = all.documents.links.values().next().unwrap();
        assert_eq!(link.federated_selector.is_empty(), version == "v1alpha1");
        assert!(link.excluded_annotations.is_empty() && link.excluded_labels.is_empty());
        assert!(link.gateway.is_some() && !link.selector.is_empty());
    }
}

#[test]
fn what_is_wrong_in_a_link_stands_at_its_place() {
    let wrong = [
        ("gatewayPort: '4143'", "gatewayPort: 4143", "10:16: `gatewayPort` is a number; expected text"),
        ("gatewayPort: '4143'", "gatewayPort: '0'", "10:16: `gatewayPort` is \"0\"; expected a port"),
        ("  gatewayPort: '4143'\n", "", "5:3: the gateway has no port"),
        ("10.0.0.9,", "10.0.0.9,a b,", "9:19: \"a b\" is no address; expected IP"),
        ("period: 3s", "period: 3", "12:51: `period` is a number; expected text"),
        ("gatewayPort: '4143'", "gatewayPort: ''", "10:16: `gatewayPort` is empty; expected a port"),
        (
            "gatewayPort: '4143'",
            "gatewayPort: '+04143'",
            "10:16: `gatewayPort` is \"+04143\"; expected a port",
        ),
        ("10.0.0.9,", "256.0.0.1,", "9:19: \"256.0.0.1\" is no address; expected IP"),
        ("east.local", "east_local", "7:24: \"east_local\" is no DNS name; expected lower-case"),
        ("port: '4191'", "port: ''", "12:35: `port` is empty; expected a port"),
        ("period: 3s", "period: ''", "12:51: `period` is empty; expected a duration"),
        ("period: 3s", "period: 3d", "12:51: `period` is \"3d\"; expected a duration"),
        ("operator: In,", "operator: in,", "13:84: the operator \"in\" does not fit"),
        ("key: hidden", "key: /hidden", "14:54: \"/hidden\" is no key for a label"),
        ("federated: member", "federated: me mber", "15:73: \"me mber\" is no value for the label"),
        (
            "{matchLabels: {mirror.linkerd.io/federated: member}}",
            "member",
            "15:29: `federatedServiceSelector` is text; expected a mapping",
        ),
    ];
    for (from, to, expected) in wrong {
        let found = whole_link("v1alpha3", from, to).problems;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].to_string().starts_with(&format!("m.yaml:{expected}")),
            "{}, not {expected}",
            found[0]
        );
    }
}

#[test]
fn the_age_of_an_object_is_an_instant_or_a_mistake() {
    let made = |text: &str| {
        let dated = LINK.replacen("name: target,", &format!("name: target, creationTimestamp: {text},"), 1);
        let all = read(&dated);
        let created = all.documents.links.values().next().and_then(|(meta, _)| meta.created);
        (created, all.problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (second, half) = (made("'2026-01-01T00:00:00Z'"), made("2026-01-01T00:00:00.5Z"));
    assert!(second.0.is_some() && second.0 < half.0, "{second:?} {half:?}");
    assert_eq!(made("null"), (None, vec![]));
    for wrong in ["yesterday", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+02:00", ""] {
        let (_, found) = made(&format!("'{wrong}'"));
        let place = format!("m.yaml:3:45: `creationTimestamp` is {wrong:?}; expected a time in UTC such as");
        assert!(found.len() == 1 && found[0].starts_with(&place), "{found:?}");
    }
}

#[test]
fn a_link_outside_the_mirror_namespace_needs_no_secret() {
    let elsewhere = LINK.split("---").next().unwrap().replace("linkerd-multicluster", "elsewhere");
    assert_eq!(problems(&elsewhere), [] as [&str; 0]);
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However a manifest is mangled, reading ends, and every problem lies inside the file.
        #[test]
        fn problems_lie_inside_the_file(line in 0usize..20, text in "[ -~]{0,20}", cut in 0usize..400) {
            let whole = format!("{SERVER}{POLICY}{GOOD}---\n{DEPLOYMENT}");
            let mut lines: Vec<&str> = whole.lines().collect();
            lines[line] = &text;
            let mut mangled = lines.join("\n");
            mangled.truncate(mangled.len().saturating_sub(cut));
            let last = mangled.lines().count().max(1) as u32 + 1;
            for problem in read(&mangled).problems {
                prop_assert!((1..=last).contains(&problem.at.line) && problem.at.column >= 1, "{problem}");
            }
        }
    }
}

#[test]
fn what_is_wrong_in_workloads_outside_and_in_profiles_stands_at_its_place() {
    let found = problems(
        "apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {name: vm}
spec:
  meshTLS: {identity: plain.name, serverName: 'a b'}
  workloadIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.2}]
---
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: a.b.svc.cluster.local}
spec:
  routes:
  - {name: none, condition: {}}
  - {name: late, condition: {method: 'G T'}, timeout: soon}
  dstOverrides: [{authority: 'a:b', weight: heavy}]
  retryBudget: {retryRatio: -1, minRetriesPerSecond: 1, ttl: 1s}
",
    );
    let expected = [
        "5:23: `identity` is \"plain.name\"",
        "5:47: `serverName` is \"a b\"",
        "6:16: there are too many workloadIPs",
        "13:29: the condition tests nothing",
        "14:38: \"G T\" is no method",
        "14:55: `timeout` is \"soon\"",
        "15:30: \"a:b\" is no authority",
        "15:45: `weight` is no quantity",
        "16:29: `retryRatio` is no ratio",
    ];
    for text in expected {
        assert!(found.iter().any(|problem| problem.contains(text)), "{text}: {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

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

use super::*;
use links::LINK;

mod links;
mod mistakes;
mod policies;

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
    assert_eq!(found, ["m.yaml:7:11: `port` is the text \"http\"; expected a number from 1 to 65535"]);
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
    assert!(problems(text)[0].starts_with("m.yaml:6:8: `x` is the boolean true; expected text"));
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
  - {name: open, condition: {not: {pathRegex: '/a('}}}
  dstOverrides: [{authority: 'a:b', weight: heavy}]
  retryBudget: {retryRatio: -1, minRetriesPerSecond: 1, ttl: 2m}
",
    );
    let expected = [
        "5:23: `identity` is \"plain.name\"",
        "5:47: `serverName` is \"a b\"",
        "6:16: there are too many workloadIPs",
        "13:29: the condition tests nothing",
        "14:38: \"G T\" is no method",
        "14:55: `timeout` is \"soon\"",
        "15:47: \"/a(\" cannot be used",
        "16:30: \"a:b\" is no authority",
        "16:45: `weight` is the text \"heavy\"",
        "17:29: `retryRatio` is the number -1",
        "17:62: `ttl` is 120s",
    ];
    for text in expected {
        assert!(found.iter().any(|problem| problem.contains(text)), "{text}: {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

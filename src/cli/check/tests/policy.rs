//! Faults of policy, and of what it is for.

use super::*;

#[tokio::test]
async fn a_server_that_selects_nothing() {
    let guide = Guide::new();
    guide.edit("east/03-policy.yaml", "      app: bb\n", "      app: cc\n");
    guide.one("server-selects", Error, &["Server mc-demo/bb selects no pod", "03-policy.yaml:2:1"]).await;
    guide.edit("east/03-policy.yaml", "      app: cc\n  port: 8080", "      app: bb\n  port: admin");
    guide.one("server-selects", Error, &["none has a TCP port named admin"]).await;
    // What has no replicas now is selected all the same.
    guide.edit("east/03-policy.yaml", "port: admin", "port: 8080");
    guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn a_field_that_there_is_not() {
    let guide = Guide::new();
    guide.edit("east/03-policy.yaml", "  port: 8080\n", "  port: 8080\n  proxyprotocol: HTTP/2\n");
    guide.one("unknown-fields", Error, &["no field \"proxyprotocol\"", "expected `proxyProtocol`"]).await;
}

/// As the running control plane knows them: with the injector's labels, and what is made at night too.
#[tokio::test]
async fn servers_select_by_the_labels_that_pods_will_have() {
    let guide = Guide::new();
    guide.edit("east/02-bb.yaml", "replicas: 1", "replicas: 0");
    let select = |labels: &str| {
        let server = format!(
            "apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: more, namespace: mc-demo}}
spec: {{podSelector: {{matchLabels: {{{labels}}}}}, port: linkerd-admin}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: nightly, namespace: mc-demo}}
spec:
  schedule: '@daily'
  jobTemplate: {{spec: {{template: {{metadata: {{labels: {{app: night}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}}}}}
"
        );
        fs::write(guide.path("east/more.yaml"), server).unwrap();
    };
    for labels in [
        "linkerd.io/proxy-deployment: bb",
        "linkerd.io/control-plane-ns: linkerd",
        "app: night",
        "linkerd.io/proxy-cronjob: nightly",
    ] {
        select(labels);
        assert_eq!(guide.found(&[]).await, [], "{labels}");
    }
    select("linkerd.io/proxy-deployment: cc");
    guide.one("server-selects", Error, &["Server mc-demo/more selects no pod"]).await;
}

/// Where a workload's pods are printed beside it, these run, and the next ones are of its template.
#[tokio::test]
async fn servers_select_pods_that_run_and_those_that_come_after_them() {
    let guide = Guide::new();
    let write = |tier: &str| {
        let text = format!(
            "apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: more, namespace: mc-demo}}
spec: {{podSelector: {{matchLabels: {{tier: {tier}}}}}, port: 80}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, namespace: mc-demo}}
spec:
  serviceName: db
  replicas: 1
  selector: {{matchLabels: {{app: db}}}}
  template: {{metadata: {{labels: {{app: db, tier: next}}}}, spec: {{containers: [{{name: a, image: a}}]}}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: db-0
  namespace: mc-demo
  labels: {{app: db, tier: now}}
  ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, name: db, uid: x, controller: true}}]
spec: {{containers: [{{name: a, image: a}}]}}
status: {{podIP: 10.23.7.7, phase: Running}}
"
        );
        fs::write(guide.path("east/more.yaml"), text).unwrap();
    };
    for tier in ["now", "next"] {
        write(tier);
        assert_eq!(guide.found(&[]).await, [], "{tier}");
    }
    write("other");
    guide.one("server-selects", Error, &["Server mc-demo/more selects no pod"]).await;
}

#[tokio::test]
async fn a_server_of_external_workloads_that_selects_none() {
    let guide = Guide::new();
    let write = |app: &str, port: &str| {
        let text = format!(
            "apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {{name: vm, namespace: mc-demo}}
spec: {{externalWorkloadSelector: {{matchLabels: {{app: {app}}}}}, port: {port}}}
---
apiVersion: workload.linkerd.io/v1beta1
kind: ExternalWorkload
metadata: {{name: vm, namespace: mc-demo, labels: {{app: vm}}}}
spec:
  meshTLS: {{identity: 'spiffe://east/vm', serverName: vm.east}}
  ports: [{{name: http, port: 80}}]
  workloadIPs: [{{ip: 192.0.2.1}}]
"
        );
        fs::write(guide.path("east/vm.yaml"), text).unwrap();
    };
    write("other", "80");
    guide.one("server-selects", Error, &["Server mc-demo/vm selects no external workload"]).await;
    write("vm", "grpc");
    guide.one("server-selects", Error, &["external workloads, and none has a TCP port named grpc"]).await;
    write("vm", "http");
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn authorizations_that_are_good_for_nobody() {
    let guide = Guide::new();
    let write = |labels: &str, account: &str| {
        let text = format!(
            "apiVersion: policy.linkerd.io/v1beta1
kind: ServerAuthorization
metadata: {{name: older, namespace: mc-demo}}
spec:
  server: {{selector: {{matchLabels: {{{labels}}}}}}}
  client: {{meshTLS: {{serviceAccounts: [{{name: {account}, namespace: mc-demo}}]}}}}
---
apiVersion: policy.linkerd.io/v1alpha1
kind: AuthorizationPolicy
metadata: {{name: newer, namespace: mc-demo}}
spec:
  targetRef: {{group: policy.linkerd.io, kind: Server, name: bb}}
  requiredAuthenticationRefs: [{{kind: ServiceAccount, name: {account}}}]
---
apiVersion: policy.linkerd.io/v1alpha1
kind: MeshTLSAuthentication
metadata: {{name: all, namespace: mc-demo}}
spec: {{identityRefs: [{{kind: ServiceAccount, name: {account}}}]}}
"
        );
        fs::write(guide.path("east/more.yaml"), text).unwrap();
    };
    guide.edit("east/03-policy.yaml", "  name: bb\nspec:", "  name: bb\n  labels: {app: bb}\nspec:");
    write("app: bb", "default");
    assert_eq!(guide.found(&[]).await, []);
    // It is west's.
    write("app: bb", "slow-cooker");
    assert_eq!(guide.found(&[]).await, []);
    write("app: cc", "default");
    guide.one("authorization-refs", Error, &["mc-demo/older selects no Server", "more.yaml:1:1"]).await;
    write("app: bb", "nobody");
    let found = guide.found(&[]).await;
    let told: Vec<_> = found.iter().map(|finding| (finding.check, finding.severity)).collect();
    assert_eq!(told, [("authorization-refs", Warning); 3], "{found:#?}");
    for (finding, kind) in found.iter().zip(["AuthorizationPolicy", "MeshTLSAuth", "ServerAuthorization"]) {
        assert!(finding.found.contains("ServiceAccount mc-demo/nobody, which no known cluster has"));
        assert!(finding.found.starts_with(kind), "{found:#?}");
    }
}

#[tokio::test]
async fn two_services_with_one_cluster_ip() {
    let guide = Guide::new();
    let service = |name: &str| {
        format!(
            "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: mc-demo}}
spec: {{clusterIP: 10.43.7.7, ports: [{{port: 80}}]}}
"
        )
    };
    fs::write(guide.path("east/more.yaml"), format!("{}---\n{}", service("a"), service("b"))).unwrap();
    let words = ["Service mc-demo/b has the clusterIP 10.43.7.7", "that of mc-demo/a", "leave clusterIP out"];
    guide.one("manifests", Error, &words).await;
}

#[tokio::test]
async fn an_authorization_that_names_what_is_missing() {
    let guide = Guide::new();
    guide.edit("east/03-policy.yaml", "      name: bb-good", "      name: bb-lost");
    let words =
        ["MeshTLSAuthentication mc-demo/bb-lost does not exist", "03-policy.yaml:24:7", "one of bb-good"];
    guide.one("authorization-refs", Error, &words).await;
    guide.edit("east/03-policy.yaml", "      name: bb-lost", "      name: bb-good");
    guide.edit("east/03-policy.yaml", "    kind: Server\n    name: bb", "    kind: Server\n    name: cc");
    guide.one("authorization-refs", Error, &["Server mc-demo/cc does not exist"]).await;
}

#[tokio::test]
async fn a_route_that_is_not_accepted_or_leads_nowhere() {
    let guide = Guide::new();
    let route = |rest: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: canary, namespace: mc-demo}}
spec: {{{rest}}}
"
        )
    };
    let write = |text: &str| fs::write(guide.path("east").join("04-route.yaml"), text).unwrap();
    write(&route("parentRefs: [{kind: Service, name: cc}], rules: [{}]"));
    let words =
        ["not accepted by Service mc-demo/cc: NoMatchingParent", "04-route.yaml:4:21", "/api/v1/routes"];
    guide.one("route-status", Error, &words).await;
    write(&route("parentRefs: [{kind: Service, name: bb}], rules: [{backendRefs: [{name: cc, port: 80}]}]"));
    guide.one("route-status", Error, &["BackendNotFound, Service mc-demo/cc does not exist"]).await;
    write(&route("parentRefs: [{kind: Service, name: bb}], rules: [{backendRefs: [{name: bb, port: 80}]}]"));
    assert_eq!(guide.found(&[]).await, []);
    write(
        "apiVersion: policy.linkerd.io/v1alpha1
kind: EgressNetwork
metadata: {name: all, namespace: mc-demo}
spec: {trafficPolicy: Deny, networks: [{cidr: 0.0.0.0/0}]}
",
    );
    guide.one("route-status", Error, &["EgressNetwork mc-demo/all is not accepted: EgressReason"]).await;
}

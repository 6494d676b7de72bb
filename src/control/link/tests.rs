use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::control::manifest::{assemble, parse, selector};

const GATEWAY: &str = "
apiVersion: v1
kind: Service
metadata:
  name: linkerd-gateway
  namespace: linkerd-multicluster
  annotations:
    mirror.linkerd.io/gateway-identity: linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.east.local
    mirror.linkerd.io/probe-period: '3'
    mirror.linkerd.io/probe-path: /ready
spec:
  type: LoadBalancer
  ports:
  - {name: mc-gateway, port: 4143, nodePort: 30143}
  - {name: mc-probe, port: 4191, nodePort: 30191}
status:
  loadBalancer:
    ingress:
    - ip: 10.0.0.9
    - hostname: gw.example.org
";

fn target(text: &str) -> Documents {
    let file: Arc<Path> = Arc::from(Path::new("east.yaml"));
    let assembled = assemble([&parse(&file, text)], "linkerd-multicluster");
    assert_eq!(assembled.problems, []);
    assembled.documents
}

fn plan() -> Plan {
    let selector = |text: &str| selector::parse(text).unwrap();
    Plan {
        cluster: "east".into(),
        server: "file://../east".into(),
        service_account: SERVICE_ACCOUNT.into(),
        cluster_domain: "east.local".into(),
        trust_domain: "mesh.local".into(),
        control_namespace: "linkerd".into(),
        mirror_namespace: "linkerd-multicluster".into(),
        remote_discovery_selector: selector("mirror.linkerd.io/exported=remote-discovery"),
        federated_selector: selector("tier in (a,b),!old"),
        excluded_annotations: Vec::new(),
        excluded_labels: vec!["team/*".into()],
        gateway: Some(GatewayPlan {
            service: ObjectName::new("linkerd-multicluster", "linkerd-gateway"),
            addresses: None,
            port: None,
            selector: selector("mirror.linkerd.io/exported=true"),
        }),
    }
}

#[test]
fn the_link_carries_the_gateway_as_its_service_describes_it() {
    let [_, _, link] = documents(&plan(), &target(GATEWAY)).unwrap();
    let spec = &link["spec"];
    assert_eq!(spec["gatewayAddress"], "10.0.0.9,gw.example.org");
    assert_eq!((&spec["gatewayPort"], &spec["probeSpec"]["port"]), (&json!("4143"), &json!("4191")));
    assert_eq!(spec["probeSpec"]["period"], "3s");
    assert_eq!(spec["selector"], json!({ "matchLabels": { "mirror.linkerd.io/exported": "true" } }));
    let federated = json!({ "matchExpressions": [
        { "key": "tier", "operator": "In", "values": ["a", "b"] },
        { "key": "old", "operator": "DoesNotExist" },
    ]});
    assert_eq!(spec["federatedServiceSelector"], federated);
    assert_eq!(spec["excludedLabels"], json!(["team/*"]));
    assert_eq!(spec.get("excludedAnnotations"), None);
}

#[test]
fn of_a_service_on_nodes_the_nodes_ports_count_and_what_is_said_counts_more() {
    let target = target(&GATEWAY.replace("LoadBalancer", "NodePort"));
    let mut plan = plan();
    let [_, _, link] = documents(&plan, &target).unwrap();
    assert_eq!(
        (&link["spec"]["gatewayPort"], &link["spec"]["probeSpec"]["port"]),
        (&json!("30143"), &json!("30191"))
    );
    let gateway = plan.gateway.as_mut().unwrap();
    (gateway.addresses, gateway.port) = (Some("192.0.2.1".into()), Some(443));
    let [_, _, link] = documents(&plan, &target).unwrap();
    assert_eq!(
        (&link["spec"]["gatewayAddress"], &link["spec"]["gatewayPort"]),
        (&json!("192.0.2.1"), &json!("443"))
    );
}

#[test]
fn without_a_gateway_there_is_no_selector_either() {
    let [_, _, link] = documents(&Plan { gateway: None, ..plan() }, &Documents::default()).unwrap();
    for key in ["selector", "gatewayAddress", "gatewayPort", "gatewayIdentity", "probeSpec"] {
        assert_eq!(link["spec"].get(key), None, "{key}");
    }
}

#[test]
fn everything_that_the_gateway_lacks_is_said_at_once() {
    let bare = "apiVersion: v1\nkind: Service\nmetadata: {name: linkerd-gateway, namespace: linkerd-multicluster}\n\
                spec: {ports: [{name: mc-gateway, port: 4143}]}\n";
    let missing = documents(&plan(), &target(bare)).unwrap_err();
    let told = ["ingress", "gateway-identity", "probe-path", "probe-period", "mc-probe"];
    assert_eq!(missing.len(), told.len(), "{missing:?}");
    assert!(told.iter().zip(&missing).all(|(word, line)| line.contains(word)), "{missing:?}");
    let missing = documents(&plan(), &Documents::default()).unwrap_err();
    assert!(missing.len() == 1 && missing[0].contains("--gateway=false"), "{missing:?}");
}

#[test]
fn what_a_cluster_would_refuse_is_not_handed_out() {
    for (from, to, told) in [
        ("probe-period: '3'", "probe-period: soon", "`period` is \"soon\"; expected a duration"),
        ("ip: 10.0.0.9", "ip: 256.0.0.9", "\"256.0.0.9\" is no address; expected IP addresses"),
        ("gateway-identity: linkerd", "gateway-identity: a b", "`gatewayIdentity` is \"a b-gateway"),
    ] {
        assert!(GATEWAY.contains(from));
        let errors = documents(&plan(), &target(&GATEWAY.replace(from, to))).unwrap_err();
        assert!(errors.len() == 1 && errors[0].starts_with(told), "{told}: {errors:?}");
    }
    let domain = Plan { cluster_domain: "east_local".into(), server: "https://10.0.0.1".into(), ..plan() };
    assert_eq!(documents(&domain, &target(GATEWAY)).unwrap_err().len(), 4);
}

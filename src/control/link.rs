//! What joins a cluster to another one: the documents that Linkerd's `link-gen` prints (controlplane 1.2).
//!
//! A pure function of what is known of the target and of what the operator wants. The documents are for the
//! *source* cluster: a Secret for the service mirror, one for the destination controller, and a Link.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::index::ObjectName;
use super::manifest::link::{CLUSTER_DOMAIN, CLUSTER_NAME, TRUST_DOMAIN};
use super::manifest::selector::Operator;
use super::manifest::{self, Documents, Problem, Selector, Service, link};
use super::yaml::Yaml;

/// The account whose permissions a service mirror has in the target (controlplane 1.2).
pub const SERVICE_ACCOUNT: &str = "linkerd-service-mirror-remote-access-default";
const GATEWAY_PORT: &str = "mc-gateway";
const PROBE_PORT: &str = "mc-probe";

/// What is to be joined, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The target's name in the source cluster: the Link's, and the end of every mirror's.
    pub cluster: String,
    /// `server` of the kubeconfig.
    pub server: String,
    pub service_account: String,
    pub cluster_domain: String,
    pub trust_domain: String,
    pub control_namespace: String,
    pub mirror_namespace: String,
    pub remote_discovery_selector: Selector,
    pub federated_selector: Selector,
    pub excluded_annotations: Vec<String>,
    pub excluded_labels: Vec<String>,
    /// `None`: no gateway mode (controlplane 7.1).
    pub gateway: Option<GatewayPlan>,
}

/// Where the target's gateway is described, and what is said instead of it.
#[derive(Clone, Debug)]
pub struct GatewayPlan {
    pub service: ObjectName,
    /// Instead of the load balancer's, with commas.
    pub addresses: Option<String>,
    pub port: Option<u16>,
    pub selector: Selector,
}

/// The gateway's part of a Link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gateway {
    addresses: String,
    port: u16,
    identity: String,
    probe_path: String,
    probe_port: u16,
    probe_period: String,
}

/// The two Secrets and the Link, in the order in which Linkerd prints them.
///
/// # Errors
/// Everything that the target's gateway lacks, or else all that a cluster would refuse in the documents.
pub fn documents(plan: &Plan, target: &Documents) -> Result<[Value; 3], Vec<String>> {
    let gateway = plan.gateway.as_ref().map(|gateway| gateway_of(gateway, target)).transpose()?;
    let kubeconfig = encode(&kubeconfig(plan));
    let labels = [(CLUSTER_NAME, &plan.cluster)];
    let annotations = [(CLUSTER_DOMAIN, &plan.cluster_domain), (TRUST_DOMAIN, &plan.trust_domain)];
    let mirror = secret(plan, &plan.mirror_namespace, &kubeconfig);
    let mut discovery = secret(plan, &plan.control_namespace, &kubeconfig);
    discovery["metadata"]["labels"] = json!(BTreeMap::from(labels));
    discovery["metadata"]["annotations"] = json!(BTreeMap::from(annotations));
    let documents = [mirror, discovery, link(plan, gateway.as_ref())];
    let refused = refused(&documents, &plan.mirror_namespace);
    if refused.is_empty() { Ok(documents) } else { Err(refused) }
}

/// Reads the documents as a cluster does that is given them.
fn refused(documents: &[Value], mirror_namespace: &str) -> Vec<String> {
    let text: String = documents.iter().map(|document| format!("---\n{}", Yaml::from(document))).collect();
    let read = manifest::parse(&Path::new("printed").into(), &text);
    let problems = manifest::assemble([&read], mirror_namespace).problems;
    let told = |problem: &Problem| format!("{}; expected {}", problem.message, problem.expected);
    problems.iter().map(|problem| manifest::printable(&told(problem))).collect()
}

fn secret(plan: &Plan, namespace: &str, kubeconfig: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": link::REMOTE_KUBECONFIG,
        "metadata": { "name": credentials(&plan.cluster), "namespace": namespace },
        "data": { "kubeconfig": kubeconfig },
    })
}

fn credentials(cluster: &str) -> String {
    format!("cluster-credentials-{cluster}")
}

/// One context, with the account as its user. A folder asks for no token.
fn kubeconfig(plan: &Plan) -> String {
    let name = &plan.cluster;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": name,
        "contexts": [{ "name": name, "context": { "cluster": name, "user": plan.service_account } }],
        "clusters": [{ "name": name, "cluster": { "server": plan.server } }],
        "users": [{ "name": plan.service_account, "user": {} }],
    });
    Yaml::from(&config).to_string()
}

fn encode(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn link(plan: &Plan, gateway: Option<&Gateway>) -> Value {
    let mut spec = json!({
        "targetClusterName": plan.cluster,
        "targetClusterDomain": plan.cluster_domain,
        "targetClusterLinkerdNamespace": plan.control_namespace,
        "clusterCredentialsSecret": credentials(&plan.cluster),
        "remoteDiscoverySelector": selector(&plan.remote_discovery_selector),
        "federatedServiceSelector": selector(&plan.federated_selector),
    });
    for (key, list) in
        [("excludedAnnotations", &plan.excluded_annotations), ("excludedLabels", &plan.excluded_labels)]
    {
        if !list.is_empty() {
            spec[key] = json!(list);
        }
    }
    if let Some(gateway) = gateway {
        spec["gatewayAddress"] = json!(gateway.addresses);
        spec["gatewayPort"] = json!(gateway.port.to_string());
        spec["gatewayIdentity"] = json!(gateway.identity);
        spec["probeSpec"] = json!({
            "path": gateway.probe_path,
            "port": gateway.probe_port.to_string(),
            "period": gateway.probe_period,
        });
        spec["selector"] = plan.gateway.as_ref().map_or_else(|| json!({}), |plan| selector(&plan.selector));
    }
    let created_by = concat!("causeway/cli ", env!("CARGO_PKG_VERSION"));
    json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3",
        "kind": "Link",
        "metadata": {
            "name": plan.cluster,
            "namespace": plan.mirror_namespace,
            "annotations": { "linkerd.io/created-by": created_by },
        },
        "spec": spec,
    })
}

/// As Kubernetes writes what was given as text: one value of a label is a label, the rest are expressions.
fn selector(selector: &Selector) -> Value {
    let mut labels: BTreeMap<&str, &str> =
        selector.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut expressions = Vec::new();
    for expression in &selector.expressions {
        let key = expression.key.as_str();
        match &expression.operator {
            Operator::In(values) if values.len() == 1 && !labels.contains_key(key) => {
                labels.insert(key, &values[0]);
            }
            Operator::In(values) => {
                expressions.push(json!({ "key": key, "operator": "In", "values": values }));
            }
            Operator::NotIn(values) => {
                expressions.push(json!({ "key": key, "operator": "NotIn", "values": values }));
            }
            Operator::Exists => expressions.push(json!({ "key": key, "operator": "Exists" })),
            Operator::DoesNotExist => expressions.push(json!({ "key": key, "operator": "DoesNotExist" })),
        }
    }
    let mut made = json!({});
    if !labels.is_empty() {
        made["matchLabels"] = json!(labels);
    }
    if !expressions.is_empty() {
        made["matchExpressions"] = json!(expressions);
    }
    made
}

/// What the gateway's Service says, and what was said instead (controlplane 6).
fn gateway_of(plan: &GatewayPlan, target: &Documents) -> Result<Gateway, Vec<String>> {
    let Some((meta, service)) = target.services.get(&plan.service) else {
        let expected = "expected the gateway's Service, or --gateway=false for a Link without one";
        return Err(vec![format!("there is no Service {} in the target: {expected}", plan.service)]);
    };
    let mut missing = Vec::new();
    let mut lacks = |what: String| missing.push(format!("{}: {what}", meta.name));
    let addresses = plan.addresses.clone().unwrap_or_else(|| service.ingress.join(","));
    if addresses.is_empty() {
        lacks("no address under `status.loadBalancer.ingress`: expected one, or --gateway-addresses".into());
    }
    let mut annotation = |key: &str| {
        let value = meta.annotations.get(key).cloned().unwrap_or_default();
        if value.is_empty() {
            lacks(format!("the annotation {key} is missing"));
        }
        value
    };
    let identity = annotation("mirror.linkerd.io/gateway-identity");
    let probe_path = annotation("mirror.linkerd.io/probe-path");
    let probe_period = seconds(annotation("mirror.linkerd.io/probe-period"));
    let mut port = |name: &str, given: Option<u16>| {
        let port = given.or_else(|| port(service, name));
        if port.is_none() {
            lacks(format!("there is no port named {name}"));
        }
        port.unwrap_or_default()
    };
    let (port, probe_port) = (port(GATEWAY_PORT, plan.port), port(PROBE_PORT, None));
    if !missing.is_empty() {
        return Err(missing);
    }
    Ok(Gateway { addresses, port, identity, probe_path, probe_port, probe_period })
}

/// On nodes, where the Service is one of nodes.
fn port(service: &Service, name: &str) -> Option<u16> {
    let own = service.ports.iter().find(|port| port.name == name).map(|port| port.port);
    if service.node_ports.is_empty() { own } else { service.node_ports.get(name).copied() }
}

/// The chart writes `3` where a Link wants `3s`.
fn seconds(period: String) -> String {
    if period.parse::<u32>().is_ok() { format!("{period}s") } else { period }
}

#[cfg(test)]
mod tests;

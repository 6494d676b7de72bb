//! Pods and what makes them, as far as names, ports, probes and environments matter.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::labelled::Labels;
use super::reader::Reader;
use super::selector::{self, Selector};
use super::yaml::{Node, Value};
use super::{Place, document, names};

/// Replicas of one template: a Deployment, ReplicaSet, Job (its parallelism) or DaemonSet (a replica for
/// each node).
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    pub replicas: u32,
    /// Of a Job without one: what its pods' labels say of it.
    pub selector: Selector,
    pub template: PodTemplate,
    /// Follows from the content of the template alone.
    pub template_hash: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PodTemplate {
    pub labels: Arc<Labels>,
    pub annotations: Arc<Labels>,
    pub spec: PodSpec,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PodSpec {
    pub service_account: String,
    pub node_name: Option<String>,
    /// With a `subdomain`, the pod's name under the headless Service of that name.
    pub hostname: Option<String>,
    pub subdomain: Option<String>,
    pub host_network: bool,
    /// Labels of the nodes that it may run on.
    pub node_selector: Labels,
    pub init_containers: Arc<Vec<Container>>,
    pub containers: Arc<Vec<Container>>,
}

/// What the kubelet wrote; absent in manifests written by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodStatus {
    pub phase: Option<String>,
    /// One, or one of each family, the cluster's own first.
    pub ips: Vec<IpAddr>,
    pub host_ips: Arc<[IpAddr]>,
    /// The condition `Ready`, if given.
    pub ready: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<EnvVar>,
    pub ports: Vec<ContainerPort>,
    pub liveness: Option<Probe>,
    pub readiness: Option<Probe>,
    pub startup: Option<Probe>,
}

impl Container {
    /// The number of a port named by this container.
    pub fn named_port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.ports.iter().find(|p| p.name == name && p.protocol == protocol).map(|p| p.port)
    }

    /// The probes there are, liveness first.
    pub fn probes(&self) -> impl Iterator<Item = &Probe> {
        [&self.liveness, &self.readiness, &self.startup].into_iter().flatten()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    pub name: String,
    pub value: EnvValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// May refer to earlier variables as `$(NAME)`.
    Literal(String),
    /// A path of the downward API, such as `status.podIP`.
    Field(String),
    /// From a ConfigMap, Secret or resource: not known here.
    Elsewhere,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Empty where the port has no name.
    pub name: String,
    pub port: u16,
    pub protocol: String,
    /// Where the node takes it too.
    pub host_port: Option<u16>,
}

/// A port by number or by the name that a container gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRef {
    Number(u16),
    Name(String),
}

/// A kubelet probe. Policy looks at `httpGet` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub action: ProbeAction,
    pub initial_delay: Duration,
    pub period: Duration,
    pub timeout: Duration,
    pub failure_threshold: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAction {
    HttpGet {
        path: String,
        port: PortRef,
        https: bool,
    },
    TcpSocket(PortRef),
    /// Exec and gRPC probes.
    Other,
}

pub(super) fn read_deployment(reader: &mut Reader, node: &Node) -> Option<Deployment> {
    let spec = reader.required_mapping(node, "spec")?;
    let replicas = reader.number(spec, "replicas", 0..=10_000).unwrap_or(1) as u32;
    let selector = reader.required_mapping(spec, "selector");
    let selector = selector.map(|node| (node, selector::read(reader, node)));
    let template_node = reader.required_mapping(spec, "template")?;
    let template = read_template(reader, template_node)?;
    let (selector_node, selector) = selector?;
    if selector.is_empty() {
        reader.problem(selector_node, "the selector has no terms", "at least one label of the template");
    } else if !selector.matches(&template.labels) {
        let labels = template.labels.iter().map(|(key, value)| format!("{key}: {value}"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let message = "the selector does not match the labels of the template".to_owned();
        reader.problem(selector_node, message, format!("labels that the template has ({{{labels}}})"));
    }
    let template_hash = hash_of(template_node);
    Some(Deployment { replicas, selector, template, template_hash })
}

/// A Job's pods run until they have done their work: none of one that is done, or that waits.
pub(super) fn read_job(reader: &mut Reader, node: &Node) -> Option<Deployment> {
    let spec = reader.required_mapping(node, "spec")?;
    let parallel = reader.number(spec, "parallelism", 0..=10_000).unwrap_or(1) as u32;
    let suspended = reader.flag(spec, "suspend").unwrap_or(false);
    let done = ["Complete", "Failed"].iter().any(|kind| reader.condition(node, kind) == Some(true));
    let template_node = reader.required_mapping(spec, "template")?;
    let template = read_template(reader, template_node)?;
    let selector = reader.mapping(spec, "selector").map(|node| selector::read(reader, node));
    let template_hash = hash_of(template_node);
    let replicas = if suspended || done { 0 } else { parallel };
    Some(Deployment { replicas, selector: selector.unwrap_or_default(), template, template_hash })
}

/// What its Jobs will be. None is made here.
pub(super) fn read_cron_job(reader: &mut Reader, node: &Node) -> Option<Deployment> {
    reader.note(node, "no Jobs are made of a CronJob here");
    let spec = reader.required_mapping(node, "spec")?;
    let job = reader.required_mapping(spec, "jobTemplate")?;
    read_job(reader, job)
}

fn hash_of(template: &Node) -> String {
    crate::control::hash::digits(crate::control::hash::fnv32(&template.canonical()))
}

fn read_template(reader: &mut Reader, node: &Node) -> Option<PodTemplate> {
    let meta = reader.mapping(node, "metadata");
    let (labels, annotations) = match meta {
        Some(meta) => (document::read_labels(reader, meta, "labels"), reader.text_map(meta, "annotations")),
        None => Default::default(),
    };
    let spec = reader.required_mapping(node, "spec")?;
    let (labels, annotations) = (Arc::new(labels), Arc::new(annotations));
    Some(PodTemplate { labels, annotations, spec: read_spec(reader, spec) })
}

pub(super) fn read_pod(reader: &mut Reader, node: &Node) -> Option<Pod> {
    let spec = reader.required_mapping(node, "spec")?;
    let spec = read_spec(reader, spec);
    let ready = reader.condition(node, "Ready");
    let status = match reader.mapping(node, "status") {
        Some(status) => PodStatus {
            phase: reader.text(status, "phase"),
            ips: read_ips(reader, status, "podIP"),
            host_ips: read_ips(reader, status, "hostIP").into(),
            ready,
        },
        None => PodStatus::default(),
    };
    Some(Pod { spec, status })
}

/// The list, `podIPs`, or else the one address.
fn read_ips(reader: &mut Reader, status: &Node, key: &str) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for entry in reader.mappings(status, &format!("{key}s")) {
        ips.extend(reader.address(entry, "ip"));
    }
    if ips.is_empty() {
        ips.extend(reader.address(status, key));
    }
    ips
}

fn read_spec(reader: &mut Reader, spec: &Node) -> PodSpec {
    let service_account =
        reader.text(spec, "serviceAccountName").or_else(|| reader.text(spec, "serviceAccount"));
    let service_account = service_account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".into());
    let containers = read_containers(reader, spec, "containers");
    let is_empty = |node: &Node| matches!(&node.value, Value::List(items) if items.is_empty());
    if spec.get("containers").is_none_or(is_empty) {
        reader.problem(spec, "the pod has no containers", "a list `containers` with at least one entry");
    }
    PodSpec {
        service_account,
        node_name: reader.text(spec, "nodeName"),
        hostname: read_host_label(reader, spec, "hostname"),
        subdomain: read_host_label(reader, spec, "subdomain"),
        host_network: reader.flag(spec, "hostNetwork").unwrap_or(false),
        node_selector: reader.text_map(spec, "nodeSelector"),
        init_containers: Arc::new(read_containers(reader, spec, "initContainers")),
        containers: Arc::new(containers),
    }
}

fn read_host_label(reader: &mut Reader, spec: &Node, key: &str) -> Option<String> {
    let name = reader.text(spec, key).filter(|name| !name.is_empty())?;
    if !names::is_label(&name) {
        reader.problem(spec.get(key).unwrap_or(spec), format!("{name:?} is no host name"), names::LABEL_FORM);
        return None;
    }
    Some(name)
}

fn read_containers(reader: &mut Reader, spec: &Node, key: &str) -> Vec<Container> {
    let nodes = reader.mappings(spec, key);
    nodes.into_iter().filter_map(|node| read_container(reader, node)).collect()
}

fn read_container(reader: &mut Reader, node: &Node) -> Option<Container> {
    let name = reader.required_text(node, "name");
    if let Some(name) = name.as_ref().filter(|name| !names::is_label(name)) {
        let at = node.get("name").unwrap_or(node);
        reader.problem(at, format!("{name:?} is no name for a container"), names::LABEL_FORM);
    }
    let read = Container {
        name: name.clone().unwrap_or_default(),
        image: reader.text(node, "image").unwrap_or_default(),
        command: reader.texts(node, "command"),
        args: reader.texts(node, "args"),
        env: read_env(reader, node),
        ports: read_named_ports(reader, node, "containerPort"),
        liveness: read_probe(reader, node, "livenessProbe"),
        readiness: read_probe(reader, node, "readinessProbe"),
        startup: read_probe(reader, node, "startupProbe"),
    };
    name.is_some().then_some(read)
}

fn read_env(reader: &mut Reader, container: &Node) -> Vec<EnvVar> {
    let mut env = Vec::new();
    for node in reader.mappings(container, "env") {
        let Some(name) = reader.required_text(node, "name") else { continue };
        let value = match node.get("valueFrom") {
            None => EnvValue::Literal(reader.secret_text(node, "value").unwrap_or_default()),
            Some(from) => match from.get("fieldRef").and_then(|field| reader.text(field, "fieldPath")) {
                Some(path) => EnvValue::Field(path),
                None => EnvValue::Elsewhere,
            },
        };
        env.push(EnvVar { name, value });
    }
    env
}

/// The `ports` of a container, or of a workload that is none; `number` is the field of the port itself.
pub(super) fn read_named_ports(reader: &mut Reader, parent: &Node, number: &str) -> Vec<ContainerPort> {
    let mut ports = Vec::new();
    for node in reader.mappings(parent, "ports") {
        reader.required(node, number);
        let Some(port) = reader.port(node, number) else { continue };
        let name = reader.text(node, "name").unwrap_or_default();
        check_port_name(reader, node, &name);
        let host_port = reader.number(node, "hostPort", 0..=65535).map(|port| port as u16);
        let host_port = host_port.filter(|port| *port > 0);
        ports.push(ContainerPort { name, port, protocol: read_protocol(reader, node), host_port });
    }
    ports
}

pub(super) fn check_port_name(reader: &mut Reader, node: &Node, name: &str) {
    if !name.is_empty() && !names::is_port_name(name) {
        let expected = "at most 15 lower-case letters, digits and '-', with at least one letter";
        reader.problem(node.get("name").unwrap_or(node), format!("{name:?} is no name for a port"), expected);
    }
}

pub(super) fn read_protocol(reader: &mut Reader, node: &Node) -> String {
    let protocol = reader.text(node, "protocol").unwrap_or_else(|| "TCP".into());
    if !["TCP", "UDP", "SCTP"].contains(&protocol.as_str()) {
        let at = node.get("protocol").unwrap_or(node);
        reader.problem(at, format!("{protocol:?} is no protocol"), "TCP, UDP or SCTP");
    }
    protocol
}

/// A number from 1 to 65535 or the name of a port.
pub(super) fn read_port_ref(reader: &mut Reader, parent: &Node, key: &str) -> Option<PortRef> {
    let node = parent.get(key)?;
    match &node.value {
        Value::Text(name) if names::is_port_name(name) => Some(PortRef::Name(name.clone())),
        Value::Text(name) => {
            reader.problem(
                node,
                format!("`{key}` is {name:?}"),
                "a port number, or the name of a container's port",
            );
            None
        }
        _ => reader.port(parent, key).map(PortRef::Number),
    }
}

fn read_probe(reader: &mut Reader, container: &Node, key: &str) -> Option<Probe> {
    let node = reader.mapping(container, key)?;
    let action = if let Some(http) = reader.mapping(node, "httpGet") {
        reader.required(http, "port");
        let path = reader.text(http, "path").filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
        let https = reader.text(http, "scheme").is_some_and(|scheme| scheme == "HTTPS");
        ProbeAction::HttpGet { path, port: read_port_ref(reader, http, "port")?, https }
    } else if let Some(tcp) = reader.mapping(node, "tcpSocket") {
        reader.required(tcp, "port");
        ProbeAction::TcpSocket(read_port_ref(reader, tcp, "port")?)
    } else {
        ProbeAction::Other
    };
    let mut seconds = |key: &str, default: i128| {
        Duration::from_secs(reader.number(node, key, 0..=86_400).unwrap_or(default).unsigned_abs() as u64)
    };
    Some(Probe {
        action,
        initial_delay: seconds("initialDelaySeconds", 0),
        period: seconds("periodSeconds", 10),
        timeout: seconds("timeoutSeconds", 1),
        failure_threshold: reader.number(node, "failureThreshold", 0..=10_000).unwrap_or(3) as u32,
    })
}

/// A value with its own place, where other documents may prove it wrong later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub at: Place,
}

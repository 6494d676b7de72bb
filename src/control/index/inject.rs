//! What the proxy injector would make of a pod (controlplane 5.1-5.5).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::env::proxy_env;
use super::{
    Container, ContainerPort, Definition, ObjectName, PROXY_CONTAINER, PortRef, PortSet, Probe, ProbeAction,
    ServicePort, Settings, Template, seconds,
};
use crate::control::manifest::Documents;
use crate::control::manifest::labelled::Labels;

/// Label that marks a meshed pod, with the namespace of its control plane.
pub const CONTROL_PLANE_NS: &str = "linkerd.io/control-plane-ns";
pub const INJECT: &str = "linkerd.io/inject";
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
pub const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
pub const SKIP_OUTBOUND_PORTS: &str = "config.linkerd.io/skip-outbound-ports";
pub const DEFAULT_INBOUND_POLICY: &str = "config.linkerd.io/default-inbound-policy";
pub const REQUIRE_IDENTITY_PORTS: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";
pub const ENABLE_GATEWAY: &str = "config.linkerd.io/enable-gateway";
const CPU_RATIO_LIMIT: &str = "config.linkerd.io/proxy-cpu-ratio-limit";

pub const INBOUND_PORT: u16 = 4143;
pub const OUTBOUND_PORT: u16 = 4140;
pub const CONTROL_PORT: u16 = 4190;
pub const ADMIN_PORT: u16 = 4191;

/// The webhook of one cluster.
pub(super) struct Injector<'a> {
    settings: &'a Settings,
    /// What it writes on every pod that it injects.
    written: [(&'static str, String); 3],
    opaque_ports: String,
    /// What templates that ask for the same have in common.
    added: RefCell<HashMap<Asked, Added>>,
}

/// All that the added containers depend on, but for the settings.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) annotations: Arc<Labels>,
    pub(super) inbound_ports: String,
    pub(super) opaque_ports: String,
}

#[derive(Clone)]
struct Added {
    containers: Arc<Vec<Container>>,
    annotations: Arc<Labels>,
}

impl<'a> Injector<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        let version = concat!("causeway-", env!("CARGO_PKG_VERSION"));
        let written = [
            ("linkerd.io/created-by", format!("linkerd/proxy-injector {version}")),
            ("linkerd.io/proxy-version", version.to_owned()),
            ("linkerd.io/trust-root-sha256", sha256_hex(&settings.trust_anchors_pem)),
        ];
        let opaque_ports = settings.default_opaque_ports.to_string();
        Self { settings, written, opaque_ports, added: RefCell::default() }
    }

    /// The namespace's settings come down to every pod, and those to be injected get the proxy.
    pub(super) fn admit(&self, pods: &mut Template, namespace: &str, annotations: &Labels) {
        let inject = should_inject(pods, namespace, annotations);
        let inherited = annotations.iter().filter(|(key, _)| {
            inject
                && key.starts_with("config.")
                && key.contains("linkerd.io/")
                && *key != ENABLE_GATEWAY
                && *key != CPU_RATIO_LIMIT
        });
        for (key, value) in inherited {
            Arc::make_mut(&mut pods.annotations).insert_missing(key, value);
        }
        if !inject {
            add_opaque_ports(pods, annotations.get(OPAQUE_PORTS), self.settings);
            return;
        }
        let added = self.added(pods);
        if pods.init_containers.is_empty() {
            pods.init_containers = added.containers;
        } else {
            Arc::make_mut(&mut pods.init_containers).splice(0..0, added.containers.iter().cloned());
        }
        pods.annotations = added.annotations;
        let (kind, name) = pods.owner.clone();
        let labels = Arc::make_mut(&mut pods.labels);
        if kind != "pod" {
            labels.insert(format!("linkerd.io/proxy-{kind}"), name);
        }
        labels.insert(CONTROL_PLANE_NS.into(), self.settings.control_namespace.clone());
        labels.insert("linkerd.io/workload-ns".into(), namespace.to_owned());
        add_opaque_ports(pods, None, self.settings);
    }

    fn added(&self, pods: &Template) -> Added {
        let asked = Asked {
            annotations: pods.annotations.clone(),
            inbound_ports: inbound_ports(pods),
            opaque_ports: opaque_ports(pods).unwrap_or_else(|| self.opaque_ports.clone()),
        };
        if let Some(added) = self.added.borrow().get(&asked) {
            return added.clone();
        }
        let mut annotations = asked.annotations.clone();
        let written = self.written.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Arc::make_mut(&mut annotations).extend(written);
        let containers = vec![init_container(&asked.annotations), proxy_container(&asked, self.settings)];
        let added = Added { containers: Arc::new(containers), annotations };
        self.added.borrow_mut().insert(asked, added.clone());
        added
    }
}

/// Without an annotation of its own a Service gets the namespace's opaque ports, else those of its ports that
/// lead to default ones (controlplane 5.1).
pub(in crate::control) fn admit_service(
    service: &mut Arc<Definition>,
    name: &ObjectName,
    documents: &Documents,
    settings: &Settings,
) {
    let Some(value) = opaque_ports_of_service(name, &service.ports, documents, settings) else { return };
    // Asked last: what a mirror carries is put together for that.
    if !service.annotations().contains_key(OPAQUE_PORTS) {
        Arc::make_mut(service).metadata.annotate(OPAQUE_PORTS, value);
    }
}

/// What a Service with these ports gets, if it says nothing of its own.
pub(in crate::control) fn opaque_ports_of_service(
    name: &ObjectName,
    ports: &[ServicePort],
    documents: &Documents,
    settings: &Settings,
) -> Option<String> {
    if is_reserved(&name.namespace) {
        return None;
    }
    let leads = |port: &&ServicePort| match port.target {
        PortRef::Number(number) => settings.default_opaque_ports.contains(number),
        PortRef::Name(_) => false,
    };
    let opaque: Vec<_> = ports.iter().filter(leads).map(|port| port.port.to_string()).collect();
    let namespace = documents.namespaces.get(&*name.namespace);
    let inherited = namespace.and_then(|meta| meta.annotations.get(OPAQUE_PORTS)).cloned();
    inherited.or_else(|| (!opaque.is_empty()).then(|| opaque.join(",")))
}

/// Namespaces that the webhook leaves alone.
fn is_reserved(namespace: &str) -> bool {
    ["kube-system", "cert-manager"].contains(&namespace)
}

/// The table of controlplane 5.1, and what is left out of it.
fn should_inject(pods: &Template, namespace: &str, annotations: &Labels) -> bool {
    let on = |value: &str| matches!(value, "enabled" | "ingress");
    let known = |value: &str| on(value) || value == "disabled";
    let from_namespace = annotations.get(INJECT).map(String::as_str);
    let from_pod = pods.annotations.get(INJECT).map(String::as_str);
    if from_namespace.is_some_and(|v| !known(v)) || from_pod.is_some_and(|v| !known(v)) {
        return false;
    }
    let wanted = from_pod.or(from_namespace).is_some_and(on);
    let component = pods.labels.contains_key("linkerd.io/control-plane-component")
        || pods.labels.contains_key("linkerd.io/cni-resource");
    let reserved = is_reserved(namespace);
    let names = pods.init_containers.iter().chain(pods.containers.iter()).map(|c| c.name.as_str());
    let sidecar = names
        .into_iter()
        .any(|name| [PROXY_CONTAINER, "istio-proxy", "linkerd-init", "istio-init"].contains(&name));
    wanted && !component && !reserved && !sidecar && !pods.host_network
}

/// Without an annotation of its own: the namespace's, else those default ports that it declares.
fn add_opaque_ports(pods: &mut Template, namespace: Option<&String>, settings: &Settings) {
    if pods.annotations.contains_key(OPAQUE_PORTS) {
        return;
    }
    let declared = pods.applications().flat_map(|container| &container.ports).map(|port| port.port);
    let opaque: Vec<u16> = declared.filter(|port| settings.default_opaque_ports.contains(*port)).collect();
    let value = namespace.cloned().or_else(|| (!opaque.is_empty()).then(|| PortSet::of(&opaque).to_string()));
    if let Some(value) = value {
        Arc::make_mut(&mut pods.annotations).insert(OPAQUE_PORTS.into(), value);
    }
}

fn proxy_container(asked: &Asked, settings: &Settings) -> Container {
    let port =
        |name: &str, port| ContainerPort { name: name.into(), port, protocol: "TCP".into(), host_port: None };
    let probe = |path: &str, delay, period, failures| Probe {
        action: ProbeAction::HttpGet { path: path.into(), port: PortRef::Number(ADMIN_PORT), https: false },
        initial_delay: seconds(delay),
        period: seconds(period),
        timeout: seconds(1),
        failure_threshold: failures,
    };
    Container {
        name: PROXY_CONTAINER.into(),
        image: format!("causeway:{}", env!("CARGO_PKG_VERSION")),
        command: Vec::new(),
        args: Vec::new(),
        env: proxy_env(asked, settings),
        ports: vec![port("linkerd-proxy", INBOUND_PORT), port("linkerd-admin", ADMIN_PORT)],
        liveness: Some(probe("/live", 10, 10, 3)),
        readiness: Some(probe("/ready", 2, 10, 3)),
        startup: Some(probe("/ready", 0, 1, 120)),
    }
}

/// The container that redirects (controlplane 5.5).
fn init_container(annotations: &Labels) -> Container {
    let ports = |key: &str| annotations.get(key).map_or("4567,4568", String::as_str);
    let mut args: Vec<String> = [
        "--firewall-bin-path",
        "iptables-nft",
        "--firewall-save-bin-path",
        "iptables-nft-save",
        "--ipv6=false",
    ]
    .map(String::from)
    .to_vec();
    let pairs = [
        ("--incoming-proxy-port", INBOUND_PORT.to_string()),
        ("--outgoing-proxy-port", OUTBOUND_PORT.to_string()),
        ("--proxy-uid", "2102".into()),
        ("--inbound-ports-to-ignore", format!("{CONTROL_PORT},{ADMIN_PORT},{}", ports(SKIP_INBOUND_PORTS))),
        ("--outbound-ports-to-ignore", ports(SKIP_OUTBOUND_PORTS).to_owned()),
    ];
    args.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    if let Some(subnets) = annotations.get("config.linkerd.io/skip-subnets") {
        args.extend(["--subnets-to-ignore".to_owned(), subnets.clone()]);
    }
    Container {
        name: "linkerd-init".into(),
        image: format!("causeway:{}", env!("CARGO_PKG_VERSION")),
        command: vec!["/usr/lib/linkerd/linkerd2-proxy-init".into()],
        args,
        ..Container::default()
    }
}

/// Ports the proxy is told of at its start: declared ones and numeric HTTP probe ports of liveness
/// and readiness, sorted as texts (controlplane 5.4).
fn inbound_ports(pods: &Template) -> String {
    let mut ports: BTreeSet<String> = BTreeSet::new();
    for container in pods.containers.iter() {
        ports.extend(container.ports.iter().map(|port| port.port.to_string()));
        for probe in [&container.liveness, &container.readiness].into_iter().flatten() {
            if let ProbeAction::HttpGet { port: PortRef::Number(port), .. } = probe.action {
                ports.insert(port.to_string());
            }
        }
    }
    ports.into_iter().collect::<Vec<_>>().join(",")
}

/// Ports of which the proxy does not ask what is spoken there, where the template names them.
fn opaque_ports(pods: &Template) -> Option<String> {
    let text = pods.annotations.get(OPAQUE_PORTS)?;
    Some(PortSet::parse_lenient(text, |name| pods.named_port(name)).to_string())
}

/// The provider's own hash, so that no further library is needed for one annotation.
fn sha256_hex(text: &str) -> String {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() else { return String::new() };
    let hash = suite.common.hash_provider.hash(text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}

//! Services and pods as everything else sees them: after admission, addresses given.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use crate::control::hash;
use crate::control::manifest::labelled::Labels;
use crate::control::mirror::Metadata;

use super::{Container, Family, ObjectName, PortRef, PortSet, ServicePort, Settings, env, inject};

/// A Service, its own or a mirror. What it has of its definition is read as if it were its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: ObjectName,
    /// `None` for headless and ExternalName Services.
    pub cluster_ip: Option<IpAddr>,
    /// A second one, of the other family.
    pub other_ip: Option<IpAddr>,
    /// It has no address by its manifest and is to be given one.
    pub(super) wants_ip: bool,
    pub definition: Arc<Definition>,
}

/// What a manifest, or the mirror, says of a Service, after admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub metadata: Metadata,
    /// Families of its endpoints; empty for that of the pods' first addresses.
    pub families: Vec<Family>,
    /// `clusterIP: None`.
    pub headless: bool,
    pub ports: Arc<Vec<ServicePort>>,
    pub external_name: Option<String>,
    /// Empty: endpoints come from EndpointSlices, from Endpoints or from another cluster.
    pub selector: Arc<Labels>,
    /// `internalTrafficPolicy: Local`.
    pub local_traffic_only: bool,
    /// Pods that are not ready count as if they were.
    pub publish_not_ready: bool,
    /// Each endpoint is for clients of its own zone.
    pub same_zone: bool,
    /// Written by the mirror, not by a manifest.
    pub mirrored: bool,
}

impl Definition {
    pub fn labels(&self) -> &Arc<Labels> {
        self.metadata.labels()
    }

    pub fn annotations(&self) -> &Arc<Labels> {
        self.metadata.annotations()
    }
}

impl Deref for Service {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

impl Service {
    /// With the addresses that its manifest gives it.
    pub(in crate::control) fn new(
        name: ObjectName,
        [cluster_ip, other_ip]: [Option<IpAddr>; 2],
        definition: Arc<Definition>,
    ) -> Self {
        let wants_ip = cluster_ip.is_none() && !definition.headless && definition.external_name.is_none();
        Self { name, cluster_ip, other_ip, wants_ip, definition }
    }

    /// Whether it has a selector, and that takes these labels.
    pub(super) fn selects(&self, labels: &Labels) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The port of that number: the first one, whatever protocol it is for (controlplane 2.4). Linkerd asks for none.
    pub fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.port == number)
    }

    /// The Service's own opaque ports: its annotation (port names count), else the defaults.
    pub(super) fn opaque_ports(&self, settings: &Settings) -> PortSet {
        let named = |name: &str| self.ports.iter().find(|port| port.name == name).map(|port| port.port);
        match self.annotations().get(inject::OPAQUE_PORTS) {
            Some(text) => PortSet::parse_lenient(text, named),
            None => settings.default_opaque_ports.clone(),
        }
    }
}

/// A pod as it would run: derived from a Deployment or given, injected where it should be. What it has of its
/// template is read as if it were its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: ObjectName,
    /// `None` until one is given out.
    pub ip: Option<IpAddr>,
    /// That is what a manifest says, or its node's: no other is given out.
    pub(super) given_ip: bool,
    pub(super) printed: Option<Arc<Printed>>,
    pub host: Arc<Host>,
    pub ready: bool,
    pub phase: Phase,
    /// It is being deleted.
    pub terminating: bool,
    pub template: Arc<Template>,
}

/// What only an API server says of a pod. Few have it, and all of a cluster's pods are gone through often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Printed {
    /// `None`: it follows from the name.
    pub(super) uid: Option<String>,
    /// A second address, of the other family.
    pub(super) other_ip: Option<IpAddr>,
}

/// Where pods run: a node, as it is known or as a pod's status describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Empty while no node has taken a pod.
    pub name: Arc<str>,
    pub ips: Arc<[IpAddr]>,
}

/// What all pods of a workload have in common, after admission; those of a StatefulSet have each its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub labels: Arc<Labels>,
    pub annotations: Arc<Labels>,
    pub service_account: String,
    /// Lower-case kind and name, through ReplicaSets: `("deployment", "bb")`; a lone pod is its own.
    pub owner: (String, String),
    pub subdomain: Option<String>,
    /// The pod's name under the headless Service `subdomain`.
    pub hostname: Option<Arc<str>>,
    pub host_network: bool,
    pub init_containers: Arc<Vec<Container>>,
    pub containers: Arc<Vec<Container>>,
}

impl Deref for Pod {
    type Target = Template;

    fn deref(&self) -> &Template {
        &self.template
    }
}

/// How far a pod's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    /// Succeeded or failed.
    Finished,
}

/// Name by which every reader finds the proxy in a pod (controlplane 2.5).
pub const PROXY_CONTAINER: &str = "linkerd-proxy";

impl Pod {
    pub(super) fn is_same_but_for_template(&self, other: &Self) -> bool {
        let Self { name, ip, given_ip, printed, host, ready, phase, terminating, template: _ } = self;
        *name == other.name
            && (*ip, *given_ip) == (other.ip, other.given_ip)
            && (*ready, *phase, *terminating) == (other.ready, other.phase, other.terminating)
            && *host == other.host
            && *printed == other.printed
    }

    /// A second address, of the other family.
    pub fn other_ip(&self) -> Option<IpAddr> {
        self.printed.as_ref()?.other_ip
    }

    /// As an API server gave it; else in the form of a UUID, from the name alone.
    pub fn uid(&self) -> String {
        let given = self.printed.as_ref().and_then(|printed| printed.uid.clone());
        given.unwrap_or_else(|| hash::uid(&self.name.to_string()))
    }

    /// A container's environment with downward fields filled in and `$(…)` expanded, in order.
    pub fn env(&self, container: &Container) -> Vec<(String, String)> {
        env::resolved(self, container)
    }

    /// The proxy's whole environment as the injector renders it (controlplane 5.4); empty if not
    /// injected.
    pub fn proxy_env(&self) -> Vec<(String, String)> {
        self.proxy().map(|proxy| self.env(proxy)).unwrap_or_default()
    }
}

impl Template {
    /// Marked by the injector: its label names a control plane (controlplane 2.5).
    pub fn meshed(&self) -> bool {
        self.labels.get(inject::CONTROL_PLANE_NS).is_some_and(|namespace| !namespace.is_empty())
    }

    /// Application containers, without the proxy.
    pub fn applications(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.name != PROXY_CONTAINER)
    }

    /// The proxy's container, wherever the injector put it (controlplane 5.3).
    pub fn proxy(&self) -> Option<&Container> {
        self.all_containers().find(|container| container.name == PROXY_CONTAINER)
    }

    pub(super) fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers.iter().chain(self.containers.iter())
    }

    /// The number of a TCP port that some container names so.
    pub(in crate::control) fn named_port(&self, name: &str) -> Option<u16> {
        self.all_containers().find_map(|container| container.named_port(name, "TCP"))
    }

    /// Where a Service's port leads to.
    pub(super) fn target(&self, port: &ServicePort) -> Option<u16> {
        match &port.target {
            PortRef::Number(number) => Some(*number),
            PortRef::Name(name) => {
                self.all_containers().find_map(|container| container.named_port(name, &port.protocol))
            }
        }
    }
}

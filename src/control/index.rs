//! Documents in, answers out: one cluster's whole desired state, immutable.
//!
//! [`Snapshot::build`] is a pure function, run again on every change; nothing is patched. The queries
//! speak in [`crate::model`]; which gRPC message or status an answer becomes is the server's business.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::model::endpoint::{Endpoint, Labels};
use crate::model::{OutboundPolicy, Profile, ResourceRef, ServerPolicy};

pub mod ports;
pub mod settings;

pub use ports::PortSet;
pub use settings::{DefaultPolicy, Settings};

pub use super::manifest::ObjectName;
pub use super::manifest::service::ServicePort;
pub use super::manifest::workload::{
    Container, ContainerPort, EnvValue, EnvVar, PortRef, Probe, ProbeAction,
};

/// The whole desired state of one cluster.
#[derive(Debug)]
pub struct Snapshot {
    settings: Settings,
    pods: BTreeMap<ObjectName, Pod>,
    services: BTreeMap<ObjectName, Service>,
}

/// Who asks the destination service (controlplane 2.2, `context_token`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub namespace: String,
    pub node_name: String,
    pub pod: String,
}

impl Context {
    /// Reads JSON `{"ns","nodeName","pod"}` or the old `ns:<namespace>`; anything else is empty.
    pub fn parse(token: &str) -> Self {
        let _ = token;
        unimplemented!()
    }
}

/// Whose policy is asked for (controlplane 3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub namespace: String,
    /// Empty when an external workload was named: none is known yet.
    pub pod: String,
}

impl Workload {
    /// Reads JSON `{"ns","pod"}` or the old `<ns>:<pod>`.
    pub fn parse(token: &str) -> Result<Self, LookupError> {
        let _ = token;
        unimplemented!()
    }
}

/// What outbound policy is asked about (controlplane 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    Addr(SocketAddr),
    /// As typed by the client; a trailing dot and a missing port are fine.
    Authority(&'a str),
}

/// Why a question has no answer; each variant is the gRPC code of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    FailedPrecondition(String),
    #[error("{0}")]
    Unknown(String),
}

/// The endpoints of one authority at one moment (controlplane 2.3-2.6). Streams send the difference
/// of two of these; an empty set is not sent at the start (controlplane 2.8).
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSet {
    /// Labels of the set: `service`, `namespace`. Not repeated in the endpoints' own labels.
    pub labels: Labels,
    /// By address; [`Endpoint::labels`] holds the address's own labels only.
    pub endpoints: BTreeMap<SocketAddr, Endpoint>,
}

/// What `GetProfile` answers (controlplane 2.9). The empty profile is an answer, not an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileAnswer {
    pub profile: Profile,
    /// The Service, with its port, when the profile is a Service's.
    pub parent: Option<ResourceRef>,
}

/// A Service, its own or a mirror.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: ObjectName,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// `None` for headless and ExternalName Services.
    pub cluster_ip: Option<IpAddr>,
    pub ports: Vec<ServicePort>,
    pub external_name: Option<String>,
    pub selector: BTreeMap<String, String>,
    /// Written by the mirror, not by a manifest.
    pub mirrored: bool,
}

/// A pod as it would run: derived from a Deployment or given, injected where it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: ObjectName,
    pub uid: String,
    /// `None` only for given pods that have none yet.
    pub ip: Option<IpAddr>,
    pub node_name: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub service_account: String,
    /// Lower-case kind and name, through ReplicaSets: `("deployment", "bb")`; a lone pod is its own.
    pub owner: (String, String),
    pub ready: bool,
    pub host_network: bool,
    /// Injected: the container `linkerd-proxy` is among the init containers or the containers.
    pub meshed: bool,
    pub init_containers: Vec<Container>,
    pub containers: Vec<Container>,
}

impl Pod {
    /// Application containers, without the proxy.
    pub fn applications(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.name != PROXY_CONTAINER)
    }

    /// The proxy's container, wherever the injector put it (controlplane 5.3).
    pub fn proxy(&self) -> Option<&Container> {
        self.init_containers.iter().chain(&self.containers).find(|c| c.name == PROXY_CONTAINER)
    }

    /// A container's environment with downward fields filled in and `$(…)` expanded, in order.
    pub fn env(&self, container: &Container) -> Vec<(String, String)> {
        let _ = container;
        unimplemented!()
    }

    /// The proxy's whole environment as the injector renders it (controlplane 5.4); empty if not
    /// injected.
    pub fn proxy_env(&self) -> Vec<(String, String)> {
        self.proxy().map(|proxy| self.env(proxy)).unwrap_or_default()
    }
}

/// Name by which every reader finds the proxy in a pod (controlplane 2.5).
pub const PROXY_CONTAINER: &str = "linkerd-proxy";

impl Snapshot {
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Answers `Destination.Get` for `path` (`host[:port]`, controlplane 2.2-2.6).
    pub fn destination(&self, path: &str, context: &Context) -> Result<EndpointSet, LookupError> {
        let _ = (path, context);
        unimplemented!()
    }

    /// Answers `GetProfile` for `path` (name or IP, `host[:port]`, controlplane 2.9).
    pub fn profile(&self, path: &str, context: &Context) -> Result<ProfileAnswer, LookupError> {
        let _ = (path, context);
        unimplemented!()
    }

    /// Answers `OutboundPolicies.Watch` (controlplane 3.8, 3.9): default routes only.
    pub fn outbound(
        &self,
        source_namespace: &str,
        target: Target<'_>,
    ) -> Result<OutboundPolicy, LookupError> {
        let _ = (source_namespace, target);
        unimplemented!()
    }

    /// Answers `WatchPort` (controlplane 3.4, 3.5); `None` for a workload that is not known or not
    /// meshed. The localhost authorization is the proxy's to append.
    pub fn server(&self, workload: &Workload, port: u16) -> Option<ServerPolicy> {
        let _ = (workload, port);
        unimplemented!()
    }

    /// Every pod, by namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.get(&ObjectName { namespace: namespace.into(), name: name.into() })
    }

    /// Every Service, mirrors included, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Addresses of a fully qualified name, with or without trailing dot, any case. Services: their
    /// cluster IP; headless ones: their ready pods; the control plane's own: its address.
    pub fn dns(&self, name: &str) -> Vec<IpAddr> {
        let _ = name;
        unimplemented!()
    }

    /// Whether a manifest (or the cluster by itself, for `default`) makes this service account.
    pub fn has_service_account(&self, namespace: &str, name: &str) -> bool {
        let _ = (namespace, name);
        unimplemented!()
    }
}

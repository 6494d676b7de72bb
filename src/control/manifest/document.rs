//! Which body belongs to which kind, and the reading of either with the head that every object has.

use std::sync::Arc;

use super::reader::Reader;
use super::route::{self, RouteKind};
use super::yaml::Node;
use super::{
    authorization, egress, external, fields, link, node, policy, profile, rate_limit, service, slice,
    stateful, workload,
};
use crate::model::service_profile::ServiceProfile;

mod meta;
mod name;

pub(super) use meta::read_labels;
pub use meta::{Meta, Owner};
pub use name::ObjectName;

/// What is read once is shared by all that is made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub meta: Arc<Meta>,
    pub body: Body,
}

/// An object's head and what its kind says.
pub type Object<T> = (Arc<Meta>, Arc<T>);

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Namespace,
    ServiceAccount,
    Node(Arc<node::Node>),
    Deployment(Arc<workload::Deployment>),
    ReplicaSet(Arc<workload::Deployment>),
    DaemonSet(Arc<workload::Deployment>),
    Job(Arc<workload::Deployment>),
    /// Its Jobs.
    CronJob(Arc<workload::Deployment>),
    StatefulSet(Arc<stateful::StatefulSet>),
    Pod(Arc<workload::Pod>),
    Service(Arc<service::Service>),
    EndpointSlice(Arc<slice::EndpointSlice>),
    /// As slices.
    Endpoints(Arc<Vec<slice::EndpointSlice>>),
    ExternalWorkload(Arc<external::ExternalWorkload>),
    ServiceProfile(Arc<ServiceProfile>),
    Secret(Arc<link::Secret>),
    Server(Arc<policy::Server>),
    AuthorizationPolicy(Arc<policy::AuthorizationPolicy>),
    MeshTlsAuthentication(Arc<policy::MeshTlsAuthentication>),
    NetworkAuthentication(Arc<policy::NetworkAuthentication>),
    ServerAuthorization(Arc<authorization::ServerAuthorization>),
    RateLimitPolicy(Arc<rate_limit::RateLimitPolicy>),
    EgressNetwork(Arc<egress::EgressNetwork>),
    Route(Arc<route::Route>),
    Link(Arc<link::Link>),
}

impl Body {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::ServiceAccount => "ServiceAccount",
            Self::Node(_) => "Node",
            Self::Deployment(_) => "Deployment",
            Self::ReplicaSet(_) => "ReplicaSet",
            Self::DaemonSet(_) => "DaemonSet",
            Self::Job(_) => "Job",
            Self::CronJob(_) => "CronJob",
            Self::StatefulSet(_) => "StatefulSet",
            Self::Pod(_) => "Pod",
            Self::Service(_) => "Service",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::Endpoints(_) => "Endpoints",
            Self::ExternalWorkload(_) => "ExternalWorkload",
            Self::ServiceProfile(_) => "ServiceProfile",
            Self::Secret(_) => "Secret",
            Self::Server(_) => "Server",
            Self::AuthorizationPolicy(_) => "AuthorizationPolicy",
            Self::MeshTlsAuthentication(_) => "MeshTLSAuthentication",
            Self::NetworkAuthentication(_) => "NetworkAuthentication",
            Self::ServerAuthorization(_) => "ServerAuthorization",
            Self::RateLimitPolicy(_) => "HTTPLocalRateLimitPolicy",
            Self::EgressNetwork(_) => "EgressNetwork",
            Self::Route(route) => route.kind.name(),
            Self::Link(_) => "Link",
        }
    }
}

/// Group, kind and the versions that are read (controlplane 1.1, 3.1).
const KINDS: [(&str, &str, &[&str]); 29] = [
    ("", "Namespace", &["v1"]),
    ("", "ServiceAccount", &["v1"]),
    ("", "Pod", &["v1"]),
    ("", "Service", &["v1"]),
    ("", "Secret", &["v1"]),
    ("", "Endpoints", &["v1"]),
    ("", "Node", &["v1"]),
    ("apps", "Deployment", &["v1"]),
    ("apps", "ReplicaSet", &["v1"]),
    ("apps", "DaemonSet", &["v1"]),
    ("apps", "StatefulSet", &["v1"]),
    ("batch", "Job", &["v1"]),
    ("batch", "CronJob", &["v1beta1", "v1"]),
    ("discovery.k8s.io", "EndpointSlice", &["v1", "v1beta1"]),
    ("policy.linkerd.io", "Server", &["v1alpha1", "v1beta1", "v1beta2", "v1beta3"]),
    ("policy.linkerd.io", "AuthorizationPolicy", &["v1alpha1"]),
    ("policy.linkerd.io", "MeshTLSAuthentication", &["v1alpha1"]),
    ("policy.linkerd.io", "NetworkAuthentication", &["v1alpha1"]),
    ("policy.linkerd.io", "ServerAuthorization", &["v1alpha1", "v1beta1"]),
    ("policy.linkerd.io", "HTTPLocalRateLimitPolicy", &["v1alpha1"]),
    ("policy.linkerd.io", "HTTPRoute", &["v1alpha1", "v1beta1", "v1beta2", "v1beta3"]),
    ("gateway.networking.k8s.io", "HTTPRoute", &["v1beta1", "v1"]),
    ("gateway.networking.k8s.io", "GRPCRoute", &["v1alpha2", "v1"]),
    ("gateway.networking.k8s.io", "TLSRoute", &["v1alpha2"]),
    ("gateway.networking.k8s.io", "TCPRoute", &["v1alpha2"]),
    ("policy.linkerd.io", "EgressNetwork", &["v1alpha1"]),
    ("workload.linkerd.io", "ExternalWorkload", &["v1alpha1", "v1beta1"]),
    ("linkerd.io", "ServiceProfile", &["v1alpha1", "v1alpha2"]),
    ("multicluster.linkerd.io", "Link", &["v1alpha1", "v1alpha2", "v1alpha3"]),
];

/// Reads one object. `None` with a note for an unknown kind, with problems where too little is left. A
/// document with problems still counts as existing: what refers to it is not wrong too.
pub(super) fn read(reader: &mut Reader, node: &Node, api_version: &str, kind: &str) -> Option<Document> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let Some((_, _, versions)) = KINDS.iter().find(|(g, k, _)| *g == group && *k == kind) else {
        unknown(reader, node, api_version, kind);
        return None;
    };
    if !versions.contains(&version) {
        let at = node.get("apiVersion").unwrap_or(node);
        let expected = versions.iter().map(|v| join_group(group, v)).collect::<Vec<_>>().join(", ");
        reader.problem(at, format!("{kind} has no version {api_version}"), expected);
        return None;
    }
    let meta = meta::read(reader, node, kind);
    let body = read_body(reader, node, (group, kind), version);
    fields::look(reader, node, (group, kind), version);
    Some(Document { meta: Arc::new(meta?), body: body? })
}

/// Says what is wrong with a kind that is not read, or that it is none of ours.
fn unknown(reader: &mut Reader, node: &Node, api_version: &str, kind: &str) {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    match mistaken(group, kind) {
        Some((group, meant, versions)) => {
            let at = node.get(if meant == kind { "apiVersion" } else { "kind" }).unwrap_or(node);
            let version = versions.last().copied().unwrap_or("v1");
            let expected = format!("kind {meant} of apiVersion {}", join_group(group, version));
            reader.problem(at, format!("there is no {kind:?} of {api_version}"), expected);
        }
        None if group.ends_with("linkerd.io") => {
            let of_group = KINDS.iter().filter(|(g, _, _)| *g == group).map(|(_, kind, _)| *kind);
            let expected = of_group.collect::<Vec<_>>().join(", ");
            reader.problem(node.get("kind").unwrap_or(node), format!("{group} has no {kind:?}"), expected);
        }
        None => reader.note(node, format!("{kind} of {api_version} is not used here")),
    }
}

/// The kind that was probably meant. Passing over a mistyped policy would let in whom it keeps out; a kind
/// of the same name in some other project's group is that project's own.
fn mistaken(group: &str, kind: &str) -> Option<(&'static str, &'static str, &'static [&'static str])> {
    let meant = KINDS.into_iter().find(|(_, known, _)| known.eq_ignore_ascii_case(kind))?;
    let ours = meant.0.ends_with("linkerd.io") || !group.contains('.');
    ours.then_some(meant)
}

fn join_group(group: &str, version: &str) -> String {
    if group.is_empty() { version.into() } else { format!("{group}/{version}") }
}

fn read_body(reader: &mut Reader, node: &Node, (group, kind): (&str, &str), version: &str) -> Option<Body> {
    Some(match kind {
        "Namespace" => Body::Namespace,
        "ServiceAccount" => Body::ServiceAccount,
        "Node" => Body::Node(Arc::new(node::read(reader, node))),
        "Deployment" => Body::Deployment(Arc::new(workload::read_deployment(reader, node)?)),
        "ReplicaSet" => Body::ReplicaSet(Arc::new(workload::read_deployment(reader, node)?)),
        "DaemonSet" => Body::DaemonSet(Arc::new(workload::read_deployment(reader, node)?)),
        "Job" => Body::Job(Arc::new(workload::read_job(reader, node)?)),
        "CronJob" => Body::CronJob(Arc::new(workload::read_cron_job(reader, node)?)),
        "StatefulSet" => Body::StatefulSet(Arc::new(stateful::read(reader, node)?)),
        "Pod" => Body::Pod(Arc::new(workload::read_pod(reader, node)?)),
        "Service" => Body::Service(Arc::new(service::read_service(reader, node)?)),
        "EndpointSlice" => Body::EndpointSlice(Arc::new(slice::read_slice(reader, node)?)),
        "Endpoints" => Body::Endpoints(Arc::new(slice::read_endpoints(reader, node))),
        "ExternalWorkload" => Body::ExternalWorkload(Arc::new(external::read(reader, node, version)?)),
        "ServiceProfile" => Body::ServiceProfile(Arc::new(profile::read(reader, node)?)),
        "Secret" => Body::Secret(Arc::new(link::read_secret(reader, node)?)),
        "Server" => Body::Server(Arc::new(policy::read_server(reader, node, version)?)),
        "AuthorizationPolicy" => {
            Body::AuthorizationPolicy(Arc::new(policy::read_authorization(reader, node)?))
        }
        "MeshTLSAuthentication" => {
            Body::MeshTlsAuthentication(Arc::new(policy::read_mesh_tls(reader, node)?))
        }
        "NetworkAuthentication" => {
            Body::NetworkAuthentication(Arc::new(policy::read_networks(reader, node)?))
        }
        "ServerAuthorization" => Body::ServerAuthorization(Arc::new(authorization::read(reader, node)?)),
        "HTTPLocalRateLimitPolicy" => Body::RateLimitPolicy(Arc::new(rate_limit::read(reader, node)?)),
        "EgressNetwork" => Body::EgressNetwork(Arc::new(egress::read(reader, node)?)),
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => {
            let kind = RouteKind::of(group, kind);
            Body::Route(Arc::new(route::read(reader, node, kind)?))
        }
        _ => Body::Link(Arc::new(link::read_link(reader, node, version)?)),
    })
}

//! Who may call whom: Server, AuthorizationPolicy and the authentications (controlplane 3.2, 3.7).

use ipnet::IpNet;

use crate::model::WorkloadId;
use crate::model::inbound::{IdentityMatch, NetworkMatch};

use super::reader::Reader;
use super::route::RouteKind;
use super::selector::{self, Selector};
use super::workload::{At, PortRef, read_port_ref};
use super::yaml::{Node, Value};

pub(super) const GROUP: &str = "policy.linkerd.io";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `None` when the Server is for external workloads: it selects no pod.
    pub pods: Option<Selector>,
    /// The other way round.
    pub external: Option<Selector>,
    pub port: PortRef,
    pub protocol: ServerKind,
    /// v1beta3 only; one of the six names of default policies.
    pub access_policy: Option<crate::control::index::DefaultPolicy>,
}

/// `proxyProtocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    Unknown,
    Http1,
    Http2,
    Grpc,
    Opaque,
    Tls,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizationPolicy {
    pub target: At<AuthorizationTarget>,
    pub authentications: Vec<At<AuthenticationRef>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationTarget {
    /// By name, in the policy's own namespace.
    Server(String),
    /// The policy's own namespace.
    Namespace,
    /// By kind and name, in the policy's own namespace.
    Route(RouteKind, String),
}

/// A required authentication; without namespace, the policy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationRef {
    pub kind: AuthenticationKind,
    pub name: String,
    pub namespace: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationKind {
    MeshTls,
    Network,
    ServiceAccount,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MeshTlsAuthentication {
    pub identities: Vec<IdentityMatch>,
    pub identity_refs: Vec<IdentityRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityRef {
    /// Name and, unless it is the authentication's own, namespace.
    ServiceAccount(String, Option<String>),
    Namespace(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct NetworkAuthentication {
    pub networks: Vec<NetworkMatch>,
}

pub(super) fn read_server(reader: &mut Reader, node: &Node, version: &str) -> Option<Server> {
    let spec = reader.required_mapping(node, "spec")?;
    let pods = reader.mapping(spec, "podSelector").map(|node| selector::read(reader, node));
    let external = reader.mapping(spec, "externalWorkloadSelector").map(|node| selector::read(reader, node));
    if pods.is_some() == external.is_some() {
        reader.problem(
            spec,
            "the Server selects pods and external workloads, or neither",
            "exactly one of `podSelector` and `externalWorkloadSelector`",
        );
    }
    reader.required(spec, "port");
    let port = read_port_ref(reader, spec, "port");
    let protocol = read_server_kind(reader, spec);
    let access_policy = if version == "v1beta3" { read_access_policy(reader, spec) } else { None };
    Some(Server { pods, external, port: port?, protocol: protocol?, access_policy })
}

fn read_server_kind(reader: &mut Reader, spec: &Node) -> Option<ServerKind> {
    Some(match reader.text(spec, "proxyProtocol").as_deref() {
        None | Some("unknown") => ServerKind::Unknown,
        Some("HTTP/1") => ServerKind::Http1,
        Some("HTTP/2") => ServerKind::Http2,
        Some("gRPC") => ServerKind::Grpc,
        Some("opaque") => ServerKind::Opaque,
        Some("TLS") => ServerKind::Tls,
        Some(other) => {
            let at = spec.get("proxyProtocol").unwrap_or(spec);
            let expected = "unknown, HTTP/1, HTTP/2, gRPC, opaque or TLS";
            reader.problem(at, format!("{other:?} is no proxyProtocol"), expected);
            return None;
        }
    })
}

fn read_access_policy(reader: &mut Reader, spec: &Node) -> Option<crate::control::index::DefaultPolicy> {
    use crate::control::index::DefaultPolicy;
    let text = reader.text(spec, "accessPolicy")?;
    let policy = DefaultPolicy::parse(&text);
    if policy.is_none() {
        let at = spec.get("accessPolicy").unwrap_or(spec);
        reader.problem(at, format!("{text:?} is no accessPolicy"), DefaultPolicy::NAMES.join(", "));
    }
    policy
}

pub(super) fn read_authorization(reader: &mut Reader, node: &Node) -> Option<AuthorizationPolicy> {
    let spec = reader.required_mapping(node, "spec")?;
    // What is wrong with it is told where the metadata are read.
    let namespace = node.get("metadata").and_then(|meta| Reader::new(reader.file()).text(meta, "namespace"));
    let namespace = namespace.unwrap_or_else(|| "default".into());
    let target = reader.required_mapping(spec, "targetRef");
    let target = target.and_then(|node| read_target(reader, node, &namespace));
    reader.required(spec, "requiredAuthenticationRefs");
    let mut authentications = Vec::new();
    for node in reader.mappings(spec, "requiredAuthenticationRefs") {
        authentications.extend(read_authentication_ref(reader, node));
    }
    check_combination(reader, spec, &authentications);
    Some(AuthorizationPolicy { target: target?, authentications })
}

fn read_target(reader: &mut Reader, node: &Node, namespace: &str) -> Option<At<AuthorizationTarget>> {
    let group = reader.text(node, "group").unwrap_or_default();
    let (kind, name) = (reader.required_text(node, "kind"), reader.required_text(node, "name"));
    let other_namespace = reader.text(node, "namespace").filter(|other| other != namespace);
    let (kind, name) = (kind?, name?);
    if let Some(other) = other_namespace {
        let at = node.get("namespace").unwrap_or(node);
        reader.problem(at, format!("the target lies in another namespace, {other:?}"), namespace);
    }
    let value = match (group.as_str(), kind.as_str()) {
        (GROUP, "Server") => AuthorizationTarget::Server(name),
        ("" | "core", "Namespace") if name == namespace => AuthorizationTarget::Namespace,
        ("" | "core", "Namespace") => {
            reader.problem(node, format!("the target is another namespace, {name:?}"), namespace);
            return None;
        }
        (GROUP | "gateway.networking.k8s.io", "HTTPRoute") | ("gateway.networking.k8s.io", "GRPCRoute") => {
            AuthorizationTarget::Route(RouteKind::of(&group, &kind), name)
        }
        _ => {
            let expected = "Server, HTTPRoute (policy.linkerd.io), HTTPRoute, GRPCRoute \
                            (gateway.networking.k8s.io) or the policy's own Namespace";
            reader.problem(node, format!("{kind} of group {group:?} is no target"), expected);
            return None;
        }
    };
    Some(At { value, at: reader.place(node) })
}

fn read_authentication_ref(reader: &mut Reader, node: &Node) -> Option<At<AuthenticationRef>> {
    let group = reader.text(node, "group").unwrap_or_default();
    let (kind, name) = (reader.required_text(node, "kind"), reader.required_text(node, "name"));
    let namespace = reader.text(node, "namespace").filter(|namespace| !namespace.is_empty());
    let (kind, name) = (kind?, name?);
    let kind = match (group.as_str(), kind.as_str()) {
        (GROUP, "MeshTLSAuthentication") => AuthenticationKind::MeshTls,
        (GROUP, "NetworkAuthentication") => AuthenticationKind::Network,
        ("" | "core", "ServiceAccount") => AuthenticationKind::ServiceAccount,
        _ => {
            let expected =
                "MeshTLSAuthentication or NetworkAuthentication (policy.linkerd.io), or ServiceAccount";
            reader.problem(node, format!("{kind} of group {group:?} is no authentication"), expected);
            return None;
        }
    };
    Some(At { value: AuthenticationRef { kind, name, namespace }, at: reader.place(node) })
}

/// At most one reference that names identities, and at most one that names networks.
fn check_combination(reader: &mut Reader, spec: &Node, refs: &[At<AuthenticationRef>]) {
    let count =
        |wanted: &[AuthenticationKind]| refs.iter().filter(|r| wanted.contains(&r.value.kind)).count();
    let at = spec.get("requiredAuthenticationRefs").unwrap_or(spec);
    if count(&[AuthenticationKind::MeshTls, AuthenticationKind::ServiceAccount]) > 1 {
        reader.problem(
            at,
            "more than one reference names identities",
            "at most one MeshTLSAuthentication or ServiceAccount",
        );
    }
    if count(&[AuthenticationKind::Network]) > 1 {
        reader.problem(at, "more than one reference names networks", "at most one NetworkAuthentication");
    }
}

pub(super) fn read_mesh_tls(reader: &mut Reader, node: &Node) -> Option<MeshTlsAuthentication> {
    let spec = reader.required_mapping(node, "spec")?;
    let has = |key: &str| spec.get(key).is_some();
    if has("identities") == has("identityRefs") {
        reader.problem(
            spec,
            "identities come from both fields or from none",
            "one of `identities` and `identityRefs`",
        );
    }
    let mut identities = Vec::new();
    for item in reader.list(spec, "identities") {
        identities.extend(read_identity(reader, item));
    }
    let mut identity_refs = Vec::new();
    for item in reader.mappings(spec, "identityRefs") {
        identity_refs.extend(read_identity_ref(reader, item));
    }
    Some(MeshTlsAuthentication { identities, identity_refs })
}

pub(super) fn read_identity(reader: &mut Reader, node: &Node) -> Option<IdentityMatch> {
    let Value::Text(text) = &node.value else {
        return reader.wrong(node, "identities", "text");
    };
    let parsed = match text.strip_prefix('*') {
        Some("") => Some(IdentityMatch::Suffix(Vec::new())),
        Some(rest) => rest
            .strip_prefix('.')
            .and_then(|rest| rest.parse::<WorkloadId>().ok())
            .filter(|id| matches!(id, WorkloadId::Dns(_)))
            .map(|id| IdentityMatch::Suffix(id.to_string().split('.').map(str::to_owned).collect())),
        None => text.parse().ok().map(IdentityMatch::Exact),
    };
    if parsed.is_none() {
        let expected = "a DNS-like name, `*`, `*.` and a suffix, or a spiffe:// URI";
        reader.problem(node, format!("{text:?} is no identity"), expected);
    }
    parsed
}

fn read_identity_ref(reader: &mut Reader, node: &Node) -> Option<IdentityRef> {
    let group = reader.text(node, "group").unwrap_or_default();
    let (kind, name) = (reader.required_text(node, "kind"), reader.required_text(node, "name"));
    let namespace = reader.text(node, "namespace").filter(|namespace| !namespace.is_empty());
    let (kind, name) = (kind?, name?);
    match (group.as_str(), kind.as_str()) {
        ("" | "core", "ServiceAccount") => Some(IdentityRef::ServiceAccount(name, namespace)),
        ("" | "core", "Namespace") if namespace.is_none() => Some(IdentityRef::Namespace(name)),
        ("" | "core", "Namespace") => {
            reader.problem(node, "a Namespace lies in no namespace", "no `namespace` here");
            None
        }
        _ => {
            reader.problem(
                node,
                format!("{kind} of group {group:?} has no identity"),
                "ServiceAccount or Namespace",
            );
            None
        }
    }
}

pub(super) fn read_networks(reader: &mut Reader, node: &Node) -> Option<NetworkAuthentication> {
    let spec = reader.required_mapping(node, "spec")?;
    let nodes = reader.mappings(spec, "networks");
    if nodes.is_empty() {
        reader.problem(spec, "there are no networks", "a list `networks` with at least one entry");
    }
    let mut networks = Vec::new();
    for node in nodes {
        networks.extend(read_network_match(reader, node));
    }
    Some(NetworkAuthentication { networks })
}

/// `cidr` and `except`.
pub(super) fn read_network_match(reader: &mut Reader, node: &Node) -> Option<NetworkMatch> {
    let text = reader.required_text(node, "cidr")?;
    let net = read_network(reader, node.get("cidr").unwrap_or(node), &text)?;
    let mut except = Vec::new();
    for text in reader.texts(node, "except") {
        let at = node.get("except").unwrap_or(node);
        let Some(inner) = read_network(reader, at, &text) else { continue };
        if !net.contains(&inner) || inner.contains(&net) {
            reader.problem(at, format!("{inner} covers or lies outside {net}"), "networks within the cidr");
        }
        except.push(inner);
    }
    Some(NetworkMatch { net, except })
}

/// A network, or a single address as a network of one.
fn read_network(reader: &mut Reader, at: &Node, text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    if net.is_none() {
        reader.problem(at, format!("{text:?} is no network"), "address/prefix, such as 10.0.0.0/8");
    }
    net
}

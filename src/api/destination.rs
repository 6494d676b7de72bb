//! `Destination`: endpoints and profiles (contract 3.2, 3.5).
//!
//! An address that came with a TLS identity is never returned without one. Where the identity
//! cannot be used, the address is left out, so that what should have been mTLS is not sent in
//! plaintext. This is stricter than the reference in one case, a URI identity without a server
//! name: the reference goes on in plaintext (contract 2.2), here the address is left out too.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use linkerd2_proxy_api::{destination as pb, meta, net};
use pb::http2_client_params as h2;
use pb::protocol_hint::{self, Protocol};
use pb::tls_identity::{DnsLikeIdentity, Strategy, UriLikeIdentity};

use super::{encode_duration, encode_resource};
use crate::model::endpoint::{EndpointTls, FlowControl, Http2Params, KeepAlive, Labels, ProtocolHint};
use crate::model::{Authority, Endpoint, EndpointUpdate, Profile, ResourceRef, WorkloadId};

mod profile;

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    #[error("the address is missing or has no valid IP and port")]
    Address,
    #[error("{addr} has a TLS identity that is not a DNS-like name or URI")]
    Identity { addr: SocketAddr },
    #[error("{addr} has a TLS identity without a usable server name")]
    ServerName { addr: SocketAddr },
    #[error("{addr} has an authority override that is not host:port")]
    AuthorityOverride { addr: SocketAddr },
    #[error("{addr} is a gateway without a TLS identity")]
    GatewayIdentity { addr: SocketAddr },
}

/// Why a profile cannot be used. It does not mean that there is no profile: the target must then
/// not be reached at its plain address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProfile {
    #[error("profile endpoint: {0}")]
    Endpoint(#[from] InvalidEndpoint),
    #[error("an override of the profile is no name with a port")]
    Override,
}

impl InvalidEndpoint {
    fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Address => None,
            Self::Identity { addr }
            | Self::ServerName { addr }
            | Self::AuthorityOverride { addr }
            | Self::GatewayIdentity { addr } => Some(*addr),
        }
    }
}

/// Reads one message of `Get`; `None` where it says nothing usable (contract 3.5).
pub fn update(pb: pb::Update) -> Option<EndpointUpdate> {
    match pb.update? {
        pb::update::Update::Add(set) => {
            let labels = set.metric_labels;
            let (mut endpoints, mut unusable) = (Vec::new(), Vec::new());
            for addr in set.addrs {
                match endpoint(addr, &labels) {
                    Ok(endpoint) => endpoints.push(endpoint),
                    Err(reason) => {
                        tracing::warn!(%reason, "endpoint left out");
                        unusable.extend(reason.addr());
                    }
                }
            }
            let says = !endpoints.is_empty() || !unusable.is_empty();
            says.then_some(EndpointUpdate::Add { endpoints, unusable })
        }
        pb::update::Update::Remove(set) => {
            let addrs: Vec<_> = set.addrs.into_iter().filter_map(socket_addr).collect();
            (!addrs.is_empty()).then_some(EndpointUpdate::Remove(addrs))
        }
        pb::update::Update::NoEndpoints(none) => Some(EndpointUpdate::NoEndpoints { exists: none.exists }),
    }
}

/// Reads a profile.
///
/// # Errors
/// It leads somewhere that cannot be told, or told whose identity must be proven there.
pub fn profile(pb: pb::DestinationProfile) -> Result<Profile, InvalidProfile> {
    Ok(Profile {
        name: pb.fully_qualified_name.parse().ok(),
        opaque: pb.opaque_protocol,
        service: profile::service_profile(pb.routes, pb.dst_overrides, pb.retry_budget)?,
        endpoint: pb.endpoint.map(|addr| endpoint(addr, &HashMap::new())).transpose()?,
    })
}

/// Reads one address with the labels of its set.
pub fn endpoint(
    pb: pb::WeightedAddr,
    set_labels: &HashMap<String, String>,
) -> Result<Endpoint, InvalidEndpoint> {
    let addr = pb.addr.and_then(socket_addr).ok_or(InvalidEndpoint::Address)?;
    let tls = pb.tls_identity.map(|identity| tls(addr, identity)).transpose()?;
    // Without its name, traffic for a gateway would end at the gateway's own policy.
    let authority_override = pb.authority_override.map(|o| o.authority_override.parse::<Authority>());
    let authority_override =
        authority_override.transpose().map_err(|_| InvalidEndpoint::AuthorityOverride { addr })?;
    if authority_override.is_some() && tls.is_none() {
        return Err(InvalidEndpoint::GatewayIdentity { addr });
    }
    let mut labels: BTreeMap<_, _> = set_labels.clone().into_iter().collect();
    labels.extend(pb.metric_labels);
    let hint = pb.protocol_hint.unwrap_or_default();
    Ok(Endpoint {
        addr,
        tls,
        hint: match hint.protocol {
            Some(Protocol::H2(_)) => ProtocolHint::H2,
            Some(Protocol::Opaque(_)) => ProtocolHint::Opaque,
            None => ProtocolHint::Unknown,
        },
        inbound_port: hint.opaque_transport.and_then(|t| inbound_port(t.inbound_port)),
        authority_override,
        http2: http2(pb.http2.unwrap_or_default()),
        weight: pb.weight,
        labels: labels.into(),
    })
}

fn tls(addr: SocketAddr, pb: pb::TlsIdentity) -> Result<EndpointTls, InvalidEndpoint> {
    let invalid = InvalidEndpoint::Identity { addr };
    let id = match pb.strategy.ok_or_else(|| invalid.clone())? {
        Strategy::DnsLikeIdentity(DnsLikeIdentity { name }) => name.parse().ok(),
        Strategy::UriLikeIdentity(UriLikeIdentity { uri }) => uri.parse().ok(),
    };
    let id: WorkloadId = id.ok_or(invalid)?;
    let server_name = match (pb.server_name, &id) {
        (Some(DnsLikeIdentity { name }), _) => name.parse().ok(),
        (None, WorkloadId::Dns(name)) => Some(name.clone()),
        (None, WorkloadId::Uri(_)) => None,
    };
    let server_name = server_name.ok_or(InvalidEndpoint::ServerName { addr })?;
    Ok(EndpointTls { id, server_name })
}

/// 1 to 65534 (contract 3.5); anything else is read as absent.
fn inbound_port(port: u32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| (1..u16::MAX).contains(port))
}

pub(super) fn socket_addr(pb: net::TcpAddress) -> Option<SocketAddr> {
    let ip = IpAddr::try_from(pb.ip?).ok()?;
    let port = u16::try_from(pb.port).ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(ip, port))
}

fn http2(pb: pb::Http2ClientParams) -> Http2Params {
    let positive = |n: u32| (n > 0).then_some(n);
    let flow_control = pb.flow_control.and_then(|f| match f.adaptive_flow_control {
        true => Some(FlowControl::Adaptive),
        false => Some(FlowControl::Fixed {
            connection_window: positive(f.initial_connection_window_size)?,
            stream_window: positive(f.initial_stream_window_size)?,
        }),
    });
    let keep_alive = pb.keep_alive.and_then(|k| {
        let interval = Duration::try_from(k.interval?).ok()?;
        let timeout = Duration::try_from(k.timeout?).ok()?;
        Some(KeepAlive { interval, timeout, while_idle: k.while_idle })
    });
    let internals = pb.internals.unwrap_or_default();
    Http2Params {
        flow_control,
        keep_alive,
        max_frame_size: positive(internals.max_frame_size),
        max_send_buf_size: positive(internals.max_send_buf_size),
        max_concurrent_reset_streams: positive(internals.max_concurrent_reset_streams),
    }
}

pub fn encode_update(from: &EndpointUpdate) -> pb::Update {
    let update = match from {
        EndpointUpdate::Add { endpoints, .. } => return encode_set(&Labels::default(), endpoints),
        EndpointUpdate::Remove(addrs) => {
            pb::update::Update::Remove(pb::AddrSet { addrs: addrs.iter().map(|a| (*a).into()).collect() })
        }
        EndpointUpdate::NoEndpoints { exists } => {
            pb::update::Update::NoEndpoints(pb::NoEndpoints { exists: *exists })
        }
    };
    pb::Update { update: Some(update) }
}

/// Writes the endpoints of a set. Labels that all of them share go to the set, where diagnostic
/// tools look for the service's name (controlplane 2.5).
pub fn encode_set<'a>(labels: &Labels, endpoints: impl IntoIterator<Item = &'a Endpoint>) -> pb::Update {
    let addrs = endpoints.into_iter().map(encode_endpoint).collect();
    let metric_labels = labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let set = pb::WeightedAddrSet { addrs, metric_labels };
    pb::Update { update: Some(pb::update::Update::Add(set)) }
}

pub fn encode_endpoint(from: &Endpoint) -> pb::WeightedAddr {
    let protocol = match from.hint {
        ProtocolHint::Unknown => None,
        ProtocolHint::H2 => Some(Protocol::H2(protocol_hint::H2 {})),
        ProtocolHint::Opaque => Some(Protocol::Opaque(protocol_hint::Opaque {})),
    };
    let opaque_transport =
        from.inbound_port.map(|port| protocol_hint::OpaqueTransport { inbound_port: port.into() });
    let hinted = protocol.is_some() || opaque_transport.is_some();
    pb::WeightedAddr {
        addr: Some(from.addr.into()),
        weight: from.weight,
        metric_labels: from.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        tls_identity: from.tls.as_ref().map(|tls| encode_tls(tls, from.authority_override.is_some())),
        protocol_hint: hinted.then_some(pb::ProtocolHint { opaque_transport, protocol }),
        authority_override: from
            .authority_override
            .as_ref()
            .map(|a| pb::AuthorityOverride { authority_override: a.to_string() }),
        http2: (from.http2 != Http2Params::default()).then(|| encode_http2(&from.http2)),
        resource_ref: None,
    }
}

/// A gateway's server name is left out, where it says nothing new (controlplane 2.5, 8.20).
fn encode_tls(from: &EndpointTls, gateway: bool) -> pb::TlsIdentity {
    let name = from.server_name.to_string();
    let implied = gateway && name == from.id.to_string();
    let server_name = (!implied).then_some(DnsLikeIdentity { name });
    let strategy = match &from.id {
        WorkloadId::Dns(name) => Strategy::DnsLikeIdentity(DnsLikeIdentity { name: name.to_string() }),
        WorkloadId::Uri(uri) => Strategy::UriLikeIdentity(UriLikeIdentity { uri: uri.to_string() }),
    };
    pb::TlsIdentity { server_name, strategy: Some(strategy) }
}

fn encode_http2(from: &Http2Params) -> pb::Http2ClientParams {
    let flow_control = from.flow_control.map(|flow| match flow {
        FlowControl::Adaptive => h2::FlowControl { adaptive_flow_control: true, ..Default::default() },
        FlowControl::Fixed { connection_window, stream_window } => h2::FlowControl {
            initial_connection_window_size: connection_window,
            initial_stream_window_size: stream_window,
            adaptive_flow_control: false,
        },
    });
    let keep_alive = from.keep_alive.map(|k| h2::KeepAlive {
        interval: encode_duration(k.interval),
        timeout: encode_duration(k.timeout),
        while_idle: k.while_idle,
    });
    let internals = h2::Internals {
        max_concurrent_reset_streams: from.max_concurrent_reset_streams.unwrap_or(0),
        max_frame_size: from.max_frame_size.unwrap_or(0),
        max_send_buf_size: from.max_send_buf_size.unwrap_or(0),
    };
    let internals = (internals != h2::Internals::default()).then_some(internals);
    pb::Http2ClientParams { flow_control, keep_alive, internals }
}

/// Writes a profile and, for a Service's, the Service with its port as `parent`, and the ServiceProfile that speaks for
/// it as `source`. A budget of retries is always there (controlplane 2.9).
pub fn encode_profile(
    from: &Profile,
    parent: Option<&ResourceRef>,
    source: Option<&ResourceRef>,
) -> pb::DestinationProfile {
    let (service, port) = (&from.service, parent.map(ResourceRef::port));
    pb::DestinationProfile {
        fully_qualified_name: from.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        opaque_protocol: from.opaque,
        routes: service.routes.iter().map(profile::encode_route).collect(),
        dst_overrides: service.overrides.iter().map(|to| profile::encode_override(to, port)).collect(),
        retry_budget: Some(profile::encode_budget(&service.budget)),
        endpoint: from.endpoint.as_ref().map(encode_endpoint),
        parent_ref: parent.and_then(encode_resource),
        profile_ref: parent.and_then(|_| source.map_or_else(|| Some(no_source()), encode_resource)),
    }
}

/// Without a ServiceProfile the reference names the group alone.
fn no_source() -> meta::Metadata {
    let none = meta::Resource { group: "linkerd.io".into(), ..Default::default() };
    meta::Metadata { kind: Some(meta::metadata::Kind::Resource(none)) }
}

#[cfg(test)]
mod tests;

//! One address that discovery returned, with everything needed to reach it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::identity::WorkloadId;
use super::name::{Authority, DnsName};

/// Metric labels as the control plane sent them, without the `dst_` prefix, ordered by key.
pub type Labels = Arc<BTreeMap<String, String>>;

/// One address of a service (contract 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The workload's own address and port. Where to connect is [`Endpoint::inbound_port`]'s
    /// business.
    pub addr: SocketAddr,
    /// With an identity: mesh TLS, always. Without: plaintext, always.
    pub tls: Option<EndpointTls>,
    pub hint: ProtocolHint,
    /// Connect to this port of the same host instead, with a transport header.
    pub inbound_port: Option<u16>,
    /// A gateway: name the real target in the transport header (contract 3.8).
    pub authority_override: Option<Authority>,
    pub http2: Http2Params,
    /// Parsed, not used (contract 3.5).
    pub weight: u32,
    /// The set's labels and the address's own merged, the address's own winning.
    pub labels: Labels,
}

/// Whom to expect at an endpoint, and the name to send as SNI (contract 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointTls {
    pub id: WorkloadId,
    pub server_name: DnsName,
}

/// What the far proxy is known to accept (contract 3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProtocolHint {
    #[default]
    Unknown,
    /// HTTP/2, and HTTP/1 carried over it.
    H2,
    /// The far proxy treats the port as opaque.
    Opaque,
}

/// HTTP/2 client settings of one endpoint; `None` keeps the process default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http2Params {
    pub flow_control: Option<FlowControl>,
    pub keep_alive: Option<KeepAlive>,
    /// Bytes; 0 is never stored.
    pub max_frame_size: Option<u32>,
    /// Bytes; 0 is never stored.
    pub max_send_buf_size: Option<u32>,
    pub max_concurrent_reset_streams: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowControl {
    Adaptive,
    /// Bytes.
    Fixed {
        connection_window: u32,
        stream_window: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    pub interval: Duration,
    pub timeout: Duration,
    pub while_idle: bool,
}

/// Where an endpoint is, seen from here (contract 3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Locality {
    #[default]
    Unknown,
    /// In the same zone.
    Local,
    Remote,
}

impl Locality {
    /// What an endpoint's labels say.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        match labels.get("zone_locality") {
            Some(zone) if zone.eq_ignore_ascii_case("local") => Self::Local,
            Some(zone) if zone.eq_ignore_ascii_case("remote") => Self::Remote,
            _ => Self::Unknown,
        }
    }
}

impl Endpoint {
    /// A plain address about which nothing else is known.
    pub fn plain(addr: SocketAddr) -> Self {
        Self {
            addr,
            tls: None,
            hint: ProtocolHint::Unknown,
            inbound_port: None,
            authority_override: None,
            http2: Http2Params::default(),
            weight: 10_000,
            labels: Labels::default(),
        }
    }
}

/// One message of a `Destination.Get` stream (contract 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointUpdate {
    Add {
        endpoints: Vec<Endpoint>,
        /// Addresses whose description cannot be understood: not to be used, known before or not.
        unusable: Vec<SocketAddr>,
    },
    Remove(Vec<SocketAddr>),
    NoEndpoints {
        exists: bool,
    },
}

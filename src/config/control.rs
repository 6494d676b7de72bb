//! Whom the proxy asks: the services of the control plane, and the collector that spans go to.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::model::DnsName;
use crate::model::name::Host;

#[derive(Clone, Debug)]
pub struct Destination {
    pub control: ControlClient,
    /// Sent as `context_token`, byte for byte.
    pub context: String,
    /// How long an inbound request waits for a profile.
    pub profile_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Policy {
    pub control: ControlClient,
    /// Sent as `workload`, byte for byte: the injector's value ends in a newline.
    pub workload: String,
}

/// How to reach one service of the control plane (contract 1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlClient {
    pub addr: ControlAddr,
    /// SNI and expected identity. `None` on loopback alone, where no TLS is spoken.
    pub name: Option<DnsName>,
    pub limits: StreamLimits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAddr {
    pub host: Host,
    pub port: u16,
}

/// Limits of watch streams; `None`: no limit. On loopback there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    pub initial: Option<Duration>,
    pub idle: Option<Duration>,
    pub lifetime: Option<Duration>,
}

/// Bounds on how long a DNS answer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    pub min_ttl: Option<Duration>,
    pub max_ttl: Option<Duration>,
}

/// Where spans go. The texts are as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    pub collector: ControlClient,
    pub service_name: Option<String>,
    pub attributes_path: Option<String>,
    pub extra_attributes: Option<String>,
    pub otel_attributes: Option<String>,
    pub hostname: Option<String>,
}

impl ControlAddr {
    pub fn is_loopback(&self) -> bool {
        matches!(self.host, Host::Ip(ip) if ip.is_loopback())
    }
}

impl fmt::Display for ControlAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

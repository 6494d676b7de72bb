//! What the proxy was told: the environment that the injector writes, checked, complete, immutable
//! (contract 1.2, 1.3).
//!
//! Every setting is one row of [`variables`], which holds name, form, default and meaning. Mistakes are
//! collected and reported together; unknown variables are ignored, since newer injectors set newer ones.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::backoff::Backoff;
use crate::model::endpoint::{FlowControl, KeepAlive};
use crate::model::outbound::LoadBand;
use crate::model::{DnsName, ServerPolicy, WorkloadId};

mod control;
pub mod default_policy;
pub mod environment;
mod http2;
mod identity;
mod process;
mod read;
pub mod runtime;
pub mod value;
pub mod variables;

pub use control::{ControlAddr, ControlClient, Destination, Dns, Policy, StreamLimits, Tracing};
pub use default_policy::DefaultPolicy;
pub use environment::{ConfigError, ConfigErrors, Row};
pub use identity::{Anchors, Certify, ExpiredPeers, Identity, Issuer, Spire, TrustSource};
pub use runtime::Cores;

/// The whole configuration of a proxy.
#[derive(Clone, Debug)]
pub struct Config {
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub admin: Admin,
    pub identity: Identity,
    pub destination: Destination,
    pub policy: Policy,
    pub dns: Dns,
    pub tap: Option<Tap>,
    pub tracing: Option<Tracing>,
    pub runtime: Cores,
    pub log: Log,
    pub shutdown: Shutdown,
    pub metrics: Metrics,
    /// Put on every socket that the proxy dials from, where redirection exempts by mark, not by user.
    pub mark: Option<u32>,
    /// How long a client may say nothing before the server may speak first; `None`: it never may.
    pub server_first: Option<Duration>,
    /// Values that have no effect: wrong ones that are not fatal, and those that ask for what is not
    /// carried yet. To be logged once.
    pub ignored: Vec<ConfigError>,
}

#[derive(Clone, Debug)]
pub struct Outbound {
    /// One address or two.
    pub listen: Vec<SocketAddr>,
    pub accept: Accept,
    pub connect: Connect,
    /// `None`: silence is not looked at.
    pub ping: Option<Ping>,
    pub server_http2: ServerHttp2,
    pub detect_timeout: Duration,
    /// How long what was discovered is kept without a connection that uses it.
    pub discovery_idle_timeout: Duration,
    pub http_queue: Queue,
    pub tcp_queue: Queue,
    /// How much local endpoints take before others do, of requests and of opaque connections; `None`: all are alike.
    pub local_first: [Option<LoadBand>; 2],
    /// Requests that may wait for their answers at once.
    pub max_in_flight: usize,
    /// Whether to route by `l5d-dst-override`.
    pub ingress_mode: bool,
    /// Whether applications are sent `l5d-proxy-*` response headers.
    pub informational_headers: bool,
    /// The names for which a profile is looked up.
    pub profile_suffixes: Suffixes,
    /// The addresses for which a profile is looked up; empty: none.
    pub profile_networks: Vec<IpNet>,
}

#[derive(Clone, Debug)]
pub struct Inbound {
    pub listen: SocketAddr,
    pub accept: Accept,
    pub connect: Connect,
    pub server_http2: ServerHttp2,
    pub detect_timeout: Duration,
    pub discovery_idle_timeout: Duration,
    pub http_queue: Queue,
    /// Requests that may wait for their answers at once.
    pub max_in_flight: usize,
    /// The pod's own addresses; empty: every original destination is taken, and none is local.
    pub ips: BTreeSet<IpAddr>,
    /// Ports whose policy is watched from the start; the admin port is among them.
    pub ports: BTreeSet<u16>,
    /// Ports that are opaque until the controller says otherwise.
    pub opaque_ports: BTreeSet<u16>,
    /// The names that a gateway leads to; empty: this is none.
    pub gateway_suffixes: Suffixes,
    pub default_policy: DefaultPolicy,
    pub cluster_networks: Vec<IpNet>,
}

/// How accepted connections are kept and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    pub socket: Socket,
    /// `listen(2)` backlog; `None`: the platform's.
    pub backlog: Option<u32>,
}

/// How requests or connections wait for somewhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait at once.
    pub capacity: usize,
    /// For how long.
    pub failfast: Duration,
}

/// TCP options of one kind of socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Keepalive is on in any case; `None` leaves its time to the kernel.
    pub keepalive: Option<Duration>,
    pub user_timeout: Option<Duration>,
    /// `SO_MARK`, of sockets that the proxy opens; those that it accepts have none.
    pub mark: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// TCP, TLS and transport header together.
    pub timeout: Duration,
    pub backoff: Backoff,
    pub socket: Socket,
    pub h1_idle_timeout: Duration,
    /// Idle HTTP/1 connections kept for one endpoint.
    pub h1_max_idle: usize,
    /// Bytes; what an endpoint's own parameters may replace.
    pub h2_stream_window: u32,
    /// Bytes; what an endpoint's own parameters may replace.
    pub h2_connection_window: u32,
}

/// How an endpoint that is not heard of, while requests wait for it, is asked whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// So much silence before.
    pub after: Duration,
    /// For its answer.
    pub timeout: Duration,
}

/// HTTP/2 towards clients; `None` keeps the library's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHttp2 {
    pub flow_control: FlowControl,
    pub keep_alive: Option<KeepAlive>,
    pub max_concurrent_streams: Option<u32>,
    pub max_frame_size: Option<u32>,
    pub max_header_list_size: Option<u32>,
    pub max_pending_accept_reset_streams: Option<usize>,
    pub max_send_buf_size: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
}

/// Who may tap, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    pub listen: SocketAddr,
    pub client: WorkloadId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// As typed; `off` turns logging off.
    pub filter: String,
    pub format: LogFormat,
    /// The log of inbound requests; `None`: none.
    pub access: Option<AccessLog>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Apache,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Plain,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    pub grace_period: Duration,
    /// Whether `POST /shutdown` works.
    pub endpoint_enabled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub retain_idle: Duration,
    /// Whether route metrics have a `hostname`.
    pub hostname_labels: bool,
    /// Whether inbound HTTP metrics have an `authority`.
    pub authority_labels: bool,
}

/// Which names belong to a set of DNS suffixes. The empty set has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffixes {
    pub every_name: bool,
    pub names: Vec<DnsName>,
}

impl Config {
    /// Reads the variables that `source` knows. All mistakes are returned together.
    pub fn from_env(source: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        read::config(source)
    }

    /// Reads the environment of this process, and looks whether the files that it names can be used.
    /// All mistakes are returned together.
    pub fn from_process() -> Result<Self, ConfigErrors> {
        process::config(&|name| std::env::var_os(name))
    }
}

impl Inbound {
    /// What holds for a port until the controller has answered (contract 4.3).
    pub fn default_server(&self, port: u16) -> ServerPolicy {
        let opaque = self.opaque_ports.contains(&port);
        self.default_policy.server(opaque, self.detect_timeout, &self.cluster_networks)
    }
}

impl Suffixes {
    pub fn is_empty(&self) -> bool {
        !self.every_name && self.names.is_empty()
    }

    pub fn contains(&self, name: &DnsName) -> bool {
        self.every_name || self.names.iter().any(|suffix| name.is_within(suffix.as_str()))
    }
}

impl LogFormat {
    fn named(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "plain" => Some(Self::Plain),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl AccessLog {
    fn named(text: &str) -> Option<Self> {
        match text {
            "apache" => Some(Self::Apache),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;

//! What one cluster was installed with: the values that a Helm chart would carry.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use super::ports::PortSet;
use crate::control::manifest::{Exclusions, Selector};
use crate::model::endpoint::{Http2Params, KeepAlive};

/// Install-time values of one cluster (controlplane 2.1, 3.3, 5.4).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// DNS domain of the cluster, without dots at either end.
    pub cluster_domain: String,
    /// Last part of every identity of this cluster.
    pub trust_domain: String,
    /// Namespace of the control plane.
    pub control_namespace: String,
    /// Namespace of the multicluster extension.
    pub mirror_namespace: String,
    pub cluster_networks: Vec<IpNet>,
    pub probe_networks: Vec<IpNet>,
    pub default_policy: DefaultPolicy,
    pub default_opaque_ports: PortSet,
    /// EgressNetworks here are for clients of every namespace that has none of its own (controlplane 3.8).
    pub global_egress_namespace: String,
    /// Requests may ask for terms of their own, in `l5d-` headers, where a route takes them.
    pub allow_request_headers: bool,
    /// How endpoints are to be reached (controlplane 2.1).
    pub transport: Transport,
    /// Where derived pods get their addresses.
    pub pod_network: IpNet,
    /// Where Services get their cluster IPs.
    pub service_network: IpNet,
    /// PEM bundle of the trust anchors, as the injector hands it to every proxy.
    pub trust_anchors_pem: String,
    /// Where the control plane itself answers: its DNS names resolve to this address.
    pub control_addr: IpAddr,
    /// Name of the node that derived pods run on.
    pub node_name: String,
    /// Mirror headless Services as such, with a mirror for each host (controlplane 1.10).
    pub enable_headless_services: bool,
    /// Make the namespaces that mirrors need (controlplane 1.7).
    pub enable_namespace_creation: bool,
    /// Which of the cluster's own Services join federated ones (controlplane 1.8).
    pub federated_selector: Selector,
    /// What these do not bring along.
    pub excluded: Arc<Exclusions>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_domain: "cluster.local".into(),
            trust_domain: "cluster.local".into(),
            control_namespace: "linkerd".into(),
            mirror_namespace: "linkerd-multicluster".into(),
            cluster_networks: CLUSTER_NETWORKS.iter().filter_map(|net| net.parse().ok()).collect(),
            probe_networks: ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect(),
            default_policy: DefaultPolicy::AllUnauthenticated,
            default_opaque_ports: PortSet::of(&[25, 587, 3306, 4444, 5432, 6379, 9300, 11211]),
            global_egress_namespace: "linkerd-egress".into(),
            allow_request_headers: false,
            transport: Transport::default(),
            pod_network: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 42, 0, 0), 16)),
            service_network: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 43, 0, 0), 16)),
            trust_anchors_pem: String::new(),
            control_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            node_name: "node-1".into(),
            enable_headless_services: false,
            enable_namespace_creation: false,
            federated_selector: Selector::label("mirror.linkerd.io/federated", "member"),
            excluded: Arc::default(),
        }
    }
}

/// Flags of the destination service that change what it says of endpoints (controlplane 2.1). The chart's
/// values by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Every meshed endpoint is reached through its proxy's own port, not only opaque ones.
    pub header_always: bool,
    /// Meshed endpoints take HTTP/2.
    pub h2_upgrade: bool,
    /// `None`: where the pods' network is of that family.
    pub ipv6: Option<bool>,
    /// What clients set for HTTP/2 with meshed endpoints.
    pub http2: Http2Params,
    /// Endpoints of the client's zone weigh ten times as much.
    pub zone_weights: bool,
}

impl Default for Transport {
    fn default() -> Self {
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(3));
        let keep_alive = KeepAlive { interval, timeout, while_idle: true };
        Self {
            header_always: true,
            h2_upgrade: true,
            ipv6: None,
            http2: Http2Params { keep_alive: Some(keep_alive), ..Http2Params::default() },
            zone_weights: false,
        }
    }
}

impl Settings {
    /// Whether IPv6 addresses of pods count (controlplane 2.4).
    pub fn ipv6(&self) -> bool {
        self.transport.ipv6.unwrap_or_else(|| self.pod_network.addr().is_ipv6())
    }
}

/// Private networks and the carrier-grade one, as the chart lists them (controlplane 3.3).
const CLUSTER_NETWORKS: [&str; 5] =
    ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];

/// What an inbound port without a Server allows (controlplane 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultPolicy {
    AllUnauthenticated,
    AllAuthenticated,
    ClusterUnauthenticated,
    ClusterAuthenticated,
    Deny,
    Audit,
}

impl DefaultPolicy {
    pub const NAMES: [&str; 6] = [
        "all-unauthenticated",
        "all-authenticated",
        "cluster-unauthenticated",
        "cluster-authenticated",
        "deny",
        "audit",
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::AllAuthenticated => "all-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::Deny => "deny",
            Self::Audit => "audit",
        }
    }

    /// Reads one of [`Self::NAMES`].
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "all-unauthenticated" => Self::AllUnauthenticated,
            "all-authenticated" => Self::AllAuthenticated,
            "cluster-unauthenticated" => Self::ClusterUnauthenticated,
            "cluster-authenticated" => Self::ClusterAuthenticated,
            "deny" => Self::Deny,
            "audit" => Self::Audit,
            _ => return None,
        })
    }

    /// The policy of a port that requires identity: allowing ones become authenticated.
    pub fn authenticated(self) -> Self {
        match self {
            Self::AllUnauthenticated | Self::AllAuthenticated => Self::AllAuthenticated,
            Self::ClusterUnauthenticated | Self::ClusterAuthenticated => Self::ClusterAuthenticated,
            Self::Deny | Self::Audit => self,
        }
    }
}

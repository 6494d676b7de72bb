//! The policy of ports about which the controller has not spoken (contract 4.3).
//!
//! Unlike what the controller sends, these let nobody in merely for calling from this machine.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::inbound::{
    Authentication, Authorization, IdentityMatch, InboundRoute, NetworkMatch, ServerProtocol,
};
use crate::model::{ResourceRef, ServerPolicy};

/// The values of `LINKERD2_PROXY_INBOUND_DEFAULT_POLICY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultPolicy {
    #[default]
    AllUnauthenticated,
    AllAuthenticated,
    ClusterAuthenticated,
    ClusterUnauthenticated,
    /// Lets everyone in; what it lets in is logged.
    Audit,
    Deny,
}

impl DefaultPolicy {
    const ALL: [Self; 6] = [
        Self::AllUnauthenticated,
        Self::AllAuthenticated,
        Self::ClusterAuthenticated,
        Self::ClusterUnauthenticated,
        Self::Audit,
        Self::Deny,
    ];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// The name under which metrics know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllUnauthenticated => "all-unauthenticated",
            Self::AllAuthenticated => "all-authenticated",
            Self::ClusterAuthenticated => "cluster-authenticated",
            Self::ClusterUnauthenticated => "cluster-unauthenticated",
            Self::Audit => "audit",
            Self::Deny => "deny",
        }
    }

    /// Whether it is refused where no cluster networks are configured.
    pub fn needs_cluster_networks(self) -> bool {
        matches!(self, Self::ClusterAuthenticated | Self::ClusterUnauthenticated | Self::Audit)
    }

    /// The policy of one port. `opaque` is for ports that are not to be examined.
    pub fn server(self, opaque: bool, detect_timeout: Duration, cluster_networks: &[IpNet]) -> ServerPolicy {
        let meta = ResourceRef::default_named(self.name());
        let Some(authentication) = self.authentication() else {
            let protocol = ServerProtocol::Opaque;
            return ServerPolicy { meta, protocol, authorizations: Vec::new(), rate_limit: None };
        };
        let networks = match self {
            Self::ClusterAuthenticated | Self::ClusterUnauthenticated => cluster_networks,
            _ => &EVERYWHERE,
        };
        let networks = networks.iter().map(|net| NetworkMatch { net: *net, except: Vec::new() }).collect();
        let authorizations = vec![Authorization { meta: meta.clone(), networks, authentication }];
        let protocol = if opaque {
            ServerProtocol::Opaque
        } else {
            let route =
                InboundRoute::everything(ResourceRef::default_named("default"), authorizations.clone());
            ServerProtocol::Detect { timeout: detect_timeout, routes: vec![route] }
        };
        ServerPolicy { meta, protocol, authorizations, rate_limit: None }
    }

    /// Whom it lets in; `None`: nobody.
    fn authentication(self) -> Option<Authentication> {
        match self {
            Self::AllUnauthenticated | Self::ClusterUnauthenticated | Self::Audit => {
                Some(Authentication::Unauthenticated)
            }
            Self::AllAuthenticated | Self::ClusterAuthenticated => {
                Some(Authentication::Identities(vec![IdentityMatch::Suffix(Vec::new())]))
            }
            Self::Deny => None,
        }
    }
}

const EVERYWHERE: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn names_read_as_they_print() {
        for policy in DefaultPolicy::ALL {
            assert_eq!(DefaultPolicy::named(policy.name()), Some(policy));
        }
        assert_eq!(DefaultPolicy::named("Deny"), None);
    }

    #[test]
    fn deny_is_opaque_and_lets_nobody_in() {
        let policy = DefaultPolicy::Deny.server(false, TIMEOUT, &[]);
        assert_eq!(policy.protocol, ServerProtocol::Opaque);
        assert!(policy.authorizations.is_empty());
        assert_eq!((policy.meta.kind(), policy.meta.name()), ("default", "deny"));
    }

    #[test]
    fn detecting_policies_have_one_default_route_with_their_own_authorization() {
        let policy = DefaultPolicy::AllAuthenticated.server(false, TIMEOUT, &[]);
        let routes = policy.protocol.routes().unwrap();
        assert_eq!(routes.len(), 1);
        assert_eq!(routes[0].meta.name(), "default");
        assert_eq!(routes[0].authorizations, policy.authorizations);
        let [authorization] = &policy.authorizations[..] else { panic!("one authorization") };
        assert_eq!(authorization.meta.name(), "all-authenticated");
        for ip in ["10.0.0.1", "127.0.0.1", "fd00::1"] {
            assert!(authorization.networks.iter().any(|net| net.contains(ip.parse().unwrap())), "{ip}");
        }
    }

    #[test]
    fn cluster_policies_take_the_cluster_networks_alone() {
        let nets: [IpNet; 1] = ["10.0.0.0/8".parse().unwrap()];
        let policy = DefaultPolicy::ClusterUnauthenticated.server(true, TIMEOUT, &nets);
        assert_eq!(policy.protocol, ServerProtocol::Opaque);
        let seen: Vec<IpNet> = policy.authorizations[0].networks.iter().map(|net| net.net).collect();
        assert_eq!(seen, nets);
    }
}

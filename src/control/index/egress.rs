//! EgressNetworks: which of them traffic out of the cluster belongs to (controlplane 3.6, 3.8).

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::control::manifest::{EgressNetwork, Object};
use crate::model::inbound::NetworkMatch;

use super::Settings;
use super::world::World;

/// The one that an address belongs to, for clients of a namespace: of their own ones, and of the global ones only where
/// there are none. The smallest network wins, then the oldest object, then its name.
pub(super) fn of<'w>(world: &'w World, client: &str, ip: IpAddr) -> Option<&'w Object<EgressNetwork>> {
    let of = |namespace: &str| -> Vec<&'w Object<EgressNetwork>> {
        let all = world.policies.egress_networks.values();
        all.filter(|(meta, _)| &*meta.name.namespace == namespace).collect()
    };
    let mut among = of(client);
    if among.is_empty() {
        among = of(&world.settings.global_egress_namespace);
    }
    let sized = among.into_iter().filter_map(|object| {
        let networks = networks(&object.1, &world.settings);
        let holding = networks.iter().filter(|network| network.contains(ip));
        Some((holding.map(size).min()?, object))
    });
    let found = sized.max_by_key(|(size, (meta, _))| (Reverse(*size), Reverse((meta.created, &meta.name))));
    found.map(|(_, object)| object)
}

/// Whether it leaves the cluster's networks alone.
pub(super) fn is_accepted(network: &EgressNetwork, settings: &Settings) -> bool {
    let overlaps = |of: &NetworkMatch, cluster: &IpNet| {
        (of.net.contains(cluster) || cluster.contains(&of.net))
            && !of.except.iter().any(|except| except.contains(cluster))
    };
    let networks = networks(network, settings);
    !networks.iter().any(|of| settings.cluster_networks.iter().any(|cluster| overlaps(of, cluster)))
}

/// Its own, or all that is outside of the cluster's.
fn networks(network: &EgressNetwork, settings: &Settings) -> Vec<NetworkMatch> {
    if let Some(networks) = &network.networks {
        return networks.clone();
    }
    let all = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|all| all.parse::<IpNet>().ok());
    let outside = all.map(|net| {
        let of_its_family = |cluster: &&IpNet| cluster.addr().is_ipv4() == net.addr().is_ipv4();
        NetworkMatch {
            net,
            except: settings.cluster_networks.iter().filter(of_its_family).copied().collect(),
        }
    });
    outside.collect()
}

/// Hosts that it holds. Exceptions are taken not to overlap, as there.
fn size(network: &NetworkMatch) -> u128 {
    let except = network.except.iter().map(hosts).fold(0, u128::saturating_add);
    hosts(&network.net).saturating_sub(except)
}

fn hosts(net: &IpNet) -> u128 {
    let bits = u32::from(net.max_prefix_len() - net.prefix_len());
    let all = 1_u128.checked_shl(bits).unwrap_or(u128::MAX);
    // The first and last of IPv4 are no hosts'.
    if net.addr().is_ipv4() && bits > 1 { all - 2 } else { all }
}

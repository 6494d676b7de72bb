//! Addresses for pods and Services: unique in a cluster, and the same again after a restart.
//!
//! A new name starts looking at the address that its hash points to, so that even without memory
//! the outcome depends on the names alone. What was given once is kept, also for names that are gone
//! for now: a mirror comes and goes with its link.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::control::hash;

use super::{ObjectName, Settings};

/// Every address that was given out, and the facts that another cluster needs to follow them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocations {
    pub cluster_domain: String,
    pub trust_domain: String,
    pub control_namespace: String,
    /// Where its pods get their addresses; empty where an older control plane wrote this.
    #[serde(default)]
    pub pod_network: String,
    /// By `namespace/name`.
    #[serde(default)]
    pub pods: BTreeMap<String, IpAddr>,
    /// By `namespace/name`.
    #[serde(default)]
    pub services: BTreeMap<String, IpAddr>,
}

impl Allocations {
    /// Nothing given out yet, for a cluster with these settings.
    pub fn new(settings: &Settings) -> Self {
        let mut new = Self::default();
        new.describe(settings);
        new
    }

    /// Writes the cluster's own facts in.
    pub fn describe(&mut self, settings: &Settings) {
        self.cluster_domain.clone_from(&settings.cluster_domain);
        self.trust_domain.clone_from(&settings.trust_domain);
        self.control_namespace.clone_from(&settings.control_namespace);
        self.pod_network = settings.pod_network.to_string();
    }

    /// Settings of a cluster known by its allocations alone; the rest is as in `base`.
    pub fn settings(&self, base: &Settings) -> Settings {
        Settings {
            cluster_domain: self.cluster_domain.clone(),
            trust_domain: self.trust_domain.clone(),
            control_namespace: self.control_namespace.clone(),
            ..base.clone()
        }
    }

    /// Gives each pod name without an address one of `network`.
    pub fn fill_pods<'n>(
        &mut self,
        names: impl Iterator<Item = &'n ObjectName>,
        network: IpNet,
        taken: &BTreeSet<IpAddr>,
    ) {
        fill(&mut self.pods, names, network, taken);
    }

    /// Gives each Service name without an address one of `network`.
    pub fn fill_services<'n>(
        &mut self,
        names: impl Iterator<Item = &'n ObjectName>,
        network: IpNet,
        taken: &BTreeSet<IpAddr>,
    ) {
        fill(&mut self.services, names, network, taken);
    }
}

/// Addresses at the start of a network that are never given out: routers, name servers and the
/// control plane live there. Small networks keep what they can.
const RESERVED: u128 = 16;

fn fill<'n>(
    given: &mut BTreeMap<String, IpAddr>,
    names: impl Iterator<Item = &'n ObjectName>,
    network: IpNet,
    taken: &BTreeSet<IpAddr>,
) {
    let wanted: BTreeSet<String> = names.map(ToString::to_string).collect();
    // An address from another network, or that a manifest claims by now, is given anew.
    given.retain(|_, ip| network.contains(&*ip) && !taken.contains(ip));
    let (first, count) = usable(network);
    if wanted.len() as u128 + given.len() as u128 > count {
        given.retain(|name, _| wanted.contains(name));
    }
    let mut used: BTreeSet<IpAddr> = given.values().chain(taken).copied().collect();
    for name in wanted {
        if given.contains_key(&name) {
            continue;
        }
        let start = u128::from(hash::fnv64(&name)) % count.max(1);
        let free = (0..count).map(|step| nth(network, first + (start + step) % count));
        if let Some(ip) = free.into_iter().find(|ip| !used.contains(ip)) {
            used.insert(ip);
            given.insert(name, ip);
        }
    }
}

/// Offset of the first address to give and how many there are from there.
fn usable(network: IpNet) -> (u128, u128) {
    let bits = network.max_prefix_len() - network.prefix_len();
    let size = 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX);
    let first = if size > 4 * RESERVED { RESERVED } else { 2.min(size - 1) };
    // The last IPv4 address is for broadcast.
    (first, size - first - u128::from(size > 2))
}

fn nth(network: IpNet, offset: u128) -> IpAddr {
    match network.network() {
        IpAddr::V4(base) => IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(offset as u32))),
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base).wrapping_add(offset))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[String]) -> Vec<ObjectName> {
        names.iter().map(|name| ObjectName::new("ns", name)).collect()
    }

    proptest! {
        #[test]
        fn addresses_are_unique_inside_and_stay(first in prop::collection::vec("[a-z]{1,8}", 0..40),
                                                second in prop::collection::vec("[a-z]{1,8}", 0..40)) {
            let network: IpNet = "10.42.7.0/24".parse().unwrap();
            let mut given = Allocations::default();
            let none = BTreeSet::new();
            given.fill_pods(names(&first).iter(), network, &none);
            let before = given.pods.clone();
            given.fill_pods(names(&second).iter(), network, &none);
            prop_assert!(before.iter().all(|(name, ip)| given.pods.get(name) == Some(ip)));
            let unique: BTreeSet<_> = given.pods.values().collect();
            prop_assert_eq!(unique.len(), given.pods.len());
            prop_assert!(given.pods.values().all(|ip| network.contains(ip) && *ip >= nth(network, RESERVED)));
            for name in names(&second) {
                prop_assert!(given.pods.contains_key(&name.to_string()));
            }
        }
    }

    #[test]
    fn a_full_network_forgets_the_names_that_are_gone() {
        let network: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut given = Allocations::default();
        let none = BTreeSet::new();
        given.fill_pods(names(&["a", "b", "c", "d", "e"].map(String::from)).iter(), network, &none);
        assert_eq!(given.pods.len(), 5);
        given.fill_pods(names(&["f".into(), "a".into()]).iter(), network, &none);
        assert!(given.pods.contains_key("ns/f") && given.pods.contains_key("ns/a"));
        assert!(!given.pods.contains_key("ns/b"));
    }

    #[test]
    fn addresses_that_manifests_claim_are_not_given() {
        let network: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut given = Allocations::default();
        given.fill_services(names(&["a".into()]).iter(), network, &BTreeSet::new());
        let claimed = BTreeSet::from([given.services["ns/a"]]);
        given.fill_services(names(&["a".into()]).iter(), network, &claimed);
        assert!(!claimed.contains(&given.services["ns/a"]));
    }
}

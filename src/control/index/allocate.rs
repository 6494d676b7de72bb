//! Addresses for pods and Services: unique in a cluster, and the same again after a restart.
//!
//! A new name starts looking at the address that its hash points to, so that even without memory
//! the outcome depends on the names alone. What was given once is kept, also for names that are gone
//! for now: a mirror comes and goes with its link.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::control::hash;
use crate::control::ordered::{InOrder, Ordered};

use super::{ObjectName, PortSet, Settings};

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
    /// Which ports its injector takes for opaque; `None` where an older control plane wrote this.
    #[serde(default)]
    pub default_opaque_ports: Option<String>,
    #[serde(default)]
    pub pods: Given,
    #[serde(default)]
    pub services: Given,
}

/// Addresses by name, `namespace/name` where they are written down. Copies share them until one differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given(Arc<Ordered<ObjectName, IpAddr>>);

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
        self.default_opaque_ports = Some(settings.default_opaque_ports.to_string());
    }

    /// Settings of a cluster known by its allocations alone; the rest is as in `base`.
    pub fn settings(&self, base: &Settings) -> Settings {
        let opaque = self.default_opaque_ports.as_deref().and_then(PortSet::parse);
        Settings {
            cluster_domain: self.cluster_domain.clone(),
            trust_domain: self.trust_domain.clone(),
            control_namespace: self.control_namespace.clone(),
            default_opaque_ports: opaque.unwrap_or_else(|| base.default_opaque_ports.clone()),
            ..base.clone()
        }
    }
}

impl Given {
    pub fn get(&self, name: &ObjectName) -> Option<IpAddr> {
        self.0.get(name).copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name as it is known, and its address.
    pub(super) fn at(&self, place: usize) -> Option<(&ObjectName, IpAddr)> {
        self.0.at(place).map(|(name, ip)| (name, *ip))
    }

    /// Where the name is known, which is most often here.
    pub(super) fn place_near(&self, place: usize, namespace: &str, name: &str) -> Option<usize> {
        self.0.place_near(place, |known| (&*known.namespace, &*known.name).cmp(&(namespace, name)))
    }

    /// Of names in order, what each was given.
    pub(super) fn of<'n>(
        &self,
        names: impl Iterator<Item = &'n ObjectName>,
    ) -> impl Iterator<Item = Option<IpAddr>> {
        let mut known = InOrder::of(&self.0);
        names.map(move |name| known.get(name).copied())
    }

    /// Gives each of these names, which are in order, one of `network` unless what they have is good. Tells whether
    /// any has another one than before.
    pub(super) fn fill<'n>(
        &mut self,
        names: impl Iterator<Item = &'n ObjectName>,
        have: &[Option<IpAddr>],
        network: IpNet,
        taken: &BTreeSet<IpAddr>,
    ) -> bool {
        let usable = |ip: &IpAddr| network.contains(ip) && !taken.contains(ip);
        if have.iter().all(|ip| ip.as_ref().is_some_and(usable)) {
            return false;
        }
        let wanted: Vec<&ObjectName> = names.collect();
        let given = Arc::make_mut(&mut self.0);
        // An address from another network, or that a manifest claims by now, is given anew.
        given.retain(|_, ip| usable(ip));
        let (first, count) = range(network);
        if wanted.len() as u128 + given.len() as u128 > count {
            given.retain(|name, _| wanted.binary_search(&name).is_ok());
        }
        let mut used: HashSet<IpAddr> = given.values().chain(taken).copied().collect();
        let mut new = Vec::new();
        for name in wanted {
            if given.contains_key(name) {
                continue;
            }
            let start = u128::from(hash::fnv64(&name.to_string())) % count.max(1);
            let mut all = (0..count).map(|step| nth(network, first + (start + step) % count));
            // Where one finds none there is none for others.
            let Some(ip) = all.find(|ip| !used.contains(ip)) else { break };
            used.insert(ip);
            new.push((name.clone(), ip));
        }
        given.extend(new);
        true
    }
}

impl Serialize for Given {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, ip)| (name.to_string(), ip)))
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = BTreeMap::<String, IpAddr>::deserialize(deserializer)?;
        let named = read.into_iter().map(|(name, ip)| {
            let (namespace, name) = name.split_once('/').unwrap_or(("", &name));
            (ObjectName::new(namespace, name), ip)
        });
        Ok(Self(Arc::new(named.collect())))
    }
}

/// Addresses at the start of a network that are never given out: routers, name servers and the
/// control plane live there. Small networks keep what they can.
const RESERVED: u128 = 16;

/// Offset of the first address to give and how many there are from there.
fn range(network: IpNet) -> (u128, u128) {
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

    fn names(names: &[String]) -> BTreeSet<ObjectName> {
        names.iter().map(|name| ObjectName::new("ns", name)).collect()
    }

    fn ns(name: &str) -> ObjectName {
        ObjectName::new("ns", name)
    }

    proptest! {
        #[test]
        fn addresses_are_unique_inside_and_stay(first in prop::collection::vec("[a-z]{1,8}", 0..40),
                                                second in prop::collection::vec("[a-z]{1,8}", 0..40)) {
            let network: IpNet = "10.42.7.0/24".parse().unwrap();
            let mut given = Given::default();
            let none = BTreeSet::new();
            given.fill(names(&first).iter(), &[None], network, &none);
            let before = given.clone();
            given.fill(names(&second).iter(), &[None], network, &none);
            prop_assert!(before.0.iter().all(|(name, ip)| given.get(name) == Some(*ip)));
            let unique: BTreeSet<_> = given.0.values().collect();
            prop_assert_eq!(unique.len(), given.len());
            prop_assert!(given.0.values().all(|ip| network.contains(ip) && *ip >= nth(network, RESERVED)));
            for name in names(&second) {
                prop_assert!(given.get(&name).is_some());
            }
        }
    }

    #[test]
    fn a_full_network_forgets_the_names_that_are_gone() {
        let network: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut given = Given::default();
        let none = BTreeSet::new();
        given.fill(names(&["a", "b", "c", "d", "e"].map(String::from)).iter(), &[None], network, &none);
        assert_eq!(given.len(), 5);
        given.fill(names(&["f".into(), "a".into()]).iter(), &[None], network, &none);
        assert!(given.get(&ns("f")).is_some() && given.get(&ns("a")).is_some());
        assert!(given.get(&ns("b")).is_none());
    }

    #[test]
    fn addresses_that_manifests_claim_are_not_given() {
        let network: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut given = Given::default();
        given.fill(names(&["a".into()]).iter(), &[None], network, &BTreeSet::new());
        let claimed = BTreeSet::from([given.get(&ns("a")).unwrap()]);
        given.fill(names(&["a".into()]).iter(), &[None], network, &claimed);
        assert!(!claimed.contains(&given.get(&ns("a")).unwrap()));
    }
}

//! Whether an address means one pod in all linked clusters.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Cluster, Extent, Finding, Joined, NETWORKS, exports};
use crate::control::manifest::Pod;

/// Where a cluster's pods are, as far as that is known.
struct Pods<'a> {
    of: &'a str,
    /// That of the control plane, and those of Nodes.
    networks: Vec<IpNet>,
    /// Those that manifests give.
    given: BTreeSet<IpAddr>,
}

/// Only where pods are reached directly; each pair once.
pub(super) fn apart(joined: &[Joined<'_>], extent: &mut Extent, findings: &mut Vec<Finding>) {
    let mut told = BTreeSet::new();
    for joined in joined {
        let Joined { source, meta, target, .. } = joined;
        let mut pair = [&source.folder, &target.folder];
        pair.sort();
        if !exports::is_flat(joined) {
            extent.missing(NETWORKS, exports::nothing_flat(joined));
            continue;
        }
        if !told.insert(pair) {
            continue;
        }
        let (ours, theirs) = (Pods::of(source), Pods::of(target));
        if ours.are_unknown() || theirs.are_unknown() {
            let why = format!("the pod networks of {} and {} are not both known", source.name, target.name);
            extent.missing(NETWORKS, why);
            continue;
        }
        extent.compared(NETWORKS);
        findings.extend(ours.overlap(&theirs).map(|found| NETWORKS.finding(found, &meta.at)));
    }
}

impl<'a> Pods<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let documents = &cluster.assembled.documents;
        let nodes = documents.nodes.values().flat_map(|(_, node)| node.pod_networks.iter().copied());
        let living = documents.pods.values().filter(|(_, pod)| !is_finished(pod));
        let given: BTreeSet<IpAddr> = living.flat_map(|(_, pod)| pod.status.ips.iter().copied()).collect();
        // Written for every Node, also where pods get their addresses from elsewhere.
        let is_used = |network: &IpNet| given.is_empty() || given.iter().any(|ip| network.contains(ip));
        let networks: Vec<IpNet> =
            cluster.facts.pod_network.into_iter().chain(nodes.filter(is_used)).collect();
        Self { of: &cluster.name, networks: IpNet::aggregate(&networks), given }
    }

    fn are_unknown(&self) -> bool {
        self.networks.is_empty() && self.given.is_empty()
    }

    /// The first address, or network, that both have.
    fn overlap(&self, other: &Self) -> Option<String> {
        let pairs = self.networks.iter().flat_map(|a| other.networks.iter().map(move |b| (a, b)));
        let mut overlapping = pairs.filter(|(a, b)| a.contains(*b) || b.contains(*a));
        let networks = overlapping.next();
        let networks =
            networks.map(|(a, b)| format!("pods of {} are in {a}, those of {} in {b}", self.of, other.of));
        let both = || {
            let ip = self.given.intersection(&other.given).next()?;
            Some(format!("{ip} is a pod of {} and a pod of {}", self.of, other.of))
        };
        networks.or_else(both).or_else(|| self.inside(other)).or_else(|| other.inside(self))
    }

    /// One of these pods among the other cluster's.
    fn inside(&self, other: &Self) -> Option<String> {
        let (ip, network) = self.given.iter().find_map(|ip| {
            let network = other.networks.iter().find(|network| network.contains(ip))?;
            Some((ip, network))
        })?;
        Some(format!("{ip} is a pod of {}, and pods of {} are in {network}", self.of, other.of))
    }
}

/// Its address may be another one's by now.
fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

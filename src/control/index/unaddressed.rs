//! What has no address since its network is full, told at the manifest that asks for it.

use std::collections::BTreeMap;

use crate::control::manifest::{Documents, Meta, Note, Place};

use super::pods::Pods;
use super::world::Services;
use super::{Pod, Settings};

/// One note for each workload, lone pod and Service; mirrors have no manifest, and count at a Link.
pub(super) fn notes(
    documents: &Documents,
    pods: &Pods,
    services: &Services,
    settings: &Settings,
) -> Vec<Note> {
    let (mut crowded, mut none) = (BTreeMap::<Place, (&Meta, usize)>::new(), Vec::new());
    for pod in pods.iter().filter(|pod| pod.ip.is_none()) {
        if let Some(meta) = manifest_of(documents, pod) {
            crowded.entry(meta.at.clone()).or_insert((meta, 0)).1 += 1;
        }
    }
    let full = |flag: &str, network| format!("{flag} {network} is full: expected a larger network");
    for (at, (meta, count)) in crowded {
        let why = full("--pod-network", settings.pod_network);
        none.push(Note { at, message: format!("pods of {} without an address: {count}; {why}", meta.name) });
    }
    let why = full("--service-network", settings.service_network);
    let mut mirrors = 0;
    for (name, _) in services.iter().filter(|(_, service)| service.wants_ip && service.cluster_ip.is_none()) {
        match documents.services.get(name) {
            Some((meta, _)) => {
                let message = format!("Service {name} has no address; {why}");
                none.push(Note { at: meta.at.clone(), message });
            }
            None => mirrors += 1,
        }
    }
    let link = documents.links.values().next().filter(|_| mirrors > 0);
    none.extend(link.map(|(meta, _)| {
        let message = format!("mirrored Services without an address: {mirrors}; {why}");
        Note { at: meta.at.clone(), message }
    }));
    none
}

/// The one that makes the pod: what its pods are named after, where its owner is in no manifest.
fn manifest_of<'a>(documents: &'a Documents, pod: &Pod) -> Option<&'a Meta> {
    let (kind, owner) = &pod.template.owner;
    let owner = pod.name.beside(owner);
    let named_after = || pod.name.name.rsplit_once('-').map(|(set, _)| pod.name.beside(set));
    let plain = match kind.as_str() {
        "deployment" => documents.deployments.get(&owner),
        "daemonset" => documents.daemon_sets.get(&owner),
        _ => None,
    };
    let lone = documents.pods.get(&pod.name).map(|(meta, _)| &**meta);
    lone.or_else(|| plain.map(|(meta, _)| &**meta))
        .or_else(|| documents.stateful_sets.get(&owner).map(|(meta, _)| &**meta))
        .or_else(|| {
            let name = named_after()?;
            let set = documents.replica_sets.get(&name).or_else(|| documents.jobs.get(&name));
            set.map(|(meta, _)| &**meta)
        })
}

//! Manifests, and what policy in them refers to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AUTHORIZATION, Cluster, FIELDS, Finding, LINK, MANIFESTS, ROUTES, SERVER};
use crate::control::index::{Allocations, LinkedClusters, PortRef, Snapshot};
use crate::control::manifest::service::ServiceKind;
use crate::control::manifest::{Meta, Owner, Server, references};
use crate::control::mirror::Gateways;

/// What keeps the folder from taking effect. References that lead nowhere have names of their own.
pub(super) fn manifests(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let documents = &cluster.assembled.documents;
    let authorizations = references::authorizations(documents);
    let links = references::links(documents, &cluster.settings.mirror_namespace);
    for problem in &cluster.assembled.problems {
        let check = match problem {
            problem if authorizations.contains(problem) => AUTHORIZATION,
            problem if links.contains(problem) => LINK,
            _ => MANIFESTS,
        };
        findings.push(check.problem(problem));
    }
    findings.extend(cluster.unknown.iter().map(|problem| MANIFESTS.problem(problem)));
    findings.extend(cluster.assembled.unknown.iter().map(|problem| FIELDS.problem(problem)));
}

/// A Server that selects nothing protects nothing.
pub(super) fn servers(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let documents = &cluster.assembled.documents;
    if documents.servers.is_empty() {
        return;
    }
    let peopled = peopled(cluster);
    for (meta, server) in documents.servers.values() {
        let here = |namespace: &str| *namespace == *meta.name.namespace;
        let pods = server.pods.iter().flat_map(|selector| {
            let pods = peopled.pods().filter(|pod| here(&pod.name.namespace));
            pods.filter(|pod| selector.matches(&pod.labels))
                .map(|pod| has_port(server, |n| pod.named_port(n)))
        });
        let external = server.external.iter().flat_map(|selector| {
            let all = documents.external_workloads.values().filter(|(of, _)| here(&of.name.namespace));
            let selected = all.filter(|(of, _)| selector.matches(&of.labels));
            selected.map(|(_, workload)| has_port(server, |name| workload.named_port(name)))
        });
        let selected: Vec<bool> = pods.chain(external).collect();
        let what = if server.pods.is_some() { "pod" } else { "external workload" };
        let name = &meta.name;
        let found = match (&server.port, selected.as_slice()) {
            (_, []) => format!("Server {name} selects no {what} of its namespace"),
            (PortRef::Name(port), selected) if !selected.contains(&true) => {
                format!("Server {name} selects {what}s, and none has a TCP port named {port}")
            }
            _ => continue,
        };
        findings.push(SERVER.finding(found, &meta.at));
    }
}

/// A number is anybody's port.
fn has_port(server: &Server, named: impl Fn(&str) -> Option<u16>) -> bool {
    match &server.port {
        PortRef::Number(_) => true,
        PortRef::Name(name) => named(name).is_some(),
    }
}

/// The cluster with its pods, and with one of everything that has none now or makes others later, as its control plane would know them:
/// policy is written for these too, and by labels that the injector adds.
fn peopled(cluster: &Cluster) -> Snapshot {
    let mut documents = cluster.assembled.documents.clone();
    // Printed pods stand for all that their workloads make, until these make others: here both are there.
    let nobodys = documents.pods.values().map(|(meta, pod)| {
        let mut meta = Meta::clone(meta);
        meta.owners.clear();
        meta.name = meta.name.beside(&format!("{}-now", meta.name.name));
        (meta.name.clone(), (Arc::new(meta), pod.clone()))
    });
    documents.pods = nobodys.collect();
    for (meta, body) in documents.cron_jobs.values() {
        let mut job = Meta::clone(meta);
        job.name = meta.name.beside(&format!("{}-0", meta.name.name));
        job.owners = vec![Owner { kind: "CronJob".into(), name: meta.name.name.to_string() }];
        documents.jobs.insert(job.name.clone(), (Arc::new(job), body.clone()));
    }
    for all in [&mut documents.deployments, &mut documents.replica_sets, &mut documents.jobs] {
        all.values_mut().for_each(|(_, body)| Arc::make_mut(body).replicas = 1);
    }
    for (_, set) in documents.stateful_sets.values_mut().filter(|(_, set)| set.pods.replicas == 0) {
        Arc::make_mut(set).pods.replicas = 1;
    }
    // Where there are no Nodes there is one that takes everything: a pool may be empty for now.
    documents.nodes = Default::default();
    let (linked, gateways) = (LinkedClusters::default(), Gateways::default());
    Snapshot::build(&documents, &linked, &gateways, &cluster.settings, &Allocations::default()).0
}

/// Routes that do not count, and those of whose requests a part fails.
pub(super) fn routes(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let faults = cluster.snapshot.iter().flat_map(|snapshot| snapshot.route_faults());
    findings.extend(faults.map(|fault| ROUTES.finding(fault.message, fault.at)));
}

/// Services that ask for one address: it is one's alone.
pub(super) fn cluster_ips(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let mut first = BTreeMap::new();
    for (meta, service) in cluster.assembled.documents.services.values() {
        let ServiceKind::ClusterIp(ip) = service.kind else { continue };
        for ip in ip.into_iter().chain(service.other_ip) {
            if let Some(other) = first.insert(ip, &meta.name) {
                let found = format!("Service {} has the clusterIP {ip}, which is that of {other}", meta.name);
                let remedy = "leave clusterIP out, so that one is given out".into();
                findings.push(Finding { remedy, ..MANIFESTS.finding(found, &meta.at) });
            }
        }
    }
}

//! Manifests, and what policy in them refers to.

use super::{AUTHORIZATION, Cluster, Finding, LINK, MANIFESTS, ROUTES, SERVER};
use crate::control::manifest::labelled::Labels;
use crate::control::manifest::references;
use crate::control::manifest::workload::{Container, PodSpec, PortRef};
use crate::control::manifest::{Meta, Server};

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
}

/// A Server that selects nothing protects nothing. A workload without replicas counts as selected.
pub(super) fn servers(cluster: &Cluster, findings: &mut Vec<Finding>) {
    for (meta, server) in cluster.assembled.documents.servers.values() {
        let Some(selector) = &server.pods else { continue };
        let workloads = workloads(cluster, meta);
        let selected: Vec<_> = workloads.iter().filter(|(labels, _)| selector.matches(labels)).collect();
        let name = &meta.name;
        if selected.is_empty() {
            let found = format!("Server {name} selects no pod of its namespace");
            findings.push(SERVER.finding(found, &meta.at));
        } else if !selected.iter().any(|(_, spec)| has_port(spec, server)) {
            let PortRef::Name(port) = &server.port else { continue };
            let found = format!("Server {name} selects pods, and none has a TCP port named {port}");
            findings.push(SERVER.finding(found, &meta.at));
        }
    }
}

/// Routes that do not count, and those of whose requests a part fails.
pub(super) fn routes(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let faults = cluster.snapshot.iter().flat_map(|snapshot| snapshot.route_faults());
    findings.extend(faults.map(|fault| ROUTES.finding(fault.message, fault.at)));
}

/// The pods and templates of an object's namespace.
fn workloads<'a>(cluster: &'a Cluster, of: &Meta) -> Vec<(&'a Labels, &'a PodSpec)> {
    let documents = &cluster.assembled.documents;
    let pods = documents.pods.values().map(|(meta, pod)| (meta, &*meta.labels, &pod.spec));
    let templates = documents.workloads().map(|(meta, made)| (meta, &*made.labels, &made.spec));
    let here = pods.chain(templates).filter(|(meta, ..)| meta.name.namespace == of.name.namespace);
    here.map(|(_, labels, spec)| (labels, spec)).collect()
}

/// A number is any pod's; the proxy's own ports are named by the injector.
fn has_port(spec: &PodSpec, server: &Server) -> bool {
    let PortRef::Name(name) = &server.port else { return true };
    let named = |container: &Container| container.tcp_port(name).is_some();
    ["linkerd-proxy", "linkerd-admin"].contains(&name.as_str())
        || spec.containers.iter().chain(&*spec.init_containers).any(named)
}

//! What documents say of each other: references that lead nowhere.

use std::path::Path;

use super::authorization::Servers;
use super::labelled::{Labelled, Labels};
use super::policy::{AuthenticationKind, AuthorizationTarget, IdentityRef};
use super::{Documents, Note, ObjectName, Place, Problem, folder_of, link};
use crate::control::ordered::Ordered;

/// Adds a problem for each reference to an object that is not among the documents.
pub(super) fn check(
    documents: &Documents,
    mirror_namespace: &str,
    problems: &mut Vec<Problem>,
    notes: &mut Vec<Note>,
) {
    problems.extend(authorizations(documents));
    problems.extend(links(documents, mirror_namespace));
    services(documents, notes);
    notes.extend(super::status::accepted(documents).notes);
    accounts(documents, problems);
}

/// Without its account a pod never gets a certificate, so that it would never become ready.
fn accounts(documents: &Documents, problems: &mut Vec<Problem>) {
    let workloads = documents.workloads().map(|(meta, template)| (meta, &template.spec));
    let pods = documents.pods.values().map(|(meta, body)| (meta, &body.spec));
    for (meta, spec) in workloads.chain(pods) {
        if spec.service_account == "default" {
            continue;
        }
        let account = meta.name.beside(&spec.service_account);
        if !documents.service_accounts.contains_key(&account) {
            problems.push(dangling(&meta.at, "ServiceAccount", &account, &documents.service_accounts));
        }
    }
}

/// Authorizations that refer to what is not there.
pub(in crate::control) fn authorizations(documents: &Documents) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (meta, policy) in documents.authorization_policies.values() {
        let own = &meta.name.namespace;
        if let AuthorizationTarget::Server(name) = &policy.target.value {
            let target = ObjectName::new(own, name);
            if !documents.servers.contains_key(&target) {
                problems.push(dangling(&policy.target.at, "Server", &target, &documents.servers));
            }
        }
        if let AuthorizationTarget::Route(kind, name) = &policy.target.value {
            let target = meta.name.beside(name);
            if !documents.routes.contains_key(&(target.clone(), *kind)) {
                let there = documents.routes.keys().filter(|(_, of)| of == kind).map(|(name, _)| name);
                problems.push(missing(&policy.target.at, kind.name(), &target, there));
            }
        }
        for reference in &policy.authentications {
            let namespace = reference.value.namespace.as_deref().unwrap_or(own);
            let name = ObjectName::new(namespace, &reference.value.name);
            let at = &reference.at;
            match reference.value.kind {
                AuthenticationKind::MeshTls if !documents.mesh_tls_authentications.contains_key(&name) => {
                    problems.push(dangling(
                        at,
                        "MeshTLSAuthentication",
                        &name,
                        &documents.mesh_tls_authentications,
                    ))
                }
                AuthenticationKind::Network if !documents.network_authentications.contains_key(&name) => {
                    problems.push(dangling(
                        at,
                        "NetworkAuthentication",
                        &name,
                        &documents.network_authentications,
                    ))
                }
                // A service account may be another cluster's or made by hand; it is only a name here.
                _ => {}
            }
        }
    }
    for (meta, authorization) in documents.server_authorizations.values() {
        let Servers::Named(server) = &authorization.servers else { continue };
        let target = meta.name.beside(&server.value);
        if !documents.servers.contains_key(&target) {
            problems.push(dangling(&server.at, "Server", &target, &documents.servers));
        }
    }
    for (meta, authentication) in documents.mesh_tls_authentications.values() {
        for reference in &authentication.identity_refs {
            if let IdentityRef::ServiceAccount(name, _) = reference
                && !super::names::is_subdomain(name)
            {
                problems.push(Problem {
                    at: meta.at.clone(),
                    message: format!("{name:?} is no name for a ServiceAccount"),
                    expected: super::names::SUBDOMAIN_FORM.into(),
                });
            }
        }
    }
    problems
}

/// Links without credentials, and credentials that lead to no folder. A Link in any other namespace does
/// nothing, and needs nothing.
pub(in crate::control) fn links(documents: &Documents, mirror_namespace: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (meta, body) in documents.links_in(mirror_namespace) {
        let secret = body.credentials(&meta.name);
        let at = &body.credentials_secret.at;
        match documents.secrets.get(&secret) {
            None => problems.push(dangling(at, "Secret", &secret, &documents.secrets)),
            Some((_, found)) if found.kind != link::REMOTE_KUBECONFIG => problems.push(Problem {
                at: at.clone(),
                message: format!("Secret {secret} has the type {:?}", found.kind),
                expected: format!("type {}", link::REMOTE_KUBECONFIG),
            }),
            Some(_) => {}
        }
    }
    secrets(documents, &mut problems);
    problems
}

fn secrets(documents: &Documents, problems: &mut Vec<Problem>) {
    for (_, secret) in documents.secrets.values() {
        let Some(remote) = &secret.remote else { continue };
        if folder_of(&remote.value, Path::new("")).is_none() {
            problems.push(Problem {
                at: remote.at.clone(),
                message: format!("the kubeconfig's server {:?} is no folder", remote.value),
                expected: "a file:// URL of the other cluster's folder, such as file://../east".into(),
            });
        }
    }
}

/// Selectors that select nothing.
fn services(documents: &Documents, notes: &mut Vec<Note>) {
    let services = documents.services.values().filter(|(_, service)| !service.selector.is_empty());
    let keys =
        services.clone().flat_map(|(_, service)| service.selector.keys()).map(String::as_str).collect();
    let workloads = documents.workloads().map(|(meta, template)| (meta, &*template.labels));
    let pods = documents.pods.values().map(|(meta, _)| (meta, &*meta.labels));
    let external = documents.external_workloads.values().map(|(meta, _)| (meta, &*meta.labels));
    let all = workloads.chain(pods).chain(external);
    let all = Labelled::of(all.map(|(meta, labels)| (&*meta.name.namespace, labels, labels)), &keys);
    for (meta, service) in services {
        let selects =
            |labels: &&Labels| service.selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        if !all.candidates(&meta.name.namespace, &service.selector).iter().any(selects) {
            let message = format!("the selector of Service {} matches no pod", meta.name);
            notes.push(Note { at: meta.at.clone(), message });
        }
    }
}

fn dangling<T>(at: &Place, kind: &str, name: &ObjectName, there: &Ordered<ObjectName, T>) -> Problem {
    missing(at, kind, name, there.keys())
}

fn missing<'a>(
    at: &Place,
    kind: &str,
    name: &ObjectName,
    there: impl Iterator<Item = &'a ObjectName>,
) -> Problem {
    let near: Vec<_> =
        there.filter(|other| other.namespace == name.namespace).map(|other| &*other.name).collect();
    let expected = match near.as_slice() {
        [] => format!("a {kind} of that name in namespace {}", name.namespace),
        near => format!("one of {}", near.join(", ")),
    };
    Problem { at: at.clone(), message: format!("{kind} {name} does not exist"), expected }
}

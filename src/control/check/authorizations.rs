//! Authorizations whose names are well-formed, and that are good for nobody all the same.

use super::{AUTHORIZATION, Cluster, Finding};
use crate::control::index::{self, ObjectName};
use crate::control::manifest::authorization::{Clients, Servers};
use crate::control::manifest::policy::{AuthenticationKind, IdentityRef};
use crate::control::manifest::{Meta, Place, ServerAuthorization};

/// ServerAuthorizations that select no Server.
pub(super) fn selected(cluster: &Cluster, findings: &mut Vec<Finding>) {
    let documents = &cluster.assembled.documents;
    for (meta, authorization) in documents.server_authorizations.values() {
        let Servers::Selected(selector) = &authorization.servers else { continue };
        let here = documents.servers.values().filter(|(of, _)| of.name.namespace == meta.name.namespace);
        if !here.into_iter().any(|(of, _)| selector.matches(&of.labels)) {
            let found = format!("ServerAuthorization {} selects no Server of its namespace", meta.name);
            findings.push(AUTHORIZATION.finding(found, &meta.at));
        }
    }
}

/// ServiceAccounts that none of the clusters has. One that is not known here may have it.
pub(super) fn accounts(cluster: &Cluster, clusters: &[Cluster], findings: &mut Vec<Finding>) {
    for (kind, of, account, at) in named(cluster) {
        if !clusters.iter().any(|cluster| has(cluster, &account)) {
            let found =
                format!("{kind} {} lets in ServiceAccount {account}, which no known cluster has", of.name);
            findings.push(AUTHORIZATION.warning(found, at));
        }
    }
}

type Named<'a> = (&'static str, &'a Meta, ObjectName, &'a Place);

/// By whom, and where.
fn named(cluster: &Cluster) -> Vec<Named<'_>> {
    let documents = &cluster.assembled.documents;
    let account = |of: &Meta, name: &str, namespace: &Option<String>| {
        ObjectName::new(namespace.as_deref().unwrap_or(&of.name.namespace), name)
    };
    let mut all: Vec<Named<'_>> = Vec::new();
    for (meta, policy) in documents.authorization_policies.values() {
        let accounts =
            policy.authentications.iter().filter(|to| to.value.kind == AuthenticationKind::ServiceAccount);
        let named = accounts.map(|to| (account(meta, &to.value.name, &to.value.namespace), &to.at));
        all.extend(named.map(|(account, at)| ("AuthorizationPolicy", &**meta, account, at)));
    }
    for (meta, authentication) in documents.mesh_tls_authentications.values() {
        let accounts = authentication.identity_refs.iter().filter_map(|identity| match identity {
            IdentityRef::ServiceAccount(name, namespace) => Some(account(meta, name, namespace)),
            IdentityRef::Namespace(_) => None,
        });
        all.extend(accounts.map(|account| ("MeshTLSAuthentication", &**meta, account, &meta.at)));
    }
    for (meta, authorization) in documents.server_authorizations.values() {
        let ServerAuthorization { clients: Clients::Identified { accounts, .. }, .. } = &**authorization
        else {
            continue;
        };
        let accounts = accounts.iter().map(|of| account(meta, &of.name, &of.namespace));
        all.extend(accounts.map(|account| ("ServerAuthorization", &**meta, account, &meta.at)));
    }
    all
}

/// By its manifests, or by itself as each namespace has `default` and the control plane its own.
fn has(cluster: &Cluster, account: &ObjectName) -> bool {
    let documents = &cluster.assembled.documents;
    documents.service_accounts.contains_key(account)
        || *account.namespace == *cluster.settings.control_namespace
        || *account.name == *"default"
            && index::namespaces(documents, &cluster.settings).contains(&*account.namespace)
}

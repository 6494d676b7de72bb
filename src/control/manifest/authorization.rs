//! ServerAuthorizations: the older way to let clients reach Servers (controlplane 3.2, 3.5, 3.7).

use crate::model::inbound::{IdentityMatch, NetworkMatch};

use super::policy::{read_identity, read_network_match};
use super::reader::Reader;
use super::selector::{self, Selector};
use super::workload::At;
use super::yaml::Node;

#[derive(Clone, Debug, PartialEq)]
pub struct ServerAuthorization {
    pub servers: Servers,
    /// Empty for the cluster's own.
    pub networks: Vec<NetworkMatch>,
    pub clients: Clients,
}

/// Servers of the authorization's own namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Servers {
    Named(At<String>),
    /// By labels of the Servers themselves.
    Selected(Selector),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Clients {
    Unauthenticated,
    /// TLS, with or without a certificate.
    TlsUnauthenticated,
    Identified {
        identities: Vec<IdentityMatch>,
        accounts: Vec<AccountRef>,
    },
}

/// A ServiceAccount by name and, unless it is of the object's own, namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRef {
    pub name: String,
    pub namespace: Option<String>,
}

pub(super) fn read(reader: &mut Reader, node: &Node) -> Option<ServerAuthorization> {
    let spec = reader.required_mapping(node, "spec")?;
    let servers = reader.required_mapping(spec, "server").and_then(|node| read_servers(reader, node));
    let client = reader.required_mapping(spec, "client")?;
    let mut networks = Vec::new();
    for node in reader.mappings(client, "networks") {
        networks.extend(read_network_match(reader, node));
    }
    let clients = read_clients(reader, client);
    Some(ServerAuthorization { servers: servers?, networks, clients: clients? })
}

/// The name counts where both are given.
fn read_servers(reader: &mut Reader, node: &Node) -> Option<Servers> {
    if let Some(name) = reader.text(node, "name") {
        return Some(Servers::Named(At { value: name, at: reader.place(node) }));
    }
    match reader.mapping(node, "selector") {
        Some(selector) => Some(Servers::Selected(selector::read(reader, selector))),
        None => {
            reader.problem(node, "this names no Server", "`name` or `selector`");
            None
        }
    }
}

fn read_clients(reader: &mut Reader, client: &Node) -> Option<Clients> {
    let unauthenticated = reader.flag(client, "unauthenticated").unwrap_or(false);
    let tls = reader.mapping(client, "meshTLS");
    if unauthenticated && tls.is_some() {
        reader.problem(client, "clients without TLS and with it", "one of `unauthenticated` and `meshTLS`");
        return None;
    }
    if unauthenticated {
        return Some(Clients::Unauthenticated);
    }
    let Some(tls) = tls else {
        reader.problem(client, "this lets no client in", "`unauthenticated: true` or `meshTLS`");
        return None;
    };
    let mut identities = Vec::new();
    for node in reader.list(tls, "identities") {
        identities.extend(read_identity(reader, node));
    }
    let accounts = read_accounts(reader, tls, "serviceAccounts");
    let named = tls.get("identities").is_some() || tls.get("serviceAccounts").is_some();
    if reader.flag(tls, "unauthenticatedTLS").unwrap_or(false) {
        if named {
            let message = "clients without a certificate and with one";
            reader.problem(tls, message, "`unauthenticatedTLS` alone, or identities alone");
            return None;
        }
        return Some(Clients::TlsUnauthenticated);
    }
    if identities.is_empty() && accounts.is_empty() {
        let expected = "`identities`, `serviceAccounts` or `unauthenticatedTLS: true`";
        reader.problem(tls, "this lets no client in", expected);
        return None;
    }
    Some(Clients::Identified { identities, accounts })
}

fn read_accounts(reader: &mut Reader, parent: &Node, key: &str) -> Vec<AccountRef> {
    let mut accounts = Vec::new();
    for node in reader.mappings(parent, key) {
        let Some(name) = reader.required_text(node, "name") else { continue };
        let namespace = reader.text(node, "namespace").filter(|namespace| !namespace.is_empty());
        accounts.push(AccountRef { name, namespace });
    }
    accounts
}

//! What keeps clusters from working together: the checks of `causeway check`.
//!
//! Pure functions over what is known of the clusters, from their folders, their trust material and their
//! running control planes. Each check has a name, a question and a remedy; [`CHECKS`] is the table of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::index::{Settings, Snapshot};
use super::manifest::{Assembled, Link, Meta, Note, Object, Problem};

mod clients;
mod authorizations;
mod exports;
mod extent;
mod links;
mod mirrors;
mod networks;
mod policy;
pub mod trust;

pub use extent::Extent;
pub use trust::Trust;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Traffic fails, or is let in or kept out otherwise than the manifests say.
    Error,
    /// It works now, and may not later or elsewhere.
    Warning,
}

/// What has to be known for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Folders,
    Trust,
    /// A running control plane.
    Control,
    Gateways,
}

impl Needs {
    /// The flags that give it; empty for what is always there.
    pub fn flags(self) -> &'static str {
        match self {
            Self::Folders => "",
            Self::Trust => "--certs or --control",
            Self::Control => "--control",
            Self::Gateways => "--control or --probe-gateways",
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    /// What holds where nothing is found.
    pub holds: &'static str,
    pub needs: Needs,
    /// Most of its findings.
    pub severity: Severity,
    pub remedy: &'static str,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    pub severity: Severity,
    pub found: String,
    /// `file:line:column`, or a cluster's name or an address.
    pub at: String,
    pub remedy: String,
}

macro_rules! checks {
    ($($id:ident: $name:literal, $severity:ident, $needs:ident, $holds:literal, $remedy:literal;)*) => {
        $(pub const $id: Check = Check {
            name: $name,
            holds: $holds,
            needs: Needs::$needs,
            severity: Severity::$severity,
            remedy: $remedy,
        };)*
        /// Every check, in the order in which they are told.
        pub const CHECKS: &[Check] = &[$($id),*];
    };
}

checks! {
    MANIFESTS: "manifests", Error, Folders, "the manifests can be read", "write what is expected there";
    FIELDS: "unknown-fields", Error, Folders, "policy and Links have fields that there are",
        "correct the field's name, or leave it out: it counts for nothing, and kubectl apply would refuse it";
    AUTHORIZATION: "authorization-refs", Error, Folders, "authorizations name what exists",
        "make the resource that is named, or name one that exists";
    SERVER: "server-selects", Error, Folders, "every Server selects a port of a pod",
        "correct the Server's selector or port: until then the default policy is in force";
    ROUTES: "route-status", Error, Folders, "routes are accepted, and lead to what exists",
        "name a parent that accepts the route, and backends that exist: /api/v1/routes of causeway control has all statuses";
    LINK: "link-reachable", Error, Folders, "every Link leads to a cluster",
        "link again: causeway link DIR --cluster-name NAME";
    AGREES: "link-agrees", Error, Folders, "Links and credentials say the same",
        "link again, and apply all three documents: causeway link DIR --cluster-name NAME";
    NAMESPACES: "control-namespaces", Error, Folders, "linked control planes have one namespace",
        "install both control planes into a namespace of the same name: pods elsewhere are not known as meshed";
    NETWORKS: "pod-networks", Error, Folders, "pods of linked clusters have addresses of their own",
        "give the clusters pod networks that do not overlap (causeway control --pod-network), or mirror through the \
         gateway only";
    EXPORTS: "export-namespace", Error, Folders, "exported Services have their namespace everywhere",
        "make the namespace in the cluster that mirrors, or let it be made: --enable-namespace-creation";
    MIRRORS: "mirrors", Warning, Folders, "mirror services belong to Links, which make them",
        "delete it: the control plane makes mirrors of Links, and what causeway mirror prints is for kubectl";
    CLIENTS: "client-meshed", Error, Folders, "clients of pod-to-pod Services are meshed",
        "inject the client: annotation linkerd.io/inject: enabled";
    ANCHORS: "trust-anchors", Error, Trust, "linked clusters have the same trust anchors",
        "give every cluster the same bundle, first one with all anchors";
    ISSUER: "issuer", Error, Trust, "issuers and anchors are valid, and will be",
        "replace the issuer; while it is valid, workloads change over by themselves";
    CLOCK: "clock", Error, Control, "the clocks agree",
        "set the clocks by NTP: certificates allow for 20 s";
    CONTROL: "control-plane", Error, Control, "the control planes answer",
        "start it, or correct the address: it is that of --api of causeway control";
    AGE: "data-age", Error, Control, "what control planes know of clusters is fresh",
        "mend that cluster's folder, or start its control plane; until then the last good state is in force";
    GATEWAY: "gateway", Error, Gateways, "the gateways of Links answer",
        "start the gateway, or correct gatewayAddress and probeSpec of the Link";
}

impl Check {
    /// A finding with the check's own severity and remedy.
    pub fn finding(&self, found: impl Into<String>, at: impl ToString) -> Finding {
        Finding {
            check: self.name,
            severity: self.severity,
            found: found.into(),
            at: at.to_string(),
            remedy: self.remedy.into(),
        }
    }

    fn warning(&self, found: impl Into<String>, at: impl ToString) -> Finding {
        Finding { severity: Severity::Warning, ..self.finding(found, at) }
    }

    fn problem(&self, problem: &Problem) -> Finding {
        let remedy = match self.name == MANIFESTS.name {
            true => format!("expected {}", problem.expected),
            false => format!("{}; expected {}", self.remedy, problem.expected),
        };
        Finding { remedy, ..self.finding(&problem.message, &problem.at) }
    }
}

/// All that is known of one cluster.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub folder: PathBuf,
    /// Asked about, rather than led to by a Link.
    pub asked: bool,
    pub assembled: Assembled,
    pub settings: Settings,
    /// How many files with manifests it holds.
    pub files: usize,
    /// Whether its control plane is known to have run: it answers, or has given out addresses.
    pub ran: bool,
    /// Why those addresses cannot be read.
    pub unknown: Option<Problem>,
    pub facts: Facts,
    /// `None` with problems, and where it was not asked about.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Where the URLs in its credentials lead: an index, or why nowhere.
    pub targets: BTreeMap<String, Result<usize, String>>,
    pub trust: Option<Trust>,
}

/// What a cluster says of itself; `None` where nobody said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub control_namespace: Option<String>,
    pub cluster_domain: Option<String>,
    pub trust_domain: Option<String>,
    pub pod_network: Option<IpNet>,
}

/// One Link that counts, with the cluster that it leads to.
struct Joined<'a> {
    source: &'a Cluster,
    meta: &'a Meta,
    link: &'a Link,
    target: &'a Cluster,
}

/// Everything that folders and trust material show.
pub fn run(clusters: &[Cluster], now: std::time::SystemTime, extent: &mut Extent) -> Vec<Finding> {
    let mut findings = Vec::new();
    let asked = || clusters.iter().filter(|cluster| cluster.asked);
    unknown(clusters, extent);
    for cluster in asked() {
        policy::manifests(cluster, &mut findings);
        policy::servers(cluster, &mut findings);
        policy::cluster_ips(cluster, &mut findings);
        authorizations::selected(cluster, &mut findings);
        authorizations::accounts(cluster, clusters, &mut findings);
        policy::routes(cluster, &mut findings);
        links::reachable(cluster, clusters, &mut findings);
        clients::meshed(cluster, extent, &mut findings);
    }
    if clusters.iter().any(|cluster| cluster.asked) {
        extent.compared(LINK);
    }
    let joined: Vec<Joined<'_>> = asked().flat_map(|cluster| joined(cluster, clusters)).collect();
    for cluster in asked() {
        links::agree(cluster, &joined, &mut findings);
        mirrors::given(cluster, &joined, &mut findings);
    }
    for joined in &joined {
        links::addressed(joined, extent, &mut findings);
        links::agree_with_target(joined, &mut findings);
        links::control_namespaces(joined, extent, &mut findings);
        exports::namespaces(joined, extent, &mut findings);
    }
    networks::apart(&joined, extent, &mut findings);
    trust::anchors(&joined, extent, &mut findings);
    trust::issuers(clusters, now, extent, &mut findings);
    findings
}

/// What no check of folders can look at: no cluster at all, and where Links lead to none that is known.
fn unknown(clusters: &[Cluster], extent: &mut Extent) {
    if clusters.is_empty() {
        for check in CHECKS.iter().filter(|check| check.needs != Needs::Control) {
            extent.missing(*check, "no cluster is known");
        }
    }
    for cluster in clusters.iter().filter(|cluster| cluster.asked) {
        let known: Vec<_> = joined(cluster, clusters).iter().map(|joined| &joined.meta.name).collect();
        for (meta, _) in counting(cluster).filter(|(meta, _)| !known.contains(&&meta.name)) {
            for check in [NAMESPACES, NETWORKS, EXPORTS, ANCHORS] {
                extent.missing(check, format!("Link {} leads to no known cluster", meta.name));
            }
        }
    }
}

/// Links elsewhere do nothing.
pub fn counting(cluster: &Cluster) -> impl Iterator<Item = &Object<Link>> {
    cluster.assembled.documents.links_in(&cluster.settings.mirror_namespace)
}

/// The Links of `source` whose clusters are known.
fn joined<'a>(source: &'a Cluster, clusters: &'a [Cluster]) -> Vec<Joined<'a>> {
    let documents = &source.assembled.documents;
    let found = counting(source).filter_map(|(meta, link)| {
        let remote = documents.remote(&meta.name, link)?;
        let target = clusters.get(*source.targets.get(&remote.value)?.as_ref().ok()?)?;
        if std::ptr::eq(target, source) {
            return None;
        }
        Some(Joined { source, meta, link, target })
    });
    found.collect()
}

/// Notes of the asked cluster: told, and no findings.
pub fn notes(cluster: &Cluster) -> Vec<Note> {
    let derived = cluster.snapshot.iter().flat_map(|snapshot| snapshot.notes());
    let mut notes: Vec<Note> = cluster.assembled.notes.iter().chain(derived).cloned().collect();
    notes.sort();
    notes.dedup();
    notes
}

//! What running control planes and gateways say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde::Deserialize;

use crate::cli::fetch::{self, Answer};
use crate::control::check::{
    AGE, CLOCK, CONTROL, Cluster, Extent, Facts, Finding, GATEWAY, Severity, Trust, trust,
};
use crate::control::index::{ObjectName, Settings};
use crate::control::manifest::{Gateway, GatewayAddress};
use crate::viz::control::Linked;
use crate::viz::scrape;

/// For each question; there are three in a row, and nobody waits longer than 3 s for a finding.
const LIMIT: Duration = Duration::from_millis(900);

/// What one control plane said of itself.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Told {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) facts: Facts,
    pub(super) trust: Trust,
    admin: String,
    /// Whether it said what time it is there.
    dated: bool,
    mirror_namespace: String,
    enable_headless_services: bool,
    enable_namespace_creation: bool,
}

/// `/api/v1/cluster`.
#[derive(Debug, Deserialize)]
struct Body {
    name: String,
    folder: PathBuf,
    admin: String,
    issuer: String,
    trust_anchors: String,
    trust_domain: String,
    cluster_domain: String,
    control_namespace: String,
    mirror_namespace: String,
    pod_network: String,
    enable_headless_services: bool,
    enable_namespace_creation: bool,
}

impl Told {
    /// What was asked for, but for what is known better.
    pub(super) fn settings(&self, asked: Settings) -> Settings {
        let said = |text: &Option<String>, asked: String| text.clone().unwrap_or(asked);
        Settings {
            control_namespace: said(&self.facts.control_namespace, asked.control_namespace),
            cluster_domain: said(&self.facts.cluster_domain, asked.cluster_domain),
            trust_domain: said(&self.facts.trust_domain, asked.trust_domain),
            pod_network: self.facts.pod_network.unwrap_or(asked.pod_network),
            mirror_namespace: self.mirror_namespace.clone(),
            enable_headless_services: self.enable_headless_services,
            enable_namespace_creation: self.enable_namespace_creation,
            ..asked
        }
    }
}

/// Asks every control plane what it is and what time it is there.
pub(in crate::cli) async fn ask(addresses: &[String]) -> (Vec<Told>, Vec<Finding>) {
    let questions = addresses.iter().map(|address| fetch::get(address, "/api/v1/cluster", LIMIT));
    let answers = join_all(questions).await;
    let (mut all, mut findings) = (Vec::new(), Vec::new());
    for (address, answer) in addresses.iter().zip(answers) {
        let told = answer.map_err(|error| error.to_string()).and_then(|answer| {
            let told = read(address, &answer)?;
            let clock = answer.date.and_then(|date| {
                trust::clock(&format!("{} ({address})", told.name), date, answer.asked, answer.answered)
            });
            Ok((told, clock))
        });
        match told {
            Ok((told, clock)) => {
                all.push(told);
                findings.extend(clock);
            }
            Err(why) => findings.push(CONTROL.finding(why, address)),
        }
    }
    (all, findings)
}

fn read(address: &str, answer: &Answer) -> Result<Told, String> {
    if answer.status != StatusCode::OK {
        return Err(format!(
            "it answers {}: this is not the address of --api of causeway control",
            answer.status
        ));
    }
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("it does not describe a cluster: {error}"))?;
    Ok(Told {
        facts: Facts {
            control_namespace: Some(body.control_namespace),
            cluster_domain: Some(body.cluster_domain),
            trust_domain: Some(body.trust_domain),
            pod_network: body.pod_network.parse().ok(),
        },
        trust: Trust::from_pem(&body.trust_anchors, &body.issuer, address.to_owned()),
        name: body.name,
        folder: body.folder,
        admin: reachable(&body.admin, address),
        dated: answer.date.is_some(),
        mirror_namespace: body.mirror_namespace,
        enable_headless_services: body.enable_headless_services,
        enable_namespace_creation: body.enable_namespace_creation,
    })
}

/// Where the admin port is, for whoever has asked at `asked`. What it is bound to says nothing of the way there where it
/// is a loopback or every address: the host that was asked is that way.
fn reachable(bound: &str, asked: &str) -> String {
    let Ok(addr) = bound.parse::<SocketAddr>() else { return bound.to_owned() };
    let elsewhere = !addr.ip().is_loopback() && !addr.ip().is_unspecified();
    match asked.rsplit_once(':').filter(|_| !elsewhere) {
        Some((host, _)) => format!("{host}:{}", addr.port()),
        None => bound.to_owned(),
    }
}

/// Which clocks were compared, and what those who did not answer leave unknown.
pub(super) fn heard(told: &[Told], findings: &[Finding], extent: &mut Extent) {
    for told in told {
        match told.dated {
            true => extent.compared(CLOCK),
            false => extent.missing(CLOCK, format!("{} does not say what time it is", told.name)),
        }
    }
    for silent in findings.iter().filter(|finding| finding.check == CONTROL.name) {
        for check in [CLOCK, AGE] {
            extent.missing(check, format!("the control plane at {} does not answer", silent.at));
        }
    }
}

/// What each control plane knows of clusters and gateways, by its own cluster's name.
pub(super) type Known = BTreeMap<String, Linked>;

/// Reads the metrics, and tells which clusters are known by old data only.
pub(super) async fn metrics(told: &[Told], extent: &mut Extent, findings: &mut Vec<Finding>) -> Known {
    let pages = join_all(told.iter().map(scrape)).await;
    let mut known = Known::new();
    for (told, page) in told.iter().zip(pages) {
        match page {
            Ok(linked) => {
                match linked.clusters.is_empty() {
                    true => extent.missing(AGE, format!("the metrics of {} tell of no cluster", told.name)),
                    false => extent.compared(AGE),
                }
                findings.extend(ages(&told.name, &linked));
                findings.extend(linked.issuer_stale.then(|| trust::stale(&told.name, &told.admin)));
                known.insert(told.name.clone(), linked);
            }
            Err(why) => {
                extent.missing(AGE, format!("no metrics of {}", told.name));
                findings.push(CONTROL.finding(format!("no metrics of {}: {why}", told.name), &told.admin))
            }
        }
    }
    known
}

/// One control plane's page.
pub(in crate::cli) async fn scrape(told: &Told) -> Result<Linked, String> {
    let admin = &told.admin;
    let answer = fetch::get(admin, "/metrics", LIMIT).await.map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(&answer.body).map_err(|_| "the page is not text".to_owned())?;
    if answer.status != StatusCode::OK {
        return Err(format!("{admin}/metrics answers {}", answer.status));
    }
    Ok(Linked::read(&scrape::parse(text).map_err(|error| error.to_string())?))
}

/// The labels of every Service of the control plane at this address.
pub(in crate::cli) async fn services(address: &str) -> Result<Vec<BTreeMap<String, String>>, String> {
    #[derive(Deserialize)]
    struct Service {
        labels: BTreeMap<String, String>,
    }
    let answer = fetch::get(address, "/api/v1/services", LIMIT).await.map_err(|error| error.to_string())?;
    let services: Vec<Service> = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    Ok(services.into_iter().map(|service| service.labels).collect())
}

fn ages(own: &str, linked: &Linked) -> Vec<Finding> {
    let stale = linked.clusters.iter().filter(|(_, cluster)| cluster.stale);
    let told = stale
        .map(|(name, cluster)| AGE.finding(format!("{own} knows {name} by old data: {}", age(cluster)), own));
    told.collect()
}

/// How old what a control plane knows of a cluster is, in words.
pub(super) fn age(cluster: &crate::viz::control::Cluster) -> String {
    let shown = |age: Duration| humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
    let control = cluster.control.map(|seen| format!(", a sign of its control plane {} ago", shown(seen)));
    format!(
        "its manifests were sound {} ago{}, {}",
        shown(cluster.manifests),
        control.unwrap_or_default(),
        super::counted(cluster.problems as usize, "problem")
    )
}

/// Asks the gateways of all Links.
pub(super) async fn gateways(clusters: &[Cluster], known: &Known, findings: &mut Vec<Finding>) {
    let links = clusters.iter().filter(|cluster| cluster.asked).flat_map(|cluster| {
        let links = cluster.assembled.documents.links.iter();
        let counting = links.filter(|(name, _)| *name.namespace == *cluster.settings.mirror_namespace);
        counting
            .filter_map(move |(name, (meta, link))| Some((cluster, name, meta, link, link.gateway.as_ref()?)))
    });
    let probes = links.map(|(cluster, name, meta, link, gateway)| async move {
        let alive =
            known.get(&cluster.name).and_then(|linked| linked.gateways.get(&link.target_cluster_name));
        // One that was not probed yet is not dead.
        let alive = alive.filter(|found| found.enabled && (found.alive || found.failed));
        let alive = alive.map(|found| found.alive);
        let found = join_all(gateway.addresses.iter().map(|address| probe(gateway, address))).await;
        let failed: Vec<String> = found.into_iter().filter_map(Result::err).collect();
        let finding = match &gateway.identity {
            None => Some(unnamed(name)),
            Some(_) => judge(cluster, name, &failed, gateway.addresses.len(), alive),
        };
        finding.map(|finding| Finding { at: meta.at.to_string(), ..finding })
    });
    findings.extend(join_all(probes).await.into_iter().flatten());
}

/// Whoever listens there, proxies send it nothing in plaintext.
fn unnamed(link: &ObjectName) -> Finding {
    let found = format!("Link {} names no gatewayIdentity: proxies send its gateway nothing", link.name);
    let remedy = "write gatewayIdentity into the Link, or link again: causeway link DIR --cluster-name NAME";
    Finding { remedy: remedy.into(), ..GATEWAY.finding(found, link) }
}

/// `alive` is what the control plane's own probes, over mutual TLS, have shown.
fn judge(
    cluster: &Cluster,
    link: &ObjectName,
    failed: &[String],
    of: usize,
    alive: Option<bool>,
) -> Option<Finding> {
    let (name, asker) = (&link.name, &cluster.name);
    let why = failed.join("; ");
    let found = match alive {
        // A kubelet's probe is in plain HTTP: it shows neither whom the gateway is nor whom it trusts.
        Some(false) if failed.len() < of => {
            let found = format!(
                "the gateway of Link {name} answers from here in plain HTTP, and not {asker} over mutual TLS"
            );
            let remedy = "correct gatewayIdentity of the Link, and give both clusters the same trust anchors: \
                          the gateway's certificate must prove that name";
            return Some(Finding { remedy: remedy.into(), ..GATEWAY.finding(found, link) });
        }
        _ if failed.is_empty() => return None,
        Some(true) => {
            format!("the gateway of Link {name} does not answer from here ({why}); {asker} reaches it")
        }
        _ if failed.len() < of => format!("not every address of the gateway of Link {name} answers: {why}"),
        _ => {
            return Some(GATEWAY.finding(format!("the gateway of Link {name} does not answer: {why}"), link));
        }
    };
    Some(Finding { severity: Severity::Warning, ..GATEWAY.finding(found, link) })
}

/// The probe that a Link asks for, in plain HTTP, as a kubelet's; without one, whether the port is open.
async fn probe(gateway: &Gateway, address: &GatewayAddress) -> Result<(), String> {
    let host = match address {
        GatewayAddress::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        GatewayAddress::Ip(ip) => ip.to_string(),
        GatewayAddress::Name(name) => name.clone(),
    };
    let Some(probe) = &gateway.probe else {
        let authority = format!("{host}:{}", gateway.port);
        let connected = tokio::time::timeout(LIMIT, tokio::net::TcpStream::connect(&authority)).await;
        return match connected {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{authority}: {error}")),
            Err(_) => Err(format!("{authority}: no connection within {}", humantime::format_duration(LIMIT))),
        };
    };
    let authority = format!("{host}:{}", probe.port);
    let answer = fetch::get(&authority, &probe.path, LIMIT).await.map_err(|error| error.to_string())?;
    match answer.status {
        StatusCode::OK => Ok(()),
        status => Err(format!("{authority}{} answers {status}", probe.path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_is_asked_at_the_host_that_answered_unless_it_is_bound_to_another() {
        for (bound, asked, expected) in [
            ("127.0.0.1:9990", "10.1.0.5:8085", "10.1.0.5:9990"),
            ("0.0.0.0:9990", "control.west.example:8085", "control.west.example:9990"),
            ("[::]:9990", "[fd00::5]:8085", "[fd00::5]:9990"),
            ("[::1]:9990", "127.0.0.1:8085", "127.0.0.1:9990"),
            ("10.1.0.6:9990", "10.1.0.5:8085", "10.1.0.6:9990"),
        ] {
            assert_eq!(reachable(bound, asked), expected);
        }
    }
}

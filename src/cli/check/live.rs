//! What running control planes say.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde::Deserialize;

use crate::cli::fetch::{self, Answer};
use crate::control::check::{AGE, CLOCK, CONTROL, Extent, Facts, Finding, Trust, trust};
use crate::control::index::Settings;
use crate::viz::control::Linked;
use crate::viz::scrape;

/// For each question; there are three in a row, and nobody waits longer than 3 s for a finding.
pub(super) const LIMIT: Duration = Duration::from_millis(900);

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

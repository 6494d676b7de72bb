//! Do the gateways of Links answer, here and to whom it matters?

use futures_util::future::join_all;
use http::StatusCode;

use super::live::{Known, LIMIT};
use crate::cli::fetch;
use crate::control::check::{self, Cluster, Finding, GATEWAY, Severity};
use crate::control::index::ObjectName;
use crate::control::manifest::{Gateway, GatewayAddress};

/// Asks the gateways of all Links.
pub(super) async fn ask(clusters: &[Cluster], known: &Known, findings: &mut Vec<Finding>) {
    let links = clusters.iter().filter(|cluster| cluster.asked).flat_map(|cluster| {
        check::counting(cluster)
            .filter_map(move |(meta, link)| Some((cluster, meta, link, link.gateway.as_ref()?)))
    });
    let probes = links.map(|(cluster, meta, link, gateway)| async move {
        let name = &meta.name;
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

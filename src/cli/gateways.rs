//! `causeway gateways`: the gateways of linked clusters, as a control plane sees them (controlplane 7.1).

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::bail;
use serde_json::json;

use super::check::live;
use crate::control::index::CLUSTER_NAME;
use crate::control::mirror::MIRRORED;
use crate::viz::control::Gateway;
use crate::viz::table::{Align, Table};

/// Print whether the gateways of linked clusters are alive.
///
/// Asks a running `causeway control`, which probes the gateways of its Links. A cluster whose gateway is not
/// probed has no row. Mirrors that are reached pod to pod count as the cluster's Services too, federated ones do not.
#[derive(clap::Args, Clone, Debug)]
pub struct GatewaysArgs {
    /// The address of its --api.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8085")]
    pub control: String,
    /// Of this cluster alone.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: super::check::Format,
}

struct Row<'a> {
    cluster: &'a str,
    gateway: Gateway,
    services: usize,
}

/// Asks, and prints.
pub fn run(args: &GatewaysArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(print(args, out))
}

async fn print(args: &GatewaysArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let (told, findings) = live::ask(std::slice::from_ref(&args.control)).await;
    let Some(told) = told.first() else {
        let why = findings.first().map_or("", |finding| finding.found.as_str());
        bail!("{why}\nis causeway control running, and is {} the address of its --api?", args.control);
    };
    let linked = live::scrape(told).await.map_err(|why| anyhow::anyhow!("no metrics: {why}"))?;
    let services =
        live::services(&args.control).await.map_err(|why| anyhow::anyhow!("no Services: {why}"))?;
    let wanted = |name: &str| args.cluster_name.as_ref().is_none_or(|wanted| wanted == name);
    let probed = linked.gateways.iter().filter(|(name, gateway)| gateway.enabled && wanted(name));
    let rows: Vec<Row<'_>> = probed
        .map(|(cluster, gateway)| Row { cluster, gateway: *gateway, services: mirrored(&services, cluster) })
        .collect();
    match args.output {
        super::check::Format::Table => out.write_all(table(&rows).as_bytes())?,
        super::check::Format::Json => writeln!(out, "{:#}", list(&rows))?,
    }
    Ok(())
}

/// How many Services have the labels of this cluster's mirrors.
fn mirrored(services: &[BTreeMap<String, String>], cluster: &str) -> usize {
    let is = |labels: &&BTreeMap<String, String>| {
        labels.get(MIRRORED).is_some_and(|value| value == "true")
            && labels.get(CLUSTER_NAME).is_some_and(|value| value == cluster)
    };
    services.iter().filter(is).count()
}

fn milliseconds(gateway: &Gateway) -> u128 {
    gateway.latency.unwrap_or_default().as_millis()
}

fn table(rows: &[Row<'_>]) -> String {
    let columns = [
        ("CLUSTER", Align::Left),
        ("ALIVE", Align::Left),
        ("NUM_SVC", Align::Right),
        ("LATENCY", Align::Right),
    ];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|Row { cluster, gateway, services }| {
            let latency = if gateway.alive { format!("{}ms", milliseconds(gateway)) } else { "-".into() };
            let alive = if gateway.alive { "True" } else { "False" };
            vec![(*cluster).to_owned(), alive.into(), services.to_string(), latency]
        })
        .collect();
    Table { columns: &columns, gap: "  ", gap_at_end: false }.print(&rows)
}

fn list(rows: &[Row<'_>]) -> serde_json::Value {
    let rows = rows.iter().map(|Row { cluster, gateway, services }| {
        json!({
            "clusterName": cluster,
            "alive": gateway.alive,
            "numberOfServices": services,
            "latency": milliseconds(gateway) as u64,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests;

//! How are the workloads of a namespace doing? The table `viz stat -n NS deploy`, controlplane 7.5.

use std::collections::BTreeMap;

use super::table::{Align, Table};
use super::window::Window;
use super::{Traffic, inbound_traffic, rounded};

/// Pods of one deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Those with a proxy of this control plane.
    pub meshed: usize,
    /// Those that have not failed.
    pub running: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StatRow {
    pub deployment: String,
    pub pods: Pods,
    /// `None` without any response in the window.
    pub stats: Option<Stats>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    pub traffic: Traffic,
    /// Requests a second.
    pub rps: f64,
    /// Connections open at the last scrape, on both sides of the inbound proxy.
    pub tcp_connections: u64,
}

/// One row for each meshed deployment in `deployments`, by name.
pub fn rows(window: &Window, namespace: &str, deployments: &BTreeMap<String, Pods>) -> Vec<StatRow> {
    let traffic = inbound_traffic(window, |origin, _| {
        (origin.namespace == namespace).then(|| origin.deployment.clone())
    });
    let mut connections: BTreeMap<&str, f64> = BTreeMap::new();
    for (origin, labels, open) in window.latest("tcp_open_connections") {
        if origin.namespace == namespace && labels.get("direction") == "inbound" {
            *connections.entry(&origin.deployment).or_default() += open;
        }
    }
    let meshed = deployments.iter().filter(|(_, pods)| pods.meshed > 0);
    let row = |(name, pods): (&String, &Pods)| {
        let traffic = traffic.get(name).filter(|traffic| traffic.total() > 0);
        let stats = traffic.map(|traffic| Stats {
            traffic: *traffic,
            rps: window.rate(traffic.total()),
            tcp_connections: rounded(connections.get(name.as_str()).copied().unwrap_or_default()),
        });
        StatRow { deployment: name.clone(), pods: *pods, stats }
    };
    meshed.map(row).collect()
}

/// The table as the guide shows it.
pub fn print(rows: &[StatRow]) -> String {
    if rows.is_empty() {
        return "No traffic found.\n".to_string();
    }
    let columns = [
        ("NAME", Align::Left),
        ("MESHED", Align::Right),
        ("SUCCESS", Align::Right),
        ("RPS", Align::Right),
        ("LATENCY_P50", Align::Right),
        ("LATENCY_P95", Align::Right),
        ("LATENCY_P99", Align::Right),
        ("TCP_CONN", Align::Right),
    ];
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    Table { columns: &columns, gap: "   ", gap_at_end: false }.print(&cells)
}

fn cells(row: &StatRow) -> Vec<String> {
    let mut cells = vec![row.deployment.clone(), format!("{}/{}", row.pods.meshed, row.pods.running)];
    match row.stats {
        Some(Stats { traffic, rps, tcp_connections }) => cells.extend([
            format!("{:.2}%", traffic.success_rate() * 100.0),
            format!("{rps:.1}rps"),
            format!("{}ms", traffic.p50_ms),
            format!("{}ms", traffic.p95_ms),
            format!("{}ms", traffic.p99_ms),
            tcp_connections.to_string(),
        ]),
        None => cells.extend(std::iter::repeat_n("-".to_string(), 6)),
    }
    cells
}

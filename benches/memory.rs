//! What a proxy process takes while nothing happens: its binary, the time from start to ready, resident memory idle, and
//! for each idle connection: opaque ones, each in mutual TLS of its own, and HTTP/1.1 ones, which share a connection
//! between the proxies. Ours and, where `LINKERD2_PROXY_BIN` names it, the reference's, by turns.
//!
//! `cargo bench --bench memory -- [--rounds N]`; without `--bench`, or with `--test`, once and briefly.

#[path = "load/mod.rs"]
mod load;
#[path = "mesh/mod.rs"]
mod mesh;

use std::time::Duration;

use load::figures::{Column, Figure, table};
use load::plan::Plan;
use load::{http1, opaque};
use mesh::Way;

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// What a proxy frees when a burst is over is freed by then.
const SETTLE: Duration = Duration::from_millis(500);

fn main() -> anyhow::Result<()> {
    let plan = Plan::from_args()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&plan))
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let Some(mut ways) = mesh::ways().await? else { return Ok(()) };
    ways.retain(|way| !way.proxies.is_empty());
    let connections = if plan.brief { 10 } else { 500 };
    let mut columns: Vec<Column> = ways.iter().map(|way| Column::new(way.name)).collect();
    for _ in 0..plan.rounds {
        for (way, column) in ways.iter_mut().zip(&mut columns) {
            column.rounds.push(round(way, connections).await?);
        }
    }
    // Compared with the last way; there is no direct one.
    columns.insert(0, Column::new(""));
    table(&format!("{} rounds, {connections} connections of each kind", plan.rounds), &columns, false);
    Ok(())
}

/// One round, on processes that are as good as new.
async fn round(way: &mut Way, connections: usize) -> anyhow::Result<Vec<Figure>> {
    let binary = way.binary.as_ref().map(std::fs::metadata).transpose()?.map_or(0, |binary| binary.len());
    let mut figures = vec![("binary, MiB".to_owned(), binary as f64 / MIB)];
    for (proxy, whose) in way.proxies.iter_mut().zip(WHOSE) {
        let ready = proxy.restart()?;
        figures.push((format!("start to ready, ms, {whose}"), ready.as_secs_f64() * 1e3));
    }
    tokio::time::sleep(SETTLE).await;
    let idle = resident(way)?;
    figures
        .extend(WHOSE.iter().zip(&idle).map(|(whose, bytes)| (format!("idle, MiB, {whose}"), bytes / MIB)));
    // The first ones bring discovery, buffers of the runtime, and the allocator's own.
    drop(opaque::idle(&way.targets.opaque, connections.div_ceil(10)).await?);
    drop(http1::idle(&way.targets.http1, connections.div_ceil(10)).await?);
    figures.extend(grown(way, "opaque", connections, async |to, n| opaque::idle(&to.opaque, n).await).await?);
    figures.extend(grown(way, "HTTP/1.1", connections, async |to, n| http1::idle(&to.http1, n).await).await?);
    Ok(figures)
}

const WHOSE: [&str; 2] = ["client's", "server's"];

fn resident(way: &Way) -> anyhow::Result<Vec<f64>> {
    way.proxies.iter().map(|proxy| proxy.resident()).collect()
}

/// What so many idle connections add, each.
async fn grown<T>(
    way: &Way,
    kind: &str,
    connections: usize,
    open: impl AsyncFn(&load::Targets, usize) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<Figure>> {
    tokio::time::sleep(SETTLE).await;
    let before = resident(way)?;
    let held = open(&way.targets, connections).await?;
    tokio::time::sleep(SETTLE).await;
    let after = resident(way)?;
    drop(held);
    let each = after.iter().zip(before).map(|(after, before)| (after - before) / connections as f64 / KIB);
    Ok(WHOSE
        .iter()
        .zip(each)
        .map(|(whose, kib)| (format!("idle {kind} connection, KiB, {whose}"), kib))
        .collect())
}

//! What a pair of proxy processes costs per request, and per gigabyte: HTTP/1.1, HTTP/2, gRPC, a steady rate and opaque
//! bytes, directly, through our own pair and, where `LINKERD2_PROXY_BIN` names it, through the reference's, by turns.
//!
//! `cargo bench --bench requests -- [--rounds N] [WORKLOAD…]`; without `--bench`, or with `--test`, everything runs once
//! and briefly.

#[path = "load/mod.rs"]
mod load;
#[path = "mesh/mod.rs"]
mod mesh;

use std::time::Duration;

use load::plan::Plan;
use load::{Until, Workload};

fn main() -> anyhow::Result<()> {
    let plan = Plan::from_args()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(&plan))
}

fn workloads(brief: bool) -> Vec<Workload> {
    let time = if brief { Duration::from_millis(40) } else { Duration::from_secs(2) };
    let until = Until::Time(time);
    let (connections, streams) = if brief { (2, 5) } else { (10, 50) };
    vec![
        Workload::Http1 { connections: 1, until },
        Workload::Http1 { connections: 128, until },
        Workload::Http2 { connections, streams, grpc: false, until },
        Workload::Http2 { connections, streams, grpc: true, until },
        Workload::Rate { per_second: if brief { 200 } else { 2000 }, time: time * 2 },
        Workload::Stream { bytes: if brief { 8 << 20 } else { 1 << 30 } },
    ]
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let workloads = plan.chosen(workloads(plan.brief))?;
    let Some(ways) = mesh::ways().await? else { return Ok(()) };
    println!("medians of {} rounds, by turns", plan.rounds);
    for workload in &workloads {
        mesh::by_turns(workload, &ways, plan.rounds).await?;
    }
    Ok(())
}

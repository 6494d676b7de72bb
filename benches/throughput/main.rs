//! What a pair of proxies costs: one opaque stream and requests, directly and through an outbound and an
//! inbound proxy in mutual TLS, in one run.
//!
//! Absolute figures move with the machine, so rounds alternate between both ways and medians are
//! compared. Everything is in this process: a thread and a current-thread runtime each for client,
//! applications, control plane and the two proxies, as in pods with one core.
//!
//! `cargo bench --bench throughput -- [--rounds N] [--count N] [WORKLOAD…]`; with `--count` so many
//! requests are asked on each connection or stream, instead of for a time; without `--bench`, or with `--test`,
//! everything runs once and briefly.

#[path = "../../tests/control/mod.rs"]
mod control;
mod cost;
mod knowledge;
#[path = "../load/mod.rs"]
mod load;
mod pair;

use std::time::Duration;

use tokio::runtime::Builder;

use cost::Cpu;
use load::apps::Listeners;
use load::figures::{Column, Figure, table};
use load::plan::Plan;
use load::{Dial, Targets, Until, Workload};
use pair::Pair;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let plan = Plan::from_args()?;
    let apps = Listeners::local()?.start()?;
    let pair = Pair::start(&apps)?;
    let direct = Targets {
        http1: Dial::plain(apps.http1),
        http2: Dial::plain(apps.http2),
        opaque: Dial::plain(apps.opaque),
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    println!("medians of {} rounds, direct and through the pair by turns", plan.rounds);
    for workload in plan.chosen(workloads(&plan))? {
        runtime.block_on(measure(&workload, &plan, &direct, &pair.targets()))?;
    }
    Ok(())
}

fn workloads(plan: &Plan) -> Vec<Workload> {
    let time = if plan.brief { Duration::from_millis(40) } else { Duration::from_secs(1) };
    let until = plan.count.map_or(Until::Time(time), Until::Count);
    vec![
        Workload::Stream { bytes: if plan.brief { 8 << 20 } else { 512 << 20 } },
        Workload::Http1 { connections: 1, until },
        Workload::Http1 { connections: 64, until },
        Workload::Http2 { connections: 1, streams: 1, grpc: false, until },
        Workload::Http2 { connections: 1, streams: 10, grpc: true, until },
    ]
}

/// Runs a workload both ways by turns and prints a line for each figure.
async fn measure(
    workload: &Workload,
    plan: &Plan,
    direct: &Targets,
    through: &Targets,
) -> anyhow::Result<()> {
    let mut columns = [Column::new("direct"), Column::new("pair")];
    for way in [direct, through] {
        workload.warm_up().run(way).await?;
    }
    for _ in 0..plan.rounds {
        for (column, way) in columns.iter_mut().zip([direct, through]) {
            column.rounds.push(round(workload, way).await?);
        }
    }
    table(&workload.title(), &columns, false);
    Ok(())
}

async fn round(workload: &Workload, way: &Targets) -> anyhow::Result<Vec<Figure>> {
    let before = Cpu::now()?;
    let done = workload.run(way).await?;
    let cpu = Cpu::now()?.since(before);
    Ok(done.figures(workload, &[("everything", cpu.all), ("both proxies", cpu.proxies)]))
}

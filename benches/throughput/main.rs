//! What a pair of proxies costs: one opaque stream and HTTP/1.1 requests, directly and through an
//! outbound and an inbound proxy in mutual TLS, in one run.
//!
//! Absolute figures move with the machine, so rounds alternate between both ways and medians are
//! compared. Everything is in this process: a thread and a current-thread runtime each for client,
//! applications, control plane and the two proxies, as in pods with one core.
//!
//! `cargo bench --bench throughput -- [--rounds N] [WORKLOAD…]`; without `--bench`, or with `--test`,
//! everything runs once and briefly.

mod control;
mod cost;
mod load;
mod pair;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Builder;

use cost::{Cpu, median};
use load::Apps;
use pair::Pair;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is measured, how long, and how often.
struct Plan {
    rounds: usize,
    workloads: Vec<Workload>,
}

enum Workload {
    /// Opaque bytes, one way, on one connection.
    Stream { bytes: u64 },
    /// HTTP/1.1 requests one after the other on each connection.
    Http { connections: usize, time: Duration },
}

/// One figure of one round: its name with its unit, and its value.
type Figure = (&'static str, f64);

/// What the proxies' own threads used; there is no such figure to compare with when they stand aside.
const PROXIES_PER_GIGABYTE: &str = "CPU s/GB, both proxies";
const PROXIES_PER_REQUEST: &str = "CPU µs/request, both proxies";

const GIGABYTE: f64 = 1e9;

fn main() -> anyhow::Result<()> {
    let plan = Plan::from_args(std::env::args().skip(1))?;
    let apps = Apps::start()?;
    let pair = Pair::start(&apps)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    println!("medians of {} rounds, direct and through the pair by turns", plan.rounds);
    for workload in &plan.workloads {
        let (direct, through) = match workload {
            Workload::Stream { .. } => (apps.stream, pair.stream),
            Workload::Http { .. } => (apps.http, pair.http),
        };
        runtime.block_on(measure(workload, plan.rounds, direct, through))?;
    }
    Ok(())
}

/// Runs a workload both ways by turns and prints a line for each figure.
async fn measure(
    workload: &Workload,
    rounds: usize,
    direct: SocketAddr,
    through: SocketAddr,
) -> anyhow::Result<()> {
    // Discovery, handshakes and first allocations belong to no round.
    workload.warmed_up().run(direct).await?;
    workload.warmed_up().run(through).await?;
    let (mut alone, mut meshed) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(workload.run(direct).await?);
        meshed.push(workload.run(through).await?);
    }
    println!("\n{:<34} {:>12} {:>12} {:>8}", workload.title(), "direct", "pair", "ratio");
    for (at, (name, _)) in alone[0].iter().enumerate() {
        let of = |runs: &[Vec<Figure>]| median(runs.iter().map(|run| run[at].1).collect());
        let (alone, meshed) = (of(&alone), of(&meshed));
        match *name {
            PROXIES_PER_GIGABYTE | PROXIES_PER_REQUEST => println!("  {name:<32} {:>12} {meshed:>12.3}", "-"),
            _ => println!("  {name:<32} {alone:>12.3} {meshed:>12.3} {:>8.3}", meshed / alone),
        }
    }
    Ok(())
}

impl Workload {
    fn name(&self) -> String {
        match self {
            Self::Stream { .. } => "tcp".into(),
            Self::Http { connections, .. } => format!("http{connections}"),
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Stream { bytes } => format!("opaque TCP, one stream, {} MiB", bytes >> 20),
            Self::Http { connections, .. } => format!("HTTP/1.1, connections: {connections}"),
        }
    }

    fn warmed_up(&self) -> Self {
        match self {
            Self::Stream { bytes } => Self::Stream { bytes: bytes / 8 },
            Self::Http { connections, time } => Self::Http { connections: *connections, time: *time / 8 },
        }
    }

    async fn run(&self, to: SocketAddr) -> anyhow::Result<Vec<Figure>> {
        let before = Cpu::now()?;
        match *self {
            Self::Stream { bytes } => {
                let took = load::stream(to, bytes).await?;
                let cpu = Cpu::now()?.since(before);
                let gigabytes = bytes as f64 / GIGABYTE;
                Ok(vec![
                    ("Gbit/s", gigabytes * 8.0 / took.as_secs_f64()),
                    ("CPU s/GB, everything", cpu.all / gigabytes),
                    (PROXIES_PER_GIGABYTE, cpu.proxies / gigabytes),
                ])
            }
            Self::Http { connections, time } => {
                let done = load::requests(to, connections, time).await?;
                let cpu = Cpu::now()?.since(before);
                let count = done.latencies.len() as f64;
                let micros = |seconds: f64| seconds * 1e6 / count;
                Ok(vec![
                    ("requests/s", count / done.took.as_secs_f64()),
                    ("p50 µs", done.quantile(0.5)),
                    ("p99 µs", done.quantile(0.99)),
                    ("CPU µs/request, everything", micros(cpu.all)),
                    (PROXIES_PER_REQUEST, micros(cpu.proxies)),
                ])
            }
        }
    }
}

impl Plan {
    fn from_args(args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut args = args.peekable();
        let (mut bench, mut test, mut rounds, mut wanted) = (false, false, 5, Vec::new());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => bench = true,
                "--test" => test = true,
                "--rounds" => rounds = args.next().unwrap_or_default().parse()?,
                name => wanted.push(name.to_owned()),
            }
        }
        let brief = test || !bench;
        let time = if brief { Duration::from_millis(40) } else { Duration::from_secs(1) };
        let bytes = if brief { 8 << 20 } else { 512 << 20 };
        let mut workloads = vec![
            Workload::Stream { bytes },
            Workload::Http { connections: 1, time },
            Workload::Http { connections: 64, time },
        ];
        workloads.retain(|workload| wanted.is_empty() || wanted.contains(&workload.name()));
        anyhow::ensure!(!workloads.is_empty(), "no such workload: expected tcp, http1 or http64");
        Ok(Self { rounds: if brief { 1 } else { rounds.max(1) }, workloads })
    }
}

//! What `causeway control` takes for three clusters of 1,000 Services and 10,000 endpoints each: to read, to mirror and
//! to index them, from a changed file to a client that watches, and in memory. At a tenth, a third and the whole of
//! that, so that it can be seen whether a figure grows faster than its input.
//!
//! `cargo bench --bench control -- [--rounds N]`; without `--bench`, or with `--test`, once, briefly and small. With
//! `--count N` the pure functions alone, once, for N Services: for whoever counts instructions.

#[path = "../load/mod.rs"]
mod load;
mod process;
mod steps;
mod world;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use causeway::control::Snapshot;
use causeway::control::index::{Allocations, LinkedClusters};
use causeway::control::manifest::Documents;
use load::figures::{Figure, median};
use load::plan::Plan;
use process::{Control, told};
use tokio::time::Instant;
use world::{CLUSTERS, REPLICAS, World, settings};

/// The program's own: what memory costs is part of what a control plane pays for its clusters.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MIB: f64 = 1024.0 * 1024.0;

fn main() -> anyhow::Result<()> {
    let plan = Plan::from_args()?;
    if let Some(services) = plan.count {
        return functions(&World::new(services)?, 1).map(drop);
    }
    let sizes: &[usize] = if plan.brief { &[6, 12] } else { &[100, 333, 1000] };
    let mut columns = Vec::new();
    for services in sizes {
        let world = World::new(*services)?;
        let mut figures = functions(&world, plan.rounds)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        figures.extend(runtime.block_on(running(&world, plan.rounds))?);
        columns.push((*services, figures));
    }
    print(&columns);
    Ok(())
}

/// More than the caches of a processor hold. A control plane works once after a change, when others have long used
/// them: without this, all that a small world is would still lie there from the step before.
struct Elsewhere(Vec<u64>);

impl Elsewhere {
    fn new() -> Self {
        Self(vec![1; (96.0 * MIB) as usize / size_of::<u64>()])
    }

    /// When a step begins that finds nothing in the caches.
    fn now(&mut self) -> Instant {
        self.0.iter_mut().for_each(|word| *word = word.wrapping_add(1));
        std::hint::black_box(&self.0);
        Instant::now()
    }
}

/// The pure functions, in this process.
fn functions(world: &World, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let mut times: Vec<Vec<Figure>> = Vec::new();
    let mut elsewhere = Elsewhere::new();
    for _ in 0..rounds {
        let mut figures = Vec::new();
        let mut timed = |name: &str, since: Instant| figures.push((name.to_owned(), millis(since)));
        let texts =
            CLUSTERS.iter().map(|cluster| world.texts(cluster)).collect::<anyhow::Result<Vec<_>>>()?;
        let began = elsewhere.now();
        let parsed = steps::parse(&texts);
        timed("parse all files of three clusters, ms", began);
        let began = elsewhere.now();
        let documents = steps::assemble(&parsed)?;
        timed("put their documents together, ms", began);
        let own = documents.first().context("no cluster")?;
        let given = addresses(&documents);
        let began = elsewhere.now();
        let linked = steps::observe(&documents, &given);
        timed("look at two linked clusters, ms", began);
        let began = elsewhere.now();
        let alone = steps::index(own, &given[0]);
        timed("index one cluster, ms", began);
        let (_, given) = steps::build(own, &linked, 0, &given[0]);
        let began = elsewhere.now();
        let whole = steps::mirror(own, &linked, &given);
        timed("mirror two clusters and index with their mirrors, ms", began);
        let began = elsewhere.now();
        let same = steps::compare(&whole, own, &linked, &given);
        timed("the same, and find that nothing is different, ms", began);
        anyhow::ensure!(same && alone != whole, "a pure function");
        check(&whole, world)?;
        times.push(figures);
    }
    Ok(medians(&times))
}

/// What each cluster's own control plane gives out.
fn addresses(documents: &[Arc<Documents>]) -> Vec<Arc<Allocations>> {
    let none = LinkedClusters::new();
    let given = |(at, documents): (usize, &Arc<Documents>)| {
        Arc::new(steps::build(documents, &none, at, &Allocations::new(&settings(at))).1)
    };
    documents.iter().enumerate().map(given).collect()
}

/// That the world is what it is said to be.
fn check(snapshot: &Snapshot, world: &World) -> anyhow::Result<()> {
    let pods = snapshot.pods().filter(|pod| pod.meshed()).count();
    anyhow::ensure!(pods == world.services * REPLICAS, "{pods} pods");
    // Two mirrors of each cluster's gateway and flat Services, and one federated Service for every third.
    let wanted = (0..world.services).map(|n| if n % 3 == 2 { 1 } else { 2 }).sum::<usize>() + 2;
    let mirrored = snapshot.services().filter(|service| service.mirrored).count();
    anyhow::ensure!(mirrored == wanted, "{mirrored} mirrors, not {wanted}");
    Ok(())
}

/// The whole program, as a process of its own.
async fn running(world: &World, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let control = Control::start(world).await?;
    let mut figures = vec![("start to serving, ms".to_owned(), control.started.as_secs_f64() * 1e3)];
    figures.push(("resident, MiB".to_owned(), control.resident()? / MIB));
    let mirrors = control.watch_mirrors(world).await?;
    figures.push(("resident with a stream for each Service, MiB".to_owned(), control.resident()? / MIB));
    for (cluster, name, what) in [
        ("west", "changing", "own endpoint changed to client told, ms"),
        ("east", "changing-east", "linked cluster's endpoint changed to client told, ms"),
    ] {
        let path = format!("{name}.ns-0.svc.cluster.local:8080");
        let mut stream = control.get(&path).await?;
        told(&mut stream, IpAddr::V4(world.change(cluster, 1)?)).await?;
        let mut times = Vec::new();
        for round in 0..rounds {
            let began = Instant::now();
            let ip = world.change(cluster, 2 + round)?;
            told(&mut stream, IpAddr::V4(ip)).await?;
            times.push(millis(began));
        }
        figures.push((what.to_owned(), median(times)));
    }
    figures.push(("resident after these changes, MiB".to_owned(), control.resident()? / MIB));
    drop(mirrors);
    Ok(figures)
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn medians(rounds: &[Vec<Figure>]) -> Vec<Figure> {
    let names = rounds.first().map(Vec::as_slice).unwrap_or_default();
    let figure = |at: usize, name: &String| {
        let values = rounds.iter().filter_map(|round| round.get(at)).map(|(_, value)| *value);
        (name.clone(), median(values.collect()))
    };
    names.iter().enumerate().map(|(at, (name, _))| figure(at, name)).collect()
}

/// A line for each figure, with how much it grew from the smallest to the largest beside how much the input did.
fn print(columns: &[(usize, Vec<Figure>)]) {
    let ([(small, first), ..], Some((large, last))) = (columns, columns.last()) else { return };
    print!("\n{:<56}", "Services of each of three clusters, with ten pods each");
    columns.iter().for_each(|(services, _)| print!(" {services:>9}"));
    println!("    × {:.1}", *large as f64 / *small as f64);
    for (at, (name, value)) in first.iter().enumerate() {
        print!("{name:<56}");
        columns
            .iter()
            .filter_map(|(_, figures)| figures.get(at))
            .for_each(|(_, value)| print!(" {value:>9.1}"));
        println!("    × {:.1}", last.get(at).map_or(f64::NAN, |(_, last)| last / value));
    }
}

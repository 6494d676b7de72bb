//! What `causeway control` takes for three clusters of 1,000 Services and 10,000 endpoints each: to read, to mirror and
//! to index them, from a changed file to a client that watches, and in memory. At a tenth, a third and the whole of
//! that, so that it can be seen whether a figure grows faster than its input.
//!
//! `cargo bench --bench control -- [--rounds N]`; without `--bench`, or with `--test`, once, briefly and small. With
//! `--count N` the pure functions alone, once, for N Services: for whoever counts instructions, as the bench does itself
//! where it finds valgrind.

#[path = "../load/mod.rs"]
mod load;
mod caches;
mod instructions;
mod process;
mod steps;
mod world;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context as _;
use caches::{Caches, Clock};
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
        return functions(&World::new(services)?, Caches::AsTheyAre).map(drop);
    }
    let sizes: &[usize] = if plan.brief { &[6, 12] } else { &[100, 333, 1000] };
    let worlds = sizes.iter().map(|services| World::new(*services)).collect::<anyhow::Result<Vec<_>>>()?;
    print(
        "Pure functions, in caches as cold as after other work",
        &worlds,
        &by_turns(&worlds, Caches::Cold, &plan)?,
    );
    print(
        "The same right after themselves, in warm caches",
        &worlds,
        &by_turns(&worlds, Caches::Warm, &plan)?,
    );
    let mut columns = Vec::new();
    for world in &worlds {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        columns.push(runtime.block_on(running(world, plan.rounds))?);
    }
    print("The whole program", &worlds, &columns);
    if !plan.brief {
        instructions::print(sizes);
    }
    Ok(())
}

/// Medians for each world; each round goes through all of them, so that what else the machine does meets all.
fn by_turns(worlds: &[World], caches: Caches, plan: &Plan) -> anyhow::Result<Vec<Vec<Figure>>> {
    let mut rounds: Vec<Vec<Vec<Figure>>> = worlds.iter().map(|_| Vec::new()).collect();
    // They are short beside what is measured of the whole program.
    for _ in 0..if plan.brief { 1 } else { 3 * plan.rounds } {
        for (world, rounds) in worlds.iter().zip(&mut rounds) {
            rounds.push(functions(world, caches)?);
        }
    }
    Ok(rounds.iter().map(|rounds| medians(rounds)).collect())
}

/// The pure functions, in this process.
fn functions(world: &World, caches: Caches) -> anyhow::Result<Vec<Figure>> {
    let mut clock = Clock::new(caches);
    let texts = CLUSTERS.iter().map(|cluster| world.texts(cluster)).collect::<anyhow::Result<Vec<_>>>()?;
    let parsed = clock.time("parse all files of three clusters, ms", || steps::parse(&texts))?;
    let documents = clock.time("put their documents together, ms", || steps::assemble(&parsed))??;
    let own = documents.first().context("no cluster")?;
    let given = addresses(&documents);
    let linked = clock.time("look at two linked clusters, ms", || steps::observe(&documents, &given))?;
    let alone = clock.time("index one cluster, ms", || steps::index(own, &given[0]))?;
    let (_, given) = steps::build(own, &linked, 0, &given[0]);
    let mirror = || steps::mirror(own, &linked, &given);
    let whole = clock.time("mirror two clusters and index with their mirrors, ms", mirror)?;
    let compare = || steps::compare(&whole, own, &linked, &given);
    let same = clock.time("the same, and find that nothing is different, ms", compare)?;
    anyhow::ensure!(same && alone != whole, "a pure function");
    check(&whole, world)?;
    Ok(clock.figures)
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
fn print(title: &str, worlds: &[World], columns: &[Vec<Figure>]) {
    let ([first, ..], Some(last)) = (columns, columns.last()) else { return };
    let [small, .., large] = worlds else { return };
    print!("\n{title:<56}");
    worlds.iter().for_each(|world| print!(" {:>9}", world.services));
    println!("    × {:.1}", large.services as f64 / small.services as f64);
    for (at, (name, value)) in first.iter().enumerate() {
        print!("{name:<56}");
        columns.iter().filter_map(|figures| figures.get(at)).for_each(|(_, value)| print!(" {value:>9.1}"));
        println!("    × {:.1}", last.get(at).map_or(f64::NAN, |(_, last)| last / value));
    }
}

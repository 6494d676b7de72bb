//! The guide, step by step: clusters, pods, traffic, figures, verdict. Whatever ends it early, everything it made goes
//! with the values that hold it.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ipnet::{IpNet, Ipv4Net};
use nix::sys::stat::{Mode, umask};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::apart::Apart;
use super::cluster::Plan;
use super::folder::Folder;
use super::guide;
use super::process::OWN_BINARY;
use super::tables;
use super::verdict::Verdict;
use super::world::World;

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Between the two scrapes.
    pub duration: Duration,
    pub keep: bool,
    /// Clusters whose pods run the proxy that `LINKERD2_PROXY_BIN` names.
    pub reference_proxy: Vec<String>,
}

/// Runs the guide and prints what it shows. Progress goes to standard error, results to standard output.
///
/// # Errors
/// When a step cannot be done.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
    // As shells spell an end by signal: 128 and its number.
    tokio::select! {
        outcome = Box::pin(play(options)) => outcome,
        _ = term.recv() => Ok(ExitCode::from(128 + 15)),
        _ = int.recv() => Ok(ExitCode::from(128 + 2)),
        _ = hangup.recv() => Ok(ExitCode::from(128 + 1)),
        _ = quit.recv() => Ok(ExitCode::from(128 + 3)),
    }
}

async fn play(options: Options) -> anyhow::Result<ExitCode> {
    let reference = reference_proxy(&options)?;
    if Apart::here() == Apart::ByMark {
        if reference.is_some() {
            bail!("--reference-proxy needs root: that proxy cannot mark its connections");
        }
        say(WITHOUT_ROOT);
    }
    let proxy =
        |cluster: &str| reference.clone().filter(|_| options.reference_proxy.iter().any(|c| c == cluster));
    // The proxies' user passes through our folders; what is private says so itself.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let folder = Folder::new().context("cannot make a folder for temporary files")?;
    let mut world = World::start(Path::new(OWN_BINARY), folder.path(), &plans(), proxy, say).await?;
    let verdict = measure(&mut world, options.duration).await?;
    let problems = verdict.problems();
    // Nobody may be reading any more: a demo that cannot print ends with an error, not a panic.
    let mut out = io::stdout();
    writeln!(out, "{}", verdict.summary())?;
    for problem in &problems {
        writeln!(out, "not as the guide promises: {problem}")?;
    }
    if problems.is_empty() {
        writeln!(out, "all as the guide promises")?;
    }
    if options.keep {
        explain(&mut world, &folder).await?;
        std::future::pending::<()>().await;
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for traffic, watches it for `duration`, and prints the guide's tables.
async fn measure(world: &mut World, duration: Duration) -> anyhow::Result<Verdict> {
    world.probe();
    say("waiting for traffic (the guide's load generators sleep for 5 s)");
    world.await_traffic().await?;
    say(&format!("traffic flows; measuring for {}", humantime::format_duration(duration)));
    let end = Instant::now() + duration;
    let server = guide::EAST.cluster;
    let mut scrapes = world.scrape(server).await?;
    sleep_until(end).await;
    scrapes.extend(world.scrape(server).await?);
    let verdict = Verdict {
        admitted: world.report("slow-cooker").await?,
        refused: world.report("slow-cooker-evil").await?,
    };
    write!(io::stdout(), "{}", tables::print(world, server, guide::NAMESPACE, scrapes)?)?;
    Ok(verdict)
}

/// How to look inside what is left running.
async fn explain(world: &mut World, folder: &Folder) -> anyhow::Result<()> {
    let admin = world.forward_admin().await?;
    let mut out = io::stdout();
    writeln!(
        out,
        "\nEverything goes on until Ctrl-C. Manifests: {}/clusters; Services, labels and policies may be changed;\n\
         pods are not started for workloads that are changed or added.",
        folder.path().display()
    )?;
    for cluster in world.clusters() {
        writeln!(out, "{}/control: {}", cluster.name(), enter(cluster.control.namespace().tid().as_raw()))?;
    }
    for (running, admin) in world.pods().iter().zip(admin) {
        writeln!(out, "{}: {}", running.title(), enter(running.pod.namespace().tid().as_raw()))?;
        writeln!(out, "    admin http://{admin}/metrics, logs {}/*.log", running.pod.folder().display())?;
    }
    Ok(())
}

fn enter(tid: i32) -> String {
    match Apart::here() {
        Apart::ByUser => format!("nsenter -t {tid} -n -m"),
        // Whoever made the user namespace is root in it, but enters it first.
        Apart::ByMark => format!("nsenter -t {tid} -U --preserve-credentials -n -m"),
    }
}

fn reference_proxy(options: &Options) -> anyhow::Result<Option<PathBuf>> {
    if options.reference_proxy.is_empty() {
        return Ok(None);
    }
    let path = std::env::var_os("LINKERD2_PROXY_BIN").map(PathBuf::from);
    let path = path.context("--reference-proxy needs LINKERD2_PROXY_BIN: the path of a linkerd2-proxy")?;
    if !path.is_file() {
        bail!("LINKERD2_PROXY_BIN: {} is no file", path.display());
    }
    Ok(Some(path))
}

fn say(what: &str) {
    // Progress that nobody reads is no reason to stop.
    let _ = writeln!(io::stderr(), "causeway demo: {what}");
}

const WITHOUT_ROOT: &str = "without root, in a user namespace: proxies have no user of their own (2102), so redirection \
                            tells their connections by a mark (CAUSEWAY_MARK); all else is the same";

/// The pod and service networks must not meet: the clusters are one flat network.
fn plans() -> [Plan; 2] {
    let net = |second: u8| IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16));
    let control = |last: u8| IpAddr::from(Ipv4Addr::new(172, 31, 255, last));
    [
        Plan { manifests: guide::EAST, control: control(11), pods: net(22), services: net(23) },
        Plan { manifests: guide::WEST, control: control(12), pods: net(42), services: net(43) },
    ]
}

//! How does a scenario run? Its clusters and pods, what it does with them, its verdict. Whatever ends it early,
//! everything it made goes with the values that hold it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::stat::{Mode, umask};
use tokio::signal::unix::{SignalKind, signal};

use super::apart::Apart;
use super::cluster::Plan;
use super::folder::Folder;
use super::process::OWN_BINARY;
use super::world::World;
use super::{guide, three_clusters};

/// What there is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Linkerd's guide to pod-to-pod communication: two clusters, a permitted and a refused caller
    Guide,
    /// Federated, flat and gateway services over three clusters, of which one dies and comes back
    ThreeClusters,
}

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct Options {
    pub scenario: Scenario,
    /// How long to measure, or each part of it; `None` for what the scenario needs.
    pub duration: Option<Duration>,
    pub keep: bool,
    /// Clusters whose pods run the proxy that `LINKERD2_PROXY_BIN` names.
    pub reference_proxy: Vec<String>,
}

/// What a scenario showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For people.
    pub summary: String,
    /// What was not as it should be; empty if all was.
    pub problems: Vec<String>,
    /// Whose word is judged by, such as "as the guide promises".
    pub promised: &'static str,
}

/// Runs a scenario and prints what it shows. Progress goes to standard error, results to standard output.
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
    let plans = options.scenario.plans();
    let mut world = World::start(Path::new(OWN_BINARY), folder.path(), &plans, proxy, say).await?;
    world.probe();
    let outcome = match options.scenario {
        Scenario::Guide => guide::play(&mut world, options.duration.unwrap_or(GUIDE_DURATION)).await?,
        Scenario::ThreeClusters => {
            let ours = reference.is_none();
            Box::pin(three_clusters::play(&mut world, options.duration, ours)).await?
        }
    };
    tell(&outcome)?;
    if options.keep {
        explain(&mut world, &folder).await?;
        std::future::pending::<()>().await;
    }
    Ok(if outcome.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Nobody may be reading any more: a demo that cannot print ends with an error, not a panic.
fn tell(outcome: &Outcome) -> io::Result<()> {
    let Outcome { summary, problems, promised } = outcome;
    let mut out = io::stdout();
    writeln!(out, "{summary}")?;
    for problem in problems {
        writeln!(out, "not {promised}: {problem}")?;
    }
    if problems.is_empty() { writeln!(out, "all {promised}") } else { Ok(()) }
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
        writeln!(
            out,
            "    who is let in: causeway explain PORT --src ADDRESS --client IDENTITY --admin {admin}"
        )?;
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

impl Scenario {
    fn plans(self) -> Vec<Plan> {
        match self {
            Self::Guide => guide::plans(),
            Self::ThreeClusters => three_clusters::plans(),
        }
    }
}

pub(super) fn say(what: &str) {
    // Progress that nobody reads is no reason to stop.
    let _ = writeln!(io::stderr(), "causeway demo: {what}");
}

const WITHOUT_ROOT: &str = "without root, in a user namespace: proxies have no user of their own (2102), so redirection \
                            tells their connections by a mark (CAUSEWAY_MARK); all else is the same";
/// Between the two scrapes.
const GUIDE_DURATION: Duration = Duration::from_secs(10);

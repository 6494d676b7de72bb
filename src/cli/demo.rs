//! `causeway demo`: clusters on this machine, and what they show. Its hidden roles are what the demo starts in its pods.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::geteuid;

use crate::demo::{image, process, rootless, scenario};

/// Run clusters on this machine: real pods, mTLS between clusters, and what callers see.
///
/// Exits with 0 only if all was as the scenario promises. guide: the permitted caller succeeded and the other was
/// refused every time. three-clusters: a service of all three was served by three clusters, by two while one was dead,
/// and by three again; what does not need the dead one had no failure, and what does failed fast, with the cause, and
/// recovered by itself.
///
/// Needs root, or a machine that lets its users make user namespaces; then it says what differs.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// What to show.
    #[arg(long, value_name = "NAME", value_enum, default_value = "guide")]
    scenario: scenario::Scenario,
    /// How long to measure, once traffic flows [default: 10s]; of three-clusters, how long the cluster is alive, dead (16s
    /// at least), and back [default: 20s].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Leave everything running until Ctrl-C, and say how to look inside.
    #[arg(long)]
    keep: bool,
    /// Run the proxy that LINKERD2_PROXY_BIN names in this cluster's pods; may be given for several.
    #[arg(long, value_name = "CLUSTER", hide = true, value_parser = ["east", "west", "north"])]
    reference_proxy: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    #[command(hide = true)]
    Exec(process::Exec),
    #[command(hide = true)]
    Rootless(rootless::Inside),
    /// A program of a container.
    #[command(hide = true)]
    Image {
        #[command(subcommand)]
        program: image::Program,
    },
}

/// Runs the demo, or one of its roles. Exit code 1 both for a demo that could not run and for one that did not show what
/// it promises.
pub fn run(args: Args) -> ExitCode {
    start(args).unwrap_or_else(|e| {
        eprintln!("causeway demo: {e:#}");
        ExitCode::FAILURE
    })
}

fn start(args: Args) -> anyhow::Result<ExitCode> {
    let Args { options, role } = args;
    if let Some(Role::Exec(exec)) = role {
        return Err(exec.run()).context("cannot start a program in a pod");
    }
    if role.is_none() && !geteuid().is_root() {
        return Err(rootless::start_again(std::env::args_os().skip(1))).context("cannot start again");
    }
    if let Some(Role::Rootless(inside)) = role {
        return Err(inside.run());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match role {
            Some(Role::Image { program }) => program.run().await,
            _ => scenario::run(options.into()).await,
        }
    })
}

impl From<Options> for scenario::Options {
    fn from(options: Options) -> Self {
        let Options { scenario, duration, keep, reference_proxy } = options;
        Self { scenario, duration, keep, reference_proxy }
    }
}

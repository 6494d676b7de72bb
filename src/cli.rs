//! The command line: one file a subcommand.

pub mod certs;
pub mod check;
pub mod control;
pub mod demo;
pub mod diagnostics;
pub mod explain;
mod fetch;
mod flags;
pub mod gateways;
pub mod link;
pub mod mirror;
pub mod proxy;
#[cfg(test)]
mod testing;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The data plane of a multi-cluster service mesh, and a control plane for one machine.
#[derive(Parser)]
#[command(name = "causeway", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the sidecar; its configuration is the environment, as Linkerd's injector writes it.
    Proxy,
    Demo(demo::Args),
    /// Run one cluster's control plane from a folder of manifests.
    Control(Box<control::ControlArgs>),
    Check(Box<check::CheckArgs>),
    Mirror(mirror::MirrorArgs),
    Link(Box<link::LinkArgs>),
    Diagnostics(diagnostics::Args),
    Gateways(gateways::GatewaysArgs),
    Explain(Box<explain::ExplainArgs>),
    /// Make a trust anchor, issuers and service-account tokens for development.
    Certs(certs::Args),
}

/// Runs the program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Linkerd's start helper passes an empty argument vector, which arrives as one empty string.
    if args.iter().all(|arg| arg.is_empty()) {
        return proxy::run();
    }
    match Cli::parse_from(args).command {
        Command::Proxy => proxy::run(),
        Command::Demo(args) => demo::run(args),
        Command::Control(args) => control::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Mirror(args) => mirror::run(&args),
        Command::Link(args) => said("link", link::run(&args, &mut std::io::stdout())),
        Command::Diagnostics(args) => said("diagnostics", diagnostics::run(&args, &mut std::io::stdout())),
        Command::Gateways(args) => said("gateways", gateways::run(&args, &mut std::io::stdout())),
        Command::Explain(args) => said("explain", explain::run(&args, &mut std::io::stdout())),
        Command::Certs(args) => said("certs", certs::run(&args, &mut std::io::stdout())),
    }
}

fn said(command: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader went away, as `head` does: what it wanted it got.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("causeway {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_that_the_readme_prints_are_commands() {
        let readme = include_str!("../README.md").replace("\\\n", " ");
        let lines = readme.lines().filter_map(|line| line.strip_prefix("$ causeway "));
        let commands: Vec<&str> = lines.map(|line| line.split(['>', '&']).next().unwrap()).collect();
        assert!(commands.len() >= 6, "{commands:?}");
        for command in commands {
            let parsed = Cli::try_parse_from(["causeway"].into_iter().chain(command.split_whitespace()));
            assert!(parsed.is_ok(), "{command}: {}", parsed.err().unwrap());
        }
    }
}

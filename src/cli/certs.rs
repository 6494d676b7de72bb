//! `causeway certs`: make a development trust anchor, issuers, and service-account tokens.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Subcommand;

use crate::control::ca::{ServiceAccount, folder};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make a trust anchor and an issuer and token key for each cluster.
    ///
    /// Writes DIR/ca-bundle.crt, DIR/ca.key and, for each cluster, DIR/<cluster>/issuer.crt,
    /// issuer.key and token.key. What exists is kept, so clusters can be added later.
    Create {
        /// Folder to write to.
        dir: PathBuf,
        /// Name of a cluster; may be given more than once.
        #[arg(long = "cluster", required = true, value_name = "NAME")]
        clusters: Vec<String>,
    },
    /// Print a service-account token, as a pod of that account would find it mounted.
    Token {
        /// Folder that `certs create` wrote.
        dir: PathBuf,
        #[arg(long, value_name = "NAME")]
        cluster: String,
        #[arg(long, default_value = "default")]
        namespace: String,
        #[arg(long, default_value = "default", value_name = "NAME")]
        service_account: String,
        /// How long the token is valid, such as 90m or 24h.
        #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = lifetime)]
        lifetime: Duration,
    },
}

/// Does what was asked, and writes what was made to `out`.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let now = SystemTime::now();
    match &args.command {
        Command::Create { dir, clusters } => {
            let names: Vec<&str> = clusters.iter().map(String::as_str).collect();
            let written = folder::create(dir, &names, now).context("cannot make certificates")?;
            for path in &written {
                writeln!(out, "{}", path.display())?;
            }
            if written.is_empty() {
                writeln!(out, "nothing to do: {} is complete", dir.display())?;
            }
        }
        Command::Token { dir, cluster, namespace, service_account, lifetime } => {
            let tokens = folder::open_tokens(dir, cluster).context("cannot make a token")?;
            let account = ServiceAccount::new(namespace, service_account);
            writeln!(out, "{}", tokens.issue(&account, *lifetime, now))?;
        }
    }
    Ok(())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a duration with a unit, such as 90m or 24h".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn output(arguments: &[&str]) -> anyhow::Result<String> {
        let cli = Cli::try_parse_from([&["certs"], arguments].concat())?;
        let mut out = Vec::new();
        run(&cli.args, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn a_token_from_the_folder_is_one_that_its_cluster_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let written = output(&["create", path, "--cluster", "west", "--cluster", "east"]).unwrap();
        assert_eq!(written.lines().count(), 8);
        assert!(output(&["create", path, "--cluster", "west"]).unwrap().contains("nothing to do"));

        let flags = ["--namespace", "mc-demo", "--service-account", "slow-cooker"];
        let token = output(&[&["token", path, "--cluster", "west"], &flags[..]].concat()).unwrap();
        let verify = |cluster| {
            let verifier = folder::open_tokens(dir.path(), cluster).unwrap().verifier();
            verifier.verify(token.as_bytes(), SystemTime::now())
        };
        assert_eq!(verify("west"), Ok(ServiceAccount::new("mc-demo", "slow-cooker")));
        assert!(verify("east").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let error = output(&["create", path]).unwrap_err().to_string();
        assert!(error.contains("--cluster"), "{error}");
        let error =
            output(&["token", path, "--cluster", "west", "--lifetime", "24"]).unwrap_err().to_string();
        assert!(error.contains("such as 90m or 24h"), "{error}");
        let error = format!("{:#}", output(&["token", path, "--cluster", "west"]).unwrap_err());
        assert!(error.contains("west/token.key"), "{error}");
    }
}

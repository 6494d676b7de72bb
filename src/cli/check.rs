//! `causeway check`: what is wrong with clusters, from their folders and, where they run, from what they say.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use serde_json::json;

use crate::control::check::{self, CHECKS, Cluster, Extent, Finding, Needs, Severity};
use crate::control::index::Settings;
use crate::viz::table::printable;

use super::mirror::Mirroring;

mod gateways;
mod gather;
pub(super) mod live;

/// Say what is wrong with clusters, by name, with the place and the remedy.
///
/// Reads the clusters' folders and those that their Links lead to; with --certs their trust material, with
/// --control what their running control planes say: certificates, clocks, the age of what they know of each
/// other, gateways.
///
/// Exit code 0 without errors, 1 with some. An error means that traffic fails, or is let in or kept out
/// otherwise than the manifests say; a warning that it works now and may not later, and counts with --strict.
/// Notes never count.
#[derive(Args, Clone, Debug)]
#[command(after_help = table_of_checks())]
pub struct CheckArgs {
    /// Folders, one for each cluster [default: those of --control].
    #[arg(required_unless_present = "control", value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// The address of --api of a running `causeway control`; may be given for each cluster.
    #[arg(long, value_name = "HOST:PORT")]
    pub control: Vec<String>,
    /// Folder that `causeway certs create` wrote: one for all DIRs, or one for each in their order. Read as
    /// `causeway control` reads it, keys too.
    #[arg(long, value_name = "DIR")]
    pub certs: Vec<PathBuf>,
    /// What the clusters are called there, one for each DIR [default: the folders' own names].
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Vec<String>,
    /// Ask the gateways of Links themselves, also without --control.
    #[arg(long)]
    pub probe_gateways: bool,
    /// Let warnings count.
    #[arg(long)]
    pub strict: bool,
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    #[command(flatten)]
    pub mirroring: Mirroring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
}

fn table_of_checks() -> String {
    let mut text = String::from("Checks, what holds where nothing is found, and the remedy:\n");
    for check in CHECKS {
        let severity = if check.severity == Severity::Error { "error" } else { "warning" };
        text.push_str(&format!("\n  {} ({severity}{})\n", check.name, with(check.needs)));
        text.push_str(&format!("      {}; else {}\n", check.holds, check.remedy));
    }
    text
}

fn with(needs: Needs) -> String {
    match needs.flags() {
        "" => String::new(),
        flags => format!("; with {flags}"),
    }
}

/// Prints what is found.
pub fn run(args: &CheckArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let checked = runtime.and_then(|runtime| {
        let checked = runtime.block_on(check(args, &mut io::stdout().lock()));
        // A name that nobody resolves is not waited for.
        runtime.shutdown_background();
        checked
    });
    match checked {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader went away, as `head` does: what it wanted it got.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("causeway check: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was found that counts.
async fn check(args: &CheckArgs, out: &mut impl Write) -> io::Result<bool> {
    args.mirroring.check()?;
    let Found { clusters, known, findings, extent } = find(args).await;
    match args.output {
        Format::Table => {
            print_table(args, &findings, &extent, out)?;
            print_clusters(&clusters, &known, out)?;
            let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
            let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
            writeln!(out, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))?;
        }
        Format::Json => print_json(&findings, out)?,
    }
    Ok(!findings.iter().any(|finding| args.strict || finding.severity == Severity::Error))
}

/// Everything that is known, and everything that is wrong with it, in the order of the table.
struct Found {
    clusters: Vec<Cluster>,
    known: live::Known,
    findings: Vec<Finding>,
    extent: Extent,
}

async fn find(args: &CheckArgs) -> Found {
    let (told, mut findings) = live::ask(&args.control).await;
    let mut extent = Extent::default();
    live::heard(&told, &findings, &mut extent);
    let clusters = gather::clusters(args, &told, &mut findings);
    findings.extend(check::run(&clusters, SystemTime::now(), &mut extent));
    let known = live::metrics(&told, &mut extent, &mut findings).await;
    if args.probes_gateways() {
        gateways::ask(&clusters, &known, &mut findings).await;
    }
    let row = |finding: &Finding| CHECKS.iter().position(|check| check.name == finding.check);
    findings.sort_by_cached_key(|finding| {
        (row(finding), finding.severity, finding.at.clone(), finding.found.clone())
    });
    findings.dedup();
    Found { clusters, known, findings, extent }
}

impl CheckArgs {
    fn settings(&self) -> Settings {
        let settings = Settings { control_addr: IpAddr::from([127, 0, 0, 1]), ..Settings::default() };
        self.mirroring.settings(settings)
    }

    fn probes_gateways(&self) -> bool {
        self.probe_gateways || !self.control.is_empty()
    }

    fn has(&self, needs: Needs) -> bool {
        match needs {
            Needs::Folders => true,
            Needs::Trust => !self.certs.is_empty() || !self.control.is_empty(),
            Needs::Control => !self.control.is_empty(),
            Needs::Gateways => self.probes_gateways(),
        }
    }
}

/// A line for each check, with its findings below, and what it could not look at.
fn print_table(
    args: &CheckArgs,
    findings: &[Finding],
    extent: &Extent,
    out: &mut impl Write,
) -> io::Result<()> {
    for check in CHECKS {
        let found: Vec<_> = findings.iter().filter(|finding| finding.check == check.name).collect();
        let worst = found.iter().map(|finding| finding.severity).min();
        let gaps: Vec<String> = match args.has(check.needs) {
            true => extent.gaps(check).map(printable).collect(),
            false => vec![format!("needs {}", check.needs.flags())],
        };
        let blind = !args.has(check.needs) || extent.is_blind(check);
        let state = match worst {
            Some(severity) => word(severity),
            None if blind => {
                writeln!(out, "skipped  {:<19} {}: {}", check.name, check.holds, gaps.join("; "))?;
                continue;
            }
            None => "ok",
        };
        writeln!(out, "{state:<8} {:<19} {}", check.name, check.holds)?;
        for Finding { severity, found, at, remedy, .. } in found {
            let (found, at, remedy) = (printable(found), printable(at), printable(remedy));
            writeln!(out, "  {}: {at}: {found}", word(*severity))?;
            writeln!(out, "    remedy: {remedy}")?;
        }
        for gap in gaps.iter().filter(|_| args.has(check.needs)) {
            writeln!(out, "  skipped: {gap}")?;
        }
    }
    Ok(())
}

/// Notes, what there is of each cluster, and how old what its control plane knows of others is.
fn print_clusters(clusters: &[Cluster], known: &live::Known, out: &mut impl Write) -> io::Result<()> {
    for cluster in clusters.iter().filter(|cluster| cluster.asked) {
        for note in check::notes(cluster) {
            writeln!(out, "note: {note}")?;
        }
        writeln!(out, "{}", summary(cluster))?;
        let linked = known.get(&cluster.name).into_iter().flat_map(|linked| &linked.clusters);
        for (name, seen) in linked.filter(|(name, _)| **name != cluster.name) {
            writeln!(out, "  knows {}: {}", printable(name), live::age(seen))?;
        }
    }
    Ok(())
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn print_json(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    let list = findings.iter().map(|Finding { check, severity, found, at, remedy }| {
        json!({ "check": check, "severity": word(*severity), "found": found, "where": at, "remedy": remedy })
    });
    writeln!(out, "{:#}", json!(list.collect::<Vec<_>>()))
}

fn summary(cluster: &Cluster) -> String {
    let folder = printable(&cluster.folder.display().to_string());
    let Some(snapshot) = &cluster.snapshot else {
        return format!("{folder}: {}", counted(cluster.assembled.problems.len(), "problem"));
    };
    let pods = snapshot.pods().count();
    let meshed = snapshot.pods().filter(|pod| pod.meshed()).count();
    let services = snapshot.services().count();
    let mirrored = snapshot.services().filter(|service| service.mirrored).count();
    format!(
        "{folder}: {} ({meshed} meshed), {} ({mirrored} mirrored)",
        counted(pods, "pod"),
        counted(services, "service")
    )
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests;

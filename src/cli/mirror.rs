//! `causeway mirror`: what a cluster's Links bring to it, as manifests.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::flags::{KEYS, NAMESPACE};
use crate::control::index::Settings;
use crate::control::manifest::{Exclusions, Selector, selector};
use crate::control::mirror::{Gateways, print};
use crate::control::{Snapshot, files, gateways};

/// Print what a cluster's Links bring to it as YAML for `kubectl apply`.
///
/// Reads the cluster's folder and those that its Links lead to, and prints the namespaces, Services and
/// Endpoints that a service-mirror controller would write, sorted. What is left out is said on standard
/// error, with the reason. A headless mirror's Endpoints hold cluster IPs, so the mirrors of its hosts
/// ask for those; everything else leaves addresses to the cluster. Nothing is written to any folder.
#[derive(Args, Clone, Debug)]
pub struct MirrorArgs {
    /// Folder of the cluster that mirrors.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Where Services get their cluster IPs.
    #[arg(long, value_name = "NETWORK", default_value = "10.43.0.0/16")]
    pub service_network: ipnet::IpNet,
    #[command(flatten)]
    pub mirroring: Mirroring,
}

/// Where Links are, and how mirroring is done in all of them.
#[derive(Args, Clone, Debug)]
pub struct Mirroring {
    /// Namespace of the control plane.
    #[arg(long, default_value = "linkerd", value_name = "NAMESPACE")]
    pub control_namespace: String,
    /// Namespace of Links and their credentials.
    #[arg(long, default_value = "linkerd-multicluster", value_name = "NAMESPACE")]
    pub mirror_namespace: String,
    /// Mirror headless Services without a cluster IP, with a mirror for each of their hosts.
    #[arg(long)]
    pub enable_headless_services: bool,
    /// Make the namespaces of mirrored Services that are missing.
    #[arg(long)]
    pub enable_namespace_creation: bool,
    #[command(flatten)]
    pub copying: Copying,
}

/// Which Services are joined, and what of them is not copied.
#[derive(Args, Clone, Debug)]
pub struct Copying {
    /// Which Services join federated ones, of the cluster itself or of a Link's target; empty for none.
    #[arg(long, value_name = "SELECTOR", default_value = "mirror.linkerd.io/federated=member",
          value_parser = selector_of)]
    pub federated_service_selector: Selector,
    /// Labels that mirrors do not bring along; `/*` at the end takes all that start so.
    #[arg(long, alias = "exclude-labels", value_name = "KEY,...", value_delimiter = ',')]
    pub excluded_labels: Vec<String>,
    /// Annotations that mirrors do not bring along, likewise.
    #[arg(long, alias = "exclude-annotations", value_name = "KEY,...", value_delimiter = ',')]
    pub excluded_annotations: Vec<String>,
}

pub(super) fn selector_of(text: &str) -> Result<Selector, String> {
    selector::parse(text).ok_or_else(|| "expected a label selector, such as a=b,c in (d,e),!f".to_owned())
}

/// Prints. Exit code 1 for a folder with problems.
pub fn run(args: &MirrorArgs) -> ExitCode {
    match print(args, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("causeway mirror: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether there were no problems. Those of the folder itself leave nothing to print; those of a linked
/// one leave its mirrors out, and are told.
fn print(args: &MirrorArgs, out: &mut impl Write, err: &mut impl Write) -> io::Result<bool> {
    args.mirroring.check()?;
    let (report, snapshot) = files::look_knowing(&args.folder, &args.settings(), resolved)
        .map_err(|error| io::Error::new(error.kind(), unreadable(&args.folder, &error)))?;
    for problem in report.all_problems() {
        writeln!(err, "{problem}")?;
    }
    let Some(snapshot) = snapshot else { return Ok(false) };
    for note in snapshot.notes() {
        writeln!(err, "note: {note}")?;
    }
    let cluster_ip = |name: &_| snapshot.cluster_ip(name);
    out.write_all(print::manifests(snapshot.mirrored(), cluster_ip).as_bytes())?;
    Ok(report.all_problems().next().is_none())
}

/// Where the gateways are that are told by name, as a controller would look them up.
fn resolved(snapshot: &Snapshot) -> Gateways {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Gateways::default();
    };
    let found = runtime.block_on(gateways::resolved(snapshot.gateways()));
    // A look-up that nobody waits for any more must not hold this up.
    runtime.shutdown_background();
    found
}

fn unreadable(folder: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}; expected a folder", folder.display())
}

impl MirrorArgs {
    fn settings(&self) -> Settings {
        let settings = Settings { service_network: self.service_network, ..Settings::default() };
        self.mirroring.settings(settings)
    }
}

impl Copying {
    /// Every key that is none, as [`Form::fault`] says it.
    ///
    /// [`Form::fault`]: super::flags::Form::fault
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let flags = [
            ("excluded-labels", &self.excluded_labels),
            ("excluded-annotations", &self.excluded_annotations),
        ];
        flags.into_iter().flat_map(|(flag, keys)| keys.iter().filter_map(move |key| KEYS.fault(flag, key)))
    }
}

impl Mirroring {
    /// Every flag whose value cannot be meant.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let namespaces =
            [("control-namespace", &self.control_namespace), ("mirror-namespace", &self.mirror_namespace)];
        let namespaces = namespaces.into_iter().filter_map(|(flag, value)| NAMESPACE.fault(flag, value));
        namespaces.chain(self.copying.faults())
    }

    /// # Errors
    /// All faults, a line each.
    pub(super) fn check(&self) -> io::Result<()> {
        let faults: Vec<String> = self.faults().collect();
        if faults.is_empty() { Ok(()) } else { Err(io::Error::other(faults.join("\n"))) }
    }

    /// `settings`, with where Links are and how mirroring is done.
    pub(super) fn settings(&self, settings: Settings) -> Settings {
        Settings {
            control_namespace: self.control_namespace.clone(),
            mirror_namespace: self.mirror_namespace.clone(),
            enable_headless_services: self.enable_headless_services,
            enable_namespace_creation: self.enable_namespace_creation,
            federated_selector: self.copying.federated_service_selector.clone(),
            excluded: Arc::new(Exclusions {
                labels: self.copying.excluded_labels.clone(),
                annotations: self.copying.excluded_annotations.clone(),
            }),
            ..settings
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: MirrorArgs,
    }

    fn printed(folder: &Path, more: &[&str]) -> (bool, String, String) {
        let args = [&["mirror", folder.to_str().unwrap()], more].concat();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let sound = print(&Cli::parse_from(args).args, &mut out, &mut err).unwrap();
        (sound, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn case(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests").join(name)
    }

    #[test]
    fn it_prints_what_a_controller_would_write_and_says_what_is_left_out() {
        let west = case("gateway/west");
        let (sound, out, err) = printed(&west, &[]);
        assert!(sound && out.starts_with("---\napiVersion: v1\nkind: Service\n"), "{out}");
        assert!(
            err.contains("note: ") && err.contains("elsewhere/homeless is not mirrored: MissingNamespace")
        );
        assert_eq!(printed(&west, &[]).1, out);
        let (_, out, err) = printed(&west, &["--enable-namespace-creation"]);
        assert!(out.starts_with("---\napiVersion: v1\nkind: Namespace\n") && !err.contains("homeless"));
        let (_, out, _) = printed(&case("federated/west"), &["--exclude-labels", "from"]);
        assert!(out.contains("store-web-federated") && !out.contains("from: west"), "{out}");
        let (_, out, _) = printed(&case("federated/west"), &["--federated-service-selector", ""]);
        assert!(!out.contains("local-discovery"), "{out}");
    }

    #[test]
    fn what_it_prints_is_read_back_as_the_same_services() {
        let folder = tempfile::tempdir().unwrap();
        let more = ["--enable-headless-services", "--enable-namespace-creation"];
        let (_, out, _) = printed(&case("headless/west"), &more);
        fs::write(folder.path().join("mirrors.yaml"), &out).unwrap();
        let (report, snapshot) = files::look(folder.path(), &Settings::default()).unwrap();
        assert_eq!(report.problems, []);
        let snapshot = snapshot.unwrap();
        assert_eq!(snapshot.services().count(), out.matches("kind: Service\n").count());
        assert!(snapshot.service("data", "nginx-svc-target").unwrap().headless);
    }

    #[test]
    fn a_gateway_that_is_told_by_name_is_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        for cluster in ["west", "east"] {
            fs::create_dir(folder.path().join(cluster)).unwrap();
            let from = case("gateway").join(cluster).join("all.yaml");
            let text = fs::read_to_string(from).unwrap().replace("10.0.0.9,10.0.0.10", "localhost");
            fs::write(folder.path().join(cluster).join("all.yaml"), text).unwrap();
        }
        let (_, out, err) = printed(&folder.path().join("west"), &[]);
        assert!(out.contains("- ip: \"127.0.0.1\"") && !err.contains("not resolved"), "{out}\n{err}");
    }

    #[test]
    fn namespaces_and_keys_that_are_none_are_told_at_once() {
        let args = ["mirror", "west", "--mirror-namespace", "A_B", "--excluded-labels", "team,/*"];
        let refused = print(&Cli::parse_from(args).args, &mut Vec::new(), &mut Vec::new()).unwrap_err();
        let told = refused.to_string();
        let lines: Vec<_> = told.lines().collect();
        assert!(lines[0].starts_with("--mirror-namespace \"A_B\": expected lower-case letters"), "{told}");
        assert!(
            lines[1].starts_with("--excluded-labels \"/*\": expected keys") && lines.len() == 2,
            "{told}"
        );
    }

    #[test]
    fn a_folder_with_problems_prints_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "a: [\n").unwrap();
        let (sound, out, err) = printed(folder.path(), &[]);
        assert!(!sound && out.is_empty() && err.contains("a.yaml:1:4: this is not YAML"), "{err}");
    }
}

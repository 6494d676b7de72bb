//! `causeway check`: what is wrong with folders of manifests, all at once.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::control::files;
use crate::control::index::{Settings, Snapshot};

/// Say what is wrong with folders of manifests, each mistake with file, line and column.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Folders, one for each cluster. Folders that they link to are read too.
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// Namespace of the control plane.
    #[arg(long, default_value = "linkerd", value_name = "NAMESPACE")]
    pub control_namespace: String,
    /// Namespace of Links and their credentials.
    #[arg(long, default_value = "linkerd-multicluster", value_name = "NAMESPACE")]
    pub mirror_namespace: String,
}

/// Prints what is found. Exit code 0 without problems, 1 with some or for an unreadable folder.
pub fn run(args: &CheckArgs) -> ExitCode {
    match check(args, &mut io::stdout().lock()) {
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

/// Whether all folders are sound.
fn check(args: &CheckArgs, out: &mut impl Write) -> io::Result<bool> {
    let settings = Settings {
        control_namespace: args.control_namespace.clone(),
        mirror_namespace: args.mirror_namespace.clone(),
        ..Settings::default()
    };
    let mut sound = true;
    for folder in &args.folders {
        sound &= check_folder(folder, &settings, out)?;
    }
    Ok(sound)
}

fn check_folder(folder: &Path, settings: &Settings, out: &mut impl Write) -> io::Result<bool> {
    let (report, snapshot) = match files::look(folder, settings) {
        Ok(found) => found,
        Err(error) => {
            writeln!(out, "{}: cannot be read: {error}; expected a folder", folder.display())?;
            return Ok(false);
        }
    };
    if report.files == 0 {
        let expected = "expected *.yaml, *.yml or *.json files; subfolders are not read";
        writeln!(out, "{}: holds no manifests; {expected}", folder.display())?;
        return Ok(false);
    }
    let problems = report.problems.len() + report.linked.len();
    for problem in report.problems.iter().chain(&report.linked) {
        writeln!(out, "{problem}")?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    let documents = format!("{} in {}", count(report.documents, "document"), count(report.files, "file"));
    match (problems, snapshot) {
        (0, Some(snapshot)) => {
            writeln!(out, "{}: ok: {documents}: {}", folder.display(), summary(&snapshot))?;
            Ok(true)
        }
        _ => {
            writeln!(out, "{}: {} ({documents})", folder.display(), count(problems, "problem"))?;
            Ok(false)
        }
    }
}

fn summary(snapshot: &Snapshot) -> String {
    let pods = snapshot.pods().count();
    let meshed = snapshot.pods().filter(|pod| pod.meshed()).count();
    let services = snapshot.services().count();
    let mirrored = snapshot.services().filter(|service| service.mirrored).count();
    format!("{} ({meshed} meshed), {} ({mirrored} mirrored)", count(pods, "pod"), count(services, "service"))
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(folder: &Path) -> (bool, String) {
        let args = CheckArgs {
            folders: vec![folder.to_owned()],
            control_namespace: "linkerd".into(),
            mirror_namespace: "linkerd-multicluster".into(),
        };
        let mut out = Vec::new();
        let sound = check(&args, &mut out).unwrap();
        (sound, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_guides_folders_are_sound() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guide");
        let (sound, out) = checked(&guide.join("west"));
        assert!(sound, "{out}");
        assert!(out.contains("8 documents in 4 files: 2 pods (2 meshed), 1 service (1 mirrored)"), "{out}");
        let (sound, out) = checked(&guide.join("east"));
        assert!(sound && out.contains("1 pod (1 meshed)"), "{out}");
    }

    #[test]
    fn every_problem_is_printed_with_its_place_and_the_form_expected() {
        let folder = tempfile::tempdir().unwrap();
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - port: '80'\n";
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        std::fs::write(folder.path().join("b.yaml"), "a: [\n").unwrap();
        let (sound, out) = checked(folder.path());
        assert!(!sound);
        let lines: Vec<_> = out.lines().collect();
        assert!(
            lines[0].ends_with("a.yaml:6:11: `port` is text; expected a number from 1 to 65535"),
            "{out}"
        );
        assert!(lines[1].contains("b.yaml:1:4: this is not YAML"), "{out}");
        assert!(lines[2].ends_with(": 2 problems (1 document in 2 files)"), "{out}");
    }

    #[test]
    fn a_link_to_a_folder_that_is_not_there_is_a_problem_at_its_secret() {
        let folder = tempfile::tempdir().unwrap();
        let link = include_str!("../../examples/guide/west/02-link.yaml");
        std::fs::write(folder.path().join("link.yaml"), link).unwrap();
        let (sound, out) = checked(folder.path());
        assert!(!sound && out.contains("link.yaml:11:5: the kubeconfig points nowhere"), "{out}");
    }

    #[test]
    fn a_missing_folder_is_told() {
        let (sound, out) = checked(Path::new("/nonexistent/folder"));
        assert!(!sound && out.contains("cannot be read"), "{out}");
    }
}

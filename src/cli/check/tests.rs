use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use tokio::time::Instant;

use super::*;
use crate::cli::testing::Guide;

mod folders;
mod policy;
mod running;
mod trust;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CheckArgs,
}

impl Guide {
    fn args(&self, more: &[&str]) -> CheckArgs {
        let (west, east, certs) = (self.path("west"), self.path("east"), self.path("certs"));
        let own = [&west, &east].map(|path| path.to_str().unwrap());
        let certs = ["--certs", certs.to_str().unwrap()];
        Cli::parse_from([&["check"][..], &own, &certs, more].concat()).args
    }

    /// What is found within the time that an operator is promised.
    async fn found(&self, more: &[&str]) -> Vec<Finding> {
        let began = Instant::now();
        let found = find(&self.args(more)).await.findings;
        assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
        found
    }

    /// The one finding there is.
    async fn one(&self, check: &str, severity: Severity, words: &[&str]) {
        self.one_with(&[], check, severity, words).await;
    }

    async fn one_with(&self, more: &[&str], check: &str, severity: Severity, words: &[&str]) {
        let found = self.found(more).await;
        let [finding] = found.as_slice() else { panic!("{found:#?}") };
        assert_eq!((finding.check, finding.severity), (check, severity), "{finding:#?}");
        let text = format!("{} {} {}", finding.found, finding.at, finding.remedy);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?} in {finding:#?}");
    }
}

use Severity::{Error, Warning};

async fn printed(args: &CheckArgs) -> (bool, String) {
    let mut out = Vec::new();
    let sound = check(args, &mut out).await.unwrap();
    (sound, String::from_utf8(out).unwrap())
}

/// The folders of each example are the clusters of one mesh.
#[tokio::test]
async fn the_examples_have_no_faults() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for example in
        fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        let mut folders: Vec<_> =
            fs::read_dir(&example).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.retain(|path| path.is_dir());
        let flags = folders.iter().map(|path| path.to_str().unwrap()).chain(["--strict"]);
        let args = Cli::parse_from(["check"].into_iter().chain(flags)).args;
        let (sound, out) = printed(&args).await;
        assert!(sound && out.contains("\n0 errors, 0 warnings\n"), "{out}");
    }
}

#[tokio::test]
async fn what_holds_and_what_was_not_looked_at_is_told_too() {
    let guide = Guide::new();
    let (sound, out) = printed(&guide.args(&[])).await;
    assert!(sound, "{out}");
    for line in [
        "ok       trust-anchors       linked clusters have the same trust anchors",
        "skipped  clock               the clocks agree: needs --control",
    ] {
        assert!(out.lines().any(|found| found == line), "{line:?} in\n{out}");
    }
    assert!(out.contains("west: 2 pods (2 meshed), 1 service (1 mirrored)\n"), "{out}");
}

#[tokio::test]
async fn flags_that_cannot_be_meant_are_refused_with_value_and_form() {
    let guide = Guide::new();
    let args = guide.args(&["--control-namespace", "A_B", "--excluded-annotations", "a b"]);
    let told = check(&args, &mut Vec::new()).await.unwrap_err().to_string();
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("--control-namespace \"A_B\": expected lower-case letters"), "{told}");
    assert!(
        lines[1].starts_with("--excluded-annotations \"a b\": expected keys") && lines.len() == 2,
        "{told}"
    );
}

#[tokio::test]
async fn findings_are_printed_with_name_place_and_remedy_and_as_json() {
    let guide = Guide::new();
    fs::write(guide.path("east/a.yaml"), "a: [\n").unwrap();
    let (sound, out) = printed(&guide.args(&[])).await;
    assert!(!sound && out.contains("error    manifests "), "{out}");
    assert!(out.contains("a.yaml:1:4: this is not YAML") && out.contains("    remedy: "), "{out}");
    assert!(out.ends_with("\n1 error, 0 warnings\n"), "{out}");
    let (_, out) = printed(&guide.args(&["-o", "json"])).await;
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&list[0]["check"], &list[0]["severity"]), (&json!("manifests"), &json!("error")));
}

#[tokio::test]
async fn warnings_count_only_if_asked_to() {
    let guide = Guide::new();
    let link = fs::read_to_string(guide.path("west/02-link.yaml")).unwrap();
    let discovery = link.split("---\n").nth(1).unwrap();
    let old = discovery.replace("-target", "-old").replace("cluster-name: target", "cluster-name: old");
    fs::write(guide.path("west/old.yaml"), old).unwrap();
    guide.one("link-agrees", Warning, &["no Link with the targetClusterName old"]).await;
    assert!(printed(&guide.args(&[])).await.0);
    assert!(!printed(&guide.args(&["--strict"])).await.0);
}

#[tokio::test]
async fn every_problem_has_its_place_and_the_form_expected() {
    let guide = Guide::new();
    guide.edit("east/02-bb.yaml", "    port: 8080", "    port: '8080'");
    let told = ["02-bb.yaml:37:11", "`port` is the text \"8080\"", "a number from 1 to 65535"];
    guide.one("manifests", Error, &told).await;
    fs::remove_dir_all(guide.path("east")).unwrap();
    let found = guide.found(&[]).await;
    assert!(
        found.iter().any(|found| found.check == "manifests" && found.found.contains("cannot be read")),
        "{found:#?}"
    );
    fs::create_dir(guide.path("east")).unwrap();
    guide.one("manifests", Error, &["holds no manifests", "subfolders"]).await;
}

#[test]
fn the_help_is_the_table_of_checks() {
    let help = table_of_checks();
    assert!(CHECKS.iter().all(|check| help.contains(check.name) && help.contains(check.remedy)));
}

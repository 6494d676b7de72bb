//! The demo as a person runs it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::namespace;

#[test]
fn the_guide_runs_and_shows_its_tables() {
    if namespace("probe").is_none() {
        return;
    }
    let folder = folder();
    let demo = demo(folder.path(), &["--duration", "10s"]).wait_with_output().unwrap();
    let (tables, progress) =
        (String::from_utf8(demo.stdout).unwrap(), String::from_utf8(demo.stderr).unwrap());
    assert!(demo.status.success(), "{tables}{progress}");
    let row = |words: &[&str]| {
        let starts = |line: &&str| line.split_whitespace().take(words.len()).eq(words.iter().copied());
        let found = tables.lines().find(starts).unwrap_or_else(|| panic!("no row {words:?} in {tables}"));
        found.split_whitespace().skip(words.len()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row(&["bb", "1/1"])[0], "100.00%");
    let admitted = row(&["default", "bb", "authorizationpolicy/bb-authz"]);
    assert_eq!(admitted[..2], ["0.0rps", "100.00%"]);
    // Refusals have no authorization: the column is empty.
    let refused = row(&["default", "bb"]);
    assert!(refused[0].ends_with("rps") && refused[0] != "0.0rps", "{tables}");
    assert_eq!(refused[1..3], ["0.00%", "0.0rps"]);
    let scrapes = row(&["default", "default:all-unauthenticated", "default/all-unauthenticated"]);
    assert_eq!(scrapes[..3], ["0.0rps", "100.00%", "0.1rps"]);
    let probes = row(&["probe", "default:all-unauthenticated", "default/probe"]);
    assert_eq!(probes[..3], ["0.0rps", "100.00%", "0.2rps"]);
    assert_nothing_left(&folder);
}

/// The reference proxy at either end of the guide's traffic. It is no part of the project, so this runs where one is
/// named.
#[test]
fn the_guide_runs_with_the_reference_proxy_at_either_end() {
    if std::env::var_os("LINKERD2_PROXY_BIN").is_none() {
        eprintln!("SKIPPED, nothing was tested: LINKERD2_PROXY_BIN names no reference proxy");
        return;
    }
    for cluster in ["east", "west"] {
        let folder = folder();
        let demo = demo(folder.path(), &["--reference-proxy", cluster]).wait_with_output().unwrap();
        let said = [demo.stdout, demo.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(demo.status.success(), "{cluster}: {}{}", said[0], said[1]);
    }
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    if namespace("probe").is_none() {
        return;
    }
    for (signal, at) in
        [(Signal::SIGINT, "starting the control plane"), (Signal::SIGTERM, "waiting for traffic")]
    {
        let folder = folder();
        let mut demo = demo(folder.path(), &["--keep"]);
        let mut progress = BufReader::new(demo.stderr.take().unwrap()).lines();
        assert!(progress.any(|line| line.unwrap().contains(at)), "the demo ended before {at:?}");
        kill(Pid::from_raw(demo.id().cast_signed()), signal).unwrap();
        drop(progress);
        assert_eq!(demo.wait().unwrap().code(), Some(128 + signal as i32));
        assert_nothing_left(&folder);
    }
}

/// A place for temporary files that the proxies' user may pass through.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

fn demo(folder: &std::path::Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.arg("demo").args(args).env("TMPDIR", folder).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Neither files nor programs; namespaces end with the latter. Every program has a path of the folder in its arguments,
/// its environment or its open files.
fn assert_nothing_left(folder: &tempfile::TempDir) {
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let name = folder.path().to_str().unwrap();
    for process in std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
        let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        for file in open.filter_map(|file| std::fs::read_link(file.path()).ok()) {
            assert!(!file.to_string_lossy().contains(name), "{} holds {}", process.display(), file.display());
        }
    }
}

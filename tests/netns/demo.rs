//! The demo as a person runs it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use causeway::demo::apart::Apart;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

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

/// Without root, and told apart by a mark, the same holds.
#[test]
fn the_guide_runs_for_a_user_who_is_not_root() {
    if !geteuid().is_root() || Apart::here() == Apart::ByMark {
        eprintln!("SKIPPED: without root all of these tests show it");
        return;
    }
    let (folder, installed) = (folder(), folder());
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let program = installed.path().join("causeway");
    std::fs::copy(env!("CARGO_BIN_EXE_causeway"), &program).unwrap();
    let mut demo = Command::new(&program);
    demo.args(["demo", "--duration", "6s"]).env("TMPDIR", folder.path()).uid(NOBODY).gid(NOBODY);
    let demo = demo.stdin(Stdio::null()).output().unwrap();
    let said = [demo.stdout, demo.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if said[1].contains("cannot make a user namespace") {
        assert!(std::env::var_os("CAUSEWAY_REQUIRE_NETNS").is_none(), "{}", said[1]);
        eprintln!("SKIPPED, nothing was tested: {}", said[1]);
        return;
    }
    assert!(demo.status.success(), "{}{}", said[0], said[1]);
    assert!(said[1].contains("without root") && said[1].contains("CAUSEWAY_MARK"), "{}", said[1]);
    assert!(said[0].contains("authorizationpolicy/bb-authz"), "{}", said[0]);
    assert!(said[0].ends_with("all as the guide promises\n"), "{}", said[0]);
    assert_nothing_left(&folder);
}

const NOBODY: u32 = 65534;

#[test]
fn where_user_namespaces_are_forbidden_the_switch_is_named() {
    if namespace("probe").is_none() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_causeway");
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" demo rootless -- true";
    let mut inside = Command::new(program);
    inside.args(["demo", "rootless", "--", "sh", "-c", forbid, program]);
    let ended = inside.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("`sysctl -w user.max_user_namespaces=10000`"), "{said}");
    assert_eq!(said.matches("os error").count(), 1, "{said}");
}

/// The second scenario, as short as it can be.
#[test]
fn three_clusters_outlive_the_death_of_one_and_take_it_back() {
    if namespace("probe").is_none() {
        return;
    }
    let folder = folder();
    let args = ["--scenario", "three-clusters", "--duration", "8s"];
    let demo = demo(folder.path(), &args).wait_with_output().unwrap();
    let said = [demo.stdout, demo.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(demo.status.success(), "{}{}", said[0], said[1]);
    let row = |target: &str, part: &str| -> Vec<u64> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut rows = said[0].lines().map(words).filter(|row| row.len() > 8);
        let row = rows.find(|row| row[0] == target && row[1] == part);
        let row = row.unwrap_or_else(|| panic!("no row {target} {part} in {}", said[0]));
        row[2..8].iter().map(|figure| figure.trim_end_matches('%').parse().unwrap()).collect()
    };
    // Requests, good, failed; west, east, north.
    let dead = row("frontend", "dead");
    assert!(dead[3] > 0 && dead[4] == 0 && dead[5] > 0, "{dead:?}");
    assert!(row("frontend", "back")[4] > 0);
    assert!(row("api-west", "dead")[2] == 0);
    for target in ["api-east", "analytics"] {
        assert_eq!(row(target, "dead")[1], 0, "{target}");
        assert!(row(target, "back")[1] > 0, "{target}");
    }
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

/// The reference proxy in all of our places: the same distribution.
#[test]
fn three_clusters_of_the_reference_proxy_are_distributed_alike() {
    if std::env::var_os("LINKERD2_PROXY_BIN").is_none() || Apart::here() == Apart::ByMark {
        eprintln!(
            "SKIPPED, nothing was tested: LINKERD2_PROXY_BIN names no reference proxy, or this is not root"
        );
        return;
    }
    let folder = folder();
    let mut args = vec!["--scenario", "three-clusters", "--duration", "8s"];
    args.extend(["west", "east", "north"].iter().flat_map(|cluster| ["--reference-proxy", cluster]));
    let demo = demo(folder.path(), &args).wait_with_output().unwrap();
    let said = [demo.stdout, demo.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(demo.status.success(), "{}{}", said[0], said[1]);
    assert_nothing_left(&folder);
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

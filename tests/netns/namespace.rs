//! A namespace, with root or without.

use std::process::Command;

use causeway::demo::namespace::{Error, Namespace};

/// A namespace. Without root the whole test is run by another process in a user namespace, and is over here when that
/// has passed; where there are none, a loud skip.
pub(crate) fn namespace(name: &str) -> Option<Namespace> {
    let refused = match Namespace::new(name) {
        Ok(namespace) => return Some(namespace),
        Err(refused @ Error::Create { .. }) => refused,
        Err(other) => panic!("{other}"),
    };
    let Err(again) = pass_in_user_namespace() else { return None };
    assert!(std::env::var_os("CAUSEWAY_REQUIRE_NETNS").is_none(), "{refused}; {again}");
    eprintln!("SKIPPED, nothing was tested: {refused}; {again}");
    None
}

/// Runs the test of this thread in a user namespace; it fails here if it fails there.
///
/// # Errors
/// Where it cannot be run so.
fn pass_in_user_namespace() -> Result<(), String> {
    if std::env::var_os(INSIDE).is_some() {
        return Err("a user namespace did not help".to_owned());
    }
    let there = inside(&["/bin/true"]);
    if !there.status.success() {
        return Err(String::from_utf8_lossy(&there.stderr).into_owned());
    }
    // The harness names threads after their tests.
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").ok_or("which test this is cannot be known")?;
    let program = std::env::current_exe().unwrap();
    let run = inside(&[program.to_str().unwrap(), "--exact", test, "--nocapture"]);
    let [said, complained] = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    eprintln!("without root, {test} in a user namespace:\n{said}{complained}");
    assert!(run.status.success() && said.contains("1 passed"), "{test} failed in a user namespace");
    Ok(())
}

fn inside(program: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(["demo", "rootless", "--"]).args(program).env(INSIDE, "1").output().unwrap()
}

const INSIDE: &str = "CAUSEWAY_TEST_IN_USER_NAMESPACE";

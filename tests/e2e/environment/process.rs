//! The program as a process, with an environment and no arguments, as the start helper runs it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// A process that has ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stderr: String,
}

/// The program with nothing but this environment, and one empty argument.
pub fn command(env: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.arg0("").env_clear().envs(env).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

pub fn run_to_end(env: &BTreeMap<String, String>) -> Ended {
    run_to_end_with(env, |_| {})
}

pub fn run_to_end_with(env: &BTreeMap<String, String>, change: impl FnOnce(&mut Command)) -> Ended {
    let mut command = command(env);
    change(&mut command);
    let output = command.output().unwrap();
    Ended { code: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

//! What takes root's place? A user namespace, in which this process is root over networks and mounts that it makes
//! itself, and over nothing else.
//!
//! Only a process of a single thread can enter one, and our allocator has a thread of its own from the beginning. So the
//! program becomes itself once more without that thread, in the hidden role [`Inside`], enters, and becomes what it is
//! to be. Its process stays the same.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::process::OWN_BINARY;

/// Why there is no such namespace, and what may help.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a user namespace: {error}. Run as root, or {remedy}")]
pub struct Refused {
    error: io::Error,
    remedy: String,
}

/// Becomes this program with `args`, as root of a user namespace. Returns only if that failed.
pub fn start_again(args: impl IntoIterator<Item = OsString>) -> io::Error {
    own().args(["demo", "rootless", "--", OWN_BINARY]).args(args).exec()
}

/// Becomes another program, as root of a user namespace. Not for people.
#[derive(Debug, clap::Args)]
pub struct Inside {
    /// The program, then its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Inside {
    /// Returns only if that failed.
    pub fn run(self) -> anyhow::Error {
        let [as_all, as_ours] = ALLOCATOR;
        if std::env::var_os(as_all).is_none_or(|value| value != ONE_THREAD) {
            let own_args = std::env::args_os().skip(1);
            let own_again = ALLOCATOR.map(|name| (name, ONE_THREAD));
            return own().args(own_args).envs(own_again).exec().into();
        }
        let Some((program, args)) = self.command.split_first() else {
            return anyhow::Error::msg("no program was named");
        };
        match enter() {
            Ok(()) => {
                let mut command = Command::new(program);
                command.arg0(shown(program)).args(args).env_remove(as_all).env_remove(as_ours).exec().into()
            }
            Err(error) => Refused { error, remedy: remedy(sysctl) }.into(),
        }
    }
}

fn own() -> Command {
    let mut own = Command::new(OWN_BINARY);
    own.arg0("causeway");
    own
}

fn shown(program: &OsString) -> OsString {
    if program == OWN_BINARY { "causeway".into() } else { program.clone() }
}

/// Makes this process root of a user namespace of its own.
fn enter() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // Without this the kernel lets nobody map a group.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// What an administrator can do; `sysctl` tells the settings of this machine.
fn remedy(sysctl: impl Fn(&str) -> Option<String>) -> String {
    let forbids = |(name, forbids, _): &&(&str, &str, &str)| sysctl(name).is_some_and(|is| is == *forbids);
    let changes: Vec<_> =
        SWITCHES.iter().filter(forbids).map(|(name, _, by)| format!("{name}={by}")).collect();
    if changes.is_empty() {
        return "have it permitted: see the limit user.max_user_namespaces, and whether a profile of seccomp or \
                AppArmor forbids unshare(2), as containers' do"
            .to_owned();
    }
    format!("let every user make them: `sysctl -w {}`", changes.join(" "))
}

fn sysctl(name: &str) -> Option<String> {
    let value = std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(value.trim().to_owned())
}

/// Settings of which one is enough to forbid it: name, the value that forbids, one that does not. Debian and Ubuntu have
/// one of their own each.
const SWITCHES: [(&str, &str, &str); 3] = [
    ("user.max_user_namespaces", "0", "10000"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
];

/// Where our allocator looks for its options: as everybody's, and where it is only Rust's.
const ALLOCATOR: [&str; 2] = ["MALLOC_CONF", "_RJEM_MALLOC_CONF"];
const ONE_THREAD: &str = "background_thread:false";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_switch_that_forbids() {
        let debian = |name: &str| (name == "kernel.unprivileged_userns_clone").then(|| "0".to_owned());
        let error = io::Error::from_raw_os_error(1);
        let said = Refused { error, remedy: remedy(debian) }.to_string();
        assert!(said.contains("`sysctl -w kernel.unprivileged_userns_clone=1`"), "{said}");
        assert!(said.contains("Operation not permitted") && said.contains("root"), "{said}");
        assert!(!said.contains("apparmor"), "{said}");
        let all = remedy(|name| Some(if name.contains("apparmor") { "1" } else { "0" }.to_owned()));
        assert!(SWITCHES.iter().all(|(name, ..)| all.contains(name)), "{all}");
    }

    #[test]
    fn where_no_switch_forbids_the_limit_and_profiles_may() {
        let free = |name: &str| Some(if name.contains("apparmor") { "0" } else { "1" }.to_owned());
        for said in [remedy(free), remedy(|_| None)] {
            assert!(said.contains("user.max_user_namespaces") && said.contains("seccomp"), "{said}");
        }
    }
}

//! What is one running program of a pod? A child that ends when its handle is dropped, and that the kernel kills should
//! this process die without dropping anything.
//!
//! Children are started through the hidden role [`Exec`]: it gives up root, asks for the parent-death signal (which a
//! change of user would clear) and only then becomes the program.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setuid};

use super::namespace::{self, Namespace};

/// A program to start: what, with which arguments, environment and user, and where its output goes.
#[derive(Debug)]
pub struct Program {
    launcher: PathBuf,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    uid: Option<u32>,
    output: Option<File>,
}

impl Program {
    /// The program at `path`. `launcher` is a causeway binary, [`OWN_BINARY`] inside causeway itself.
    pub fn new(launcher: &Path, path: &Path) -> Self {
        let (args, env) = (Vec::new(), Vec::new());
        Self { launcher: launcher.to_owned(), path: path.to_owned(), args, env, uid: None, output: None }
    }

    /// Causeway itself, in another role.
    #[must_use]
    pub fn causeway(launcher: &Path) -> Self {
        Self::new(launcher, Path::new(OWN_BINARY))
    }

    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds to the environment, which is otherwise empty: a container does not inherit the node's. Later values win.
    #[must_use]
    pub fn env(mut self, env: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>) -> Self {
        self.env.extend(env.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Runs as this user and group, without supplementary groups. The default is the user of this process.
    #[must_use]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Where standard output and standard error go. The default is nowhere.
    #[must_use]
    pub fn output(mut self, output: File) -> Self {
        self.output = Some(output);
        self
    }

    /// Starts the program in `namespace`.
    ///
    /// # Errors
    /// When it cannot be started. A missing program shows as an early exit, with the reason in its output.
    pub fn start(self, namespace: &Namespace) -> Result<Process, namespace::Error> {
        let name = namespace.name().to_owned();
        let stdio = self.stdio().map_err(|source| namespace::Error::Io {
            name: name.clone(),
            what: "share the output of a program".to_owned(),
            source,
        })?;
        let mut command = Command::new(&self.launcher);
        command.args(["demo", "exec", "--parent", &std::process::id().to_string()]);
        command.args(self.uid.iter().flat_map(|uid| ["--uid".to_owned(), uid.to_string()]));
        command.arg("--").arg(&self.path).args(&self.args);
        command.env_clear().envs(self.env);
        // A group of its own: Ctrl-C on the terminal is for the demo, which then stops things in order.
        command.stdin(Stdio::null()).stdout(stdio.0).stderr(stdio.1).process_group(0);
        Ok(Process { name, child: namespace.spawn(command)? })
    }

    fn stdio(&self) -> io::Result<(Stdio, Stdio)> {
        match &self.output {
            None => Ok((Stdio::null(), Stdio::null())),
            Some(file) => Ok((file.try_clone()?.into(), file.try_clone()?.into())),
        }
    }
}

/// A child in a namespace. Dropping it kills and reaps it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// The name of the namespace it runs in.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = Pid::from_raw(self.child.id().cast_signed());
            // It may end in between; it has not been reaped, so the number is still its own.
            let _ = kill(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Failing means that it ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The running binary, whatever happened to its path. Opened by each process for itself, so it stays readable for a
/// user who could not reach it by name, below a private home for instance.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// Becomes another program that dies with the demo. Not for people.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// The process without which this one must not be.
    #[arg(long)]
    parent: i32,
    /// User and group to become.
    #[arg(long)]
    uid: Option<u32>,
    /// The program, then its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Exec {
    /// Returns only if that failed.
    pub fn run(self) -> io::Error {
        self.become_program().unwrap_or_else(|e| e)
    }

    fn become_program(self) -> io::Result<io::Error> {
        let (path, args) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", Path::new(path).display()));
        // Opened while still root, and started through the descriptor: the path may be closed to the new user.
        let program = File::open(path).map_err(named)?;
        if let Some(uid) = self.uid {
            setgroups(&[])?;
            setgid(Gid::from_raw(uid))?;
            setuid(Uid::from_raw(uid))?;
        }
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != Pid::from_raw(self.parent) {
            return Err(io::Error::other("the demo that started this is gone"));
        }
        let shown = if Path::new(path) == Path::new(OWN_BINARY) { "causeway".into() } else { path.clone() };
        let descriptor = format!("/proc/self/fd/{}", program.as_raw_fd());
        Ok(named(Command::new(descriptor).arg0(shown).args(args).exec()))
    }
}

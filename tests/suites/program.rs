//! The suites' programs: built by Go, and run in pods.

use std::ffi::OsStr;
use std::io::{Read as _, Seek as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use causeway::demo::namespace::Namespace;
use causeway::demo::process::{Process, Program};
use tokio::time::{Instant, sleep};

/// A program of `go.mod`, by its name; or a loud skip where there is no Go to build it with.
pub(crate) fn built(name: &str) -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    Some(FOLDER.get_or_init(build).as_ref()?.join(name))
}

fn build() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("suites");
    std::fs::create_dir_all(&folder).unwrap();
    let mut go = Command::new("go");
    go.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites"));
    // `tool` is every program that `go.mod` lists; Go keeps what it compiled for the next time.
    go.args(["build", "-trimpath", "-buildvcs=false", "-o"]).arg(&folder).arg("tool");
    let problem = match go.output() {
        Ok(done) if done.status.success() => return Some(folder),
        Err(e) => {
            eprintln!("SKIPPED, nothing was tested: go: {e}");
            return None;
        }
        Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
    };
    assert!(std::env::var_os("CAUSEWAY_REQUIRE_NETNS").is_none(), "go cannot build the suites:\n{problem}");
    eprintln!("SKIPPED, nothing was tested: go cannot build the suites:\n{problem}");
    None
}

/// The reference proxy, or a loud skip.
pub(crate) fn reference() -> Option<PathBuf> {
    let named = std::env::var_os("LINKERD2_PROXY_BIN");
    if named.is_none() {
        eprintln!("SKIPPED, nothing was tested: LINKERD2_PROXY_BIN names no reference proxy");
    }
    named.map(PathBuf::from)
}

/// How a program ended and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
}

/// Runs a program in `pod` to its end.
pub(crate) async fn run<A: AsRef<OsStr>>(
    pod: &Namespace,
    path: &Path,
    args: &[A],
    within: Duration,
) -> Ended {
    let mut output = tempfile::tempfile().unwrap();
    let program = program(path, args).output(output.try_clone().unwrap());
    let mut process = program.start(pod).unwrap();
    let deadline = Instant::now() + within;
    let status = loop {
        match process.ended() {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => sleep(LOOK_AGAIN).await,
        }
    };
    let mut said = Vec::new();
    output.rewind().unwrap();
    output.read_to_end(&mut said).unwrap();
    let output = String::from_utf8_lossy(&said).into_owned();
    let Some(status) = status else { panic!("{} did not end within {within:?}:\n{output}", path.display()) };
    Ended { status, output }
}

/// Starts a program in `pod` that is to listen on `port`, and waits until it does.
pub(crate) async fn serve<A: AsRef<OsStr>>(pod: &Namespace, path: &Path, args: &[A], port: u16) -> Process {
    let mut process = program(path, args).start(pod).unwrap();
    let deadline = Instant::now() + STARTS_WITHIN;
    let own = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while pod.run(move || TcpStream::connect(own)).unwrap().is_err() {
        assert!(process.ended().is_none(), "{} ended", path.display());
        assert!(Instant::now() < deadline, "{} does not listen on port {port}", path.display());
        sleep(LOOK_AGAIN).await;
    }
    process
}

fn program<A: AsRef<OsStr>>(path: &Path, args: &[A]) -> Program {
    Program::new(Path::new(env!("CARGO_BIN_EXE_causeway")), path).args(args.iter().map(AsRef::as_ref))
}

const STARTS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

//! What does a process cost? Its processor time, its memory, and how long it takes to be ready.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use causeway::demo::apart::PROXY_UID;
use causeway::demo::node::ADMIN;
use causeway::demo::world::World;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

/// A running proxy.
pub(crate) struct Process {
    pid: i32,
    world: Arc<World>,
    deployment: &'static str,
    /// A restarted one is ours to end.
    child: Option<std::process::Child>,
}

/// Ticks a second of `/proc/PID/stat`; the same on every Linux machine.
const TICKS: f64 = 100.0;

const DEADLINE: Duration = Duration::from_secs(30);

impl Process {
    /// The proxy of a pod: the one process there that runs as the proxies' user.
    pub(super) fn of_pod(world: &Arc<World>, deployment: &'static str) -> anyhow::Result<Self> {
        let pid = find(world, deployment)?;
        Ok(Self { pid, world: world.clone(), deployment, child: None })
    }

    /// Seconds on a processor until now, user and system.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The program's name may hold blanks; the numbers follow its parenthesis.
        let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| anyhow::Ok(fields.get(at).context("a short stat")?.parse::<f64>()?);
        Ok((ticks(11)? + ticks(12)?) / TICKS)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<f64>()? * 1024.0)
    }

    /// Ends the process and starts it anew as it was; the time from start to ready.
    pub(crate) fn restart(&mut self) -> anyhow::Result<Duration> {
        let of = |name: &str| PathBuf::from(format!("/proc/{}/{name}", self.pid));
        let (program, user) = (fs::read_link(of("exe"))?, PROXY_UID);
        let (args, env) = (fs::read(of("cmdline"))?, fs::read(of("environ"))?);
        let mut command = Command::new(program);
        command.args(parts(&args).skip(1)).env_clear();
        command.envs(parts(&env).filter_map(|pair| {
            let at = pair.as_bytes().iter().position(|b| *b == b'=')?;
            let (name, value) = pair.as_bytes().split_at(at);
            Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&value[1..]).to_owned()))
        }));
        command.uid(user).gid(user).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        self.end()?;
        let started = Instant::now();
        let child = super::pod(&self.world, self.deployment)?.spawn(command)?;
        self.pid = child.id().cast_signed();
        self.child = Some(child);
        self.await_ready(started)
    }

    /// Asks again and again, more often than matters.
    fn await_ready(&self, started: Instant) -> anyhow::Result<Duration> {
        let pods = self.world.pods().iter();
        let running = pods.into_iter().find(|running| running.listed.owner.name == self.deployment);
        let to = SocketAddr::from((running.context("no such pod")?.listed.ip, ADMIN));
        let ready = move || {
            while started.elapsed() < DEADLINE {
                if is_ready(to).is_ok_and(|ready| ready) {
                    return Some(started.elapsed());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            None
        };
        self.world.network().router().run(ready)?.context("the proxy does not become ready")
    }

    fn end(&mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid), Signal::SIGKILL)?;
        match self.child.take() {
            Some(mut child) => drop(child.wait()?),
            // Its own handle reaps it later; until then it is a zombie without sockets.
            None => {
                let until = Instant::now() + DEADLINE;
                let stat = format!("/proc/{}/stat", self.pid);
                while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                    anyhow::ensure!(Instant::now() < until, "a proxy does not end");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            let _ = self.end();
        }
    }
}

fn is_ready(admin: SocketAddr) -> std::io::Result<bool> {
    let mut io = TcpStream::connect_timeout(&admin, Duration::from_secs(1))?;
    io.set_read_timeout(Some(Duration::from_secs(1)))?;
    io.write_all(b"GET /ready HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    io.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}

fn find(world: &World, deployment: &str) -> anyhow::Result<i32> {
    let network = |process: &str| fs::metadata(format!("/proc/{process}/ns/net")).map(|net| net.ino());
    let pod = network(&super::pod(world, deployment)?.tid().to_string())?;
    let mut pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| {
        let is_proxy = entry.metadata().is_ok_and(|process| process.uid() == PROXY_UID);
        entry.file_name().into_string().ok().filter(|name| is_proxy && name.parse::<i32>().is_ok())
    });
    let pid = pids.find(|pid| network(pid).is_ok_and(|found| found == pod));
    Ok(pid.with_context(|| format!("no proxy runs in the pod of {deployment}"))?.parse()?)
}

/// What zero bytes end.
fn parts(bytes: &[u8]) -> impl Iterator<Item = OsString> {
    let ended = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    ended.split(|byte| *byte == 0).map(|part| OsStr::from_bytes(part).to_owned())
}

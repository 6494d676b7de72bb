//! A pod with the real program as its proxy, the application beside it, and neighbours outside.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use causeway::demo::apart::Apart;
use causeway::demo::namespace::Namespace;
use causeway::demo::process::{Process, Program};
use causeway::tls::testing::TestCa;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use tempfile::TempDir;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::app;
use crate::control;
use crate::knowledge::Knowledge;
use crate::lone_pod::{self, ADMIN, LonePod, OUTSIDE, POD, listen};
use crate::siege::{as_another_machine_would, step_back};

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const APP: u16 = 8080;
const DIRECT: u16 = 4143;

/// Which listener of the proxy is meant, and so who is the neighbour: somebody outside, or the pod's application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Inbound,
    Outbound,
    /// The inbound listener's own port.
    Direct,
}

pub(crate) struct World {
    // Before the namespace that it lives in.
    proxy: Process,
    pub(crate) runtime: Runtime,
    far_side: Handle,
    pub(crate) ca: Arc<TestCa>,
    lone: LonePod,
    folder: TempDir,
    changes: Vec<(String, String)>,
    /// A decoy is part of its test.
    _turn: Option<Turn>,
}

/// Tests measure, so they take turns.
static TURNS: RwLock<()> = RwLock::const_new(());

/// Lasts for as long as it is kept.
enum Turn {
    Alone {
        _turn: RwLockWriteGuard<'static, ()>,
    },
    /// Others of this kind run meanwhile.
    Shared {
        _turn: RwLockReadGuard<'static, ()>,
    },
}

impl Turn {
    fn alone() -> Self {
        Self::Alone { _turn: TURNS.blocking_write() }
    }

    fn shared() -> Self {
        Self::Shared { _turn: TURNS.blocking_read() }
    }
}

/// Whether everything is to be run as large as it is meant, which takes minutes.
pub(crate) fn full() -> bool {
    std::env::var("CAUSEWAY_NEIGHBOURS").is_ok_and(|size| size == "full")
}

/// So many in a full run, a tenth otherwise.
pub(crate) fn many(count: usize) -> usize {
    if full() { count } else { count / 10 }
}

/// What the proxy waits for a ClientHello, a header or HTTP.
pub(crate) fn detect_timeout() -> Duration {
    Duration::from_secs(if full() { 10 } else { 2 })
}

impl World {
    /// `None` where the machine gives no namespaces and none are required.
    pub(crate) fn new() -> Option<Self> {
        Self::with(None, &[])
    }

    /// For attacks that wait most of their time: in an ordinary run others like it may go on meanwhile.
    pub(crate) fn beside_others() -> Option<Self> {
        if full() { Self::new() } else { Self::begin(Turn::shared(), None, &[]) }
    }

    /// A proxy with so few descriptors, and some variables set otherwise.
    pub(crate) fn with(descriptors: Option<usize>, changes: &[(&str, &str)]) -> Option<Self> {
        Self::begin(Turn::alone(), descriptors, changes)
    }

    fn begin(turn: Turn, descriptors: Option<usize>, changes: &[(&str, &str)]) -> Option<Self> {
        // Everybody else is on another machine.
        stay_on(Pid::from_raw(0), LAST);
        let changes = changes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let world = Self::start(descriptors, changes, Some(turn), None)?;
        stay_on(Pid::from_raw(world.proxy.id().cast_signed()), FIRST);
        Some(world)
    }

    /// In a whole run, the same world once more, for attacks that do not meet the first one's proxy. It keeps to the
    /// attackers' processor, and gives way to everybody else as they do. But its applications are those of the first
    /// one: what they do for attackers is not what the proxy is judged by.
    pub(crate) fn decoy(&self) -> Option<Self> {
        let far_side = Some(self.far_side.clone());
        let start = || as_another_machine_would(|| Self::start(None, self.changes.clone(), None, far_side));
        full().then(start).flatten()
    }

    fn start(
        descriptors: Option<usize>,
        changes: Vec<(String, String)>,
        turn: Option<Turn>,
        far_side: Option<Handle>,
    ) -> Option<Self> {
        let lone = LonePod::new()?;
        for namespace in [&lone.outside, &lone.pod] {
            let range = "/proc/sys/net/ipv4/ip_local_port_range";
            namespace.run(move || std::fs::write(range, "10000 65000")).unwrap().unwrap();
        }
        let ca = Arc::new(TestCa::new("neighbours"));
        let far_side = far_side.unwrap_or_else(start_far_side);
        let control = serve(&far_side, &lone, &ca);
        let folder = lone_pod::folder();
        let launcher = launcher(folder.path(), descriptors);
        let mut env = lone_pod::environment(folder.path(), control, &ca);
        env.extend(tuned());
        env.extend(lone_pod::variables(&changes));
        let log = std::fs::File::create(folder.path().join("proxy.log")).unwrap();
        let program = Program::causeway(&launcher).args(["proxy"]).env(env).output(log);
        let proxy = Apart::here().proxy(program).start(&lone.pod).unwrap();
        let attackers =
            Builder::new_multi_thread().worker_threads(2).on_thread_start(step_back).enable_all().build();
        let runtime = attackers.unwrap();
        let world = Self { proxy, runtime, far_side, ca, lone, folder, changes, _turn: turn };
        world.until("the proxy serves", || world.try_get(Side::Inbound) && world.try_get(Side::Outbound));
        Some(world)
    }

    /// A blocking connection as a neighbour of this side makes it.
    pub(crate) fn connect(&self, side: Side) -> TcpStream {
        self.try_connect(side).unwrap()
    }

    pub(crate) fn try_connect(&self, side: Side) -> std::io::Result<TcpStream> {
        let (from, to) = self.way(side);
        let io = from.run(move || TcpStream::connect_timeout(&to, Duration::from_secs(10))).unwrap()?;
        io.set_nodelay(true)?;
        io.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(io)
    }

    /// The same for an async attacker. Closing it is a reset, so that thousands leave no ports behind.
    pub(crate) async fn dial(&self, side: Side) -> tokio::net::TcpStream {
        let (from, to) = self.way(side);
        Self::dial_from(from, to).await
    }

    /// The same, as the pod's application goes to another service.
    pub(crate) async fn dial_to(&self, service: SocketAddr) -> tokio::net::TcpStream {
        Self::dial_from(&self.lone.pod, service).await
    }

    async fn dial_from(from: &Namespace, to: SocketAddr) -> tokio::net::TcpStream {
        let socket = from.socket(to).unwrap();
        socket.set_zero_linger().unwrap();
        let io = socket.connect(to).await.unwrap();
        io.set_nodelay(true).unwrap();
        io
    }

    fn way(&self, side: Side) -> (&Namespace, SocketAddr) {
        match side {
            Side::Inbound => (&self.lone.outside, (POD, APP).into()),
            Side::Outbound => (&self.lone.pod, (SERVICE, 80).into()),
            Side::Direct => (&self.lone.outside, (POD, DIRECT).into()),
        }
    }

    pub(crate) fn try_get(&self, side: Side) -> bool {
        let Ok(mut io) = self.try_connect(side) else { return false };
        let _ = io.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        let _ = io.read_to_string(&mut answer);
        answer.ends_with(app::HELLO)
    }

    /// Looks again until it holds, for ten seconds.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(10), "not in time: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the proxy has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("proxy.log")).unwrap_or_default()
    }

    /// How often the proxy met a reason.
    pub(crate) fn faults(&self, direction: &str, reason: &str) -> u64 {
        let series = format!("causeway_faults_total{{direction=\"{direction}\",reason=\"{reason}\"}} ");
        let page = self.metrics();
        page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
    }

    /// For a failed test: what was counted, and the end of the log.
    pub(crate) fn said(&self) -> String {
        let (page, log) = (self.metrics(), self.log());
        let counted = page.lines().filter(|line| line.starts_with("causeway_faults"));
        let lines: Vec<_> = log.lines().collect();
        counted.chain(lines[lines.len().saturating_sub(10)..].iter().copied()).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn metrics(&self) -> String {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN));
        let mut io = self.lone.pod.run(move || TcpStream::connect(to)).unwrap().unwrap();
        io.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        io.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        io.read_to_string(&mut page).unwrap();
        page
    }

    /// Resident bytes.
    pub(crate) fn memory(&self) -> usize {
        let statm = std::fs::read_to_string(self.proc("statm")).unwrap();
        statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Processor time so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(self.proc("stat")).unwrap();
        let after_name = stat.rsplit(") ").next().unwrap();
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.proxy.id()).into()
    }
}

/// The processor of the proxy, and that of all others.
const FIRST: usize = 0;
const LAST: usize = 1;

/// Keeps a thread, and those that it will start, to one of two processors. Only in a full run, which needs two.
fn stay_on(thread: Pid, processor: usize) {
    let mut processors = CpuSet::new();
    processors.set(processor).unwrap();
    if full() {
        sched_setaffinity(thread, &processors).unwrap();
    }
}

/// A thread that ends with the process.
fn start_far_side() -> Handle {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let far_side = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("far-side".into()).spawn(run).unwrap();
    far_side
}

/// The application beside the proxy and the one outside, and the control plane.
fn serve(far_side: &Handle, lone: &LonePod, ca: &Arc<TestCa>) -> SocketAddr {
    let beside = listen(&lone.pod, (POD, APP).into());
    let away = listen(&lone.outside, (OUTSIDE, APP).into());
    let controller = listen(&lone.pod, (Ipv4Addr::LOCALHOST, 0).into());
    let addr = controller.local_addr().unwrap();
    let known = Arc::new(Knowledge { ca: ca.clone(), endpoint: (OUTSIDE, APP).into() });
    far_side.spawn(async move {
        let own = |listener| tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::join!(app::serve(own(beside)), app::serve(own(away)), async {
            control::serve(own(controller), known).await.unwrap();
        })
    });
    addr
}

/// What these worlds are told besides.
fn tuned() -> Vec<(String, String)> {
    let detect = format!("{}s", detect_timeout().as_secs());
    lone_pod::variables(&[
        ("INBOUND_CONNECT_TIMEOUT", "100ms"),
        ("INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
        ("OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
        ("INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
        ("OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
        ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
        ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
        ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
        ("OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
        ("INBOUND_DETECT_TIMEOUT", &detect),
        ("OUTBOUND_DETECT_TIMEOUT", &detect),
    ])
}

/// The program under test: this build's, unless `CAUSEWAY_NEIGHBOURS_BIN` names another.
fn launcher(folder: &Path, descriptors: Option<usize>) -> PathBuf {
    let named = std::env::var_os("CAUSEWAY_NEIGHBOURS_BIN").map(PathBuf::from);
    let program = named.unwrap_or_else(|| env!("CARGO_BIN_EXE_causeway").into());
    let Some(descriptors) = descriptors else { return program };
    let script = folder.join("launcher");
    let text = format!("#!/bin/sh\nulimit -n {descriptors}\nexec {} \"$@\"\n", program.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

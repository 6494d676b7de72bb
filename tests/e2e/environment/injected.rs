//! Environments as the injector's chart renders them and the kubelet completes them: a process with one
//! becomes ready, and ends when told to.
//!
//! Only what a process outside of a cluster cannot have is put in its place: folders, ports, and the
//! control plane's names, which are `localhost.` as the chart writes them for the control plane's own
//! pods. See `netns` for whole pods.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Child;
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::process;
use crate::chart::{self, completed};
use crate::client::{Client, Kind, full};
use crate::sandbox::{LIMIT, Sandbox, identity, until, within};
use crate::scripted::TOKEN;

/// The chart's environment for a pod, and what stands in its place here.
fn rendered(world: &Sandbox, folder: &TempDir, kind: chart::Kind, ipv6: bool) -> chart::Variables {
    let pod = chart::Pod {
        name: "web-5d8f6c9b7-x2x4z".into(),
        namespace: "demo".into(),
        uid: "3f1a2c4e-0000-4000-8000-000000000000".into(),
        ips: if ipv6 { vec!["10.42.0.15".into(), "fd00:10:42::f".into()] } else { vec!["10.42.0.15".into()] },
        node: "node-1".into(),
        account: "web".into(),
    };
    let trust_anchors = world.ca.root_pem().to_owned();
    let values = chart::Values { pod, ports: "8080,9090".into(), trust_anchors, ipv6, kind };
    let mut env = values.rendered();
    let control = format!("localhost.:{}", world.control.addr().port());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (any, both) = if ipv6 { ("[::]:0", ",[::1]:0") } else { ("0.0.0.0:0", "") };
    env.extend([
        ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", control.clone()),
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", control.clone()),
        ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", control),
        ("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", any.into()),
        ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", any.into()),
        ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", "127.0.0.1:0".into()),
        ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", format!("127.0.0.1:0{both}")),
        ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", any.into()),
        ("LINKERD2_PROXY_IDENTITY_DIR", path("")),
        ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", path("token")),
    ]);
    env
}

/// What annotations may change beside the chart's conditions, and what images set.
const UNUSUAL: &[(&str, &str)] = &[
    ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", ""),
    ("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", ""),
    ("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", ""),
    ("LINKERD2_PROXY_INBOUND_PORTS", ""),
    ("LINKERD2_PROXY_INGRESS_MODE", "true"),
    ("HOSTNAME", "web-5d8f6c9b7-x2x4z"),
    ("PATH", "/usr/bin"),
];

/// The running program. Killed when dropped.
struct Proxy {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: Vec<String>,
}

impl Proxy {
    fn start(env: &BTreeMap<String, String>) -> Self {
        let mut child = process::command(env).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Self { child, lines, log: Vec::new() }
    }

    /// Reads the log until it tells where the proxy listens.
    fn admin(&mut self) -> SocketAddr {
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|_| panic!("it says where it listens: {:#?}", self.log));
            self.log.push(line);
            if let Some(port) = self.port("admin") {
                return SocketAddr::from(([127, 0, 0, 1], port));
            }
        }
    }

    /// A listener's port, where the last line tells it.
    fn port(&self, listener: &str) -> Option<u16> {
        let (_, rest) = self.log.last()?.split_once(listener)?;
        let addr = rest.trim_start_matches(['=', '"', ':']);
        let addr = &addr[..addr.find([' ', '"', ',']).unwrap_or(addr.len())];
        Some(addr.parse::<SocketAddr>().ok()?.port())
    }

    /// The names of its threads.
    fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok().map(|name| name.trim().to_owned())
        };
        tasks.filter_map(name).collect()
    }

    /// Threads of this name, and how many workers it says it has. Blocking calls have threads that are
    /// named like workers, as many as there are workers at most.
    fn threads_and_workers(&self, name: &str) -> (usize, Option<usize>) {
        let told = self.log.iter().find_map(|line| {
            let rest = line.split_once("workers")?.1.trim_start_matches(['=', '"', ':']);
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        (self.threads().iter().filter(|thread| *thread == name).count(), told)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Pod {
    env: BTreeMap<String, String>,
    _folder: TempDir,
}

impl Pod {
    /// A pod whose injection met no unusual conditions, but for `changes`.
    fn new(world: &Sandbox, changes: &[(&'static str, &str)]) -> Self {
        Self::of(world, chart::Kind::Default, false, changes)
    }

    fn of(world: &Sandbox, kind: chart::Kind, ipv6: bool, changes: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        let mut rendered = rendered(world, &folder, kind, ipv6);
        rendered.extend(changes.iter().map(|(name, value)| (*name, value.to_string())));
        Self { env: completed(rendered).into_iter().collect(), _folder: folder }
    }
}

async fn page(admin: SocketAddr, path: &str) -> (u16, String) {
    let io = within("the admin port", tokio::net::TcpStream::connect(admin)).await.unwrap();
    let answer = Client::new(Kind::Http1, io).await.get(path).await;
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

async fn becomes_ready(proxy: &mut Proxy) -> SocketAddr {
    let admin = proxy.admin();
    until("readiness", async || page(admin, "/ready").await == (200, "ready\n".to_owned())).await;
    admin
}

async fn ends_when_told(proxy: &mut Proxy) {
    kill(Pid::from_raw(proxy.child.id() as i32), Signal::SIGTERM).unwrap();
    let mut ended = None;
    until("the end", async || {
        ended = proxy.child.try_wait().unwrap();
        ended.is_some()
    })
    .await;
    assert_eq!(ended.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_injected_environment_boots_and_its_texts_arrive_byte_for_byte() {
    let world = Sandbox::new().await;
    let pod = Pod::new(&world, &[]);
    let mut proxy = Proxy::start(&pod.env);
    let admin = becomes_ready(&mut proxy).await;
    // The admin port is watched, for a workload that ends in a newline; the container's ports too.
    let workload = "{\"ns\":\"demo\", \"pod\":\"web-5d8f6c9b7-x2x4z\"}\n";
    for port in [8080, 9090] {
        world.script().ports.until_opened(format!("{workload}{port}"), 1).await;
    }
    let (_, shown) = page(admin, "/env.json?LINKERD2_PROXY_POLICY_WORKLOAD").await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["LINKERD2_PROXY_POLICY_WORKLOAD"], workload);
    assert_eq!(proxy.threads_and_workers("admin"), (1, Some(1)));
    assert!(proxy.threads_and_workers("proxy").0 <= 1, "{:?}", proxy.threads());
    assert!(!proxy.log.iter().any(|line| line.contains("ignored")), "{:#?}", proxy.log);
    ends_when_told(&mut proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_environment_boots_and_says_what_has_no_effect() {
    let world = Sandbox::new().await;
    let pod = Pod::of(&world, chart::Kind::EveryOption, true, UNUSUAL);
    let mut proxy = Proxy::start(&pod.env);
    let admin = becomes_ready(&mut proxy).await;
    for name in [
        "LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR",
        "LINKERD2_PROXY_ACCESS_LOG",
        "LINKERD2_PROXY_TAP_SVC_NAME",
    ] {
        let told = proxy.log.iter().filter(|line| line.contains(name)).count();
        assert_eq!(told, 1, "{name}: {:#?}", proxy.log);
    }
    let six = SocketAddr::new("::1".parse().unwrap(), admin.port());
    assert_eq!(page(six, "/live").await, (200, "live\n".to_owned()));
    // As many as there are to be had, up to two.
    let expected = num_cpus::get().min(2);
    let (threads, told) = proxy.threads_and_workers("proxy");
    assert_eq!(told, Some(expected));
    assert!(expected == 1 || threads >= expected, "{:?}", proxy.threads());
    ends_when_told(&mut proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_s_environment_boots_and_has_its_own_port_watched() {
    let world = Sandbox::new().await;
    let pod = Pod::of(&world, chart::Kind::Gateway, false, &[]);
    let mut proxy = Proxy::start(&pod.env);
    // Its default policy keeps the admin page from those who prove no name.
    proxy.admin();
    assert!(!proxy.log.iter().any(|line| line.contains("has no effect")), "{:#?}", proxy.log);
    // Containers', admin's, and the inbound listener's, which the kernel has chosen.
    let workload = "{\"ns\":\"demo\", \"pod\":\"web-5d8f6c9b7-x2x4z\"}\n";
    let port = proxy.port("inbound").unwrap();
    world.script().ports.until_opened(format!("{workload}{port}"), 1).await;
    ends_when_told(&mut proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_follows_directives_for_linkerd_while_it_runs() {
    let world = Sandbox::new().await;
    let pod = Pod::new(&world, &[("LINKERD2_PROXY_LOG", "warn,linkerd=info,linkerd=loud,[{headers}]=off")]);
    let mut proxy = Proxy::start(&pod.env);
    let admin = becomes_ready(&mut proxy).await;
    assert!(proxy.log.iter().any(|line| line.contains("linkerd=loud")), "{:#?}", proxy.log);
    let put = |filter: &'static str| async move {
        let io = tokio::net::TcpStream::connect(admin).await.unwrap();
        let mut client = Client::new(Kind::Http1, io).await;
        let req = client.request("/proxy-log-level").method("PUT").body(full(filter)).unwrap();
        client.send(req).await.status.as_u16()
    };
    assert_eq!(put("warn,linkerd_app_inbound=debug").await, 204);
    assert_eq!(put("linkerd=loud").await, 400);
    assert_eq!(page(admin, "/proxy-log-level").await.1, "warn,linkerd_app_inbound=debug");
    ends_when_told(&mut proxy).await;
}

#[test]
fn the_certificate_s_name_is_the_account_s() {
    // What the kubelet completes is what the scripted authority certifies.
    let completed = completed(vec![
        ("_pod_sa", "web".into()),
        ("_pod_ns", "demo".into()),
        ("NAME", "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local".into()),
    ]);
    assert_eq!(completed.last(), Some(&("NAME".to_owned(), identity("web"))));
}

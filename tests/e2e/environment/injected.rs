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
use crate::client::{Client, Kind, full};
use crate::sandbox::{LIMIT, Sandbox, identity, until, within};
use crate::scripted::TOKEN;

/// What the chart's values are by default (linkerd2: `charts/linkerd-control-plane/values.yaml`), in the
/// order of its template. `$(…)` is left to the kubelet.
fn rendered(world: &Sandbox, folder: &TempDir) -> Vec<(&'static str, String)> {
    let port = world.control.addr().port();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let networks = "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8";
    let literal = |name, value: &str| (name, value.to_owned());
    vec![
        literal("_pod_name", "web-5d8f6c9b7-x2x4z"),
        literal("_pod_ns", "demo"),
        literal("_pod_uid", "3f1a2c4e-0000-4000-8000-000000000000"),
        literal("_pod_ip", "10.42.0.15"),
        literal("_pod_nodeName", "node-1"),
        literal("_pod_containerName", "linkerd-proxy"),
        literal("LINKERD2_PROXY_CORES", "1"),
        literal("LINKERD2_PROXY_CORES_MIN", "1"),
        literal("LINKERD2_PROXY_SHUTDOWN_ENDPOINT_ENABLED", "false"),
        literal("LINKERD2_PROXY_LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off"),
        literal("LINKERD2_PROXY_LOG_FORMAT", "plain"),
        ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", format!("localhost.:{port}")),
        literal("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", networks),
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", format!("localhost.:{port}")),
        literal("LINKERD2_PROXY_POLICY_WORKLOAD", "{\"ns\":\"$(_pod_ns)\", \"pod\":\"$(_pod_name)\"}\n"),
        literal("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", "all-unauthenticated"),
        literal("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", networks),
        literal("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
        literal("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
        literal("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "1h"),
        literal("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "100ms"),
        literal("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "1000ms"),
        literal("LINKERD2_PROXY_OUTBOUND_DISCOVERY_IDLE_TIMEOUT", "5s"),
        literal("LINKERD2_PROXY_INBOUND_DISCOVERY_IDLE_TIMEOUT", "90s"),
        literal("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", "0.0.0.0:0"),
        literal("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", "0.0.0.0:0"),
        literal("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", "127.0.0.1:0"),
        literal("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", "127.0.0.1:0"),
        literal("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "0.0.0.0:0"),
        literal("LINKERD2_PROXY_INBOUND_IPS", "10.42.0.15"),
        literal("LINKERD2_PROXY_INBOUND_PORTS", "8080,9090"),
        literal("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local."),
        literal("LINKERD2_PROXY_INBOUND_ACCEPT_KEEPALIVE", "10000ms"),
        literal("LINKERD2_PROXY_OUTBOUND_CONNECT_KEEPALIVE", "10000ms"),
        literal("LINKERD2_PROXY_INBOUND_ACCEPT_USER_TIMEOUT", "30s"),
        literal("LINKERD2_PROXY_OUTBOUND_CONNECT_USER_TIMEOUT", "30s"),
        literal("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", "false"),
        literal("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
        literal("LINKERD2_PROXY_INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
        literal("LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
        literal("LINKERD2_PROXY_OUTBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
        literal(
            "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION",
            "25,587,3306,4444,5432,6379,9300,11211",
        ),
        literal(
            "LINKERD2_PROXY_DESTINATION_CONTEXT",
            "{\"ns\":\"$(_pod_ns)\", \"nodeName\":\"$(_pod_nodeName)\", \"pod\":\"$(_pod_name)\"}\n",
        ),
        literal("_pod_sa", "web"),
        literal("_l5d_ns", "linkerd"),
        literal("_l5d_trustdomain", "cluster.local"),
        ("LINKERD2_PROXY_IDENTITY_DIR", path("")),
        ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", format!("{}\n", world.ca.root_pem().trim())),
        ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", path("token")),
        ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", format!("localhost.:{port}")),
        literal(
            "LINKERD2_PROXY_IDENTITY_LOCAL_NAME",
            "$(_pod_sa).$(_pod_ns).serviceaccount.identity.linkerd.cluster.local",
        ),
        literal(
            "LINKERD2_PROXY_IDENTITY_SVC_NAME",
            "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local",
        ),
        literal(
            "LINKERD2_PROXY_DESTINATION_SVC_NAME",
            "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local",
        ),
        literal(
            "LINKERD2_PROXY_POLICY_SVC_NAME",
            "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local",
        ),
    ]
}

/// What annotations and values may change or add: IPv6, workers, values left empty, what is not carried
/// yet, and names that no proxy knows.
const UNUSUAL: &[(&str, &str)] = &[
    ("LINKERD2_PROXY_CORES_MAX", "2"),
    ("LINKERD2_PROXY_CORES_MAX_RATIO", "1"),
    ("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_IDENTITY", "8080"),
    ("LINKERD2_PROXY_INBOUND_PORTS_REQUIRE_TLS", "9090"),
    ("LINKERD2_PROXY_LOG_FORMAT", "json"),
    ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", ""),
    ("LINKERD2_PROXY_CONTROL_STREAM_IDLE_TIMEOUT", ""),
    ("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", ""),
    ("LINKERD2_PROXY_OUTBOUND_DETECT_TIMEOUT", "365d"),
    ("LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT", "365d"),
    ("LINKERD2_PROXY_CONTROL_LISTEN_ADDR", "[::]:0"),
    ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", "[::]:0"),
    ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS", "127.0.0.1:0,[::1]:0"),
    ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "[::]:0"),
    ("LINKERD2_PROXY_INBOUND_IPS", "10.42.0.15,fd00:10:42::f"),
    ("LINKERD2_PROXY_INBOUND_PORTS", ""),
    ("LINKERD2_PROXY_INGRESS_MODE", "true"),
    ("LINKERD2_PROXY_DESTINATION_PROFILE_SUFFIXES", "."),
    ("LINKERD2_PROXY_OUTBOUND_METRICS_HOSTNAME_LABELS", "true"),
    ("LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH", "/var/run/linkerd/podinfo/labels"),
    ("LINKERD2_PROXY_TRACE_ANNOTATIONS_PATH", "/var/run/linkerd/podinfo/annotations"),
    ("LINKERD2_PROXY_TRACE_PROTOCOL", "opentelemetry"),
    ("LINKERD2_PROXY_TRACE_SERVICE_NAME", "linkerd-proxy"),
    ("LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR", "collector.tracing.svc.cluster.local:4317"),
    (
        "LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME",
        "collector.tracing.serviceaccount.identity.linkerd.cluster.local",
    ),
    ("LINKERD2_PROXY_TRACE_EXTRA_ATTRIBUTES", "\nk8s.pod.ip=$(_pod_ip)\nk8s.pod.uid=$(_pod_uid)\n"),
    ("LINKERD2_PROXY_ACCESS_LOG", "apache"),
    ("LINKERD2_PROXY_SHUTDOWN_GRACE_PERIOD", "30s"),
    ("LINKERD2_PROXY_TAP_SVC_NAME", "tap.linkerd-viz.serviceaccount.identity.linkerd.cluster.local"),
    ("LINKERD2_PROXY_SOMETHING_NEWER", "??"),
    ("HOSTNAME", "web-5d8f6c9b7-x2x4z"),
    ("PATH", "/usr/bin"),
];

/// `$(NAME)` of what stands before becomes its value, as the kubelet does it.
fn completed(rendered: Vec<(&'static str, String)>) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for (name, mut value) in rendered {
        for (known, its) in &env {
            value = value.replace(&format!("$({known})"), its);
        }
        env.insert(name.to_owned(), value);
    }
    env
}

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

    /// Reads the log until it tells the admin listener's port.
    fn admin(&mut self) -> SocketAddr {
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|_| panic!("it says where it listens: {:#?}", self.log));
            self.log.push(line.clone());
            let Some((_, rest)) = line.split_once("admin") else { continue };
            let addr = rest.trim_start_matches(['=', '"', ':']);
            let addr = &addr[..addr.find([' ', '"', ',']).unwrap_or(addr.len())];
            let addr: SocketAddr = addr.parse().unwrap_or_else(|_| panic!("{line}"));
            return SocketAddr::from(([127, 0, 0, 1], addr.port()));
        }
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

fn pod(world: &Sandbox, changes: &[(&'static str, &str)]) -> Pod {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    let mut rendered = rendered(world, &folder);
    rendered.extend(changes.iter().map(|(name, value)| (*name, value.to_string())));
    Pod { env: completed(rendered), _folder: folder }
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
    let pod = pod(&world, &[]);
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
    let pod = pod(&world, UNUSUAL);
    let mut proxy = Proxy::start(&pod.env);
    let admin = becomes_ready(&mut proxy).await;
    for name in [
        "LINKERD2_PROXY_INGRESS_MODE",
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
async fn the_log_follows_directives_for_linkerd_while_it_runs() {
    let world = Sandbox::new().await;
    let pod = pod(&world, &[("LINKERD2_PROXY_LOG", "warn,linkerd=info,linkerd=loud,[{headers}]=off")]);
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
    assert_eq!(completed["NAME"], identity("web"));
}

//! Pairs of proxies as processes in pods: our own and, where `LINKERD2_PROXY_BIN` names one, the reference, each in a
//! world of its own that is otherwise the same: control plane, redirection, policy, load and applications. And two pods
//! without proxies, for the direct way.
//!
//! This needs root; without it the bench says so and measures nothing.

#![allow(dead_code, reason = "each bench uses its part")]

pub(crate) mod process;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use causeway::demo::cluster::Plan;
use causeway::demo::manifests::Manifests;
use causeway::demo::namespace::{self, Namespace};
use causeway::demo::network::Network;
use causeway::demo::node;
use causeway::demo::world::World;
use ipnet::{IpNet, Ipv4Net};
use tokio::time::{Instant, sleep};

use crate::load::apps::Listeners;
use crate::load::figures::{Column, Figure, table};
use crate::load::{Dial, Targets, Workload};
use process::Process;

const HTTP1: u16 = 9001;
const HTTP2: u16 = 9002;
const OPAQUE: u16 = 9003;

const CLUSTER: Manifests =
    Manifests { cluster: "bench", files: &[("bench.yaml", include_str!("cluster.yaml"))] };

const CONTROL: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 11);

const DEADLINE: Duration = Duration::from_secs(30);

/// One way from the client to the applications.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) targets: Targets,
    /// The client's proxy and the server's; of the direct way there are none.
    pub(crate) proxies: Vec<Process>,
    pub(crate) binary: Option<PathBuf>,
    // Programs and namespaces end with these.
    _inside: Inside,
    _folder: Option<tempfile::TempDir>,
}

enum Inside {
    World(Arc<World>),
    Pods(Arc<(Namespace, Namespace)>, Network),
}

/// All ways there are, the direct one first; `None` where the machine gives no namespaces.
pub(crate) async fn ways() -> anyhow::Result<Option<Vec<Way>>> {
    match Namespace::new("probe") {
        Ok(_) => {}
        Err(error @ namespace::Error::Create { .. }) => {
            let required = std::env::var_os("CAUSEWAY_REQUIRE_NETNS").is_some();
            anyhow::ensure!(!required, "{error}");
            eprintln!("SKIPPED, nothing was measured: {error}");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    }
    let mut ways = vec![Way::direct()?, Way::meshed("ours", None).await?];
    match std::env::var_os("LINKERD2_PROXY_BIN") {
        Some(reference) => ways.push(Way::meshed("reference", Some(Path::new(&reference))).await?),
        None => eprintln!("without the reference: LINKERD2_PROXY_BIN names no binary"),
    }
    Ok(Some(ways))
}

impl Way {
    fn direct() -> anyhow::Result<Self> {
        let network = Network::new()?;
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        let to = Ipv4Addr::new(10, 22, 0, 3);
        network.attach(&client, &[Ipv4Addr::new(10, 22, 0, 2).into()])?;
        network.attach(&server, &[to.into()])?;
        listeners(&server)?.start()?;
        let pods = Arc::new((client, server));
        let from = pods.clone();
        let targets = targets(to, move || Ok(from.0.socket((to, 0).into())?));
        let inside = Inside::Pods(pods, network);
        Ok(Self {
            name: "direct",
            targets,
            proxies: Vec::new(),
            binary: None,
            _inside: inside,
            _folder: None,
        })
    }

    async fn round(&self, workload: &Workload) -> anyhow::Result<Vec<Figure>> {
        let cpu = || self.proxies.iter().map(Process::cpu).collect::<anyhow::Result<Vec<f64>>>();
        let before = cpu()?;
        let done = workload.run(&self.targets).await?;
        let used: Vec<f64> = cpu()?.iter().zip(before).map(|(after, before)| after - before).collect();
        let [out, inside] = used[..] else { return Ok(done.figures(workload, &[])) };
        Ok(done.figures(workload, &[("both proxies", out + inside), ("client's", out), ("server's", inside)]))
    }

    /// Two pods with `proxy`, or with our own.
    async fn meshed(name: &'static str, proxy: Option<&Path>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711))?;
        // Copies that the proxies' user may run, wherever they were built.
        let launcher = copy(Path::new(env!("CARGO_BIN_EXE_causeway")), &folder.path().join("causeway"))?;
        let proxy = proxy.map(|path| copy(path, &folder.path().join("proxy"))).transpose()?;
        let plan = Plan { manifests: CLUSTER, control: CONTROL.into(), pods: net(22), services: net(23) };
        let running = proxy.clone();
        let world = World::start(&launcher, folder.path(), &[plan], |_| running.clone(), |_| {}).await?;
        let world = Arc::new(world);
        listeners(pod(&world, "server")?)?.start()?;
        let to = service(&world).await?;
        let from = world.clone();
        let targets = targets(to, move || Ok(pod(&from, "client")?.socket((to, 0).into())?));
        let proxies = ["client", "server"].into_iter().map(|name| Process::of_pod(&world, name));
        Ok(Self {
            name,
            targets,
            proxies: proxies.collect::<anyhow::Result<_>>()?,
            binary: Some(proxy.unwrap_or(launcher)),
            _inside: Inside::World(world),
            _folder: Some(folder),
        })
    }
}

/// Runs a workload on each way by turns and prints what it cost.
pub(crate) async fn by_turns(workload: &Workload, ways: &[Way], rounds: usize) -> anyhow::Result<()> {
    let mut columns: Vec<Column> = ways.iter().map(|way| Column::new(way.name)).collect();
    for way in ways {
        workload.warm_up().run(&way.targets).await?;
    }
    for _ in 0..rounds {
        for (way, column) in ways.iter().zip(&mut columns) {
            column.rounds.push(way.round(workload).await?);
        }
    }
    table(&workload.title(), &columns, matches!(workload, Workload::Rate { .. }));
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755))?;
    Ok(to.to_owned())
}

fn net(second: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16).into()
}

fn listeners(pod: &Namespace) -> anyhow::Result<Listeners> {
    let listen = |port| pod.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    Ok(Listeners { http1: listen(HTTP1)?, http2: listen(HTTP2)?, opaque: listen(OPAQUE)? })
}

fn targets(
    to: Ipv4Addr,
    socket: impl Fn() -> anyhow::Result<tokio::net::TcpSocket> + Clone + Send + Sync + 'static,
) -> Targets {
    let dial = |port| Dial::with(SocketAddr::from((to, port)), socket.clone());
    Targets { http1: dial(HTTP1), http2: dial(HTTP2), opaque: dial(OPAQUE) }
}

fn pod<'a>(world: &'a World, deployment: &str) -> anyhow::Result<&'a Namespace> {
    let running = world.pods().iter().find(|running| running.listed.owner.name == deployment);
    Ok(running.with_context(|| format!("there is no pod of {deployment}"))?.pod.namespace())
}

/// The service's cluster IP, waited for.
async fn service(world: &World) -> anyhow::Result<Ipv4Addr> {
    let api = SocketAddr::from((CONTROL, 8085));
    let until = Instant::now() + DEADLINE;
    loop {
        let json = node::fetch(world.network().router(), api, "/api/v1/services", DEADLINE).await?;
        let services: serde_json::Value = serde_json::from_slice(&json)?;
        let app = services.as_array().and_then(|all| all.iter().find(|service| service["name"] == "app"));
        if let Some(ip) = app.and_then(|app| app["cluster_ip"].as_str()) {
            return Ok(ip.parse()?);
        }
        anyhow::ensure!(Instant::now() < until, "the service does not appear");
        sleep(Duration::from_millis(20)).await;
    }
}

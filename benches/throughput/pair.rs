//! Two proxies in mutual TLS, each on a thread of its own, with a control plane beside them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, anyhow};
use causeway::app::{Proxy, Surroundings};
use causeway::config::Config;
use causeway::net::OrigDst;
use causeway::telemetry::log::LogHandle;
use causeway::tls::testing::TestCa;
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::cost::PROXIES;
use super::knowledge::{self, EAST, Service, WEST, World};
use super::load::apps::Apps;
use super::load::{Dial, Targets};

/// Clients dial the outbound proxy at these addresses; which one says what they meant to reach.
const STREAM: Ipv4Addr = Ipv4Addr::new(127, 0, 43, 1);
const HTTP1: Ipv4Addr = Ipv4Addr::new(127, 0, 43, 2);
const HTTP2: Ipv4Addr = Ipv4Addr::new(127, 0, 43, 3);

/// Where the applications are reached through the proxies.
pub(crate) struct Pair {
    outbound: u16,
    /// Keys, requests and tokens of both proxies, for as long as they run.
    _identities: TempDir,
}

/// Where a proxy listens.
struct Listening {
    outbound: SocketAddr,
    inbound: SocketAddr,
}

impl Pair {
    pub(crate) fn start(apps: &Apps) -> anyhow::Result<Self> {
        let world = Arc::new(World {
            ca: TestCa::new("bench"),
            services: vec![
                service("stream", Ipv4Addr::new(10, 43, 0, 1), apps.opaque, true),
                service("http1", Ipv4Addr::new(10, 43, 0, 2), apps.http1, false),
                service("http2", Ipv4Addr::new(10, 43, 0, 3), apps.http2, false),
            ],
            inbound_port: OnceLock::new(),
        });
        let controller = knowledge::start(world.clone())?;
        let identities = tempfile::tempdir()?;
        let anchors = world.ca.root_pem();
        let [west, east] = PROXIES;

        let config = config(EAST, &identities.path().join(east), controller, anchors)?;
        let east = start(east, config, OrigDst::Given(Arc::new(|io| io.local_addr())))?;
        let port = east.inbound.port();
        world.inbound_port.set(port).map_err(|_| anyhow!("there is one inbound proxy"))?;

        let meant = HashMap::from([
            (IpAddr::from(STREAM), world.services[0].addr()),
            (IpAddr::from(HTTP1), world.services[1].addr()),
            (IpAddr::from(HTTP2), world.services[2].addr()),
        ]);
        let orig_dst = OrigDst::Given(Arc::new(move |io| {
            let dialled = io.local_addr()?;
            Ok(meant.get(&dialled.ip()).copied().unwrap_or(dialled))
        }));
        let config = self::config(WEST, &identities.path().join(west), controller, anchors)?;
        let outbound = start(west, config, orig_dst)?.outbound.port();
        Ok(Self { outbound, _identities: identities })
    }

    pub(crate) fn targets(&self) -> Targets {
        let through = |addr| Dial::plain(SocketAddr::from((addr, self.outbound)));
        Targets { http1: through(HTTP1), http2: through(HTTP2), opaque: through(STREAM) }
    }
}

fn service(name: &'static str, cluster_ip: Ipv4Addr, app: SocketAddr, opaque: bool) -> Service {
    Service { name, cluster_ip, app, opaque }
}

/// What an injector would write, as far as this bench needs it.
fn config(id: &str, dir: &Path, controller: SocketAddr, anchors: &str) -> anyhow::Result<Config> {
    std::fs::create_dir(dir)?;
    let token = dir.join("token");
    std::fs::write(&token, "a token that nobody checks")?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let env: HashMap<&str, String> = HashMap::from([
        ("LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR", "0.0.0.0:0".into()),
        ("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "127.0.0.1:0".into()),
        ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", "127.0.0.1:0".into()),
        ("LINKERD2_PROXY_POLICY_SVC_ADDR", controller.to_string()),
        ("LINKERD2_PROXY_POLICY_WORKLOAD", id.into()),
        ("LINKERD2_PROXY_DESTINATION_SVC_ADDR", controller.to_string()),
        ("LINKERD2_PROXY_DESTINATION_CONTEXT", id.into()),
        ("LINKERD2_PROXY_DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8".into()),
        ("LINKERD2_PROXY_IDENTITY_SVC_ADDR", controller.to_string()),
        ("LINKERD2_PROXY_IDENTITY_DIR", text(dir)),
        ("LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS", anchors.into()),
        ("LINKERD2_PROXY_IDENTITY_TOKEN_FILE", text(&token)),
        ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", id.into()),
        // Generous: under an instrument everything takes a hundred times as long.
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "60s".into()),
        ("LINKERD2_PROXY_INBOUND_CONNECT_TIMEOUT", "60s".into()),
        ("LINKERD2_PROXY_OUTBOUND_HTTP_FAILFAST_TIMEOUT", "60s".into()),
    ]);
    Ok(Config::from_env(&|name| env.get(name).cloned())?)
}

/// Starts a proxy on a thread that bears its name.
fn start(name: &str, config: Config, orig_dst: OrigDst) -> anyhow::Result<Listening> {
    let (tell, told) = channel();
    let around = Surroundings {
        outbound_dst: orig_dst.clone(),
        inbound_dst: orig_dst,
        allow_loopback: true,
        dial_from: None,
    };
    std::thread::Builder::new().name(name.into()).spawn(move || {
        if let Err(error) = run(config, &around, &tell) {
            eprintln!("a proxy ended: {error:#}");
        }
    })?;
    told.recv().with_context(|| format!("the {name} proxy did not start"))
}

fn run(config: Config, around: &Surroundings, tell: &Sender<Listening>) -> anyhow::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let proxy = Proxy::bind(config, LogHandle::off(), around).await?;
        tell.send(Listening { outbound: proxy.outbound_addr()?, inbound: proxy.inbound_addr()? })?;
        Ok(proxy.run().await?)
    })
}

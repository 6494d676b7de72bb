//! How does a pod that the control plane lists come to run? As on a node: network, redirection, the proxy with what the
//! injector put into its environment, and the application's containers once the proxy is ready.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

use super::apart::Apart;
use super::network::Network;
use super::node::{self, ADMIN};
use super::pod::{Identity, Pod};
use super::process::Program;
use super::{image, listing};
use crate::identity::key::Documents;
use crate::redirect::{self, Rules};

/// Container name of the proxy (controlplane 5.3).
pub const PROXY: &str = "linkerd-proxy";

/// What the pods of one cluster have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cluster: &'static str,
    /// Where the cluster's names are resolved.
    pub nameserver: IpAddr,
    /// Pods get folders below.
    pub folder: PathBuf,
    /// A causeway binary to start programs with.
    pub launcher: PathBuf,
    /// Another proxy to run in place of our own.
    pub proxy: Option<PathBuf>,
    /// What proxies have in their environment beside what is injected.
    pub env: Vec<(String, String)>,
}

/// Runs `listed` with a proxy that is ready and its containers started. `token` is the service account's, for the
/// proxy alone.
///
/// # Errors
/// Says which step failed, with the end of the proxy's log when that is where to look.
pub async fn run(
    network: &Network,
    settings: &Settings,
    listed: &listing::Pod,
    token: &str,
) -> anyhow::Result<Pod> {
    let mut pod = make(network, settings, listed)?;
    let program = proxy(settings, listed, &pod, token)?;
    let rules = rules(listed.ip);
    pod.namespace().run(move || redirect::install(&rules))?.context("cannot install the redirect rules")?;
    pod.start(PROXY, program)?;
    await_ready(network, &mut pod).await?;
    for container in &listed.containers {
        let args = image::arguments(&container.image, &container.command, &container.args)
            .with_context(|| format!("{}: container {}", pod.identity().title, container.name))?;
        let program = Program::causeway(&settings.launcher)
            .args(["demo", "image"])
            .args(args)
            .env(container.env.iter().cloned());
        pod.start(&container.name, program)?;
    }
    Ok(pod)
}

/// Starts a pod's proxy again, as kubelet does with one that has ended, and waits until it is ready.
///
/// # Errors
/// Says which step failed.
pub async fn restart_proxy(
    network: &Network,
    settings: &Settings,
    listed: &listing::Pod,
    pod: &mut Pod,
) -> anyhow::Result<()> {
    pod.start(PROXY, program(settings, listed))?;
    await_ready(network, pod).await
}

fn make(network: &Network, settings: &Settings, listed: &listing::Pod) -> anyhow::Result<Pod> {
    let title = format!("{}/{}", settings.cluster, listed.name);
    let folder = settings.folder.join(&listed.namespace).join(&listed.name);
    // Every folder above was made to be passed through.
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let identity = Identity {
        title,
        name: listed.name.clone(),
        namespace: listed.namespace.clone(),
        addr: listed.ip,
        nameserver: settings.nameserver,
    };
    Ok(Pod::new(network, identity, folder)?)
}

/// What `linkerd-init` is told by default (controlplane 5.5), for the family of the pod's address.
fn rules(pod: IpAddr) -> Rules {
    Apart::here().rules(Rules { ipv6: pod.is_ipv6(), ..Rules::default() })
}

/// The proxy with the injected environment to the letter: what it names is mounted there.
fn proxy(settings: &Settings, listed: &listing::Pod, pod: &Pod, token: &str) -> anyhow::Result<Program> {
    let (identity, token_file) = (pod.folder().join("identity"), pod.folder().join("token"));
    std::fs::create_dir(&identity)?;
    write_private(&token_file, token)?;
    if settings.proxy.is_some() {
        make_key(&identity, listed)?;
    }
    let apart = Apart::here();
    apart.give(&token_file)?;
    apart.give(&identity)?;
    pod.mount(identity, injected(listed, IDENTITY_DIR)?)?;
    pod.mount(token_file, injected(listed, TOKEN_FILE)?)?;
    Ok(program(settings, listed))
}

fn program(settings: &Settings, listed: &listing::Pod) -> Program {
    let program = match &settings.proxy {
        None => Program::causeway(&settings.launcher).args(["proxy"]),
        Some(other) => Program::new(&settings.launcher, other),
    };
    Apart::here().proxy(program).env(listed.proxy_env.iter().chain(&settings.env).cloned())
}

fn injected<'a>(listed: &'a listing::Pod, name: &str) -> anyhow::Result<&'a str> {
    let value = listed.proxy_env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    value.with_context(|| format!("{}: no {name} was injected", listed.name))
}

/// Other proxies do not make their key themselves: a program that starts before them does (contract 2.1).
fn make_key(folder: &Path, listed: &listing::Pod) -> anyhow::Result<()> {
    let name = injected(listed, LOCAL_NAME)?;
    let name = name.parse().with_context(|| format!("{LOCAL_NAME}={name:?}: expected a DNS name"))?;
    Documents::load_or_make(folder, &name)?;
    Ok(())
}

fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(content.as_bytes())?)
}

async fn await_ready(network: &Network, pod: &mut Pod) -> anyhow::Result<()> {
    let admin = SocketAddr::from((pod.identity().addr, ADMIN));
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let Err(refusal) = node::fetch(network.router(), admin, "/ready", Duration::from_secs(1)).await
        else {
            return Ok(());
        };
        let title = pod.identity().title.clone();
        if let Some((_, status)) = pod.ended() {
            bail!("{title}: the proxy ended ({status}) before it was ready:\n{}", pod.last_lines(PROXY));
        }
        if Instant::now() >= deadline {
            bail!("{title}: the proxy is not ready: {refusal}\n{}", pod.last_lines(PROXY));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

const IDENTITY_DIR: &str = "LINKERD2_PROXY_IDENTITY_DIR";
const LOCAL_NAME: &str = "LINKERD2_PROXY_IDENTITY_LOCAL_NAME";
const TOKEN_FILE: &str = "LINKERD2_PROXY_IDENTITY_TOKEN_FILE";
/// Generous: a certificate takes milliseconds, a busy machine seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);

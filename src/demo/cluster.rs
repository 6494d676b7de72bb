//! What is a cluster of the demo? A folder of manifests, a control plane that reads it, and the pods that it lists.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use ipnet::{IpNet, Ipv4Net};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::listing;
use super::manifests::{self, Manifests};
use super::network::Network;
use super::node;
use super::pod::{Identity, Pod};
use super::process::Program;

/// Where a cluster's things are.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub manifests: Manifests,
    /// The control plane's address, also the name server's.
    pub control: IpAddr,
    pub pods: IpNet,
    pub services: IpNet,
}

/// A network of a plan: `10.<second>.0.0/16`.
pub(super) fn network(second: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(10, second, 0, 0), 16).into()
}

impl Plan {
    /// Writes its manifests where its control plane, and those of the clusters that are linked to it, will look:
    /// below `folder`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let manifests = manifests_in(folder, self.manifests.cluster);
        manifests::write(&self.manifests, &manifests)
            .with_context(|| format!("cannot write {}", manifests.display()))
    }
}

/// The folder of a cluster's manifests.
pub(super) fn manifests_in(folder: &Path, cluster: &str) -> PathBuf {
    folder.join("clusters").join(cluster)
}

/// A cluster whose control plane runs.
#[derive(Debug)]
pub struct Cluster {
    pub plan: Plan,
    pub control: Pod,
}

impl Cluster {
    /// Starts the control plane of `plan`, whose manifests are written. Below `folder` is also `certs`, with the trust
    /// anchor and issuers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(network: &Network, launcher: &Path, folder: &Path, plan: Plan) -> anyhow::Result<Self> {
        let name = plan.manifests.cluster;
        let logs = folder.join("control").join(name);
        std::fs::create_dir_all(&logs)?;
        let identity = Identity {
            title: format!("{name}/control"),
            name: format!("control-{name}"),
            namespace: "linkerd".to_owned(),
            addr: plan.control,
            nameserver: plan.control,
        };
        let mut cluster = Self { plan, control: Pod::new(network, identity, logs)? };
        cluster.start_control(launcher, folder)?;
        Ok(cluster)
    }

    /// Starts the control plane, instead of one that runs or has ended.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_control(&mut self, launcher: &Path, folder: &Path) -> anyhow::Result<()> {
        let manifests = manifests_in(folder, self.name());
        let args = control_args(&self.plan, &manifests, &folder.join("certs"));
        Ok(self.control.start(CONTROL, Program::causeway(launcher).args(args))?)
    }

    /// Ends the control plane at once.
    pub fn kill_control(&mut self) {
        self.control.signal(CONTROL, Signal::SIGKILL);
    }

    #[must_use]
    pub fn name(&self) -> &'static str {
        self.plan.manifests.cluster
    }

    /// The pods that the control plane wants to run, once it answers.
    ///
    /// # Errors
    /// When it ends, or does not answer in time.
    pub async fn pods(&mut self, network: &Network) -> anyhow::Result<Vec<listing::Pod>> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let api = SocketAddr::from((self.plan.control, API));
        loop {
            let refusal = match node::fetch(network.router(), api, "/api/v1/pods", Duration::from_secs(1))
                .await
            {
                Ok(json) => {
                    return listing::parse(&json).context("the control plane's list of pods is not readable");
                }
                Err(refusal) => refusal,
            };
            if let Some((_, status)) = self.control.ended() {
                bail!(
                    "{}: the control plane ended ({status}):\n{}",
                    self.name(),
                    self.control.last_lines(CONTROL)
                );
            }
            if Instant::now() >= deadline {
                bail!("{}: no answer: {refusal}\n{}", self.name(), self.control.last_lines(CONTROL));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn control_args(plan: &Plan, manifests: &Path, certs: &Path) -> Vec<OsString> {
    let flags = [
        ("--cluster-name", plan.manifests.cluster.to_owned()),
        ("--listen", plan.control.to_string()),
        ("--dns", SocketAddr::from((plan.control, DNS)).to_string()),
        ("--api", SocketAddr::from((plan.control, API)).to_string()),
        ("--admin", SocketAddr::from((plan.control, ADMIN)).to_string()),
        ("--pod-network", plan.pods.to_string()),
        ("--service-network", plan.services.to_string()),
    ];
    let mut args: Vec<OsString> = vec!["control".into(), manifests.into(), "--certs".into(), certs.into()];
    args.extend(flags.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
    args
}

const CONTROL: &str = "control";
const DNS: u16 = 53;
/// Where the control plane lists pods.
const API: u16 = 8085;
/// Where its metrics are.
const ADMIN: u16 = 9999;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

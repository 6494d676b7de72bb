//! Everything that the demo runs, from the first control plane to the last probe.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Plan};
use super::image::slow_cooker::{Report, STARTED};
use super::kubelet;
use super::listing;
use super::network::Network;
use super::node::{self, ADMIN};
use super::pod::Pod;
use crate::control::ca::{ServiceAccount, folder as certs};
use crate::viz::scrape;
use crate::viz::window::{Origin, Scrape};

/// The running demo. Dropping it ends tasks first, then programs, then the clusters that these ask.
#[derive(Debug)]
pub struct World {
    tasks: JoinSet<()>,
    pods: Vec<Running>,
    clusters: Vec<Cluster>,
    network: Network,
    folder: PathBuf,
    launcher: PathBuf,
}

/// A pod of the demo and what the control plane said of it.
#[derive(Debug)]
pub struct Running {
    pub cluster: &'static str,
    pub listed: listing::Pod,
    pub pod: Pod,
}

impl World {
    /// Starts clusters in order, and then their pods, each ready before the next.
    ///
    /// `launcher` is this binary, where every user may run it; `proxy` names another proxy to run in a cluster's pods.
    ///
    /// # Errors
    /// Says which part could not be started.
    pub async fn start(
        launcher: &Path,
        folder: &Path,
        plans: &[Plan],
        proxy: impl Fn(&str) -> Option<PathBuf>,
        progress: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let network = Network::new()?;
        let mut world = Self {
            tasks: JoinSet::new(),
            pods: Vec::new(),
            clusters: Vec::new(),
            network,
            folder: folder.to_owned(),
            launcher: launcher.to_owned(),
        };
        let names: Vec<_> = plans.iter().map(|plan| plan.manifests.cluster).collect();
        progress("making a trust anchor, and an issuer for each cluster");
        certs::create(&folder.join("certs"), &names, SystemTime::now())?;
        for plan in plans {
            progress(&format!(
                "starting the control plane of {} at {}",
                plan.manifests.cluster, plan.control
            ));
            world.clusters.push(Cluster::start(&world.network, launcher, folder, *plan)?);
        }
        for cluster in &mut world.clusters {
            for listed in cluster.pods(&world.network).await?.into_iter().filter(|pod| pod.meshed) {
                progress(&format!("starting pod {}/{} at {}", cluster.name(), listed.name, listed.ip));
                let settings = settings(cluster, launcher, folder, proxy(cluster.name()));
                let token = token(folder, cluster.name(), &listed)?;
                let pod = kubelet::run(&world.network, &settings, &listed, &token).await?;
                world.pods.push(Running { cluster: cluster.name(), listed, pod });
            }
        }
        Ok(world)
    }

    /// Starts the kubelet's probes of every pod.
    pub fn probe(&mut self) {
        for Running { pod, .. } in &self.pods {
            let identity = pod.identity();
            let node = self.network.router().clone();
            self.tasks.spawn(node::probe(node, identity.title.clone(), identity.addr));
        }
    }

    #[must_use]
    pub fn pods(&self) -> &[Running] {
        &self.pods
    }

    /// The same, to signal their containers or to see how these ended.
    pub fn pods_mut(&mut self) -> &mut [Running] {
        &mut self.pods
    }

    #[must_use]
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Kills a cluster's control plane, as a crash would.
    pub fn kill_control(&mut self, cluster: &str) {
        for cluster in self.clusters.iter_mut().filter(|c| c.name() == cluster) {
            cluster.kill_control();
        }
    }

    /// Starts a cluster's control plane again, at the same address and from the same folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart_control(&mut self, cluster: &str) -> anyhow::Result<()> {
        for cluster in self.clusters.iter_mut().filter(|c| c.name() == cluster) {
            cluster.start_control(&self.launcher, &self.folder)?;
        }
        Ok(())
    }

    /// The network that joins everything.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The folder of a cluster's manifests.
    #[must_use]
    pub fn manifests(&self, cluster: &str) -> PathBuf {
        self.folder.join("clusters").join(cluster)
    }

    /// Waits until every load generator has begun.
    ///
    /// # Errors
    /// When one ends or does not begin in time.
    pub async fn await_traffic(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TRAFFIC_WITHIN;
        for running in self.pods.iter_mut().filter(|running| running.generates_load()) {
            while !running.log()?.contains(STARTED) {
                running.check_alive()?;
                if Instant::now() >= deadline {
                    bail!(
                        "{}: no traffic:\n{}",
                        running.title(),
                        running.pod.last_lines(running.application())
                    );
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Reads `/metrics` of every pod of a cluster, as its Prometheus does.
    ///
    /// # Errors
    /// When one does not answer, or not with metrics.
    pub async fn scrape(&self, cluster: &str) -> anyhow::Result<Vec<Scrape>> {
        let mut scrapes = Vec::new();
        for running in self.pods.iter().filter(|running| running.cluster == cluster) {
            let addr = SocketAddr::from((running.listed.ip, ADMIN));
            let page = node::fetch(self.network.router(), addr, "/metrics", SCRAPE_TIMEOUT).await?;
            let page = std::str::from_utf8(&page).context("metrics are not UTF-8");
            let samples = page.and_then(|page| Ok(scrape::parse(page)?));
            let samples = samples.with_context(|| format!("{}: its metrics", running.title()))?;
            scrapes.push(Scrape { origin: running.origin(), at: Instant::now(), samples });
        }
        Ok(scrapes)
    }

    /// What the load generator of `deployment` has counted up to now.
    ///
    /// # Errors
    /// When there is no such pod, or it does not say.
    pub async fn report(&mut self, deployment: &str) -> anyhow::Result<Report> {
        let running = self.pods.iter_mut().find(|running| running.listed.owner.name == deployment);
        let running = running.with_context(|| format!("no pod of deployment {deployment} runs"))?;
        let lines = |running: &Running| running.log().map(|log| log.lines().count());
        let before = lines(running)?;
        // It prints its figures when asked to.
        let container = running.application().to_owned();
        running.pod.signal(&container, Signal::SIGUSR1);
        let deadline = Instant::now() + REPORT_WITHIN;
        while lines(running)? == before {
            running.check_alive()?;
            if Instant::now() >= deadline {
                bail!("{}: the load generator does not report", running.title());
            }
            sleep(LOOK_AGAIN).await;
        }
        Report::sum(&running.log()?).with_context(|| format!("{}: its output", running.title()))
    }

    /// Makes each pod's admin port reachable on the machine and says where; in the order of [`World::pods`].
    ///
    /// # Errors
    /// When no port is free.
    pub async fn forward_admin(&mut self) -> anyhow::Result<Vec<SocketAddr>> {
        let mut addrs = Vec::new();
        for running in &self.pods {
            let (node, pod) = (self.network.router().clone(), SocketAddr::from((running.listed.ip, ADMIN)));
            addrs.push(node::forward(node, pod, &mut self.tasks).await?);
        }
        Ok(addrs)
    }
}

impl Running {
    #[must_use]
    pub fn title(&self) -> &str {
        &self.pod.identity().title
    }

    /// The application's container: the guide's pods have one.
    #[must_use]
    pub fn application(&self) -> &str {
        self.listed.containers.first().map_or("", |container| &container.name)
    }

    fn origin(&self) -> Origin {
        let listing::Pod { namespace, name, owner, .. } = &self.listed;
        Origin { namespace: namespace.clone(), pod: name.clone(), deployment: owner.name.clone() }
    }

    fn generates_load(&self) -> bool {
        self.listed.containers.iter().any(|container| container.image.contains("slow_cooker"))
    }

    fn log(&self) -> anyhow::Result<String> {
        let path = self.pod.log(self.application());
        let log = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some((container, status)) = self.pod.ended() {
            bail!("{}: {container} ended ({status}):\n{}", self.title(), self.pod.last_lines(&container));
        }
        Ok(())
    }
}

fn settings(cluster: &Cluster, launcher: &Path, folder: &Path, proxy: Option<PathBuf>) -> kubelet::Settings {
    kubelet::Settings {
        cluster: cluster.name(),
        nameserver: cluster.plan.control,
        folder: folder.join("pods").join(cluster.name()),
        launcher: launcher.to_owned(),
        proxy,
    }
}

/// The token that Kubernetes would project into the proxy's container (controlplane 5.3).
fn token(folder: &Path, cluster: &str, pod: &listing::Pod) -> anyhow::Result<String> {
    let key = certs::open_tokens(&folder.join("certs"), cluster)?;
    let account = ServiceAccount::new(&pod.namespace, &pod.service_account);
    Ok(key.issue(&account, TOKEN_LIFETIME, SystemTime::now()))
}

const TOKEN_LIFETIME: Duration = Duration::from_secs(86_400);
/// The manifests wait 5 s before the first request.
const TRAFFIC_WITHIN: Duration = Duration::from_secs(30);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
const REPORT_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

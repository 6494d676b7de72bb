//! Everything that the demo runs, from the first control plane to the last probe.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::task::JoinSet;

mod figures;
mod running;

pub use self::running::Running;
use super::cluster::{Cluster, Plan, manifests_in};
use super::kubelet;
use super::listing;
use super::network::Network;
use crate::control::ca::{ServiceAccount, folder as certs};
use crate::redirect;

/// The running demo. Dropping it ends tasks first, then programs, then the clusters that these ask.
#[derive(Debug)]
pub struct World {
    tasks: JoinSet<()>,
    pods: Vec<Running>,
    clusters: Vec<Cluster>,
    network: Network,
    plans: Vec<Plan>,
    /// What runs in a cluster's pods in place of our own proxy.
    proxies: BTreeMap<&'static str, PathBuf>,
    /// What proxies have in their environment beside what is injected.
    env: Vec<(String, String)>,
    /// Whether kubelets probe.
    probing: bool,
    folder: PathBuf,
    launcher: PathBuf,
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
        Self::start_with(launcher, folder, plans, proxy, Vec::new(), progress).await
    }

    /// The same, with `env` beside what is injected into proxies, as Linkerd's `proxy.additionalEnv` does.
    ///
    /// # Errors
    /// Says which part could not be started.
    pub async fn start_with(
        launcher: &Path,
        folder: &Path,
        plans: &[Plan],
        proxy: impl Fn(&str) -> Option<PathBuf>,
        env: Vec<(String, String)>,
        progress: impl Fn(&str),
    ) -> anyhow::Result<Self> {
        let names: Vec<_> = plans.iter().map(|plan| plan.manifests.cluster).collect();
        let mut world = Self {
            tasks: JoinSet::new(),
            pods: Vec::new(),
            clusters: Vec::new(),
            network: Network::new()?,
            plans: plans.to_vec(),
            proxies: names.iter().filter_map(|&name| Some((name, proxy(name)?))).collect(),
            env,
            probing: false,
            folder: folder.to_owned(),
            launcher: launcher.to_owned(),
        };
        progress("making a trust anchor, and an issuer for each cluster");
        certs::create(&folder.join("certs"), &names, SystemTime::now())?;
        // All of them first: a Link leads to another cluster's folder.
        plans.iter().try_for_each(|plan| plan.write(folder))?;
        for plan in plans {
            world.start_control(*plan, &progress)?;
        }
        for name in names {
            world.start_pods(name, &progress).await?;
        }
        Ok(world)
    }

    fn start_control(&mut self, plan: Plan, progress: impl Fn(&str)) -> anyhow::Result<()> {
        progress(&format!("starting the control plane of {} at {}", plan.manifests.cluster, plan.control));
        self.clusters.push(Cluster::start(&self.network, &self.launcher, &self.folder, plan)?);
        Ok(())
    }

    /// Starts every pod that the cluster's control plane lists.
    async fn start_pods(&mut self, name: &str, progress: impl Fn(&str)) -> anyhow::Result<()> {
        let cluster = self.clusters.iter_mut().find(|cluster| cluster.name() == name);
        let cluster = cluster.with_context(|| format!("no cluster {name} runs"))?;
        let (name, nameserver) = (cluster.name(), cluster.plan.control);
        let listed = cluster.pods(&self.network).await?;
        let settings = self.node(name, nameserver);
        for listed in listed.into_iter().filter(|pod| pod.meshed) {
            progress(&format!("starting pod {name}/{} at {}", listed.name, listed.ip));
            let token = token(&self.folder, name, &listed)?;
            let pod = kubelet::run(&self.network, &settings, &listed, &token).await?;
            let mut running = Running { cluster: settings.cluster, listed, pod, probed: None };
            if self.probing {
                running.probe(&self.network, &mut self.tasks);
            }
            self.pods.push(running);
        }
        Ok(())
    }

    /// A node of a cluster.
    fn node(&self, cluster: &'static str, nameserver: IpAddr) -> kubelet::Settings {
        kubelet::Settings {
            cluster,
            nameserver,
            folder: pods_in(&self.folder, cluster),
            launcher: self.launcher.clone(),
            proxy: self.proxies.get(cluster).cloned(),
            env: self.env.clone(),
        }
    }

    /// Starts the kubelet's probes of every pod, also of those that start later.
    pub fn probe(&mut self) {
        self.probing = true;
        for running in &mut self.pods {
            running.probe(&self.network, &mut self.tasks);
        }
    }

    /// Has the load balancer of the network lead `address`, of a Service of that type, to a pod of `deployment` in
    /// `cluster`; also when that is replaced by one with the same address.
    ///
    /// # Errors
    /// When no such pod runs, or the kernel refuses.
    pub fn balance(&self, address: IpAddr, cluster: &str, deployment: &str) -> anyhow::Result<()> {
        let serves = |pod: &&Running| pod.cluster == cluster && pod.listed.owner.name == deployment;
        let pod = self.pods.iter().find(serves);
        let server = pod.with_context(|| format!("no pod of deployment {deployment} runs"))?.listed.ip;
        Ok(self.network.router().run(move || redirect::deliver(address, server))??)
    }

    /// Cuts every link of a cluster, its control plane's included. Nobody is told.
    ///
    /// # Errors
    /// When a link cannot be cut.
    pub fn cut(&mut self, cluster: &str) -> anyhow::Result<()> {
        for running in self.pods.iter().filter(|running| running.cluster == cluster) {
            self.network.cut(running.listed.ip)?;
        }
        for cluster in self.clusters.iter().filter(|c| c.name() == cluster) {
            self.network.cut(cluster.plan.control)?;
        }
        Ok(())
    }

    /// Gives a cluster its links back.
    ///
    /// # Errors
    /// When one was not cut.
    pub fn mend(&mut self, cluster: &str) -> anyhow::Result<()> {
        for running in self.pods.iter().filter(|running| running.cluster == cluster) {
            self.network.mend(running.listed.ip)?;
        }
        for cluster in self.clusters.iter().filter(|c| c.name() == cluster) {
            self.network.mend(cluster.plan.control)?;
        }
        Ok(())
    }

    /// Starts the proxy of one of the pods again.
    ///
    /// # Errors
    /// When there is no such pod, or its proxy cannot be started.
    pub async fn restart_proxy(&mut self, pod: IpAddr) -> anyhow::Result<()> {
        let at = self.pods.iter().position(|running| running.listed.ip == pod);
        let at = at.with_context(|| format!("no pod has the address {pod}"))?;
        let name = self.pods[at].cluster;
        let cluster = self.clusters.iter().find(|cluster| cluster.name() == name);
        let settings =
            self.node(name, cluster.with_context(|| format!("no cluster {name} runs"))?.plan.control);
        let running = &mut self.pods[at];
        kubelet::restart_proxy(&self.network, &settings, &running.listed, &mut running.pod).await
    }

    /// Kills everything that runs in a cluster, and forgets what its nodes held. Its manifests stay.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn kill(&mut self, cluster: &str) -> anyhow::Result<()> {
        self.pods.retain(|running| running.cluster != cluster);
        self.clusters.retain(|running| running.name() != cluster);
        let pods = pods_in(&self.folder, cluster);
        std::fs::remove_dir_all(&pods).with_context(|| format!("cannot remove {}", pods.display()))
    }

    /// Starts a killed cluster again, from the same folder: all of it is new but for its addresses, which its control
    /// plane keeps beside the manifests.
    ///
    /// # Errors
    /// Says which part could not be started.
    pub async fn revive(&mut self, cluster: &str, progress: impl Fn(&str)) -> anyhow::Result<()> {
        let plan = self.plans.iter().find(|plan| plan.manifests.cluster == cluster).copied();
        let plan = plan.with_context(|| format!("there is no cluster {cluster}"))?;
        self.start_control(plan, &progress)?;
        self.start_pods(cluster, &progress).await
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
        manifests_in(&self.folder, cluster)
    }
}

/// What a cluster's nodes hold of their pods.
fn pods_in(folder: &Path, cluster: &str) -> PathBuf {
    folder.join("pods").join(cluster)
}

/// The token that Kubernetes would project into the proxy's container (controlplane 5.3).
fn token(folder: &Path, cluster: &str, pod: &listing::Pod) -> anyhow::Result<String> {
    let key = certs::open_tokens(&folder.join("certs"), cluster)?;
    let account = ServiceAccount::new(&pod.namespace, &pod.service_account);
    Ok(key.issue(&account, TOKEN_LIFETIME, SystemTime::now()))
}

const TOKEN_LIFETIME: Duration = Duration::from_secs(86_400);

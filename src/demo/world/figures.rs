//! What do the running pods say of themselves? Load generators by their output, proxies by their metrics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::{Running, World};
use crate::demo::image::slow_cooker::{Report, STARTED};
use crate::demo::node::{self, ADMIN};
use crate::viz::scrape;
use crate::viz::window::Scrape;

impl World {
    /// Waits until every load generator has begun.
    ///
    /// # Errors
    /// When one ends or does not begin in time.
    pub async fn await_traffic(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TRAFFIC_WITHIN;
        for running in &mut self.pods {
            let cookers: Vec<_> = running.cookers().map(str::to_owned).collect();
            for cooker in cookers {
                await_start(running, &cooker, deadline).await?;
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
        let container = running.application().to_owned();
        let lines = |running: &Running| running.log(&container).map(|log| log.lines().count());
        let before = lines(running)?;
        // It prints its figures when asked to.
        running.pod.signal(&container, Signal::SIGUSR1);
        let deadline = Instant::now() + REPORT_WITHIN;
        while lines(running)? == before {
            running.check_alive()?;
            if Instant::now() >= deadline {
                bail!("{}: the load generator does not report", running.title());
            }
            sleep(LOOK_AGAIN).await;
        }
        Report::sum(&running.log(&container)?).with_context(|| format!("{}: its output", running.title()))
    }

    /// Makes each pod's admin port reachable on the machine and says where; in the order of [`World::pods`]. To the pod
    /// it is as if it asked itself, as with `kubectl port-forward`: some pages are for nobody else.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn forward_admin(&mut self) -> anyhow::Result<Vec<SocketAddr>> {
        let mut addrs = Vec::new();
        for running in &self.pods {
            let itself: IpAddr = match running.listed.ip {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            let (pod, admin) = (running.pod.namespace().clone(), SocketAddr::from((itself, ADMIN)));
            addrs.push(node::forward(pod, admin, &mut self.tasks).await?);
        }
        Ok(addrs)
    }
}

async fn await_start(running: &mut Running, cooker: &str, deadline: Instant) -> anyhow::Result<()> {
    while !running.log(cooker)?.contains(STARTED) {
        running.check_alive()?;
        if Instant::now() >= deadline {
            bail!("{}: no traffic:\n{}", running.title(), running.pod.last_lines(cooker));
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The manifests wait 5 s before the first request.
const TRAFFIC_WITHIN: Duration = Duration::from_secs(30);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
const REPORT_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

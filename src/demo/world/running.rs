//! A pod that runs, what was asked for, and what its containers say.

use anyhow::{Context as _, bail};
use tokio::task::{AbortHandle, JoinSet};

use crate::demo::listing;
use crate::demo::network::Network;
use crate::demo::node;
use crate::demo::pod::Pod;
use crate::viz::window::Origin;

/// A pod of the demo and what the control plane said of it.
#[derive(Debug)]
pub struct Running {
    pub cluster: &'static str,
    pub listed: listing::Pod,
    pub pod: Pod,
    /// The kubelet's probes, which end with the pod.
    pub(super) probed: Option<AbortHandle>,
}

impl Running {
    #[must_use]
    pub fn title(&self) -> &str {
        &self.pod.identity().title
    }

    /// The application's first container: the guide's pods have one.
    #[must_use]
    pub fn application(&self) -> &str {
        self.listed.containers.first().map_or("", |container| &container.name)
    }

    /// The containers that generate load.
    pub fn cookers(&self) -> impl Iterator<Item = &str> {
        let containers = self.listed.containers.iter().filter(|it| it.image.contains("slow_cooker"));
        containers.map(|container| container.name.as_str())
    }

    /// What a container has said up to now.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn log(&self, container: &str) -> anyhow::Result<String> {
        let path = self.pod.log(container);
        let log = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// # Errors
    /// When one of its containers has ended, with its last words.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some((container, status)) = self.pod.ended() {
            bail!("{}: {container} ended ({status}):\n{}", self.title(), self.pod.last_lines(&container));
        }
        Ok(())
    }

    pub(super) fn origin(&self) -> Origin {
        let listing::Pod { namespace, name, owner, .. } = &self.listed;
        Origin { namespace: namespace.clone(), pod: name.clone(), deployment: owner.name.clone() }
    }

    pub(super) fn probe(&mut self, network: &Network, tasks: &mut JoinSet<()>) {
        let identity = self.pod.identity();
        let probes = node::probe(network.router().clone(), identity.title.clone(), identity.addr);
        self.probed = Some(tasks.spawn(probes));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(probes) = self.probed.take() {
            probes.abort();
        }
    }
}

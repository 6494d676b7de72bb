//! Do the gateways of linked clusters answer, and where are they (controlplane 1.9)?
//!
//! A task for each Link probes and resolves, as the Link's controller would. What it finds out is plain
//! data, [`Gateways`], told to whoever follows the folder: what mirrors become of it is worked out there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Snapshot;
use super::index::ObjectName;
use super::manifest::{Gateway, GatewayAddress, GatewayProbe};
use super::mirror::{Gateways, LinkedGateway};
use crate::drain::Drain;
use crate::tls::CredentialStore;

mod health;
pub mod metrics;
mod probe;

use health::Health;
use metrics::{Counts, Metrics};

/// Names are looked up again, and the endpoints repaired (controlplane 1.9).
const REPAIR: Duration = Duration::from_secs(60);
/// The same, after a name was not found.
const REPAIR_SOON: Duration = Duration::from_secs(5);
/// For one look-up.
const RESOLUTION: Duration = Duration::from_secs(10);
/// Shorter periods would be a load rather than a look.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// Follows the gateways of `snapshots` until drained. `identity` is who probes; `tell` takes what is known,
/// whole, each time it is another.
pub fn follow(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    identity: Arc<CredentialStore>,
    metrics: Arc<Metrics>,
    tell: impl Fn(Gateways) + Send + Sync + 'static,
    drain: &Drain,
) {
    let known = Arc::new(Known { gateways: Mutex::default(), tell: Box::new(tell) });
    let draining = drain.clone();
    drain.spawn(async move {
        let mut watched = Watched { known, identity, metrics, links: BTreeMap::new() };
        loop {
            let wanted = snapshots.borrow_and_update().gateways().clone();
            watched.update(wanted);
            tokio::select! {
                () = draining.signaled() => return,
                changed = snapshots.changed() => if changed.is_err() { return },
            }
        }
    });
}

/// What all Links' tasks have found out.
struct Known {
    gateways: Mutex<Gateways>,
    tell: Box<dyn Fn(Gateways) + Send + Sync>,
}

impl Known {
    /// Told under the lock, so that the last word is the newest.
    fn change(&self, change: impl FnOnce(&mut Gateways)) {
        let mut gateways = self.gateways.lock();
        let before = gateways.clone();
        change(&mut gateways);
        if *gateways != before {
            (self.tell)(gateways.clone());
        }
    }

    fn addresses(&self, gateway: &Gateway) -> Vec<IpAddr> {
        self.gateways.lock().addresses(gateway)
    }
}

/// A task for each Link; they end with this.
struct Watched {
    known: Arc<Known>,
    identity: Arc<CredentialStore>,
    metrics: Arc<Metrics>,
    links: BTreeMap<ObjectName, (LinkedGateway, Option<JoinHandle<()>>)>,
}

impl Watched {
    /// A Link that is changed starts over: its gateway counts as alive again.
    fn update(&mut self, wanted: BTreeMap<ObjectName, LinkedGateway>) {
        let gone: Vec<_> =
            self.links.iter().filter(|(link, (now, _))| wanted.get(*link) != Some(now)).collect();
        let gone: Vec<ObjectName> = gone.into_iter().map(|(link, _)| link.clone()).collect();
        for link in &gone {
            self.stop(link);
        }
        self.known.change(|gateways| {
            let names: BTreeSet<&str> = wanted.values().flat_map(host_names).collect();
            gateways.resolved.retain(|name, _| names.contains(name.as_str()));
            gateways.dead.retain(|link| !gone.contains(link));
        });
        for (link, linked) in wanted {
            if !self.links.contains_key(&link) {
                let task = self.start(&link, &linked);
                self.links.insert(link, (linked, task));
            }
        }
    }

    fn start(&self, link: &ObjectName, linked: &LinkedGateway) -> Option<JoinHandle<()>> {
        let counts = self.metrics.add(&linked.target_cluster);
        let gateway = linked.gateway.clone()?;
        let (known, identity, link) = (self.known.clone(), self.identity.clone(), link.clone());
        Some(tokio::spawn(async move {
            let repairing = repair(&known, &gateway, &counts, resolve);
            match &gateway.probe {
                Some(probe) => {
                    let from = Prober { known: &known, link: &link, gateway: &gateway, identity: &identity };
                    tokio::join!(repairing, from.watch(probe, &counts));
                }
                None => repairing.await,
            }
        }))
    }

    fn stop(&mut self, link: &ObjectName) {
        let Some((linked, task)) = self.links.remove(link) else { return };
        if let Some(task) = task {
            task.abort();
        }
        if self.links.values().all(|(other, _)| other.target_cluster != linked.target_cluster) {
            self.metrics.remove(&linked.target_cluster);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.links.values().filter_map(|(_, task)| task.as_ref()).for_each(JoinHandle::abort);
    }
}

fn host_names(linked: &LinkedGateway) -> impl Iterator<Item = &str> {
    let addresses = linked.gateway.iter().flat_map(|gateway| &gateway.addresses);
    addresses.filter_map(|address| match address {
        GatewayAddress::Name(name) => Some(name.as_str()),
        GatewayAddress::Ip(_) => None,
    })
}

/// Looks the gateway's names up, now and then. One that is not found keeps its last addresses.
async fn repair(
    known: &Known,
    gateway: &Gateway,
    counts: &Counts,
    look_up: impl AsyncFn(&str) -> io::Result<BTreeSet<IpAddr>>,
) {
    loop {
        counts.repairs.incr();
        let mut found_all = true;
        for address in &gateway.addresses {
            let GatewayAddress::Name(name) = address else { continue };
            match look_up(name).await {
                Ok(ips) => known.change(|gateways| drop(gateways.resolved.insert(name.clone(), ips))),
                Err(error) => {
                    tracing::warn!(gateway = %name, %error, "the gateway's name is not resolved");
                    found_all = false;
                }
            }
        }
        sleep(if found_all { REPAIR } else { REPAIR_SOON }).await;
    }
}

/// Where those gateways are that Links tell by name, as far as anybody knows.
pub async fn resolved(wanted: &BTreeMap<ObjectName, LinkedGateway>) -> Gateways {
    let names: BTreeSet<&str> = wanted.values().flat_map(host_names).collect();
    let asked = names.into_iter().map(async |name| Some((name.to_owned(), resolve(name).await.ok()?)));
    let found = futures_util::future::join_all(asked).await;
    Gateways { resolved: found.into_iter().flatten().collect(), ..Gateways::default() }
}

async fn resolve(name: &str) -> io::Result<BTreeSet<IpAddr>> {
    let found = timeout(RESOLUTION, tokio::net::lookup_host((name, 0))).await??;
    let ips: BTreeSet<IpAddr> = found.map(|addr| addr.ip()).collect();
    if ips.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(ips) }
}

/// Probes one Link's gateway.
struct Prober<'a> {
    known: &'a Known,
    link: &'a ObjectName,
    gateway: &'a Gateway,
    identity: &'a CredentialStore,
}

impl Prober<'_> {
    async fn watch(&self, probe: &GatewayProbe, counts: &Counts) {
        counts.enabled.set(1);
        let period = probe.period.max(SHORTEST_PERIOD);
        let mut health = Health::new(probe.failure_threshold);
        let (mut took, mut failing) = (Duration::ZERO, false);
        loop {
            let jitter = period.mul_f64(fastrand::f64() / 10.0);
            sleep(period.saturating_add(jitter).saturating_sub(took)).await;
            let started = Instant::now();
            let outcome = self.probe(probe).await;
            took = started.elapsed();
            if let Err(why) = &outcome {
                self.tell_failure(why, failing);
            }
            failing = outcome.is_err();
            let seen = health.after(outcome.is_ok());
            counts.record(seen, took);
            if let Some(alive) = seen.changed {
                self.tell(alive);
            }
        }
    }

    async fn probe(&self, probe: &GatewayProbe) -> Result<(), probe::Failure> {
        // Go's client takes none for no limit; the CRD's default is one.
        let limit = if probe.timeout.is_zero() { Duration::from_secs(30) } else { probe.timeout };
        let ask = probe::Ask {
            addresses: self.known.addresses(self.gateway),
            identity: self.gateway.identity.as_deref(),
            host: format!("probe-{}:{}", self.link.name, probe.port),
            path: &probe.path,
            port: probe.port,
        };
        timeout(limit, ask.any(self.identity)).await.unwrap_or(Err(probe::Failure::Timeout))
    }

    /// Loud once: the next probes of a gateway that is down say nothing new.
    fn tell_failure(&self, why: &probe::Failure, again: bool) {
        match again {
            false => tracing::warn!(link = %self.link, %why, "the gateway did not answer its probe"),
            true => tracing::debug!(link = %self.link, %why, "the gateway did not answer its probe"),
        }
    }

    fn tell(&self, alive: bool) {
        match alive {
            true => tracing::info!(link = %self.link, "the gateway is alive"),
            false => tracing::warn!(link = %self.link, "the gateway is believed dead"),
        }
        self.known.change(|gateways| match alive {
            true => drop(gateways.dead.remove(self.link)),
            false => drop(gateways.dead.insert(self.link.clone())),
        });
    }
}

#[cfg(test)]
mod tests;

//! Policies of this pod's own ports: one watch a port, never waited for (contract 4.3).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linkerd2_proxy_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::warn;

use crate::api;
use crate::controller::Controller;
use crate::limit::Limiter;
use crate::model::ServerPolicy;

use super::stream::{self, Outages, Patience};

/// What the controller is asked, and what holds until it answers.
pub struct PortsConfig {
    /// Sent as it is, trailing newline included.
    pub workload: String,
    /// The policy of a port before the controller answers.
    pub default: Box<dyn Fn(u16) -> ServerPolicy + Send + Sync>,
    /// Ports watched from the start and never forgotten.
    pub pinned: Vec<u16>,
    pub idle: Duration,
    pub patience: Patience,
}

/// The policies of all ports in use.
pub struct Ports {
    config: PortsConfig,
    controller: Controller,
    entries: Mutex<HashMap<u16, Entry>>,
}

struct Entry {
    port: Arc<Port>,
    used: Instant,
}

/// One port's policy, live.
pub struct Port {
    /// How much of its policy's rate limit is used.
    pub limiter: Limiter,
    policy: watch::Receiver<Arc<ServerPolicy>>,
    outages: Outages,
    answered: Arc<AtomicBool>,
    watching: JoinHandle<()>,
}

impl Ports {
    pub fn new(config: PortsConfig, controller: Controller) -> Self {
        let ports = Self { config, controller, entries: Mutex::default() };
        for port in ports.config.pinned.clone() {
            ports.get(port);
        }
        ports
    }

    /// The policy of a port: what the controller said, or the default until it does.
    pub fn get(&self, port: u16) -> Arc<Port> {
        let mut entries = self.entries.lock();
        let now = Instant::now();
        let entry =
            entries.entry(port).or_insert_with(|| Entry { port: Arc::new(self.watch(port)), used: now });
        entry.used = now;
        entry.port.clone()
    }

    /// Forgets ports that nobody has used for a while. One whose watch is down is kept: its policy
    /// could not be had again.
    pub fn sweep(&self, now: Instant) {
        self.entries.lock().retain(|port, entry| {
            let in_use = Arc::strong_count(&entry.port) > 1;
            if in_use {
                entry.used = now;
            }
            in_use
                || self.config.pinned.contains(port)
                || entry.port.outages.any() && entry.port.answered.load(Ordering::Relaxed)
                || now.duration_since(entry.used) < self.config.idle
        });
    }

    fn watch(&self, port: u16) -> Port {
        let (tx, policy) = watch::channel(Arc::new((self.config.default)(port)));
        let (outages, answered) = (Outages::default(), Arc::new(AtomicBool::new(false)));
        let told = answered.clone();
        let spec = linkerd2_proxy_api::inbound::PortSpec {
            workload: self.config.workload.clone(),
            port: port.into(),
        };
        let (controller, patience, down) = (self.controller.clone(), self.config.patience, outages.clone());
        let watching = tokio::spawn(async move {
            let open = || {
                let (mut client, spec) = (InboundServerPoliciesClient::new(controller.clone()), spec.clone());
                async move { client.watch_port(spec).await }
            };
            let on = |message| {
                told.store(true, Ordering::Relaxed);
                publish(port, &tx, api::inbound::server(message));
            };
            let what = format!("policy of inbound port {port}");
            let refused = stream::follow(&what, patience, &down, is_final, open, on).await;
            warn!(port, code = ?refused.code(), "the policy controller does not know this port; its last policy stays");
            // Keeps the channel open: the default, or the last policy, stays in force.
            tx.closed().await;
        });
        Port { limiter: Limiter::default(), policy, outages, answered, watching }
    }
}

impl Port {
    pub fn policy(&self) -> Arc<ServerPolicy> {
        self.policy.borrow().clone()
    }

    /// Whether the controller has said anything of this port.
    pub fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Changes from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<ServerPolicy>> {
        self.policy.clone()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A policy that cannot be understood lets nobody in.
fn publish(
    port: u16,
    tx: &watch::Sender<Arc<ServerPolicy>>,
    policy: Result<ServerPolicy, api::InvalidPolicy>,
) {
    let policy = policy.unwrap_or_else(|error| {
        warn!(port, %error, "the policy of an inbound port is invalid; every request is refused");
        ServerPolicy::invalid()
    });
    tx.send_if_modified(|current| {
        let changed = **current != policy;
        if changed {
            *current = Arc::new(policy);
        }
        changed
    });
}

fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::FailedPrecondition)
}

//! Wiring: from a configuration to listeners, clients, tasks and their end. The only place that knows
//! everything.

mod controllers;
mod sides;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::server::AdminServer;
use crate::config::{self, Config};
use crate::discover::Discover;
use crate::drain::Drain;
use crate::identity::trust::Trust;
use crate::inbound::Inbound;
use crate::message::unread::Unread;
use crate::net::{Listener, OrigDst};
use crate::outbound::Outbound;
use crate::telemetry::Metrics;
use crate::telemetry::log::LogHandle;
use crate::tls::CredentialStore;

use controllers::Controllers;
use sides::{Bound, Shared};

/// How a proxy stands in its surroundings. In a pod: the kernel's word and the real guards.
#[derive(Clone)]
pub struct Surroundings {
    pub outbound_dst: OrigDst,
    pub inbound_dst: OrigDst,
    /// Whether the outbound side may dial loopback addresses. Never in a pod.
    pub allow_loopback: bool,
    /// The address that the proxy dials from; `None` leaves it to the kernel. Where every pod has an
    /// address of its own on one host, the kernel would choose the same one for all.
    pub dial_from: Option<IpAddr>,
}

impl Surroundings {
    pub fn pod() -> Self {
        Self {
            outbound_dst: OrigDst::Kernel,
            inbound_dst: OrigDst::Kernel,
            allow_loopback: false,
            dial_from: None,
        }
    }
}

/// A proxy whose sockets are bound, and which carries nothing yet.
pub struct Proxy {
    config: Arc<Config>,
    store: Arc<CredentialStore>,
    identity: sides::Renewal,
    trust: Trust,
    outbound: Arc<Outbound>,
    inbound: Arc<Inbound>,
    outbound_listeners: Vec<Listener>,
    inbound_listener: Listener,
    admin: AdminServer,
    admin_addr: SocketAddr,
    drain: Drain,
    shutdown: CancellationToken,
}

/// Why a proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] io::Error),
    #[error("{0}")]
    Identity(String),
    /// A mistake of the configuration, which was only found by using it.
    #[error("LINKERD2_PROXY_IDENTITY_DIR: {0}")]
    Documents(#[from] crate::identity::key::Error),
    #[error(transparent)]
    Controller(#[from] crate::controller::MissingIdentity),
}

/// Idle connections and forgotten destinations are looked for this often.
const SWEEP: Duration = Duration::from_secs(1);

impl Proxy {
    /// Binds everything. Connections queue in the kernel until [`Proxy::run`] has a certificate.
    ///
    /// # Errors
    /// A socket cannot be bound, or the identity's files cannot be used.
    pub async fn bind(config: Config, log: LogHandle, around: &Surroundings) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new(config.metrics.retain_idle));
        let (drain, shutdown) = (Drain::default(), CancellationToken::new());
        let store = sides::credential_store(&config)?;
        let controllers = Controllers::new(&config, &store, &metrics)?;
        let identity = sides::identity(&config, &store, &controllers, &metrics)?;
        let trust = sides::trust(&config, &store, &metrics);

        let mut outbound_listeners = Vec::new();
        for addr in &config.outbound.listen {
            let dst = around.outbound_dst.clone();
            outbound_listeners.push(Listener::bind(*addr, &config.outbound.accept, dst)?);
        }
        let inbound_dst = around.inbound_dst.clone();
        let inbound_listener = Listener::bind(config.inbound.listen, &config.inbound.accept, inbound_dst)?;
        let admin_listener = std::net::TcpListener::bind(config.admin.listen)?;
        let admin_addr = admin_listener.local_addr()?;

        let unread = Unread::new(config::runtime::memory_limit());
        let shared = Shared { store: store.clone(), metrics, drain: drain.clone(), unread };
        let outbound = sides::outbound(&config, around, &controllers, &shared);
        let bound = Bound { inbound: inbound_listener.local_addr()?.port(), admin: admin_addr.port() };
        let inbound = sides::inbound(&config, around, bound, &controllers, &shared, &outbound);
        let admin = sides::admin(&config, log, &store, &inbound, &shutdown);
        let admin = AdminServer::new(admin_listener, inbound.clone(), admin)?;
        Ok(Self {
            config,
            store,
            identity,
            trust,
            outbound,
            inbound,
            outbound_listeners,
            inbound_listener,
            admin,
            admin_addr,
            drain,
            shutdown,
        })
    }

    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    pub fn inbound_addr(&self) -> io::Result<SocketAddr> {
        self.inbound_listener.local_addr()
    }

    pub fn outbound_addr(&self) -> io::Result<SocketAddr> {
        match self.outbound_listeners.first() {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Ends [`Proxy::run`] when cancelled; `/shutdown` cancels it too.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Carries connections until told to end, then lets them finish (contract 1.1, 7.3).
    ///
    /// # Errors
    /// The admin thread cannot be started.
    pub async fn run(self) -> io::Result<()> {
        // Ends with this scope, after the drain: certificates are renewed while connections finish.
        let _identity = AbortOnDrop(tokio::spawn(self.identity.run()));
        let _trust = AbortOnDrop(tokio::spawn(self.trust.run()));
        let _sweeper = AbortOnDrop(tokio::spawn(sweep(self.outbound.discover.clone(), self.inbound.clone())));
        let admin = self.admin.start()?;
        tokio::select! {
            () = self.store.ready() => info!(id = %self.config.identity.id, "certified; accepting connections"),
            () = self.shutdown.cancelled() => return Ok(()),
        }
        for listener in self.outbound_listeners {
            let outbound = self.outbound.clone();
            let metrics = outbound.metrics.clone();
            self.drain.spawn(listener.serve(
                self.drain.clone(),
                move |conn| outbound.clone().serve(conn),
                move || metrics.errors.outbound_accept(),
            ));
        }
        let (inbound, metrics) = (self.inbound.clone(), self.inbound.metrics.clone());
        self.drain.spawn(self.inbound_listener.serve(
            self.drain.clone(),
            move |conn| inbound.clone().serve(conn),
            move || metrics.errors.inbound_accept(),
        ));

        self.shutdown.cancelled().await;
        info!(grace = ?self.config.shutdown.grace_period, "draining");
        let left = self.drain.finish(self.config.shutdown.grace_period).await;
        if left > 0 {
            warn!(connections = left, "the grace period is over; closing what is left");
        }
        admin.stop();
        Ok(())
    }
}

async fn sweep(discover: Arc<Discover>, inbound: Arc<Inbound>) {
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now = Instant::now();
        discover.sweep(now);
        inbound.ports.sweep(now);
        inbound.profiles.sweep(now);
        inbound.apps.sweep(now);
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

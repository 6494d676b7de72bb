//! What is at an address, and how is it to be treated?
//!
//! One [`Destination`] a target, made by whoever asks first, kept fresh by its own watches, shared by
//! every connection to it, and forgotten when idle (contract 3.2). One whose watch is down is kept:
//! the last good answer stays in force however long the control plane is away.

pub mod backend;
mod named;
pub mod policy;
pub mod ports;
pub mod profiled;
pub mod profiles;
pub mod stream;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Fault, Reason};
use crate::model::outbound::OutboundProtocol;
use crate::model::{DnsName, OutboundPolicy};

pub use backend::{Backend, Backends};
pub use policy::Lookups;
pub use profiled::Profiled;
pub use profiles::{Profiles, ProfilesConfig};
pub use stream::{Limits, Outages, Patience};

/// What the control plane is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Where an application's connection was going.
    Addr(SocketAddr),
    /// What a gateway was asked for, and its port (contract 4.9).
    Name(DnsName, u16),
    /// What a request to an ingress asked for, and its port (contract 3.12).
    Override(DnsName, u16),
}

impl Target {
    pub fn port(&self) -> u16 {
        match self {
            Self::Addr(addr) => addr.port(),
            Self::Name(_, port) | Self::Override(_, port) => *port,
        }
    }

    /// A name's addresses are those of its endpoints.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Addr(addr) => Some(addr.ip()),
            Self::Name(..) | Self::Override(..) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name, port) | Self::Override(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Everything known about one target, live.
pub struct Destination {
    pub target: Target,
    routing: ArcSwapOption<Routing>,
    /// Counts answers: 0 until the first.
    answered: watch::Sender<u64>,
    outages: Outages,
    watching: Mutex<Option<JoinHandle<()>>>,
}

/// How connections to a target are treated, until the next answer.
pub enum Routing {
    Policy(Box<Policy>),
    /// An answer that could not be understood: HTTP gets 500, connections are closed.
    Invalid,
    /// The control plane refused the look-up.
    Refused(tonic::Code),
    /// The control plane knows of no such name, or of no such port of it: requests for it get 404.
    Nowhere,
    /// The control plane has no profile of the name: a gateway leads nobody there.
    Unprofiled,
}

pub struct Policy {
    pub policy: OutboundPolicy<Arc<Backend>>,
    /// The profile says that the port is opaque, whatever policy says (contract 3.3).
    pub opaque: bool,
    /// What a service profile says of requests: it comes before policy (contract 3.3).
    pub profile: Option<Box<Profiled>>,
    /// A profile's route says that HTTP is spoken, or one of policy that the profile has replaced.
    pub http: bool,
}

/// What to expect of a connection before its bytes are seen (contract 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Opaque,
    Http1,
    Http2,
    Tls,
    Detect,
}

impl Policy {
    pub fn expect(&self) -> Expect {
        match &self.policy.protocol {
            _ if self.opaque => Expect::Opaque,
            OutboundProtocol::Http1(_) => Expect::Http1,
            OutboundProtocol::Http2(_) | OutboundProtocol::Grpc(_) => Expect::Http2,
            OutboundProtocol::Opaque(_) => Expect::Opaque,
            OutboundProtocol::Tls(_) => Expect::Tls,
            OutboundProtocol::Detect { .. } => Expect::Detect,
        }
    }
}

impl Destination {
    fn new(target: Target) -> Self {
        Self {
            target,
            routing: ArcSwapOption::empty(),
            answered: watch::Sender::new(0),
            outages: Outages::default(),
            watching: Mutex::default(),
        }
    }

    /// The first answer, waited for as long as it takes.
    ///
    /// # Errors
    /// The control plane refused the look-up, or has no profile of a name.
    pub async fn routing(&self) -> Result<Arc<Routing>, Fault> {
        let mut answered = self.answered.subscribe();
        loop {
            if let Some(routing) = self.current() {
                return match *routing {
                    Routing::Refused(code) => {
                        Err(Fault::new(Reason::Discovery, format!("{}: {code:?}", self.target)))
                    }
                    Routing::Unprofiled => Err(Reason::GatewayDomain.into()),
                    _ => Ok(routing),
                };
            }
            if answered.changed().await.is_err() {
                return Err(Reason::Discovery.into());
            }
        }
    }

    /// The latest answer, if there has been one.
    pub fn current(&self) -> Option<Arc<Routing>> {
        self.routing.load_full()
    }

    fn publish(&self, routing: Routing) {
        self.routing.store(Some(Arc::new(routing)));
        self.answered.send_modify(|count| *count += 1);
    }

    /// What has been answered and could not be asked again now. Without an answer there is nothing to keep.
    fn must_be_kept(&self) -> bool {
        self.outages.any() && self.current().is_some() && !self.leads_nowhere()
    }

    /// A name of nothing. Callers can make up any number of them, so none is kept for who might come back.
    fn leads_nowhere(&self) -> bool {
        matches!(self.current().as_deref(), Some(Routing::Nowhere | Routing::Unprofiled))
    }

    fn was_refused(&self) -> bool {
        matches!(self.current().as_deref(), Some(Routing::Refused(_) | Routing::Unprofiled))
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.lock().take() {
            watching.abort();
        }
    }
}

/// All destinations in use.
pub struct Discover {
    lookups: Arc<Lookups>,
    idle: Duration,
    entries: Mutex<HashMap<Target, Entry>>,
}

struct Entry {
    destination: Arc<Destination>,
    used: Instant,
}

impl Discover {
    pub fn new(lookups: Lookups, idle: Duration) -> Self {
        Self { lookups: Arc::new(lookups), idle, entries: Mutex::default() }
    }

    /// The destination for a target; its watches are started on first use.
    pub fn get(&self, target: Target) -> Arc<Destination> {
        let mut entries = self.entries.lock();
        let used = Instant::now();
        if let Some(entry) = entries.get_mut(&target).filter(|entry| !entry.destination.was_refused()) {
            entry.used = used;
            return entry.destination.clone();
        }
        let destination = Arc::new(Destination::new(target.clone()));
        let watching = self.lookups.clone().watch(&destination);
        *destination.watching.lock() = Some(watching);
        entries.insert(target, Entry { destination: destination.clone(), used });
        destination
    }

    /// Closes idle pooled connections, and forgets destinations that nobody has used for a while,
    /// unless one of their watches is down.
    pub fn sweep(&self, now: Instant) {
        self.lookups.backends.sweep(now);
        self.entries.lock().retain(|_, entry| {
            let in_use = Arc::strong_count(&entry.destination) > 1;
            if in_use {
                entry.used = now;
            }
            let kept = !entry.destination.leads_nowhere() && now.duration_since(entry.used) < self.idle;
            in_use || entry.destination.must_be_kept() || kept
        });
    }
}

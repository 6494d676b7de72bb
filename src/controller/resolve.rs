//! Where a controller's name leads, and for how long (contract 1.4): SRV records first, because they name
//! every replica, then addresses with the configured port.

mod sockets;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::Resolver;
use hickory_resolver::net::{DnsError, NetError};
use parking_lot::Mutex;

use crate::config;
use crate::model::DnsName;
use crate::model::name::Host;
use crate::telemetry::controllers::Resolutions;
use sockets::Sockets;

/// No answer, good or bad, is asked for again before this.
const SHORTEST: Duration = Duration::from_secs(5);

/// Looks names up, without a cache: whoever asks knows for how long the answer holds.
#[derive(Clone)]
pub struct Dns {
    source: Source,
    ttl: config::Dns,
    counts: Arc<Resolutions>,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Never empty.
    pub addrs: Vec<SocketAddr>,
    /// How long this holds.
    pub ttl: Duration,
}

#[derive(Clone)]
enum Source {
    Servers(Arc<Resolver<Sockets>>),
    NotConfigured(Arc<NetError>),
    Fixed(Names),
}

/// Names that resolve without DNS, for tests; may change at any time.
#[doc(hidden)]
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<BTreeMap<DnsName, Vec<SocketAddr>>>>);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only names need DNS, so this is no error until one is looked up.
    #[error("DNS is not configured on this machine: {0}")]
    NotConfigured(Arc<NetError>),
    #[error("cannot resolve {name}: {error}")]
    Lookup {
        name: DnsName,
        error: Box<NetError>,
        /// How long this holds, if the name server said so.
        ttl: Option<Duration>,
    },
    #[error("{} has no address", Shown(.0))]
    NoAddress(Host),
}

impl Dns {
    /// As this machine is configured (`/etc/resolv.conf`, `/etc/hosts`); questions carry the mark.
    pub fn system(ttl: config::Dns, mark: Option<u32>) -> Self {
        let resolver = Resolver::builder(Sockets::new(mark)).and_then(|mut builder| {
            builder.options_mut().cache_size = 0;
            builder.build()
        });
        let source = resolver.map_or_else(
            |error| Source::NotConfigured(error.into()),
            |resolver| Source::Servers(resolver.into()),
        );
        Self { source, ttl, counts: Arc::default() }
    }

    /// Knows these names and no others. Ports are theirs.
    #[doc(hidden)]
    pub fn fixed(names: &Names) -> Self {
        Self { source: Source::Fixed(names.clone()), ttl: config::Dns::default(), counts: Arc::default() }
    }

    /// The same, of which these are the counts.
    pub fn counting(self, counts: Arc<Resolutions>) -> Self {
        Self { counts, ..self }
    }

    /// Every address behind `name`.
    pub async fn resolve(&self, name: &DnsName, port: u16) -> Result<Found, Error> {
        let resolver = match &self.source {
            Source::Servers(resolver) => resolver,
            Source::NotConfigured(error) => return Err(Error::NotConfigured(error.clone())),
            Source::Fixed(names) => return names.addrs(name),
        };
        let absolute = Name::from_ascii(format!("{name}.")).map_err(|error| Error::Lookup {
            name: name.clone(),
            error: Box::new(error.into()),
            ttl: None,
        })?;
        let replicas = self.replicas(resolver, &absolute).await;
        self.counts.replicas.count(replicas.is_ok());
        // No service records and no answer are the same: addresses are asked for next.
        let no_replicas = match replicas {
            Ok(found) => return Ok(found),
            Err(ttl) => ttl,
        };
        let found = self.addresses(resolver, absolute, port).await;
        self.counts.addresses.count(matches!(found, Ok(Some(_))));
        let found = found.map_err(|error| {
            let ttl = negative_ttl(&error).or(no_replicas).map(|ttl| self.clamped(ttl));
            Error::Lookup { name: name.clone(), error: error.into(), ttl }
        })?;
        found.ok_or_else(|| Error::NoAddress(Host::Name(name.clone())))
    }

    /// What service records say, or how long it holds that there are none.
    async fn replicas(&self, resolver: &Resolver<Sockets>, name: &Name) -> Result<Found, Option<Duration>> {
        let found = resolver.lookup(name.clone(), RecordType::SRV).await;
        self.found(found.map_err(|error| negative_ttl(&error))?.answers(), replica).ok_or(None)
    }

    async fn addresses(
        &self,
        resolver: &Resolver<Sockets>,
        name: Name,
        port: u16,
    ) -> Result<Option<Found>, NetError> {
        let found = resolver.lookup_ip(name).await?;
        let addr = |data: &RData| data.ip_addr().map(|ip| SocketAddr::new(ip, port));
        Ok(self.found(found.as_lookup().answers(), addr))
    }

    /// The addresses in `records`, for as long as all of them hold.
    fn found(&self, records: &[Record], addr: impl Fn(&RData) -> Option<SocketAddr>) -> Option<Found> {
        let addrs: Vec<_> = records.iter().filter_map(|record| addr(&record.data)).collect();
        let ttl = records.iter().map(|record| record.ttl).min()?;
        let ttl = self.clamped(Duration::from_secs(ttl.into()));
        (!addrs.is_empty()).then_some(Found { addrs, ttl })
    }

    fn clamped(&self, ttl: Duration) -> Duration {
        let most = self.ttl.max_ttl.unwrap_or(Duration::MAX);
        ttl.min(most).max(self.ttl.min_ttl.unwrap_or_default()).max(SHORTEST)
    }
}

impl Error {
    /// How long this holds, if the name server said so.
    pub fn ttl(&self) -> Option<Duration> {
        match self {
            Self::Lookup { ttl, .. } => *ttl,
            Self::NotConfigured(_) | Self::NoAddress(_) => None,
        }
    }
}

impl Names {
    pub fn set(&self, name: DnsName, addrs: &[SocketAddr]) {
        self.0.lock().insert(name, addrs.to_vec());
    }

    fn addrs(&self, name: &DnsName) -> Result<Found, Error> {
        let addrs = self.0.lock().get(name).cloned().unwrap_or_default();
        if addrs.is_empty() {
            return Err(Error::NoAddress(Host::Name(name.clone())));
        }
        Ok(Found { addrs, ttl: SHORTEST })
    }
}

fn replica(data: &RData) -> Option<SocketAddr> {
    match data {
        RData::SRV(srv) => Some(SocketAddr::new(dashed_ip(srv.target.iter().next()?)?, srv.port)),
        _ => None,
    }
}

fn negative_ttl(error: &NetError) -> Option<Duration> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            none.negative_ttl.map(|s| Duration::from_secs(s.into()))
        }
        _ => None,
    }
}

/// The address in the first label of a headless service's pod: `10-42-0-15`, `2001-db8--42`.
fn dashed_ip(label: &[u8]) -> Option<IpAddr> {
    let label = std::str::from_utf8(label).ok()?;
    label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
}

struct Shown<'a>(&'a Host);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Host::Name(name) => name.fmt(f),
            Host::Ip(ip) => ip.fmt(f),
        }
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}

#[cfg(test)]
pub(super) mod tests;

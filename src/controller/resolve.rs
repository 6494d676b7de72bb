//! Where a controller's name leads (contract 1.4): SRV records first, because they name every replica, then
//! addresses with the configured port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use parking_lot::Mutex;

use crate::model::DnsName;
use crate::model::name::Host;

/// Looks names up, without a cache: a record counts for the one connection it was asked for.
#[derive(Clone)]
pub struct Dns(Source);

#[derive(Clone)]
enum Source {
    Servers(Arc<TokioResolver>),
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
    Lookup { name: DnsName, error: Box<NetError> },
    #[error("{} has no address", Shown(.0))]
    NoAddress(Host),
}

impl Dns {
    /// As this machine is configured (`/etc/resolv.conf`, `/etc/hosts`).
    pub fn system() -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
            builder.options_mut().cache_size = 0;
            builder.build()
        });
        Self(resolver.map_or_else(
            |error| Source::NotConfigured(error.into()),
            |resolver| Source::Servers(resolver.into()),
        ))
    }

    /// Knows these names and no others. Ports are theirs.
    #[doc(hidden)]
    pub fn fixed(names: &Names) -> Self {
        Self(Source::Fixed(names.clone()))
    }

    /// Every address behind `name`; never empty.
    pub async fn resolve(&self, name: &DnsName, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let resolver = match &self.0 {
            Source::Servers(resolver) => resolver,
            Source::NotConfigured(error) => return Err(Error::NotConfigured(error.clone())),
            Source::Fixed(names) => return names.addrs(name),
        };
        let failed = |error: NetError| Error::Lookup { name: name.clone(), error: error.into() };
        let absolute = Name::from_ascii(format!("{name}.")).map_err(|error| failed(error.into()))?;
        let replicas = srv(resolver, &absolute).await;
        if !replicas.is_empty() {
            return Ok(replicas);
        }
        let found = resolver.lookup_ip(absolute).await.map_err(failed)?;
        let addrs: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if addrs.is_empty() { Err(Error::NoAddress(Host::Name(name.clone()))) } else { Ok(addrs) }
    }
}

impl Names {
    pub fn set(&self, name: DnsName, addrs: &[SocketAddr]) {
        self.0.lock().insert(name, addrs.to_vec());
    }

    fn addrs(&self, name: &DnsName) -> Result<Vec<SocketAddr>, Error> {
        let known = self.0.lock().get(name).cloned().unwrap_or_default();
        if known.is_empty() { Err(Error::NoAddress(Host::Name(name.clone()))) } else { Ok(known) }
    }
}

/// No SRV records and no answer are the same: addresses are asked for next.
async fn srv(resolver: &TokioResolver, name: &Name) -> Vec<SocketAddr> {
    let Ok(found) = resolver.lookup(name.clone(), RecordType::SRV).await else { return Vec::new() };
    let record = |data: &RData| match data {
        RData::SRV(srv) => Some(SocketAddr::new(dashed_ip(srv.target.iter().next()?)?, srv.port)),
        _ => None,
    };
    found.answers().iter().filter_map(|answer| record(&answer.data)).collect()
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
mod tests;

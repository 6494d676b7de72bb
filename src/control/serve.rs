//! A [`Snapshot`] over gRPC: the API that a cluster's controllers speak to proxies.
//!
//! Three ports as in a cluster (controlplane 9), each presenting the name that proxies expect
//! there. Every stream remembers what it told and sends the difference to each new snapshot.

pub mod destination;
pub mod dns;

mod http;
pub mod identity;
pub mod inbound;
mod listen;
pub mod metrics;
pub mod outbound;
pub mod own;
pub mod pods;

pub mod stream;

pub use listen::bind;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;

use super::Snapshot;
use super::ca::{Certifier, ServiceAccount};
use crate::drain::Drain;
use crate::model::WorkloadId;
use crate::model::identity::InvalidId;
use crate::tls::CredentialStore;
use destination::DestinationService;
use identity::IdentityService;
use inbound::InboundService;
use listen::Port;
use outbound::OutboundService;
use stream::Source;

/// Where to serve. Port 0 takes any free port.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    pub destination: SocketAddr,
    pub policy: SocketAddr,
    pub identity: SocketAddr,
}

impl Listen {
    /// The ports of a cluster (controlplane 9) on one address.
    pub fn at(ip: IpAddr) -> Self {
        let port = |port| SocketAddr::new(ip, port);
        Self { destination: port(8086), policy: port(8090), identity: port(8080) }
    }
}

/// Why the control plane cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("own certificate: {0}")]
    Own(#[from] own::OwnError),
    #[error("own identity: {0}")]
    Identity(#[from] InvalidId),
}

/// The ports for gRPC, bound: whoever connects waits in the kernel until [`start`].
#[derive(Debug)]
pub struct Ports {
    destination: TcpListener,
    policy: TcpListener,
    identity: TcpListener,
}

impl Ports {
    /// Those that can be had; all that cannot be had are an error together.
    pub async fn bind(listen: Listen) -> Result<Self, Vec<io::Error>> {
        let bound = (bind(listen.destination).await, bind(listen.policy).await, bind(listen.identity).await);
        match bound {
            (Ok(destination), Ok(policy), Ok(identity)) => Ok(Self { destination, policy, identity }),
            (destination, policy, identity) => {
                Err([destination, policy, identity].into_iter().filter_map(Result::err).collect())
            }
        }
    }

    /// Where they are.
    pub fn bound(&self) -> io::Result<Listen> {
        Ok(Listen {
            destination: self.destination.local_addr()?,
            policy: self.policy.local_addr()?,
            identity: self.identity.local_addr()?,
        })
    }
}

/// Serves on all ports, until `drain`.
pub fn start(
    ports: Ports,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    certifier: Arc<Certifier>,
    drain: &Drain,
) -> Result<(), ServeError> {
    let store = |account: &str| {
        let Certifier { authority, control_namespace: ns, trust_domain, .. } = &*certifier;
        let id = WorkloadId::service_account(account, ns, ns, trust_domain)?;
        Ok::<_, ServeError>(own::keep(authority.clone(), id, drain)?)
    };
    let (controller, issuer) = (store("linkerd-destination")?, store("linkerd-identity")?);
    let destination = Port::new(ports.destination, controller.clone());
    let policy = Port::new(ports.policy, controller);
    let identity = Port::new(ports.identity, issuer);
    let source = Source { snapshots: snapshots.clone(), drain: drain.clone() };
    let exists = Arc::new(move |account: &ServiceAccount| {
        snapshots.borrow().has_service_account(&account.namespace, &account.name)
    });
    destination.serve(server().add_service(DestinationService::server(source.clone())), drain);
    let policies = server().add_service(OutboundService::server(source.clone()));
    policy.serve(policies.add_service(InboundService::server(source)), drain);
    identity.serve(server().add_service(IdentityService::server(certifier, exists)), drain);
    Ok(())
}

/// The identity under which gateways are probed, kept fresh until drained.
pub fn prober(
    certifier: &Certifier,
    mirror_namespace: &str,
    drain: &Drain,
) -> Result<Arc<CredentialStore>, ServeError> {
    let Certifier { authority, control_namespace, trust_domain, .. } = certifier;
    let id = WorkloadId::service_account(PROBER, mirror_namespace, control_namespace, trust_domain)?;
    Ok(own::keep(authority.clone(), id, drain)?)
}

/// The service account of the one who probes gateways.
const PROBER: &str = "linkerd-service-mirror";

/// Watches are long and silent, and a proxy opens one for each target and port.
fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .max_concurrent_streams(10_000)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

//! What the transport proved about a client.

use super::identity::WorkloadId;
use super::name::DnsName;

/// Who is at the other end of an accepted connection. Not permission: that is
/// [`crate::authorize`]'s to give.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Mesh TLS ended here and the client proved this name.
    Identified(WorkloadId),
    /// Mesh TLS ended here without a client certificate.
    Anonymous,
    /// TLS meant for another name: passed on untouched.
    Passthrough(DnsName),
    Plaintext(NoTls),
}

impl Peer {
    pub fn id(&self) -> Option<&WorkloadId> {
        match self {
            Self::Identified(id) => Some(id),
            _ => None,
        }
    }
}

/// Why an accepted connection has no TLS (contract 6.1, `no_tls_reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoTls {
    Loopback,
    PortSkipped,
    NoTlsFromRemote,
}

/// Why a dialled connection has no TLS (contract 6.1, `no_tls_reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoServerTls {
    /// The endpoint is this pod itself.
    Loopback,
    NotProvidedByServiceDiscovery,
}

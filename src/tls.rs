//! Mesh TLS: who am I, who is the other end, and is that proven?
//!
//! TLS 1.3 only, in both directions with the parameters of contract 2.2. What this proxy presents lives in
//! a [`CredentialStore`]; [`client::connect`] proves that the far end is the workload discovery named,
//! [`server::accept`] learns which workload called. Whether that caller may do anything is
//! [`crate::model::Peer`]'s readers' decision, not made here.

pub mod anchors;
pub mod client;
pub mod credentials;
pub mod crypto;
mod proven;
pub mod read_ahead;
pub mod rights;
pub mod server;
pub mod stream;
pub mod subject;
pub mod turns;
#[doc(hidden)]
pub mod testing;
mod verify;

use std::io;

use crate::model::{DnsName, WorkloadId};

pub use anchors::{InvalidAnchors, Role, TrustAnchors};
pub use client::Offer;
pub use credentials::{CredentialStore, Credentials, Rejected};
pub use rights::Right;
pub use stream::Stream;

/// The protocol name of the mesh: a transport header follows (contract 2.3).
pub const TRANSPORT_ALPN: &[u8] = b"transport.l5d.io/v1";

/// The same, on a connection that may end unused: its client is silent, and the server may want to speak first. Our own;
/// whoever does not know it agrees to [`TRANSPORT_ALPN`], which is offered as well.
pub const TENTATIVE_ALPN: &[u8] = b"transport.causeway/tentative";

/// What a handshake has agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    Nothing,
    /// A transport header comes first.
    Transport,
    /// The same, and the connection may end unused.
    Tentative,
}

impl Agreed {
    fn of(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(TRANSPORT_ALPN) => Self::Transport,
            Some(TENTATIVE_ALPN) => Self::Tentative,
            _ => Self::Nothing,
        }
    }
}

/// Bytes that rustls may hold for a peer that does not take them. Its own limit of 64 KiB would cut a piece
/// of the relay, which grows by what encryption adds, into two system calls; beyond that, more gains nothing.
const WRITE_LIMIT: usize = 128 * 1024;

/// Why a connection has no mesh TLS. The text is for the operator and holds no raw bytes of the peer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no certificate of our own yet")]
    NoCredentials,
    #[error("{0:?} cannot be sent as server name")]
    ServerName(DnsName),
    /// The peer's certificate does not chain to the trust anchors, is outside its dates, or is malformed.
    #[error("the peer's certificate is not trusted: {0}")]
    Untrusted(rustls::CertificateError),
    /// The chain is good but the leaf names somebody else. `found` is its first usable name.
    #[error("expected the peer to be {expected}, its certificate says {}", Found(.found))]
    WrongIdentity { expected: WorkloadId, found: Option<WorkloadId> },
    /// The peer broke or refused the handshake.
    #[error("TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    #[error("connection lost during the TLS handshake: {0}")]
    Io(io::Error),
}

struct Found<'a>(&'a Option<WorkloadId>);

impl std::fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => id.fmt(f),
            None => f.write_str("nothing usable"),
        }
    }
}

impl Error {
    fn of(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(why) => Self::Untrusted(why),
            other => Self::Handshake(other),
        }
    }
}

impl From<io::Error> for Error {
    /// tokio-rustls hands rustls' errors over wrapped in an I/O error; this takes them out again.
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Self::of(error.clone()),
            None => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests;

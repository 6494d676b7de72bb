//! Who this workload is, who certifies it, and whom it trusts.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ControlClient;
use crate::backoff::Backoff;
use crate::model::{DnsName, WorkloadId};

#[derive(Clone, Debug)]
pub struct Identity {
    pub trust_anchors: TrustSource,
    pub expired_peers: ExpiredPeers,
    pub id: WorkloadId,
    /// The SNI for which this proxy ends TLS.
    pub server_name: DnsName,
    pub issuer: Issuer,
}

/// Who certifies this workload.
#[derive(Clone, Debug)]
pub enum Issuer {
    Linkerd(Box<Certify>),
    Spire(Spire),
}

/// Linkerd's identity service.
#[derive(Clone, Debug)]
pub struct Certify {
    /// Holds `key.p8` and `csr.der`.
    pub dir: PathBuf,
    /// Read again at every Certify.
    pub token_file: PathBuf,
    pub control: ControlClient,
    pub min_refresh: Duration,
    pub max_refresh: Duration,
}

/// A SPIFFE Workload API.
#[derive(Clone, Debug)]
pub struct Spire {
    pub socket: PathBuf,
    /// Between attempts to reach it.
    pub backoff: Backoff,
}

/// The PEM text of the trust anchors. Long: `Debug` tells its length alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Anchors(pub Arc<str>);

/// Where trust anchors come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustSource {
    /// From the environment, for the life of the process.
    Text(Anchors),
    /// From a file that is followed.
    File(PathBuf),
}

/// What happens to the connections of a peer whose certificate has expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredPeers {
    /// Nothing, as in Linkerd's proxy.
    Keep,
    /// HTTP takes no new requests, and ends with those that it has; opaque connections go on.
    #[default]
    Drain,
    /// What has not ended after a while is closed, opaque connections too.
    Close,
}

impl Identity {
    /// How certificates are asked for, where that is done of Linkerd's identity service.
    pub fn certify(&self) -> Option<&Certify> {
        match &self.issuer {
            Issuer::Linkerd(certify) => Some(certify),
            Issuer::Spire(_) => None,
        }
    }
}

impl ExpiredPeers {
    pub(super) fn named(text: &str) -> Option<Self> {
        match text {
            "keep" => Some(Self::Keep),
            "drain" => Some(Self::Drain),
            "close" => Some(Self::Close),
            _ => None,
        }
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchors({} bytes)", self.0.len())
    }
}

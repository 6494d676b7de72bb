//! Whom the mesh trusts.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::crypto;
use super::verify::{self, ChainOnly, Clients};

/// The certificates that every chain in the mesh must end at. Whoever replaces them makes a new one, which remembers
/// nothing of what the old one has verified.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    roots: Arc<RootCertStore>,
    servers: Arc<ChainOnly>,
    clients: Arc<Clients>,
}

/// What a peer is to us: certificates say what they may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a PEM bundle with at least one valid certificate")]
pub struct InvalidAnchors;

impl TrustAnchors {
    /// Reads a PEM bundle. Certificates that cannot be read are skipped with a warning (contract 2.1).
    pub fn from_pem(bundle: &[u8]) -> Result<Self, InvalidAnchors> {
        let mut roots = RootCertStore::empty();
        for (index, added) in read(bundle, &mut roots).enumerate() {
            if let Err(error) = added {
                tracing::warn!(index, error, "skipping a trust anchor that cannot be read");
            }
        }
        Self::new(roots)
    }

    /// Reads a PEM bundle whole or not at all: a file may be half written, and an anchor that is skipped would end the
    /// connections of all who come from it.
    pub fn from_whole_pem(bundle: &[u8]) -> Result<Self, InvalidAnchors> {
        let mut roots = RootCertStore::empty();
        if read(bundle, &mut roots).any(|added| added.is_err()) {
            return Err(InvalidAnchors);
        }
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, InvalidAnchors> {
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), crypto::provider());
        // There is no such verifier without a root.
        let clients = clients.allow_unauthenticated().build().map_err(|_| InvalidAnchors)?;
        Ok(Self {
            servers: Arc::new(ChainOnly::new(roots.clone())),
            clients: Arc::new(Clients::new(clients)),
            roots,
        })
    }

    /// Whether `leaf`, through `intermediates`, chains to one of these certificates, every link within its
    /// dates at `now`.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify::chain(leaf, intermediates, &self.roots, now)
    }

    /// The same, as a handshake asks it of a peer: also whether the chain may be used for this.
    pub(super) fn verify_peer(
        &self,
        role: Role,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match role {
            Role::Server => self.servers.verify(leaf, intermediates, now),
            Role::Client => self.clients.verify_client_cert(leaf, intermediates, now).map(drop),
        }
    }

    /// How many certificates are trusted; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether the same certificates are trusted, in whatever order.
    pub fn is_same_set(&self, other: &Self) -> bool {
        let all_in = |these: &RootCertStore, those: &RootCertStore| {
            these.roots.iter().all(|anchor| those.roots.contains(anchor))
        };
        all_in(&self.roots, &other.roots) && all_in(&other.roots, &self.roots)
    }

    /// Whether these are the very same, not merely equal ones.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.roots, &other.roots)
    }

    pub(super) fn servers(&self) -> Arc<dyn ServerCertVerifier> {
        self.servers.clone()
    }

    pub(super) fn clients(&self) -> Arc<dyn ClientCertVerifier> {
        self.clients.clone()
    }
}

/// Adds the certificates of a bundle one by one, and says of each whether it could be.
fn read(bundle: &[u8], roots: &mut RootCertStore) -> impl Iterator<Item = Result<(), String>> {
    CertificateDer::pem_slice_iter(bundle).map(|cert| {
        let cert = cert.map_err(|error| error.to_string())?;
        roots.add(cert).map_err(|error| error.to_string())
    })
}

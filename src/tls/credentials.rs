//! What this proxy presents in a handshake, and what it trusts.
//!
//! Trust anchors are fixed for the life of the process. The certificate is replaced whole at each renewal:
//! a handshake takes one snapshot of the ready-made rustls configurations. Before the first certificate
//! there is still a client configuration, without a certificate, because certifying needs one.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use tokio::sync::watch;

use super::proven::Proven;
use super::subject;
use super::verify::{self, ChainOnly, Clients};
use super::{TRANSPORT_ALPN, crypto};
use crate::model::WorkloadId;

/// The certificates that every chain in the mesh must end at.
#[derive(Clone, Debug)]
pub struct TrustAnchors {
    roots: Arc<RootCertStore>,
    /// Chains of servers, and of clients, that have been found to end there.
    servers: Arc<Proven>,
    clients: Arc<Proven>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a PEM bundle with at least one valid certificate")]
pub struct InvalidAnchors;

/// Our own certificate and everything a handshake needs of it. Replaced whole, never changed.
pub struct Credentials {
    /// The leaf, then the intermediates, as presented to peers.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the issuer said that the leaf ends.
    pub expiry: SystemTime,
    server: Arc<ServerConfig>,
    server_direct: Arc<ServerConfig>,
    client: ClientConfigs,
}

/// Holds the current [`Credentials`] of one workload.
pub struct CredentialStore {
    local: WorkloadId,
    anchors: TrustAnchors,
    /// Used until the first certificate arrives.
    anonymous: ClientConfigs,
    current: ArcSwapOption<Credentials>,
    /// Counts installations: 0 until the first.
    installed: watch::Sender<u64>,
}

/// Why a new certificate was not taken into use.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    #[error("the certificate does not verify against the trust anchors: {0}")]
    Untrusted(rustls::Error),
    #[error("the certificate does not name {0}")]
    WrongName(WorkloadId),
    #[error("the certificate and the private key cannot be used together: {0}")]
    Key(rustls::Error),
}

struct ClientConfigs {
    plain: Arc<ClientConfig>,
    transport: Arc<ClientConfig>,
}

impl TrustAnchors {
    /// Reads a PEM bundle. Certificates that cannot be read are skipped with a warning.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, InvalidAnchors> {
        let mut roots = RootCertStore::empty();
        for (index, cert) in CertificateDer::pem_slice_iter(bundle).enumerate() {
            let added = cert.map_err(|e| e.to_string()).and_then(|c| roots.add(c).map_err(|e| e.to_string()));
            if let Err(error) = added {
                tracing::warn!(index, error, "skipping a trust anchor that cannot be read");
            }
        }
        if roots.is_empty() {
            return Err(InvalidAnchors);
        }
        Ok(Self { roots: roots.into(), servers: Arc::default(), clients: Arc::default() })
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

    /// How many certificates are trusted; never 0.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.roots.len()
    }
}

impl CredentialStore {
    /// A store for the workload `local`, still without a certificate.
    pub fn new(local: WorkloadId, anchors: TrustAnchors) -> Arc<Self> {
        let anonymous = ClientConfigs::new(client_builder(&anchors).with_no_client_auth());
        Arc::new(Self {
            local,
            anchors,
            anonymous,
            current: ArcSwapOption::empty(),
            installed: watch::Sender::new(0),
        })
    }

    /// Takes a new certificate into use, for every handshake that starts from now on, if the chain verifies
    /// right now, its leaf carries the local identity and `key` is the leaf's. Otherwise nothing changes.
    pub fn install(
        &self,
        leaf: CertificateDer<'static>,
        intermediates: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
        expiry: SystemTime,
    ) -> Result<(), Rejected> {
        verify::chain(&leaf, &intermediates, &self.anchors.roots, UnixTime::now())
            .map_err(Rejected::Untrusted)?;
        if !subject::names(&leaf).contains(&self.local) {
            return Err(Rejected::WrongName(self.local.clone()));
        }
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).collect();
        let credentials = Credentials::new(&self.anchors, chain, key, expiry).map_err(Rejected::Key)?;
        self.current.store(Some(Arc::new(credentials)));
        self.installed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Skips every check of [`CredentialStore::install`], to play a hostile peer.
    #[cfg(test)]
    pub(super) fn force(&self, chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) {
        let credentials = Credentials::new(&self.anchors, chain, key, SystemTime::now()).unwrap();
        self.current.store(Some(Arc::new(credentials)));
    }

    /// Resolves as soon as a certificate has ever been installed.
    pub async fn ready(&self) {
        // The sender lives in `self`, so waiting cannot end in an error.
        let _ = self.installed.subscribe().wait_for(|count| *count > 0).await;
    }

    pub fn is_ready(&self) -> bool {
        *self.installed.borrow() > 0
    }

    /// Tells of each installation; the value is how many there have been.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.installed.subscribe()
    }

    /// The workload whose certificates this store accepts.
    pub fn local(&self) -> &WorkloadId {
        &self.local
    }

    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current.load_full()
    }

    pub(super) fn client_config(&self, transport: bool) -> Arc<ClientConfig> {
        let current = self.current.load();
        let configs = current.as_ref().map_or(&self.anonymous, |credentials| &credentials.client);
        if transport { configs.transport.clone() } else { configs.plain.clone() }
    }

    pub(super) fn server_config(&self, direct: bool) -> Option<Arc<ServerConfig>> {
        let current = self.current.load();
        let credentials = current.as_ref()?;
        Some(if direct { credentials.server_direct.clone() } else { credentials.server.clone() })
    }
}

impl Credentials {
    fn new(
        anchors: &TrustAnchors,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
        expiry: SystemTime,
    ) -> Result<Self, rustls::Error> {
        let client = client_builder(anchors).with_client_auth_cert(chain.clone(), key.clone_key())?;
        let server = server_config(anchors, chain.clone(), key.clone_key())?;
        let mut direct = server.clone();
        direct.alpn_protocols = vec![TRANSPORT_ALPN.to_vec()];
        Ok(Self {
            chain,
            expiry,
            server: server.into(),
            server_direct: direct.into(),
            client: ClientConfigs::new(client),
        })
    }

    pub fn leaf(&self) -> &CertificateDer<'static> {
        self.chain.first().expect("a chain is made with its leaf in front")
    }
}

impl ClientConfigs {
    fn new(mut config: ClientConfig) -> Self {
        // A resumed session would skip the certificate, and with it the proof of who is there.
        config.resumption = Resumption::disabled();
        let mut transport = config.clone();
        transport.alpn_protocols = vec![TRANSPORT_ALPN.to_vec()];
        Self { plain: config.into(), transport: transport.into() }
    }
}

fn client_builder(anchors: &TrustAnchors) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(crypto::VERSIONS)
        .expect("the provider's suites are those of the one version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ChainOnly {
            roots: anchors.roots.clone(),
            proven: anchors.servers.clone(),
        }))
}

fn server_config(
    anchors: &TrustAnchors,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(anchors.roots.clone(), crypto::provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let clients = Arc::new(Clients { verifier, proven: anchors.clients.clone() });
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(crypto::VERSIONS)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    // Nothing to resume: a ticket would outlive the certificate it was given for.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

impl std::fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialStore").field("local", &self.local).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("expiry", &self.expiry).finish_non_exhaustive()
    }
}

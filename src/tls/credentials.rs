//! What this proxy presents in a handshake, and what it trusts.
//!
//! Both are replaced whole, the certificate at each renewal, the trust anchors when their file changes: a handshake
//! takes one snapshot of the ready-made rustls configurations. Before the first certificate there is still a client
//! configuration, without a certificate, because certifying needs one.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ConfigBuilder, ServerConfig};
use tokio::sync::watch;

use super::anchors::{Role, TrustAnchors};
use super::rights::{Peers, Right};
use super::{Error, Offer, TENTATIVE_ALPN, TRANSPORT_ALPN, crypto, subject};
use crate::config::ExpiredPeers;
use crate::model::WorkloadId;

/// Our own certificate and everything a handshake needs of it. Replaced whole, never changed.
pub struct Credentials {
    /// The leaf, then the intermediates, as presented to peers.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the issuer said that the leaf ends.
    pub expiry: SystemTime,
    key: PrivateKeyDer<'static>,
    server: Arc<ServerConfig>,
    server_direct: Arc<ServerConfig>,
    client: ClientConfigs,
}

/// Holds the current [`Credentials`] of one workload, whom it trusts, and the rights of those it is connected to.
pub struct CredentialStore {
    local: WorkloadId,
    held: ArcSwap<Held>,
    /// Taken by whoever replaces what is held: a certificate and trust anchors may come at once.
    replacing: Mutex<()>,
    /// Counts installations: 0 until the first.
    installed: watch::Sender<u64>,
    /// Counts replacements of the trust anchors.
    trusted: watch::Sender<u64>,
    peers: Peers,
}

/// What one handshake is made with.
pub(super) struct Held {
    anchors: TrustAnchors,
    /// Used until the first certificate arrives.
    anonymous: ClientConfigs,
    current: Option<Arc<Credentials>>,
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
    tentative: Arc<ClientConfig>,
}

impl CredentialStore {
    /// A store for the workload `local`, still without a certificate.
    pub fn new(local: WorkloadId, anchors: TrustAnchors) -> Arc<Self> {
        Arc::new(Self {
            local,
            held: ArcSwap::from_pointee(Held::new(anchors, None)),
            replacing: Mutex::default(),
            installed: watch::Sender::new(0),
            trusted: watch::Sender::new(0),
            peers: Peers::default(),
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
        let _replacing = self.replacing.lock();
        let anchors = self.anchors();
        anchors.verify(&leaf, &intermediates, UnixTime::now()).map_err(Rejected::Untrusted)?;
        if !subject::names(&leaf).contains(&self.local) {
            return Err(Rejected::WrongName(self.local.clone()));
        }
        let chain = std::iter::once(leaf).chain(intermediates).collect();
        let credentials =
            Credentials::new(&anchors, chain, key.clone_key(), expiry).map_err(Rejected::Key)?;
        self.held.store(Arc::new(Held::new(anchors, Some(credentials))));
        self.installed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Trusts these and no others from now on. Handshakes that are under way are judged by them, and so is everybody
    /// who is connected: who no longer may be has [`super::rights::GRACE`] to end.
    ///
    /// # Errors
    /// They cannot be used with our own certificate; nothing has changed then.
    pub async fn trust(&self, anchors: TrustAnchors) -> Result<(), rustls::Error> {
        {
            let _replacing = self.replacing.lock();
            let current = self.current().map(|current| current.under(&anchors)).transpose()?;
            self.held.store(Arc::new(Held::new(anchors.clone(), current)));
        }
        self.trusted.send_modify(|count| *count += 1);
        self.peers.review(&anchors).await;
        Ok(())
    }

    /// Ends what peers may no longer do because time has passed. To be called every now and then.
    pub fn look(&self, expired: ExpiredPeers) {
        self.peers.look(&self.anchors(), expired, UnixTime::now());
    }

    /// Skips every check of [`CredentialStore::install`], to play a hostile peer.
    #[doc(hidden)]
    pub fn force(&self, chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) {
        let anchors = self.anchors();
        let credentials = Credentials::new(&anchors, chain, key.clone_key(), SystemTime::now());
        let credentials = credentials.expect("a key that fits its certificate");
        self.held.store(Arc::new(Held::new(anchors, Some(credentials))));
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

    /// Tells of each replacement of the trust anchors.
    pub fn trust_changes(&self) -> watch::Receiver<u64> {
        self.trusted.subscribe()
    }

    /// The workload whose certificates this store accepts.
    pub fn local(&self) -> &WorkloadId {
        &self.local
    }

    pub fn anchors(&self) -> TrustAnchors {
        self.held.load().anchors.clone()
    }

    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.held.load().current.clone()
    }

    /// Whether our own certificate leads to what we trust: whoever trusts the same will not take it otherwise.
    pub fn is_trusted(&self) -> bool {
        let held = self.held.load();
        let verifies = |own: &Arc<Credentials>| {
            held.anchors.verify(own.leaf(), &own.chain[1..], UnixTime::now()).is_ok()
        };
        held.current.as_ref().is_none_or(verifies)
    }

    /// How many peers of open connections have lost their right to them, ever.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    pub(super) fn held(&self) -> Arc<Held> {
        self.held.load_full()
    }

    /// The right of a peer, whose chain `held` has verified just now, to its connection.
    pub(super) fn admit(
        &self,
        held: &Held,
        role: Role,
        chain: &[CertificateDer<'static>],
    ) -> Result<Option<Right>, Error> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(None) };
        let right = self.peers.tie(role, leaf, intermediates);
        // Whoever has replaced the trust anchors during the handshake may have looked before this chain was known.
        let anchors = self.anchors();
        if !anchors.is(&held.anchors) {
            let verified = anchors.verify_peer(role, leaf, intermediates, UnixTime::now());
            verified.map_err(Error::of)?;
        }
        Ok(Some(right))
    }
}

impl Held {
    fn new(anchors: TrustAnchors, current: Option<Credentials>) -> Self {
        let anonymous = ClientConfigs::new(client_builder(&anchors).with_no_client_auth());
        Self { anchors, anonymous, current: current.map(Arc::new) }
    }

    pub(super) fn client_config(&self, offer: Offer) -> Arc<ClientConfig> {
        let configs = self.current.as_ref().map_or(&self.anonymous, |credentials| &credentials.client);
        match offer {
            Offer::Nothing => configs.plain.clone(),
            Offer::Transport => configs.transport.clone(),
            Offer::Tentative => configs.tentative.clone(),
        }
    }

    pub(super) fn server_config(&self, direct: bool) -> Option<Arc<ServerConfig>> {
        let credentials = self.current.as_ref()?;
        Some(if direct { credentials.server_direct.clone() } else { credentials.server.clone() })
    }
}

impl Credentials {
    fn new(
        anchors: &TrustAnchors,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        expiry: SystemTime,
    ) -> Result<Self, rustls::Error> {
        let client = client_builder(anchors).with_client_auth_cert(chain.clone(), key.clone_key())?;
        let server = server_config(anchors, chain.clone(), key.clone_key())?;
        let mut direct = server.clone();
        direct.alpn_protocols = vec![TENTATIVE_ALPN.to_vec(), TRANSPORT_ALPN.to_vec()];
        Ok(Self {
            chain,
            expiry,
            key,
            server: server.into(),
            server_direct: direct.into(),
            client: ClientConfigs::new(client),
        })
    }

    /// The same certificate, among others to trust.
    fn under(&self, anchors: &TrustAnchors) -> Result<Self, rustls::Error> {
        Self::new(anchors, self.chain.clone(), self.key.clone_key(), self.expiry)
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
        let mut tentative = config.clone();
        tentative.alpn_protocols = vec![TENTATIVE_ALPN.to_vec(), TRANSPORT_ALPN.to_vec()];
        Self { plain: config.into(), transport: transport.into(), tentative: tentative.into() }
    }
}

fn client_builder(anchors: &TrustAnchors) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(crypto::VERSIONS)
        .expect("the provider's suites are those of the one version")
        .dangerous()
        .with_custom_certificate_verifier(anchors.servers())
}

fn server_config(
    anchors: &TrustAnchors,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(crypto::VERSIONS)?
        .with_client_cert_verifier(anchors.clients())
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

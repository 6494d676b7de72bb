//! One cluster's issuer: signs leaves for workloads (controlplane 4.2).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};

use super::anchor::serial;
use super::csr::SigningRequest;
use crate::api::identity::Issued;
use crate::model::WorkloadId;
use crate::tls::TrustAnchors;

/// How long a workload's certificate lives (controlplane 4.2).
pub const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// By how much clocks may differ; added at both ends (controlplane 4.2).
pub const CLOCK_SKEW: Duration = Duration::from_secs(20);

/// The issuer of one cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// From the issuer upwards, as it is sent to workloads.
    chain: Vec<CertificateDer<'static>>,
    anchors: TrustAnchors,
    anchors_pem: String,
    issuer_pem: String,
    lifetime: Duration,
    skew: Duration,
    /// The first expiry in the chain: no leaf outlives it.
    not_after: SystemTime,
    /// A leaf for nobody, as long-lived as the chain: verifying it verifies the issuer.
    probe: CertificateDer<'static>,
}

/// Why an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuthority {
    #[error("trust anchors: expected a PEM bundle of certificates, each of them whole")]
    Anchors(#[from] crate::tls::InvalidAnchors),
    #[error("issuer certificate: expected a chain of certificates in PEM")]
    Certificate,
    #[error("issuer certificate and key: {0}")]
    Pair(rcgen::Error),
    #[error("the key is not the one of the issuer certificate")]
    OtherKey,
    #[error("the issuer does not verify against the trust anchors: {0}")]
    Untrusted(rustls::Error),
}

impl Authority {
    /// An issuer from its certificate chain, key and the trust anchors, all PEM. It must verify
    /// against the anchors at `now`.
    pub fn from_pem(
        certificate: &str,
        key: &str,
        anchors: &str,
        now: SystemTime,
    ) -> Result<Self, InvalidAuthority> {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| InvalidAuthority::Certificate)?;
        let first = chain.first().ok_or(InvalidAuthority::Certificate)?;
        let not_after = first_expiry(&chain).ok_or(InvalidAuthority::Certificate)?;
        let key = KeyPair::from_pem(key).map_err(InvalidAuthority::Pair)?;
        if !certifies(first, key.public_key_raw()) {
            return Err(InvalidAuthority::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_der(first, key).map_err(InvalidAuthority::Pair)?;
        let params = leaf_params("probe.invalid", false, UNIX_EPOCH, not_after);
        let probe = params.and_then(|params| params.signed_by(&KeyPair::generate()?, &issuer));
        let probe = probe.map_err(InvalidAuthority::Pair)?.der().clone();
        let authority = Self {
            issuer,
            chain,
            anchors: TrustAnchors::from_whole_pem(anchors.as_bytes())?,
            anchors_pem: anchors.into(),
            issuer_pem: certificate.into(),
            lifetime: LIFETIME,
            skew: CLOCK_SKEW,
            not_after,
            probe,
        };
        authority.verify(now).map_err(InvalidAuthority::Untrusted)?;
        Ok(authority)
    }

    /// Signs for `lifetime` instead of a day; `skew` is added at both ends.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration, skew: Duration) -> Self {
        (self.lifetime, self.skew) = (lifetime, skew);
        self
    }

    /// Whether what this issuer signs would be trusted at `now`.
    pub fn verify(&self, now: SystemTime) -> Result<(), rustls::Error> {
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        self.anchors.verify(&self.probe, &self.chain, now)
    }

    /// A certificate for the key of `csr`, named `id` and nothing else.
    pub fn sign(
        &self,
        csr: &SigningRequest,
        id: &WorkloadId,
        now: SystemTime,
    ) -> Result<Issued, rcgen::Error> {
        let key = csr.public_key.as_ref().ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        self.leaf(key, id, csr.has_common_name(), now)
    }

    /// A certificate with a new key, for the control plane's own names.
    pub fn own(
        &self,
        id: &WorkloadId,
        now: SystemTime,
    ) -> Result<(Issued, PrivateKeyDer<'static>), rcgen::Error> {
        let key = KeyPair::generate()?;
        let issued = self.leaf(&key, id, true, now)?;
        Ok((issued, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    fn leaf(
        &self,
        key: &impl PublicKeyData,
        id: &WorkloadId,
        common_name: bool,
        now: SystemTime,
    ) -> Result<Issued, rcgen::Error> {
        let valid_until = (now + self.lifetime + self.skew).min(self.not_after);
        let params = leaf_params(&id.to_string(), common_name, now - self.skew, valid_until)?;
        let leaf = params.signed_by(key, &self.issuer)?.der().to_vec();
        let intermediates = self.chain.iter().map(|certificate| certificate.to_vec()).collect();
        Ok(Issued { leaf, intermediates, valid_until: whole_seconds(valid_until) })
    }

    pub fn anchors(&self) -> &TrustAnchors {
        &self.anchors
    }

    /// When the first certificate of its chain ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Its certificates in PEM, from the issuer upwards.
    pub fn issuer_pem(&self) -> &str {
        &self.issuer_pem
    }

    /// The trust anchors as a PEM bundle, as proxies are given them.
    pub fn anchors_pem(&self) -> &str {
        &self.anchors_pem
    }
}

fn leaf_params(
    name: &str,
    common_name: bool,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.serial_number = Some(serial());
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn certifies(certificate: &CertificateDer<'_>, key: &[u8]) -> bool {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    parsed.is_ok_and(|(_, parsed)| *parsed.public_key().subject_public_key.data == *key)
}

/// Certificates carry whole seconds; what is announced must not lie beyond them.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn first_expiry(chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
    let mut first = None;
    for certificate in chain {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        let expiry = UNIX_EPOCH + Duration::from_secs(seconds);
        first = Some(first.map_or(expiry, |first: SystemTime| first.min(expiry)));
    }
    first
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

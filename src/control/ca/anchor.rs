//! The mesh's trust anchor: signs one issuer for each cluster.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};

/// How long a development trust anchor lives.
pub const ANCHOR_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long a cluster's issuer lives.
pub const ISSUER_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Clocks of machines in one mesh may differ by this much.
const SKEW: Duration = Duration::from_secs(60);

/// A trust anchor with its private key.
pub struct Anchor {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its private key, both in PEM.
pub struct PemPair {
    pub certificate: String,
    pub key: String,
}

impl Anchor {
    /// Makes a new one in memory.
    pub fn generate(now: SystemTime) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let params =
            authority_params("causeway trust anchor", BasicConstraints::Unconstrained, now, ANCHOR_LIFETIME);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Reads what [`Anchor::pem`] and [`Anchor::key_pem`] gave.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, pem: certificate.into() })
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// An issuer for a cluster: it may sign workloads, not further issuers.
    pub fn issuer_for(&self, cluster: &str, now: SystemTime) -> Result<PemPair, rcgen::Error> {
        let key = KeyPair::generate()?;
        let name = format!("causeway issuer {cluster}");
        let params = authority_params(&name, BasicConstraints::Constrained(0), now, ISSUER_LIFETIME);
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(PemPair { certificate, key: key.serialize_pem() })
    }
}

fn authority_params(
    name: &str,
    constraints: BasicConstraints,
    now: SystemTime,
    lifetime: Duration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - SKEW).into();
    params.not_after = (now + lifetime).into();
    params.serial_number = Some(serial());
    params.use_authority_key_identifier_extension = true;
    params
}

/// A serial number nobody else uses: 127 random bits, positive.
pub(super) fn serial() -> SerialNumber {
    let bytes = (fastrand::u128(..) >> 1).max(1).to_be_bytes();
    SerialNumber::from(bytes.to_vec())
}

impl std::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Anchor")
    }
}

impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PemPair")
    }
}

//! A certificate authority for tests and benches: one root, one issuer, leaves with any names.
//!
//! Everything is made up on the spot; nothing here is used by a running proxy. Failures panic, as they
//! should in a test.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{CredentialStore, TrustAnchors};
use crate::model::WorkloadId;
use crate::model::endpoint::EndpointTls;

/// One entry of a leaf's subject alternative names.
#[derive(Clone, Copy, Debug)]
pub enum San<'a> {
    Dns(&'a str),
    Uri(&'a str),
    Ip([u8; 4]),
}

/// A root that signed an issuer that signs leaves, as in a real mesh.
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    intermediate: CertificateDer<'static>,
    root_pem: String,
    name: String,
}

/// A leaf with all that is needed to present it.
pub struct Issued {
    pub leaf: CertificateDer<'static>,
    pub intermediates: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub expiry: SystemTime,
}

impl TestCa {
    pub fn new(name: &str) -> Self {
        let root_key = KeyPair::generate().expect("key");
        let root_params = ca_params(name);
        let root_pem = root_params.self_signed(&root_key).expect("root").pem();
        let root = Issuer::new(root_params, root_key);
        let issuer_key = KeyPair::generate().expect("key");
        let issuer_params = ca_params(&format!("{name} issuer"));
        let intermediate = issuer_params.signed_by(&issuer_key, &root).expect("issuer").der().clone();
        Self { issuer: Issuer::new(issuer_params, issuer_key), intermediate, root_pem, name: name.to_owned() }
    }

    /// The root as a PEM bundle of one.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    pub fn anchors(&self) -> TrustAnchors {
        TrustAnchors::from_pem(self.root_pem.as_bytes()).expect("anchors")
    }

    /// A leaf with these names, valid for decades.
    pub fn leaf(&self, names: &[San<'_>]) -> Issued {
        self.leaf_until(names, 2100)
    }

    /// A leaf that names nobody but in its common name.
    pub fn common_name_leaf(&self, name: &str) -> Issued {
        let mut params = leaf_params(&[], 2100);
        params.distinguished_name.push(DnType::CommonName, name);
        self.issue(&params)
    }

    /// A leaf that is presented with so many intermediates of its issuer's name, and other keys, before the real one.
    pub fn leaf_among(&self, names: &[San<'_>], decoys: usize) -> Issued {
        let mut issued = self.leaf(names);
        let made: Vec<_> = (0..decoys.min(100)).map(|_| Self::new(&self.name).intermediate).collect();
        issued.intermediates = made.into_iter().cycle().take(decoys).chain(issued.intermediates).collect();
        issued
    }

    /// A leaf that ended long ago.
    pub fn expired_leaf(&self, names: &[San<'_>]) -> Issued {
        self.leaf_until(names, 2001)
    }

    /// A leaf that is valid between these times.
    pub fn leaf_between(&self, names: &[San<'_>], from: SystemTime, until: SystemTime) -> Issued {
        let mut params = leaf_params(names, 2100);
        (params.not_before, params.not_after) = (from.into(), until.into());
        self.issue(&params)
    }

    fn leaf_until(&self, names: &[San<'_>], year: i32) -> Issued {
        self.issue(&leaf_params(names, year))
    }

    /// A leaf that says what these parameters say.
    pub fn issue(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("key");
        Issued {
            leaf: params.signed_by(&key, &self.issuer).expect("leaf").der().clone(),
            intermediates: vec![self.intermediate.clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            expiry: SystemTime::now() + Duration::from_secs(24 * 3600),
        }
    }

    /// Signs the key of a request, DER, for these names instead of the requested ones. The leaf comes
    /// first, the intermediates after it.
    pub fn sign_request(&self, csr: &[u8], names: &[San<'_>]) -> Vec<CertificateDer<'static>> {
        self.sign_request_as(csr, leaf_params(names, 2100))
    }

    /// The same, until a time of its own.
    pub fn sign_request_until(
        &self,
        csr: &[u8],
        names: &[San<'_>],
        until: SystemTime,
    ) -> Vec<CertificateDer<'static>> {
        let mut params = leaf_params(names, 2100);
        params.not_after = until.into();
        self.sign_request_as(csr, params)
    }

    fn sign_request_as(&self, csr: &[u8], params: CertificateParams) -> Vec<CertificateDer<'static>> {
        let csr = CertificateSigningRequestDer::from(csr.to_vec());
        let mut request = CertificateSigningRequestParams::from_der(&csr).expect("a signing request");
        request.params = params;
        let leaf = request.signed_by(&self.issuer).expect("leaf").der().clone();
        vec![leaf, self.intermediate.clone()]
    }

    /// A ready store for the workload `id` (DNS-like or URI), trusting this authority.
    pub fn store(&self, id: &str) -> Arc<CredentialStore> {
        let id: WorkloadId = id.parse().expect("an identity");
        let text = id.to_string();
        let issued = match id {
            WorkloadId::Dns(_) => self.leaf(&[San::Dns(&text)]),
            WorkloadId::Uri(_) => self.leaf(&[San::Uri(&text)]),
        };
        let store = CredentialStore::new(id, self.anchors());
        issued.install(&store).expect("a fresh certificate is accepted");
        store
    }

    /// A store for `id` without a certificate, trusting this authority.
    pub fn empty_store(&self, id: &str) -> Arc<CredentialStore> {
        CredentialStore::new(id.parse().expect("an identity"), self.anchors())
    }
}

impl Issued {
    pub fn install(&self, store: &CredentialStore) -> Result<(), super::Rejected> {
        store.install(self.leaf.clone(), self.intermediates.clone(), &self.key, self.expiry)
    }
}

/// Expects the workload `id` at the far end, with a server name that is not its identity.
pub fn expect(id: &str) -> EndpointTls {
    EndpointTls {
        id: id.parse().expect("an identity"),
        server_name: "server-name.example".parse().expect("a name"),
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(names: &[San<'_>], year: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = names
        .iter()
        .map(|name| match name {
            San::Dns(text) => SanType::DnsName((*text).try_into().expect("ASCII")),
            San::Uri(text) => SanType::URI((*text).try_into().expect("ASCII")),
            San::Ip(octets) => SanType::IpAddress((*octets).into()),
        })
        .collect();
    params
}

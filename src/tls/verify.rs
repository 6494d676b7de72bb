//! Is this chain ours, and whom does its leaf name?
//!
//! The two questions are apart because identities may be URIs, which rustls' own name check does not
//! know: the handshake proves the chain, and the caller compares the names afterwards.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;

use super::crypto::SIGNATURES;
use super::proven::Proven;
use crate::model::WorkloadId;

/// Accepts any certificate that chains to the trust anchors, whatever its names.
#[derive(Debug)]
pub(super) struct ChainOnly {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) proven: Arc<Proven>,
}

/// Accepts what another verifier accepts, without asking twice about the same chain.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) proven: Arc<Proven>,
}

/// Whether `leaf` was issued, directly or through `intermediates`, by one of `roots`, and every link is
/// within its dates at `now`.
pub(super) fn chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let leaf = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, SIGNATURES.all)
}

/// The names a certificate carries that can be identities, in the certificate's order: DNS names without
/// trailing dot, and URIs. A certificate that cannot be read names nobody.
pub fn names(leaf: &CertificateDer<'_>) -> Vec<WorkloadId> {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(leaf) else { return Vec::new() };
    let Ok(Some(san)) = cert.subject_alternative_name() else { return Vec::new() };
    san.value.general_names.iter().filter_map(name).collect()
}

/// A DNS entry that spells a URI is not that URI, nor the other way round: an issuer that polices one kind
/// of name must not be tricked into granting the other.
fn name(entry: &GeneralName<'_>) -> Option<WorkloadId> {
    match entry {
        GeneralName::DNSName(text) => text.parse().ok().filter(|id| matches!(id, WorkloadId::Dns(_))),
        GeneralName::URI(text) => text.parse().ok().filter(|id| matches!(id, WorkloadId::Uri(_))),
        _ => None,
    }
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verify = || chain(end_entity, intermediates, &self.roots, now);
        self.proven.or_else(end_entity, intermediates, now, verify)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("the mesh speaks TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &SIGNATURES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SIGNATURES.supported_schemes()
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verify = || self.verifier.verify_client_cert(end_entity, intermediates, now).map(drop);
        self.proven.or_else(end_entity, intermediates, now, verify)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{San, TestCa};

    #[test]
    fn names_keep_the_certificate_s_order_and_skip_what_is_no_identity() {
        let ca = TestCa::new("root");
        let issued = ca.leaf(&[
            San::Ip([10, 0, 0, 1]),
            San::Dns("dotted.example."),
            San::Dns("*.example"),
            San::Uri("spiffe://td/web"),
            San::Dns("Web.example"),
        ]);
        let names: Vec<_> = names(&issued.leaf).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["spiffe://td/web", "web.example"]);
    }

    #[test]
    fn a_name_of_one_kind_is_not_a_name_of_the_other() {
        let ca = TestCa::new("root");
        let issued = ca.leaf(&[San::Dns("spiffe://td/web"), San::Uri("web.example")]);
        assert_eq!(names(&issued.leaf), []);
    }

    #[test]
    fn garbage_names_nobody() {
        assert_eq!(names(&CertificateDer::from(vec![0x30, 0x03, 1, 2, 3])), []);
        assert_eq!(names(&CertificateDer::from(Vec::new())), []);
    }
}

//! Which algorithms the mesh speaks (contract 2.2), in its order of preference.
//!
//! One provider for everything: suites, key exchange and signatures come from aws-lc-rs. RSA-PSS is left
//! out on purpose, as the reference does, so both ends agree on what a chain may be signed with.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::{SignatureScheme, SupportedProtocolVersion};
use webpki::aws_lc_rs as verify;

/// TLS 1.3 and nothing older.
pub static VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Signatures accepted in chains (`all`) and offered in handshakes (`mapping`, in this order).
pub static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        verify::ECDSA_P256_SHA256,
        verify::ECDSA_P256_SHA384,
        verify::ECDSA_P256_SHA512,
        verify::ECDSA_P384_SHA256,
        verify::ECDSA_P384_SHA384,
        verify::ECDSA_P384_SHA512,
        verify::ECDSA_P521_SHA256,
        verify::ECDSA_P521_SHA384,
        verify::ECDSA_P521_SHA512,
        verify::ED25519,
        verify::RSA_PKCS1_2048_8192_SHA256,
        verify::RSA_PKCS1_2048_8192_SHA384,
        verify::RSA_PKCS1_2048_8192_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[verify::ECDSA_P384_SHA384]),
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[verify::ECDSA_P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP521_SHA512, &[verify::ECDSA_P521_SHA512]),
        (SignatureScheme::ED25519, &[verify::ED25519]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[verify::RSA_PKCS1_2048_8192_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[verify::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[verify::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
            aws_lc_rs::kx_group::SECP384R1,
        ],
        signature_verification_algorithms: SIGNATURES,
        ..aws_lc_rs::default_provider()
    })
});

/// The process's one cryptographic provider.
pub fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, NamedGroup};

    use super::*;

    #[test]
    fn the_contract_s_order_is_offered() {
        let suites: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        assert_eq!(
            suites,
            [
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                CipherSuite::TLS13_AES_256_GCM_SHA384,
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            ]
        );
        let groups: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(
            groups,
            [NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1]
        );
        let schemes = SIGNATURES.supported_schemes();
        assert_eq!(
            schemes[..2],
            [SignatureScheme::ECDSA_NISTP384_SHA384, SignatureScheme::ECDSA_NISTP256_SHA256]
        );
        assert_eq!(schemes.len(), 7);
        assert!(!schemes.contains(&SignatureScheme::RSA_PSS_SHA256));
    }
}

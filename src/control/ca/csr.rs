//! What a certificate signing request asks for.

use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384};
use x509_parser::prelude::FromDer;

use super::Refusal;

/// A PKCS#10 request, read and not yet believed.
#[derive(Debug)]
pub struct SigningRequest {
    dns_names: Vec<String>,
    /// A kind of name that is no DNS name, if there is one.
    foreign: Option<&'static str>,
    common_names: Vec<String>,
    ecdsa: bool,
    signed_by_its_key: bool,
    pub(super) public_key: Option<SubjectPublicKeyInfo>,
}

impl SigningRequest {
    /// Reads DER; `None` if it is anything else, or has something after its end.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (rest, csr) = X509CertificationRequest::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let info = &csr.certification_request_info;
        let mut read = Self {
            dns_names: Vec::new(),
            foreign: None,
            common_names: Vec::new(),
            ecdsa: is_ecdsa(&info.subject_pki.algorithm),
            signed_by_its_key: csr.verify_signature().is_ok(),
            public_key: SubjectPublicKeyInfo::from_der(info.subject_pki.raw).ok(),
        };
        for name in info.subject.iter_common_name() {
            read.common_names.push(name.as_str().ok()?.to_owned());
        }
        for attribute in info.attributes() {
            let ParsedCriAttribute::ExtensionRequest(request) = attribute.parsed_attribute() else {
                continue;
            };
            for extension in &request.extensions {
                read.take_names(extension.parsed_extension())?;
            }
        }
        Some(read)
    }

    fn take_names(&mut self, extension: &ParsedExtension<'_>) -> Option<()> {
        let san = match extension {
            ParsedExtension::SubjectAlternativeName(san) => san,
            ParsedExtension::ParseError { .. } => return None,
            _ => return Some(()),
        };
        for name in &san.general_names {
            match name {
                GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
                GeneralName::RFC822Name(_) => self.foreign = Some("an e-mail address"),
                GeneralName::IPAddress(_) => self.foreign = Some("an IP address"),
                GeneralName::URI(_) => self.foreign = Some("a URI"),
                _ => self.foreign = Some("a name of another kind"),
            }
        }
        Some(())
    }

    /// Whether `identity` is all it asks to be called (controlplane 4.1, checks 6 to 8).
    pub fn check_names(&self, identity: &str) -> Result<(), Refusal> {
        match self.dns_names.as_slice() {
            [only] if only == identity => {}
            [_] => return Err(Refusal::OtherName),
            names => return Err(Refusal::NameCount(names.len())),
        }
        if self.common_names.iter().any(|name| !name.is_empty() && name != identity) {
            return Err(Refusal::CommonName);
        }
        self.foreign.map_or(Ok(()), |kind| Err(Refusal::ForeignName(kind)))
    }

    /// Whether its key may be certified (check 12) and was used to sign it.
    pub fn check_key(&self) -> Result<(), Refusal> {
        if !self.ecdsa || self.public_key.is_none() {
            return Err(Refusal::KeyType);
        }
        if !self.signed_by_its_key {
            return Err(Refusal::RequestSignature);
        }
        Ok(())
    }

    /// Whether it wants a common name beside the alternative name.
    pub(super) fn has_common_name(&self) -> bool {
        self.common_names.iter().any(|name| !name.is_empty())
    }
}

fn is_ecdsa(algorithm: &x509_parser::x509::AlgorithmIdentifier<'_>) -> bool {
    let curve = algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
    algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve.is_some_and(|curve| curve == OID_EC_P256 || curve == OID_NIST_EC_P384)
}

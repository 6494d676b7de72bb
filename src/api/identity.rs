//! `Identity.Certify`: a signing request goes out, a certificate comes back (contract 2.1).
//!
//! Certificates and requests are DER on the wire, although the protocol's own comments say PEM.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use linkerd2_proxy_api::identity as pb;

use crate::model::WorkloadId;

/// What a certificate authority answered. Nothing in it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub leaf: Vec<u8>,
    /// DER, from the leaf's issuer upwards.
    pub intermediates: Vec<Vec<u8>>,
    pub valid_until: SystemTime,
}

/// Why an answer of `Certify` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssued {
    #[error("the answer has no certificate")]
    Leaf,
    #[error("the answer does not say until when the certificate is valid")]
    NoExpiry,
    #[error("the certificate has expired already")]
    Expired,
}

/// A request to certify `id`, with the raw bytes of a service-account token and a PKCS#10 in DER.
pub fn encode_request(id: &WorkloadId, token: Vec<u8>, csr: Vec<u8>) -> pb::CertifyRequest {
    pb::CertifyRequest { identity: id.to_string(), token, certificate_signing_request: csr }
}

/// Reads the answer; one that has expired at `now` is refused.
pub fn issued(pb: pb::CertifyResponse, now: SystemTime) -> Result<Issued, InvalidIssued> {
    if pb.leaf_certificate.is_empty() {
        return Err(InvalidIssued::Leaf);
    }
    let valid_until = pb.valid_until.and_then(system_time).ok_or(InvalidIssued::NoExpiry)?;
    if valid_until <= now {
        return Err(InvalidIssued::Expired);
    }
    Ok(Issued { leaf: pb.leaf_certificate, intermediates: pb.intermediate_certificates, valid_until })
}

pub fn encode_issued(from: Issued) -> pb::CertifyResponse {
    pb::CertifyResponse {
        leaf_certificate: from.leaf,
        intermediate_certificates: from.intermediates,
        valid_until: Some(from.valid_until.into()),
    }
}

/// Times before 1970 or beyond the clock's range are no times.
fn system_time(pb: prost_types::Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(pb.seconds).ok()?;
    let nanos = u32::try_from(pb.nanos).ok().filter(|n| *n < 1_000_000_000)?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_survives_the_wire() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let valid_until = now + Duration::new(60, 7);
        let sent = Issued { leaf: vec![1], intermediates: vec![vec![2], vec![3]], valid_until };
        assert_eq!(issued(encode_issued(sent.clone()), now), Ok(sent));
    }

    #[test]
    fn answers_without_certificate_or_future_expiry_are_refused() {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let good = Issued { leaf: vec![1], intermediates: vec![], valid_until: now };
        assert_eq!(issued(encode_issued(good.clone()), now), Err(InvalidIssued::Expired));
        let mut pb = encode_issued(good.clone());
        for bad in [None, Some((-1, 0)), Some((1, -1))] {
            pb.valid_until = bad.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos });
            assert_eq!(issued(pb.clone(), now), Err(InvalidIssued::NoExpiry), "{bad:?}");
        }
        let empty = encode_issued(Issued { leaf: vec![], ..good });
        assert_eq!(issued(empty, now), Err(InvalidIssued::Leaf));
    }
}

//! Has this chain been verified before? A mesh shows the same few certificates over and over: what their signatures
//! proved once stays proven, and two of the three signatures of every handshake need not be looked at again. The
//! third, by which a peer proves that the certificate is its own, is never remembered.
//!
//! What is remembered is bound to one set of trust anchors and one purpose (whoever verifies owns a [`Proven`]), to
//! every byte of the chain, and to the time in which all of its certificates are valid: outside of that the chain is
//! verified as if it had never been seen.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};

/// Chains remembered at most; beyond that all are forgotten and proven anew. Only who has a certificate of the mesh
/// can add one.
const MOST: usize = 1024;

/// Chains that were found good.
#[derive(Debug, Default)]
pub(super) struct Proven(Mutex<HashMap<Fingerprint, Validity>>);

pub(super) type Fingerprint = [u8; 32];

/// Seconds since the epoch.
type Validity = RangeInclusive<u64>;

impl Proven {
    /// Whether the chain is good at `now`: `verify` says so, now or before.
    pub(super) fn or_else<E>(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        verify: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let fingerprint = fingerprint(leaf, intermediates);
        let known = self.0.lock().get(&fingerprint).is_some_and(|validity| validity.contains(&now.as_secs()));
        if known {
            return Ok(());
        }
        verify()?;
        if let Some(validity) = validity(leaf, intermediates) {
            let mut chains = self.0.lock();
            if chains.len() >= MOST {
                chains.clear();
            }
            chains.insert(fingerprint, validity);
        }
        Ok(())
    }
}

/// Of the certificates and where each ends.
pub(super) fn fingerprint(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Fingerprint {
    let mut context = Context::new(&SHA256);
    for certificate in std::iter::once(leaf).chain(intermediates) {
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// When every certificate of the chain is valid; `None` where one does not say so in a way that is understood here.
fn validity(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<Validity> {
    let mut all = 0..=u64::MAX;
    for certificate in std::iter::once(leaf).chain(intermediates) {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        let from = u64::try_from(validity.not_before.timestamp()).ok()?;
        let until = u64::try_from(validity.not_after.timestamp()).ok()?;
        all = (*all.start()).max(from)..=(*all.end()).min(until);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::tls::testing::{Issued, San, TestCa};

    const NAME: &[San<'_>] = &[San::Dns("web.example")];

    /// Whether it was verified, and what came of it.
    fn ask(proven: &Proven, issued: &Issued, now: UnixTime, good: bool) -> (bool, Result<(), ()>) {
        let verified = Cell::new(false);
        let found = proven.or_else(&issued.leaf, &issued.intermediates, now, || {
            verified.set(true);
            if good { Ok(()) } else { Err(()) }
        });
        (verified.get(), found)
    }

    #[test]
    fn a_chain_is_verified_once() {
        let (proven, issued) = (Proven::default(), TestCa::new("root").leaf(NAME));
        assert_eq!(ask(&proven, &issued, UnixTime::now(), true), (true, Ok(())));
        assert_eq!(ask(&proven, &issued, UnixTime::now(), true), (false, Ok(())));
    }

    #[test]
    fn a_bad_chain_is_not_remembered() {
        let (proven, issued) = (Proven::default(), TestCa::new("root").leaf(NAME));
        assert_eq!(ask(&proven, &issued, UnixTime::now(), false), (true, Err(())));
        assert_eq!(ask(&proven, &issued, UnixTime::now(), true), (true, Ok(())));
    }

    #[test]
    fn any_other_byte_is_another_chain() {
        let (proven, ca) = (Proven::default(), TestCa::new("root"));
        let issued = ca.leaf(NAME);
        assert_eq!(ask(&proven, &issued, UnixTime::now(), true), (true, Ok(())));
        let mut forged = ca.leaf(NAME);
        forged.leaf = issued.leaf.clone();
        forged.intermediates.clear();
        assert_eq!(ask(&proven, &forged, UnixTime::now(), false), (true, Err(())));
        let mut bytes = issued.leaf.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let forged = Issued { leaf: bytes.into(), ..issued };
        assert_eq!(ask(&proven, &forged, UnixTime::now(), false), (true, Err(())));
    }

    #[test]
    fn outside_its_dates_a_chain_is_verified_again() {
        let (proven, issued) = (Proven::default(), TestCa::new("root").leaf(NAME));
        assert_eq!(ask(&proven, &issued, UnixTime::now(), true), (true, Ok(())));
        // Test leaves are valid from 2000 to 2100.
        for year in [29, 131] {
            let other = UnixTime::since_unix_epoch(Duration::from_secs(year * 365 * 86_400));
            assert_eq!(ask(&proven, &issued, other, false), (true, Err(())), "{year} years after 1970");
        }
    }

    #[test]
    fn no_number_of_chains_is_remembered_without_end() {
        let (proven, ca) = (Proven::default(), TestCa::new("root"));
        let issued = ca.leaf(NAME);
        for number in 0..=MOST as u64 {
            let key = [number.to_be_bytes(); 4].concat().try_into().unwrap();
            proven.0.lock().insert(key, 0..=0);
        }
        assert_eq!(ask(&proven, &issued, UnixTime::now(), true), (true, Ok(())));
        assert_eq!(proven.0.lock().len(), 1);
    }
}

//! Faults of issuers and trust anchors.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;
use crate::control::ca::{Anchor, folder};

#[tokio::test]
async fn differing_trust_anchors() {
    let guide = Guide::new();
    let other = guide.path("other");
    folder::create(&other, &["east"], SystemTime::now()).unwrap();
    let both = ["--certs", other.to_str().unwrap()];
    guide.one_with(&both, "trust-anchors", Error, &["west trusts 1", "0 are the same"]).await;
    // The same anchors in another order are the same.
    let own = fs::read_to_string(guide.path("certs/ca-bundle.crt")).unwrap();
    let theirs = fs::read_to_string(other.join("ca-bundle.crt")).unwrap();
    fs::write(guide.path("certs/ca-bundle.crt"), format!("{own}{theirs}")).unwrap();
    fs::write(other.join("ca-bundle.crt"), format!("{theirs}{own}")).unwrap();
    assert_eq!(guide.found(&both).await, []);
}

/// An issuer of the same anchor, as if made then.
fn reissue(guide: &Guide, then: SystemTime) {
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let anchor = Anchor::from_pem(&read("certs/ca-bundle.crt"), &read("certs/ca.key")).unwrap();
    let issuer = anchor.issuer_for("east", then).unwrap();
    fs::write(guide.path("certs/east/issuer.crt"), issuer.certificate).unwrap();
    fs::write(guide.path("certs/east/issuer.key"), issuer.key).unwrap();
}

const DAY: Duration = Duration::from_secs(24 * 3600);
#[tokio::test]
async fn an_expired_issuer_and_one_that_soon_expires() {
    let guide = Guide::new();
    reissue(&guide, SystemTime::now() - 366 * DAY);
    guide.one("issuer", Error, &["the issuer of east expired at", "replace the issuer"]).await;
    reissue(&guide, SystemTime::now() - 340 * DAY);
    guide.one("issuer", Warning, &["the issuer of east expires in 24days"]).await;
    reissue(&guide, SystemTime::now() - 300 * DAY);
    assert_eq!(guide.found(&[]).await, []);
}

#[tokio::test]
async fn an_issuer_of_another_anchor_and_one_that_is_not_there() {
    let guide = Guide::new();
    let other = guide.path("other");
    folder::create(&other, &["east"], SystemTime::now()).unwrap();
    fs::copy(other.join("east/issuer.crt"), guide.path("certs/east/issuer.crt")).unwrap();
    fs::copy(other.join("east/issuer.key"), guide.path("certs/east/issuer.key")).unwrap();
    let words = ["causeway control does not start", "does not verify against the trust anchors"];
    guide.one("issuer", Error, &words).await;
    fs::remove_file(guide.path("certs/east/issuer.crt")).unwrap();
    guide.one("issuer", Error, &["east/issuer.crt", "causeway certs create"]).await;
}

/// Certificates of east in PEM, from the issuer upwards, with its key; the anchor signs the last one.
fn issued(guide: &Guide, from_the_top: &[IsCa]) -> (String, String) {
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let key = KeyPair::from_pem(&read("certs/ca.key")).unwrap();
    let mut issuer = Issuer::from_ca_cert_pem(&read("certs/ca-bundle.crt"), key).unwrap();
    let (mut chain, mut last) = (String::new(), String::new());
    for (place, is_ca) in from_the_top.iter().enumerate() {
        let mut params = CertificateParams::default();
        params.is_ca = *is_ca;
        params.distinguished_name.push(DnType::CommonName, format!("certificate {place}"));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (chain, last) = (certificate.pem() + &chain, key.serialize_pem());
        issuer = Issuer::new(params, key);
    }
    (chain, last)
}

/// Neither is content where the other is not.
#[tokio::test]
async fn certificates_are_judged_as_the_control_plane_judges_them() {
    const ANY: IsCa = IsCa::Ca(BasicConstraints::Unconstrained);
    const LAST: IsCa = IsCa::Ca(BasicConstraints::Constrained(0));
    let guide = Guide::new();
    let read = |name: &str| fs::read_to_string(guide.path(name)).unwrap();
    let (bundle, own) = (read("certs/ca-bundle.crt"), read("certs/east/issuer.crt"));
    let (other, key) = (read("certs/west/issuer.crt"), read("certs/east/issuer.key"));
    let other_key = read("certs/west/issuer.key");
    let (leaf, leaf_key) = issued(&guide, &[IsCa::ExplicitNoCa]);
    let (sound, sound_key) = issued(&guide, &[ANY, LAST]);
    let (long, long_key) = issued(&guide, &[LAST, ANY]);
    let behind = format!("{own}{other}");
    let garbled = format!("{bundle}-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let cut = format!("{bundle}{}", &bundle[..bundle.len() / 2]);
    let not_there = "";
    for (issuer, key, bundle, told) in [
        (&own, &other_key, &bundle, Some("the key is not the one of the issuer certificate")),
        (&leaf, &leaf_key, &bundle, Some("EndEntityUsedAsCa")),
        (&long, &long_key, &bundle, Some("PathLenConstraintViolated")),
        (&own, &key, &garbled, Some("ca-bundle.crt: trust anchors: expected")),
        (&own, &key, &cut, Some("ca-bundle.crt: trust anchors: expected")),
        (&own, &not_there.to_owned(), &bundle, Some("issuer certificate and key")),
        (&sound, &sound_key, &bundle, None),
        (&behind, &key, &bundle, None),
    ] {
        fs::write(guide.path("certs/east/issuer.crt"), issuer).unwrap();
        fs::write(guide.path("certs/east/issuer.key"), key).unwrap();
        fs::write(guide.path("certs/ca-bundle.crt"), bundle).unwrap();
        let found = guide.found(&[]).await;
        let opened = folder::open(&guide.path("certs"), "east", SystemTime::now());
        let errors: Vec<_> = found.iter().filter(|finding| finding.check == "issuer").collect();
        assert_eq!(opened.is_err(), told.is_some(), "{opened:?}");
        assert_eq!(errors.is_empty(), told.is_none(), "{errors:#?}");
        let said = |told| errors.iter().any(|finding| finding.found.contains(told));
        assert!(told.is_none_or(said), "{told:?} in {errors:#?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_anchor_or_an_intermediate_has_a_remedy_of_its_own() {
    let guide = Guide::new();
    let bundle = fs::read_to_string(guide.path("certs/ca-bundle.crt")).unwrap();
    let old = Anchor::generate(SystemTime::now() - 20 * 366 * DAY).unwrap();
    fs::write(guide.path("certs/ca-bundle.crt"), format!("{bundle}{}", old.pem())).unwrap();
    let found = guide.found(&[]).await;
    assert_eq!(found.len(), 2, "of east and of west: {found:#?}");
    for finding in found {
        assert_eq!((finding.check, finding.severity), ("issuer", Error));
        assert!(finding.found.starts_with("a trust anchor of "), "{finding:#?}");
        assert!(finding.remedy.contains("a new anchor beside the old one"), "{finding:#?}");
    }
    fs::write(guide.path("certs/ca-bundle.crt"), bundle).unwrap();
    let own = fs::read_to_string(guide.path("certs/east/issuer.crt")).unwrap();
    reissue(&guide, SystemTime::now() - 366 * DAY);
    let expired = fs::read_to_string(guide.path("certs/east/issuer.crt")).unwrap();
    fs::write(guide.path("certs/east/issuer.crt"), format!("{own}{expired}")).unwrap();
    let words = ["a certificate behind the issuer of east expired at", "put the intermediate"];
    guide.one("issuer", Error, &words).await;
}

#[tokio::test]
async fn an_issuer_that_was_made_by_a_clock_ahead() {
    let guide = Guide::new();
    reissue(&guide, SystemTime::now() + HOUR);
    guide.one("clock", Error, &["the issuer of east is valid only in 58m"]).await;
}

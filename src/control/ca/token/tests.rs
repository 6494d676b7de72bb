use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn key() -> TokenKey {
    TokenKey::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn web() -> ServiceAccount {
    ServiceAccount::new("shop", "web")
}

/// A token with any header and claims, properly signed.
fn signed(key: &TokenKey, header: serde_json::Value, claims: serde_json::Value) -> String {
    let text = format!("{}.{}", segment(&header), segment(&claims));
    let mark = key.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mark))
}

fn claims() -> serde_json::Value {
    serde_json::json!({ "iss": ISSUER, "sub": "system:serviceaccount:shop:web", "aud": [AUDIENCE],
        "exp": 2000, "nbf": 1000, "iat": 1000 })
}

fn refused(change: impl FnOnce(&mut serde_json::Value)) -> InvalidToken {
    let key = key();
    let mut claims = claims();
    change(&mut claims);
    let token = signed(&key, serde_json::json!({ "alg": "ES256" }), claims);
    key.verifier().verify(token.as_bytes(), at(1500)).unwrap_err()
}

#[test]
fn a_token_proves_its_account_while_it_lasts() {
    let key = key();
    let token = key.issue(&web(), HOUR, at(1000));
    let verifier = key.verifier();
    let verify = |now| verifier.verify(token.as_bytes(), at(now));
    assert_eq!(verify(1000), Ok(web()));
    assert_eq!(verify(4599), Ok(web()));
    assert_eq!(verify(4600), Err(InvalidToken::Expired));
    assert_eq!(verify(999), Err(InvalidToken::NotYetValid));
    let with_newline = format!("{token}\n");
    assert_eq!(verifier.verify(with_newline.as_bytes(), at(1000)), Ok(web()));
}

#[test]
fn every_claim_is_looked_at() {
    assert_eq!(refused(|c| c["aud"] = "https://kubernetes.default.svc".into()), InvalidToken::Audience);
    assert_eq!(refused(|c| c["aud"] = serde_json::json!([])), InvalidToken::Audience);
    assert_eq!(refused(|c| c["iss"] = "https://elsewhere".into()), InvalidToken::Issuer);
    assert_eq!(refused(|c| c["exp"] = 1500.into()), InvalidToken::Expired);
    assert_eq!(refused(|c| c["nbf"] = 1501.into()), InvalidToken::NotYetValid);
    assert_eq!(refused(|c| c["exp"] = "2000".into()), InvalidToken::Malformed);
    assert_eq!(refused(|c| drop(c.as_object_mut().unwrap().remove("exp"))), InvalidToken::Malformed);
}

#[test]
fn only_service_accounts_with_label_names_are_users() {
    let users = [
        "",
        "web",
        "system:node:shop:web",
        "system:serviceaccount:shop",
        "system:serviceaccount:shop:",
        "system:serviceaccount::web",
        "system:serviceaccount:shop:web.other",
        "system:serviceaccount:a:b:c",
        "system:serviceaccount:Shop:web",
        "system:serviceaccount:shop:-web",
    ];
    for user in users {
        assert_eq!(refused(|c| c["sub"] = user.into()), InvalidToken::User, "{user:?}");
    }
}

#[test]
fn a_token_does_not_choose_how_it_is_verified() {
    let key = key();
    let verifier = key.verifier();
    for alg in ["none", "None", "HS256", "ES384", "RS256", ""] {
        let token = signed(&key, serde_json::json!({ "alg": alg }), claims());
        assert_eq!(verifier.verify(token.as_bytes(), at(1500)), Err(InvalidToken::Algorithm), "{alg:?}");
    }
    let critical = signed(&key, serde_json::json!({ "alg": "ES256", "crit": ["b64"] }), claims());
    assert_eq!(verifier.verify(critical.as_bytes(), at(1500)), Err(InvalidToken::Algorithm));
    let bare = format!("{}.{}.", segment(&serde_json::json!({ "alg": "ES256" })), segment(&claims()));
    assert_eq!(verifier.verify(bare.as_bytes(), at(1500)), Err(InvalidToken::Signature));
}

#[test]
fn another_key_or_other_claims_do_not_verify() {
    let (ours, theirs) = (key(), key());
    let token = theirs.issue(&web(), HOUR, at(1000));
    assert_eq!(ours.verifier().verify(token.as_bytes(), at(1000)), Err(InvalidToken::Signature));
    let token = ours.issue(&web(), HOUR, at(1000));
    let parts: Vec<_> = token.split('.').collect();
    let mut claims: serde_json::Value = decode(parts[1]).unwrap();
    claims["sub"] = "system:serviceaccount:shop:admin".into();
    let tampered = format!("{}.{}.{}", parts[0], segment(&claims), parts[2]);
    assert_eq!(ours.verifier().verify(tampered.as_bytes(), at(1000)), Err(InvalidToken::Signature));
}

#[test]
fn what_is_no_token_is_refused_whatever_its_shape() {
    let verifier = key().verifier();
    let long = vec![b'a'; LONGEST + 1];
    for bad in [&b""[..], b".", b"..", b"a.b", b"a.b.c", b"a.b.c.d", b"\xff\xfe", b"e30.e30.e30", &long] {
        assert_eq!(verifier.verify(bad, at(1500)), Err(InvalidToken::Malformed));
    }
}

#[test]
fn keys_of_other_kinds_are_no_token_keys() {
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    assert!(TokenKey::from_pem(&p384).is_err());
    assert!(TokenKey::from_pem("").is_err());
}

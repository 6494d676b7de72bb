//! Service-account tokens: who is asking, as the cluster's own signature says.
//!
//! Signed JSON web tokens with the claims that Kubernetes writes, always ES256. The key's algorithm
//! is fixed, so a token cannot choose how it is verified.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// Whom tokens for certification are meant for (controlplane 4.1, check 9).
pub const AUDIENCE: &str = "identity.l5d.io";

const ISSUER: &str = "https://kubernetes.default.svc";
const ALGORITHM: &str = "ES256";

/// Longer ones are no tokens of ours; real ones have about a thousand bytes.
const LONGEST: usize = 16 * 1024;

/// A namespace and a name in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("it is not a signed JSON web token")]
    Malformed,
    #[error("it is not signed with {ALGORITHM}")]
    Algorithm,
    #[error("its signature is not this cluster's")]
    Signature,
    #[error("its issuer is not this cluster")]
    Issuer,
    #[error("it is meant for another audience: expected {AUDIENCE}")]
    Audience,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("its user is not of the form system:serviceaccount:<namespace>:<name>")]
    User,
}

/// Signs the tokens of one cluster.
pub struct TokenKey(EcdsaKeyPair);

#[derive(Debug, thiserror::Error)]
#[error("expected an ECDSA P-256 private key, PKCS#8 in PEM")]
pub struct InvalidKey;

/// Verifies the tokens of one cluster.
#[derive(Clone)]
pub struct TokenVerifier {
    public_key: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    /// Extensions that a verifier must understand; this one knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audiences,
    /// Whole seconds since 1970, as the two below.
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    iat: u64,
    #[serde(rename = "kubernetes.io", default, skip_serializing_if = "Option::is_none")]
    kubernetes: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl TokenKey {
    /// Reads a private key as [`super::folder`] writes it.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| InvalidKey)?;
        EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der())
            .map(Self)
            .map_err(|_| InvalidKey)
    }

    /// A token for `account`, valid from `now` for `lifetime`, for the identity service.
    pub fn issue(&self, account: &ServiceAccount, lifetime: Duration, now: SystemTime) -> String {
        self.issue_for(&[AUDIENCE], account, lifetime, now)
    }

    /// As [`TokenKey::issue`], for other audiences.
    pub fn issue_for(
        &self,
        audiences: &[&str],
        account: &ServiceAccount,
        lifetime: Duration,
        now: SystemTime,
    ) -> String {
        let ServiceAccount { namespace, name } = account;
        let kubernetes = serde_json::json!({ "namespace": namespace, "serviceaccount": { "name": name } });
        let claims = Claims {
            iss: ISSUER.into(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            aud: Audiences::Many(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            exp: seconds(now).saturating_add(lifetime.as_secs()),
            nbf: seconds(now),
            iat: seconds(now),
            kubernetes: Some(kubernetes),
        };
        let header = Header { alg: ALGORITHM.into(), typ: Some("JWT".into()), crit: None };
        let signed = format!("{}.{}", segment(&header), segment(&claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.expect("signing with a P-256 key in memory cannot fail");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    pub fn verifier(&self) -> TokenVerifier {
        TokenVerifier { public_key: self.0.public_key().as_ref().to_vec() }
    }
}

fn segment(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("strings and numbers always serialize");
    URL_SAFE_NO_PAD.encode(json)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl TokenVerifier {
    /// Whose token this is, if it is one of this cluster's, meant for the identity service, and
    /// valid at `now`. Nothing in it is looked at before its signature is.
    pub fn verify(&self, token: &[u8], now: SystemTime) -> Result<ServiceAccount, InvalidToken> {
        let text = std::str::from_utf8(token).map_err(|_| InvalidToken::Malformed)?.trim_ascii();
        if text.len() > LONGEST {
            return Err(InvalidToken::Malformed);
        }
        let (signed, mark) = text.rsplit_once('.').ok_or(InvalidToken::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(InvalidToken::Malformed)?;
        let header: Header = decode(header)?;
        if header.alg != ALGORITHM || header.crit.is_some() {
            return Err(InvalidToken::Algorithm);
        }
        let mark = URL_SAFE_NO_PAD.decode(mark).map_err(|_| InvalidToken::Malformed)?;
        UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, &self.public_key)
            .verify(signed.as_bytes(), &mark)
            .map_err(|_| InvalidToken::Signature)?;
        decode::<Claims>(claims)?.check(seconds(now))
    }
}

fn decode<T: for<'a> Deserialize<'a>>(segment: &str) -> Result<T, InvalidToken> {
    let json = URL_SAFE_NO_PAD.decode(segment).map_err(|_| InvalidToken::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| InvalidToken::Malformed)
}

impl Claims {
    fn check(self, now: u64) -> Result<ServiceAccount, InvalidToken> {
        let audiences = match &self.aud {
            Audiences::One(audience) => std::slice::from_ref(audience),
            Audiences::Many(audiences) => audiences,
        };
        if self.iss != ISSUER {
            return Err(InvalidToken::Issuer);
        }
        if !audiences.iter().any(|audience| audience == AUDIENCE) {
            return Err(InvalidToken::Audience);
        }
        if self.exp <= now {
            return Err(InvalidToken::Expired);
        }
        if self.nbf > now || self.iat > now {
            return Err(InvalidToken::NotYetValid);
        }
        ServiceAccount::from_user(&self.sub).ok_or(InvalidToken::User)
    }
}

impl ServiceAccount {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Reads `system:serviceaccount:<namespace>:<name>`, each of the last two one DNS label: a dot
    /// would let one account spell another's identity.
    fn from_user(user: &str) -> Option<Self> {
        let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (is_label(namespace) && is_label(name)).then(|| Self::new(namespace, name))
    }
}

/// A DNS label in Kubernetes' sense: 1 to 63 of `[a-z0-9-]`, with a letter or digit at both ends.
fn is_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| plain(*b) || *b == b'-')
        && bytes.first().is_some_and(|b| plain(*b))
        && bytes.last().is_some_and(|b| plain(*b))
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenVerifier")
    }
}

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use linkerd2_proxy_api::identity::identity_client::IdentityClient;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_RSA_SHA256, SanType};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};

use super::*;
use crate::api::identity::issued;
use crate::control::ca::{Anchor, Authority, Issuing, TokenKey};
use crate::tls::{CredentialStore, subject};

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    client: IdentityClient<Channel>,
    tokens: TokenKey,
    certifier: Arc<Certifier>,
}

/// A cluster whose only service accounts are `shop/web` and `shop/admin`, served over gRPC.
async fn world() -> World {
    let now = SystemTime::now();
    let anchor = Anchor::generate(now).unwrap();
    let issuer = anchor.issuer_for("west", now).unwrap();
    let authority = Authority::from_pem(&issuer.certificate, &issuer.key, anchor.pem(), now).unwrap();
    let tokens = token_key();
    let certifier = Arc::new(Certifier {
        authority: Issuing::fixed(authority),
        tokens: tokens.verifier(),
        control_namespace: "linkerd".into(),
        trust_domain: "cluster.local".into(),
    });
    let exists: AccountExists =
        Arc::new(|account| account.namespace == "shop" && ["web", "admin"].contains(&account.name.as_str()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr: SocketAddr = listener.local_addr().unwrap();
    let server = Server::builder().add_service(IdentityService::server(certifier.clone(), exists));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let client = IdentityClient::connect(format!("http://{addr}")).await.unwrap();
    World { client, tokens, certifier }
}

fn token_key() -> TokenKey {
    TokenKey::from_pem(&KeyPair::generate().unwrap().serialize_pem()).unwrap()
}

fn id(name: &str) -> String {
    format!("{name}.shop.serviceaccount.identity.linkerd.cluster.local")
}

fn csr_with(names: Vec<SanType>, common_name: Option<&str>, key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params.subject_alt_names = names;
    params.serialize_request(key).unwrap().der().to_vec()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn csr(name: &str) -> Vec<u8> {
    csr_with(vec![dns(name)], Some(name), &KeyPair::generate().unwrap())
}

impl World {
    fn token(&self, account: &str) -> String {
        self.tokens.issue(&ServiceAccount::new("shop", account), HOUR, SystemTime::now())
    }

    async fn certify(
        &self,
        identity: &str,
        token: &str,
        csr: Vec<u8>,
    ) -> Result<pb::CertifyResponse, Status> {
        let request = pb::CertifyRequest {
            identity: identity.into(),
            token: token.into(),
            certificate_signing_request: csr,
        };
        let mut client = self.client.clone();
        let answer = client.certify(request);
        tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap().map(Response::into_inner)
    }

    async fn refused(&self, identity: &str, token: &str, csr: Vec<u8>) -> (Code, String) {
        let status = self.certify(identity, token, csr).await.expect_err("refused");
        (status.code(), status.message().to_owned())
    }
}

#[tokio::test]
async fn a_workload_gets_its_own_certificate() {
    let world = world().await;
    let key = KeyPair::generate().unwrap();
    let request = csr_with(vec![dns(&id("web"))], None, &key);
    let answer = world.certify(&id("web"), &world.token("web"), request).await.unwrap();
    let issued = issued(answer, SystemTime::now()).unwrap();
    let day = Duration::from_secs(24 * 3600 + 20);
    let left = issued.valid_until.duration_since(SystemTime::now()).unwrap();
    assert!(left <= day && left > day - Duration::from_secs(30), "{left:?}");

    let leaf = CertificateDer::from(issued.leaf);
    assert_eq!(subject::names(&leaf), [id("web").parse().unwrap()]);
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    let intermediates: Vec<_> = issued.intermediates.into_iter().map(CertificateDer::from).collect();
    let anchors = world.certifier.authority.now().anchors().clone();
    let store = CredentialStore::new(id("web").parse().unwrap(), anchors);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    store.install(leaf, intermediates, &key, issued.valid_until).unwrap();
}

#[tokio::test]
async fn a_certificate_needs_a_token_of_the_same_account() {
    let world = world().await;
    let (code, message) = world.refused(&id("web"), "", csr(&id("web"))).await;
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "the request holds no token"));

    let (code, message) = world.refused(&id("admin"), &world.token("web"), csr(&id("admin"))).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains(&format!("belongs to {}", id("web"))), "{message}");

    let elsewhere = "web.shop.serviceaccount.identity.linkerd.other.domain";
    let (code, _) = world.refused(elsewhere, &world.token("web"), csr(elsewhere)).await;
    assert_eq!(code, Code::FailedPrecondition);

    let (code, message) = world.refused(&id("ghost"), &world.token("ghost"), csr(&id("ghost"))).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains("shop/ghost does not exist"), "{message}");
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused_each_with_its_reason() {
    let world = world().await;
    let web = ServiceAccount::new("shop", "web");
    let now = SystemTime::now();
    let genuine = world.token("web");
    let parts: Vec<&str> = genuine.split('.').collect();
    let other = world.token("admin");
    let swapped = format!("{}.{}.{}", parts[0], other.split('.').nth(1).unwrap(), parts[2]);
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
    let cases = [
        (world.tokens.issue(&web, HOUR, now - 2 * HOUR), "expired"),
        (world.tokens.issue_for(&["https://kubernetes.default.svc"], &web, HOUR, now), "another audience"),
        (token_key().issue(&web, HOUR, now), "signature"),
        (swapped, "signature"),
        (unsigned, "not signed with ES256"),
        ("nonsense".into(), "not a signed JSON web token"),
    ];
    for (token, reason) in cases {
        let (code, message) = world.refused(&id("web"), &token, csr(&id("web"))).await;
        assert_eq!(code, Code::FailedPrecondition, "{reason}");
        assert!(message.contains(reason), "{message} should say {reason}");
        assert!(!message.contains(&token), "the token is not repeated");
    }
}

#[tokio::test]
async fn requests_for_other_or_further_names_are_refused() {
    let world = world().await;
    let (web, admin) = (id("web"), id("admin"));
    let key = || KeyPair::generate().unwrap();
    let with = |extra: SanType| csr_with(vec![dns(&web), extra], None, &key());
    let uri = SanType::URI("spiffe://cluster.local/admin".try_into().unwrap());
    let email = SanType::Rfc822Name("web@example.com".try_into().unwrap());
    let cases = [
        (csr(&admin), "not the requested identity"),
        (with(dns(&admin)), "2 DNS names"),
        (with(dns(&web)), "2 DNS names"),
        (csr_with(vec![], Some(&web), &key()), "0 DNS names"),
        (csr_with(vec![dns(&web)], Some(&admin), &key()), "common name"),
        (with(SanType::IpAddress([10, 0, 0, 1].into())), "an IP address"),
        (with(uri), "a URI"),
        (with(email), "an e-mail address"),
    ];
    for (csr, reason) in cases {
        let (code, message) = world.refused(&web, &world.token("web"), csr).await;
        assert_eq!(code, Code::FailedPrecondition, "{reason}");
        assert!(message.contains(reason), "{message} should say {reason}");
    }
}

#[tokio::test]
async fn requests_with_a_wrong_key_or_signature_are_refused() {
    let world = world().await;
    let web = id("web");
    let rsa = csr_with(vec![dns(&web)], None, &KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
    let (code, message) = world.refused(&web, &world.token("web"), rsa).await;
    assert_eq!(code, Code::Internal);
    assert!(message.contains("not ECDSA"), "{message}");

    let mut unproven = csr(&web);
    *unproven.last_mut().unwrap() ^= 1;
    let (code, message) = world.refused(&web, &world.token("web"), unproven).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("not signed by its own key"), "{message}");
}

#[tokio::test]
async fn requests_that_are_incomplete_or_unreadable_are_invalid() {
    let world = world().await;
    let (web, token) = (id("web"), world.token("web"));
    let mut trailing = csr(&web);
    trailing.push(0);
    let pem = b"-----BEGIN CERTIFICATE REQUEST-----".to_vec();
    for (identity, csr) in [("", csr(&web)), (&web, vec![]), (&web, pem), (&web, trailing)] {
        assert_eq!(world.refused(identity, &token, csr).await.0, Code::InvalidArgument);
    }
}

#[test]
fn an_issuer_that_has_expired_signs_nothing() {
    let then = SystemTime::now() - Duration::from_secs(2 * 365 * 24 * 3600);
    let anchor = Anchor::generate(then).unwrap();
    let issuer = anchor.issuer_for("west", then).unwrap();
    let authority = Authority::from_pem(&issuer.certificate, &issuer.key, anchor.pem(), then).unwrap();
    assert!(authority.verify(SystemTime::now()).is_err());
    let late = Authority::from_pem(&issuer.certificate, &issuer.key, anchor.pem(), SystemTime::now());
    assert!(late.is_err());
    assert_eq!(code(&Refusal::Issuer(authority.verify(SystemTime::now()).unwrap_err())), Code::Unknown);
}

#[test]
fn no_certificate_outlives_its_issuer() {
    let then = SystemTime::now() - Duration::from_secs(365 * 24 * 3600 - 3600);
    let anchor = Anchor::generate(then).unwrap();
    let issuer = anchor.issuer_for("west", then).unwrap();
    let now = SystemTime::now();
    let authority = Authority::from_pem(&issuer.certificate, &issuer.key, anchor.pem(), now).unwrap();
    let (issued, _) = authority.own(&id("web").parse().unwrap(), now).unwrap();
    assert!(issued.valid_until <= now + HOUR);
    let leaf = CertificateDer::from(issued.leaf);
    let chain: Vec<_> = issued.intermediates.into_iter().map(CertificateDer::from).collect();
    authority.anchors().verify(&leaf, &chain, UnixTime::now()).unwrap();
}

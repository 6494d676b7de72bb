use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::client::Connected;
use super::server::{Accepted, ServerStream};
use super::testing::{San, TestCa, expect};
use super::*;
use crate::net::relay;

const WEB: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";
const API: &str = "api.ns.serviceaccount.identity.linkerd.cluster.local";
const LIMIT: Duration = Duration::from_secs(10);

type ServerEnd = Result<(ServerStream<TcpStream>, Accepted), Error>;

/// Both ends of one handshake over a real socket.
struct Handshake<'a> {
    client: &'a CredentialStore,
    server: &'a CredentialStore,
    expected: &'a str,
    offer: Offer,
    direct: bool,
}

impl Handshake<'_> {
    async fn run(self) -> (Result<Connected<TcpStream>, Error>, ServerEnd) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let expected = expect(self.expected);
        let connect = async {
            let io = TcpStream::connect(addr).await.unwrap();
            client::connect(self.client, io, &expected, self.offer).await
        };
        let accept = async {
            let (io, _) = listener.accept().await.unwrap();
            server::accept(self.server, io, self.direct).await
        };
        timeout(LIMIT, async { tokio::join!(connect, accept) }).await.expect("the handshake ends")
    }
}

fn from_web<'a>(client: &'a CredentialStore, server: &'a CredentialStore) -> Handshake<'a> {
    Handshake { client, server, expected: API, offer: Offer::Nothing, direct: false }
}

#[tokio::test]
async fn both_ends_learn_who_the_other_is() {
    let ca = TestCa::new("root");
    let (client, server) = from_web(&ca.store(WEB), &ca.store(API)).run().await;
    let (mut near, (mut far, accepted)) = (client.unwrap().stream, server.unwrap());
    assert_eq!((accepted.client, accepted.agreed), (Some(WEB.parse().unwrap()), Agreed::Nothing));

    near.write_all(b"ping").await.unwrap();
    near.shutdown().await.unwrap();
    let mut got = String::new();
    far.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "ping");
    assert_eq!(
        near.get_ref().1.negotiated_key_exchange_group().unwrap().name(),
        rustls::NamedGroup::X25519MLKEM768
    );
    assert_eq!(near.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(far.get_ref().1.server_name(), Some("server-name.example"));
}

#[tokio::test]
async fn a_far_end_with_another_identity_gets_no_byte() {
    let ca = TestCa::new("root");
    let mut handshake = from_web(&ca.store(WEB), &ca.store(WEB)).run().await;
    match handshake.0 {
        Err(Error::WrongIdentity { expected, found }) => {
            assert_eq!(expected.to_string(), API);
            assert_eq!(found.unwrap().to_string(), WEB);
        }
        other => panic!("{other:?}"),
    }
    let (far, _) = handshake.1.as_mut().unwrap();
    let mut got = Vec::new();
    let _ = timeout(LIMIT, far.read_to_end(&mut got)).await.expect("the client hangs up");
    assert!(got.is_empty());
}

#[tokio::test]
async fn an_identity_is_compared_whole() {
    let ca = TestCa::new("root");
    let web = ca.store(WEB);
    let server = CredentialStore::new("api.example".parse().unwrap(), ca.anchors());
    let names = [San::Dns("api.example"), San::Dns("*.example.org"), San::Uri("spiffe://td/api/v2")];
    ca.leaf(&names).install(&server).unwrap();
    for near_miss in
        ["pi.example", "x.api.example", "api.example.org", "spiffe://td/api", "spiffe://td/API/v2"]
    {
        let handshake = Handshake { expected: near_miss, ..from_web(&web, &server) };
        let (client, _) = handshake.run().await;
        assert!(matches!(client, Err(Error::WrongIdentity { .. })), "{near_miss}: {client:?}");
    }
}

#[tokio::test]
async fn uri_identities_work_on_both_ends() {
    let ca = TestCa::new("root");
    let (web, api) = (ca.store("spiffe://td/web"), ca.store("spiffe://td/api"));
    let handshake = Handshake { expected: "spiffe://td/api", ..from_web(&web, &api) };
    let (client, server) = handshake.run().await;
    client.unwrap();
    assert_eq!(server.unwrap().1.client, Some("spiffe://td/web".parse().unwrap()));

    let handshake = Handshake { expected: "spiffe://td/api/", ..from_web(&web, &api) };
    assert!(matches!(handshake.run().await.0, Err(Error::WrongIdentity { .. })));
}

#[tokio::test]
async fn any_name_of_the_server_will_do_but_the_client_is_its_first() {
    let ca = TestCa::new("root");
    let names = [San::Ip([10, 0, 0, 1]), San::Uri("spiffe://td/first"), San::Dns(API), San::Dns(WEB)];
    let store = CredentialStore::new(API.parse().unwrap(), ca.anchors());
    ca.leaf(&names).install(&store).unwrap();
    let (client, server) = from_web(&store, &store).run().await;
    client.unwrap();
    assert_eq!(server.unwrap().1.client, Some("spiffe://td/first".parse().unwrap()));
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted() {
    let (ours, theirs) = (TestCa::new("root"), TestCa::new("root"));
    let (client, server) = from_web(&ours.store(WEB), &theirs.store(API)).run().await;
    assert!(matches!(client, Err(Error::Untrusted(_))), "{client:?}");
    assert!(matches!(server, Err(Error::Handshake(_))), "{server:?}");
}

#[tokio::test]
async fn a_client_of_another_authority_is_not_let_in_as_anonymous() {
    let (ours, theirs) = (TestCa::new("root"), TestCa::new("root"));
    // The client trusts the server, but its own certificate comes from elsewhere.
    let stranger = Stranger::store(&ours, &theirs, false);
    let (_, server) = from_web(&stranger, &ours.store(API)).run().await;
    assert!(matches!(server, Err(Error::Untrusted(_))), "{server:?}");
}

#[tokio::test]
async fn an_expired_client_is_refused() {
    let ca = TestCa::new("root");
    let expired = Stranger::store(&ca, &ca, true);
    let (_, server) = from_web(&expired, &ca.store(API)).run().await;
    assert!(
        matches!(
            server,
            Err(Error::Untrusted(
                rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. }
            ))
        ),
        "{server:?}"
    );
}

/// Stores that `install` would refuse, as a hostile peer would have them.
struct Stranger;

impl Stranger {
    fn store(trusts: &TestCa, issued_by: &TestCa, expired: bool) -> Arc<CredentialStore> {
        let names = [San::Dns(WEB)];
        let issued = if expired { issued_by.expired_leaf(&names) } else { issued_by.leaf(&names) };
        let store = trusts.empty_store(WEB);
        let chain = std::iter::once(issued.leaf).chain(issued.intermediates).collect();
        store.force(chain, &issued.key);
        store
    }
}

#[tokio::test]
async fn an_expired_server_is_refused() {
    let ca = TestCa::new("root");
    let expired = Stranger::store(&ca, &ca, true);
    let api = ca.store(API);
    let (client, _) = Handshake { expected: WEB, ..from_web(&api, &expired) }.run().await;
    assert!(matches!(client, Err(Error::Untrusted(_))), "{client:?}");
}

#[tokio::test]
async fn before_the_first_certificate_a_client_is_anonymous_and_a_server_refuses() {
    let ca = TestCa::new("root");
    let empty = ca.empty_store(WEB);
    let (client, server) = from_web(&empty, &ca.store(API)).run().await;
    client.unwrap();
    assert_eq!(server.unwrap().1.client, None);

    let (_, server) = from_web(&ca.store(WEB), &empty).run().await;
    assert!(matches!(server, Err(Error::NoCredentials)), "{server:?}");
}

#[tokio::test]
async fn the_transport_protocol_needs_both_ends() {
    let ca = TestCa::new("root");
    let (web, api) = (ca.store(WEB), ca.store(API));
    for (offer, direct, agreed) in [
        (Offer::Nothing, false, Agreed::Nothing),
        (Offer::Nothing, true, Agreed::Nothing),
        (Offer::Transport, false, Agreed::Nothing),
        (Offer::Transport, true, Agreed::Transport),
        (Offer::Tentative, false, Agreed::Nothing),
        (Offer::Tentative, true, Agreed::Tentative),
    ] {
        let (client, server) = Handshake { offer, direct, ..from_web(&web, &api) }.run().await;
        assert_eq!(client.unwrap().agreed, agreed);
        assert_eq!(server.unwrap().1.agreed, agreed);
    }
}

#[tokio::test]
async fn whoever_offers_other_protocols_alone_fails_its_handshake() {
    let ca = TestCa::new("root");
    let mut config = (*ca.store(WEB).held().client_config(Offer::Transport)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = rustls::pki_types::ServerName::try_from("server-name.example").unwrap();
    let connect = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, near);
    let store = ca.store(API);
    let (client, server) = tokio::join!(connect, server::accept(&store, far, true));
    assert!(client.is_err());
    let refused = rustls::Error::NoApplicationProtocol;
    assert!(matches!(server, Err(Error::Handshake(why)) if why == refused));
}

#[tokio::test]
async fn the_first_certificate_releases_those_who_wait() {
    let ca = TestCa::new("root");
    let store = ca.empty_store(WEB);
    let ready = store.ready();
    tokio::pin!(ready);
    assert!(futures_util::poll!(ready.as_mut()).is_pending());
    assert!(!store.is_ready());
    ca.leaf(&[San::Dns(WEB)]).install(&store).unwrap();
    timeout(LIMIT, ready).await.unwrap();
    assert!(store.is_ready());
}

#[test]
fn what_does_not_verify_is_not_installed() {
    let (ca, other) = (TestCa::new("root"), TestCa::new("root"));
    let store = ca.store(WEB);
    let before = store.current().unwrap();

    let error = ca.leaf(&[San::Dns(API)]).install(&store).unwrap_err();
    assert!(matches!(error, Rejected::WrongName(_)), "{error}");
    let error = other.leaf(&[San::Dns(WEB)]).install(&store).unwrap_err();
    assert!(matches!(error, Rejected::Untrusted(_)), "{error}");
    let error = ca.expired_leaf(&[San::Dns(WEB)]).install(&store).unwrap_err();
    assert!(matches!(error, Rejected::Untrusted(_)), "{error}");
    let mut mixed = ca.leaf(&[San::Dns(WEB)]);
    mixed.key = ca.leaf(&[San::Dns(WEB)]).key;
    let error = mixed.install(&store).unwrap_err();
    assert!(matches!(error, Rejected::Key(_)), "{error}");
    let mut unchained = ca.leaf(&[San::Dns(WEB)]);
    unchained.intermediates.clear();
    assert!(matches!(unchained.install(&store).unwrap_err(), Rejected::Untrusted(_)));

    assert!(Arc::ptr_eq(&before, &store.current().unwrap()));
}

#[test]
fn a_bundle_may_hold_garbage_but_not_only_garbage() {
    let ca = TestCa::new("root");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = format!("{garbage}{}{garbage}", ca.root_pem());
    assert_eq!(TrustAnchors::from_pem(bundle.as_bytes()).unwrap().len(), 1);
    for bad in ["", garbage, "not PEM"] {
        assert_eq!(TrustAnchors::from_pem(bad.as_bytes()).unwrap_err(), InvalidAnchors);
    }
}

/// Notes how many bytes each write offers to the socket.
struct Offered {
    io: TcpStream,
    sizes: Arc<Mutex<Vec<usize>>>,
}

impl AsyncRead for Offered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl AsyncWrite for Offered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sizes.lock().push(bytes.len());
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.sizes.lock().push(slices.iter().map(|slice| slice.len()).sum());
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_piece_of_the_relay_is_one_offer_to_the_socket() {
    let ca = TestCa::new("root");
    let (web, api) = (ca.store(WEB), ca.store(API));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let io = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let io = Offered { io, sizes: sizes.clone() };
    let sent = vec![7; relay::PIECE];
    let send = async {
        let mut near = client::connect(&web, io, &expect(API), Offer::Nothing).await.unwrap().stream;
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
    };
    let receive = async {
        let (mut far, _) = server::accept(&api, listener.accept().await.unwrap().0, false).await.unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = timeout(LIMIT, async { tokio::join!(send, receive) }).await.expect("it arrives");
    assert_eq!(got.len(), sent.len());
    assert!(sizes.lock().iter().any(|size| *size > sent.len()), "{:?}", sizes.lock());
}

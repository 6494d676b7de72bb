use std::collections::VecDeque;
use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkerd2_proxy_api::identity as pb;
use linkerd2_proxy_api::identity::identity_server::{self, IdentityServer};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};
use tower_service::Service;

use super::certify::Error;
use super::*;
use crate::api;
use crate::backoff::Backoff;
use crate::config::Socket;
use crate::controller::ControllerConfig;
use crate::controller::resolve::{Dns, Names};
use crate::model::DnsName;
use crate::model::name::Host;
use crate::tls;
use crate::tls::Rejected;
use crate::tls::testing::{Issued, San, TestCa};

const ISSUER: &str = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
const WEB: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";
const LIMIT: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How the fake issuer treats a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// A certificate for `web` that says it lives this long.
    Good(Duration),
    OtherName,
    OtherAuthority,
    /// For the name and by the authority, and for a key that is not ours.
    OtherKey,
    /// Says that it lives, and its leaf does not.
    ExpiredLeaf,
    /// Begins tomorrow.
    EarlyLeaf,
    /// Without what leads from its leaf to the anchor.
    NoChain,
    Empty,
    PastExpiry,
    NoExpiry,
    Refuse,
}

/// What the fake issuer was asked, and over which connection.
#[derive(Debug)]
struct Asked {
    client: Option<String>,
    request: pb::CertifyRequest,
}

#[derive(Clone)]
struct Issuer {
    ca: Arc<TestCa>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    asked: mpsc::UnboundedSender<Asked>,
    client: Option<String>,
}

#[tonic::async_trait]
impl identity_server::Identity for Issuer {
    async fn certify(
        &self,
        request: Request<pb::CertifyRequest>,
    ) -> Result<Response<pb::CertifyResponse>, Status> {
        let request = request.into_inner();
        let answer = self.script.lock().pop_front().unwrap_or(Answer::Good(DAY));
        let (ca, name) = match answer {
            Answer::Refuse => (None, WEB),
            Answer::OtherName => (Some(self.ca.clone()), ISSUER),
            Answer::OtherAuthority => (Some(Arc::new(TestCa::new("root"))), WEB),
            _ => (Some(self.ca.clone()), WEB),
        };
        let csr = request.certificate_signing_request.clone();
        let _ = self.asked.send(Asked { client: self.client.clone(), request });
        let ca = ca.ok_or_else(|| Status::permission_denied("not you"))?;
        let now = SystemTime::now();
        let names = [San::Dns(name)];
        let chain = match answer {
            Answer::OtherKey => chain_of(ca.leaf(&names)),
            Answer::ExpiredLeaf => ca.sign_request_until(&csr, &names, now - DAY),
            Answer::EarlyLeaf => chain_of(ca.leaf_between(&names, now + DAY, now + 2 * DAY)),
            Answer::NoChain => ca.sign_request(&csr, &names).into_iter().take(1).collect(),
            Answer::Empty => vec![Vec::new().into()],
            _ => ca.sign_request(&csr, &names),
        };
        let mut chain = chain.into_iter().map(|der| der.to_vec());
        let mut issued = api::identity::encode_issued(api::identity::Issued {
            leaf: chain.next().unwrap(),
            intermediates: chain.collect(),
            valid_until: now + DAY,
        });
        match answer {
            Answer::Good(lifetime) => issued.valid_until = Some((now + lifetime).into()),
            Answer::PastExpiry => issued.valid_until = Some((now - DAY).into()),
            Answer::NoExpiry => issued.valid_until = None,
            _ => {}
        }
        Ok(Response::new(issued))
    }
}

fn chain_of(issued: Issued) -> Vec<CertificateDer<'static>> {
    std::iter::once(issued.leaf).chain(issued.intermediates).collect()
}

/// A proxy's identity task and the issuer it talks to, over mesh TLS.
struct World {
    identity: Identity,
    store: Arc<CredentialStore>,
    asked: mpsc::UnboundedReceiver<Asked>,
    dir: TempDir,
}

impl World {
    async fn new(script: &[Answer]) -> Self {
        let ca = Arc::new(TestCa::new("root"));
        let (tell, asked) = mpsc::unbounded_channel();
        let script = Arc::new(Mutex::new(script.iter().copied().collect()));
        let issuer = Issuer { ca: ca.clone(), script, asked: tell, client: None };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let names = Names::default();
        let host: DnsName = "linkerd-identity.linkerd.svc.cluster.local".parse().unwrap();
        names.set(host.clone(), &[listener.local_addr().unwrap()]);
        let credentials = ca.store(ISSUER);
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(serve(io, credentials.clone(), issuer.clone()));
            }
        });

        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, "first token\n").unwrap();
        let documents = Documents::load_or_make(dir.path(), &WEB.parse().unwrap()).unwrap();
        let store = ca.empty_store(WEB);
        let controller = ControllerConfig {
            host: Host::Name(host),
            port: 8080,
            name: Some(ISSUER.parse().unwrap()),
            connect_timeout: Duration::from_secs(5),
            backoff: Backoff::default(),
            socket: Socket::default(),
            stream_window: 65_535,
            connection_window: 1 << 20,
        };
        let controller = Controller::new(controller, Dns::fixed(&names), store.clone()).unwrap();
        let config = IdentityConfig { token_file, min_refresh: Duration::from_millis(20), max_refresh: DAY };
        Self { identity: Identity::new(config, documents, controller, store.clone()), store, asked, dir }
    }

    async fn asked(&mut self) -> Asked {
        timeout(LIMIT, self.asked.recv()).await.expect("in time").expect("the issuer lives")
    }
}

async fn serve(io: TcpStream, credentials: Arc<CredentialStore>, issuer: Issuer) {
    let Ok((io, accepted)) = tls::server::accept(&credentials, io, false).await else { return };
    let service = IdentityServer::new(Issuer { client: accepted.client.map(|id| id.to_string()), ..issuer });
    let answer = service_fn(move |req: hyper::Request<Incoming>| {
        let mut service = service.clone();
        async move { Ok::<_, Infallible>(service.call(req).await.unwrap()) }
    });
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
}

#[tokio::test]
async fn a_good_answer_is_installed_and_its_expiry_returned() {
    let mut world = World::new(&[Answer::Good(DAY)]).await;
    let before = SystemTime::now();
    let expiry = world.identity.certify().await.unwrap();
    assert!(expiry > before + DAY - LIMIT && expiry <= SystemTime::now() + DAY);
    assert_eq!(world.store.current().unwrap().expiry, expiry);
    assert_eq!(tls::subject::names(world.store.current().unwrap().leaf()), [WEB.parse().unwrap()]);

    let asked = world.asked().await;
    assert_eq!(asked.client, None);
    assert_eq!(asked.request.identity, WEB);
    assert_eq!(asked.request.token, b"first token\n");
    let csr = std::fs::read(world.dir.path().join("csr.der")).unwrap();
    assert_eq!(asked.request.certificate_signing_request, csr);
}

#[tokio::test]
async fn a_bad_answer_is_an_error_of_its_own_and_changes_nothing() {
    use Answer::*;
    let all = [
        OtherName,
        OtherAuthority,
        OtherKey,
        ExpiredLeaf,
        EarlyLeaf,
        NoChain,
        Empty,
        PastExpiry,
        NoExpiry,
        Refuse,
    ];
    for bad in all {
        let world = World::new(&[bad]).await;
        let error = world.identity.certify().await.unwrap_err();
        let as_expected = match (&bad, &error) {
            (OtherName, Error::Rejected(Rejected::WrongName(_))) => true,
            (OtherAuthority | ExpiredLeaf | EarlyLeaf | NoChain, Error::Rejected(Rejected::Untrusted(_))) => {
                true
            }
            (OtherKey, Error::Rejected(Rejected::Key(_))) => true,
            (Empty, Error::Answer(api::identity::InvalidIssued::Leaf)) => true,
            (PastExpiry, Error::Answer(api::identity::InvalidIssued::Expired)) => true,
            (NoExpiry, Error::Answer(api::identity::InvalidIssued::NoExpiry)) => true,
            (Refuse, Error::Failed(status)) => status.code() == Code::PermissionDenied,
            _ => false,
        };
        assert!(as_expected, "{bad:?}: {error}");
        assert!(!world.store.is_ready(), "{bad:?}");
    }
}

#[tokio::test]
async fn without_a_token_nobody_is_asked() {
    let mut world = World::new(&[]).await;
    std::fs::write(&world.identity.config.token_file, "").unwrap();
    assert!(matches!(world.identity.certify().await, Err(Error::EmptyToken(_))));
    std::fs::remove_file(&world.identity.config.token_file).unwrap();
    assert!(matches!(world.identity.certify().await, Err(Error::Token { .. })));
    assert!(world.asked.try_recv().is_err());
}

#[tokio::test]
async fn the_task_retries_then_renews_with_the_same_key_and_the_current_token_and_certificate() {
    let soon = Duration::from_secs(2);
    let World { identity, store, mut asked, dir } =
        World::new(&[Answer::Refuse, Answer::OtherName, Answer::Good(soon)]).await;
    let state = identity.state();
    let token_file = dir.path().join("token");
    let task = tokio::spawn(identity.run());
    let mut next = async || timeout(LIMIT, asked.recv()).await.expect("in time").unwrap();

    let first = next().await;
    std::fs::write(token_file, "second token").unwrap();
    let _ = (next().await, next().await);
    timeout(LIMIT, store.ready()).await.unwrap();
    let renewal = next().await;
    let mut installed = store.subscribe();
    timeout(LIMIT, installed.wait_for(|count| *count == 2)).await.unwrap().unwrap();
    task.abort();
    let _ = task.await;

    assert_eq!((first.client, renewal.client), (None, Some(WEB.to_owned())));
    assert_eq!(renewal.request.token, b"second token");
    assert_eq!(renewal.request.certificate_signing_request, first.request.certificate_signing_request);
    assert_eq!(state.refreshes_err.load(Relaxed), 2);
    assert!(state.refreshes_ok.load(Relaxed) >= 1);
    assert!(state.expiry.load(Relaxed) > state.last_refresh.load(Relaxed));
}

#[test]
fn renewal_comes_at_seventy_percent_within_bounds() {
    let seconds = Duration::from_secs;
    let config =
        IdentityConfig { token_file: PathBuf::new(), min_refresh: seconds(10), max_refresh: seconds(1000) };
    let now = SystemTime::now();
    let refresh = |expiry| config.refresh_in(expiry, now);
    assert_eq!(refresh(Some(now + seconds(100))), seconds(70));
    assert_eq!(refresh(Some(now + seconds(5))), seconds(10));
    assert_eq!(refresh(Some(now + seconds(5000))), seconds(1000));
    assert_eq!(refresh(Some(now - seconds(5))), seconds(10));
    assert_eq!(refresh(None), seconds(10));
}

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::*;
use crate::api::spiffe::X509SvidRequest;
use crate::tls::subject;
use crate::tls::testing::{Issued, San, TestCa};

const WEB: &str = "spiffe://td/ns/web";
const LIMIT: Duration = Duration::from_secs(10);

type Answers = Pin<Box<dyn futures_util::Stream<Item = Result<X509SvidResponse, Status>> + Send>>;

/// Says what the latest answer is, or refuses everybody.
#[derive(Clone)]
struct Api(watch::Receiver<Result<X509SvidResponse, Code>>);

impl tonic::server::ServerStreamingService<X509SvidRequest> for Api {
    type Response = X509SvidResponse;
    type ResponseStream = Answers;
    type Future = std::future::Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<X509SvidRequest>) -> Self::Future {
        let marked = request.metadata().get("workload.spiffe.io").is_some_and(|value| value == "true");
        let refused = self.0.borrow().as_ref().err().copied();
        std::future::ready(match (marked, refused) {
            (false, _) => Err(Status::permission_denied("no metadata")),
            (true, Some(code)) => Err(Status::new(code, "refused")),
            (true, None) => {
                let answers = WatchStream::new(self.0.clone());
                Ok(Response::new(Box::pin(
                    answers.map(|answer| answer.map_err(|code| Status::new(code, "ended"))),
                )))
            }
        })
    }
}

struct World {
    answers: watch::Sender<Result<X509SvidResponse, Code>>,
    store: Arc<CredentialStore>,
    state: Arc<IdentityState>,
    ca: TestCa,
    running: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(first: impl FnOnce(&TestCa) -> Result<X509SvidResponse, Code>) -> Self {
        let ca = TestCa::new("root");
        let (says, answers) = watch::channel(first(&ca));
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let api = Api(answers.clone());
                let answer = service_fn(move |req: http::Request<Incoming>| {
                    let api = api.clone();
                    assert_eq!(req.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
                    async move {
                        let codec = ProstCodec::<X509SvidResponse, X509SvidRequest>::default();
                        Ok::<_, Infallible>(tonic::server::Grpc::new(codec).server_streaming(api, req).await)
                    }
                });
                let io = TokioIo::new(io);
                tokio::spawn(Builder::new(TokioExecutor::new()).serve_connection(io, answer));
            }
        });
        let store = ca.empty_store(WEB);
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(20), 0.1).unwrap();
        let spire = Spire::new(socket, backoff, store.clone());
        let state = spire.state();
        Self { answers: says, store, state, ca, running: tokio::spawn(spire.run()), _dir: dir }
    }

    fn say(&self, answer: Result<X509SvidResponse, Code>) {
        let _ = self.answers.send_replace(answer);
    }

    async fn errors(&self, least: u64) {
        timeout(LIMIT, async {
            while self.state.refreshes_err.load(Relaxed) < least {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("errors are counted");
    }
}

fn svid(id: &str, issued: &Issued) -> X509Svid {
    let chain = std::iter::once(&issued.leaf).chain(&issued.intermediates);
    X509Svid {
        spiffe_id: id.into(),
        x509_svid: chain.flat_map(|certificate| certificate.to_vec()).collect(),
        x509_svid_key: issued.key.secret_der().to_vec(),
    }
}

fn response(svids: Vec<X509Svid>) -> Result<X509SvidResponse, Code> {
    Ok(X509SvidResponse { svids })
}

#[tokio::test]
async fn our_identity_of_several_is_installed_and_a_new_one_replaces_it() {
    let world = World::new(|ca| {
        let other = svid("spiffe://td/ns/api", &ca.leaf(&[San::Uri("spiffe://td/ns/api")]));
        response(vec![other, svid(WEB, &ca.leaf(&[San::Uri(WEB)]))])
    });
    timeout(LIMIT, world.store.ready()).await.unwrap();
    let first = world.store.current().unwrap();
    assert_eq!(subject::names(first.leaf()), [WEB.parse().unwrap()]);
    // Until the end of the year 2099, as the leaf says.
    assert!(first.expiry > SystemTime::now() + Duration::from_secs(10 * 365 * 86_400));
    world.say(response(vec![svid(WEB, &world.ca.leaf(&[San::Uri(WEB)]))]));
    let mut installed = world.store.subscribe();
    timeout(LIMIT, installed.wait_for(|count| *count == 2)).await.unwrap().unwrap();
    assert_ne!(first.leaf(), world.store.current().unwrap().leaf());
    assert_eq!(world.state.refreshes_ok.load(Relaxed), 2);
}

#[tokio::test]
async fn answers_that_are_not_ours_are_counted_and_change_nothing() {
    let world = World::new(|_| response(Vec::new()));
    let good = world.ca.leaf(&[San::Uri(WEB)]);
    let wrong_name = svid(WEB, &world.ca.leaf(&[San::Uri("spiffe://td/ns/api")]));
    let wrong_key = X509Svid {
        x509_svid_key: world.ca.leaf(&[San::Uri(WEB)]).key.secret_der().to_vec(),
        ..svid(WEB, &good)
    };
    let untrusted = svid(WEB, &TestCa::new("root").leaf(&[San::Uri(WEB)]));
    let expired = svid(WEB, &world.ca.expired_leaf(&[San::Uri(WEB)]));
    let no_key = X509Svid { x509_svid_key: Vec::new(), ..svid(WEB, &good) };
    let no_chain = X509Svid { x509_svid: Vec::new(), ..svid(WEB, &good) };
    let mut cut = svid(WEB, &good);
    cut.x509_svid.pop();
    world.errors(1).await;
    for (number, bad) in (2..).zip([wrong_name, wrong_key, untrusted, expired, no_key, no_chain, cut]) {
        world.say(response(vec![bad]));
        world.errors(number).await;
        assert!(!world.store.is_ready(), "{number}");
    }
    world.say(response(vec![svid(WEB, &good)]));
    timeout(LIMIT, world.store.ready()).await.unwrap();
}

#[tokio::test]
async fn it_is_asked_again_unless_the_question_is_wrong() {
    let world = World::new(|_| Err(Code::Unavailable));
    world.errors(3).await;
    world.say(response(vec![svid(WEB, &world.ca.leaf(&[San::Uri(WEB)]))]));
    timeout(LIMIT, world.store.ready()).await.unwrap();

    let world = World::new(|_| Err(Code::InvalidArgument));
    world.errors(1).await;
    world.say(response(vec![svid(WEB, &world.ca.leaf(&[San::Uri(WEB)]))]));
    sleep(Duration::from_millis(100)).await;
    assert!(!world.store.is_ready() && world.state.refreshes_err.load(Relaxed) == 1);
    assert!(!world.running.is_finished());
}

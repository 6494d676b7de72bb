use std::convert::Infallible;
use std::net::SocketAddr;

use futures_util::stream::unfold;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower_service::Service;

use super::resolve::Names;
use super::*;
use crate::tls::testing::TestCa;

mod replicas;

const CONTROL: &str = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local";
const WEB: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";
const WATCH: &str = "/service/Watch";
const HOST: &str = "linkerd-dst.linkerd.svc.cluster.local";
const LIMIT: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(500);

/// What a fake controller saw.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Opened { client: Option<String> },
    Request(String),
    Closed,
}

/// An HTTP/2 server that answers everything; ends, with its connections, when dropped.
struct Server {
    addr: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(addr: &str, tls: Option<Arc<CredentialStore>>) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                let (tls, tell) = (tls.clone(), tell.clone());
                connections.spawn(async move {
                    let Some(store) = tls else {
                        return serve(io, None, tell).await;
                    };
                    if let Ok((io, accepted)) = crate::tls::server::accept(&store, io, false).await {
                        serve(io, accepted.client.map(|id| id.to_string()), tell).await;
                    }
                });
            }
        });
        Self { addr, seen, task }
    }

    async fn next(&mut self) -> Seen {
        timeout(LIMIT, self.seen.recv()).await.expect("in time").expect("the server lives")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<IO>(io: IO, client: Option<String>, tell: mpsc::UnboundedSender<Seen>)
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let _ = tell.send(Seen::Opened { client });
    let answer = service_fn(|req: Request<Incoming>| {
        let _ = tell.send(Seen::Request(req.uri().to_string()));
        // A watch says something again and again, until nobody listens.
        let body = match req.uri().path() {
            WATCH => Body::new(StreamBody::new(Box::pin(unfold((), async |()| {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Some((Ok::<_, Infallible>(Frame::data(bytes::Bytes::from_static(b"news"))), ()))
            })))),
            _ => Body::empty(),
        };
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
    let _ = tell.send(Seen::Closed);
}

fn config(host: &str, port: u16) -> ControllerConfig {
    ControllerConfig {
        host: host.parse::<Authority>().unwrap().host,
        port,
        name: Some(CONTROL.parse().unwrap()),
        connect_timeout: Duration::from_secs(5),
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(100), 0.1).unwrap(),
        socket: Socket::default(),
        stream_window: 65_535,
        connection_window: 1 << 20,
    }
}

/// A controller whose name leads to `addrs`.
fn named(addrs: &[SocketAddr], store: &Arc<CredentialStore>) -> (Controller, Names) {
    let names = Names::default();
    names.set(HOST.parse().unwrap(), addrs);
    let controller = Controller::new(config(HOST, 8086), Dns::fixed(&names), store.clone()).unwrap();
    (controller, names)
}

async fn ask(controller: &Controller) -> Result<Response<Answer>, Error> {
    let req = Request::get("/service/Method").body(Body::empty()).unwrap();
    timeout(LIMIT, controller.clone().call(req)).await.expect("an answer in time")
}

fn asked(addr: impl std::fmt::Display) -> Seen {
    Seen::Request(format!("http://{addr}/service/Method"))
}

#[tokio::test]
async fn a_loopback_address_is_spoken_to_in_plaintext() {
    let mut server = Server::start("127.0.0.1:0", None).await;
    let store = TestCa::new("root").store(WEB);
    let controller = Controller::new(
        config("127.0.0.1", server.addr.port()),
        Dns::system(Default::default(), None),
        store,
    )
    .unwrap();
    ask(&controller).await.unwrap();
    assert_eq!(server.next().await, Seen::Opened { client: None });
    assert_eq!(server.next().await, asked(server.addr));
}

#[tokio::test]
async fn any_other_is_spoken_to_over_mesh_tls_and_learns_who_asks() {
    let ca = TestCa::new("root");
    let mut server = Server::start("127.0.0.1:0", Some(ca.store(CONTROL))).await;
    let (controller, _) = named(&[server.addr], &ca.store(WEB));
    ask(&controller).await.unwrap();
    assert_eq!(server.next().await, Seen::Opened { client: Some(WEB.to_owned()) });
    assert_eq!(server.next().await, asked(format!("{HOST}:8086")));

    let (controller, _) = named(&[server.addr], &ca.empty_store(WEB));
    ask(&controller).await.unwrap();
    assert_eq!(server.next().await, Seen::Opened { client: None });
}

#[tokio::test]
async fn an_impostor_is_not_asked() {
    let ca = TestCa::new("root");
    for impostor in [ca.store(WEB), TestCa::new("root").store(CONTROL)] {
        let server = Server::start("127.0.0.1:0", Some(impostor)).await;
        let (controller, _) = named(&[server.addr], &ca.store(WEB));
        let error = controller.0.ready(Instant::now() + SOON).await.err().unwrap();
        let Error::FailFast { last: Some(last), .. } = &error else { panic!("{error}") };
        assert!(matches!(**last, Error::Connect(connect::Error::Tls { .. })), "{error}");
    }
}

#[tokio::test]
async fn without_a_name_to_expect_there_is_no_controller() {
    let store = TestCa::new("root").store(WEB);
    for host in [HOST, "10.0.0.1"] {
        let config = ControllerConfig { name: None, ..config(host, 8086) };
        assert!(
            Controller::new(config, Dns::system(Default::default(), None), store.clone()).is_err(),
            "{host}"
        );
    }
    let config = ControllerConfig { name: None, ..config("[::1]", 8086) };
    assert!(Controller::new(config, Dns::system(Default::default(), None), store).is_ok());
}

#[tokio::test]
async fn port_80_is_not_spelled_out() {
    let store = TestCa::new("root").store(WEB);
    let uri = |port| {
        let controller =
            Controller::new(config(HOST, port), Dns::system(Default::default(), None), store.clone())
                .unwrap();
        controller.0.reach().uri(&Uri::from_static("/a/B")).to_string()
    };
    assert_eq!(uri(80), format!("http://{HOST}/a/B"));
    assert_eq!(uri(8086), format!("http://{HOST}:8086/a/B"));
}

#[tokio::test]
async fn clones_share_one_connection_and_the_last_one_closes_it() {
    let ca = TestCa::new("root");
    let mut server = Server::start("127.0.0.1:0", Some(ca.store(CONTROL))).await;
    let (controller, _) = named(&[server.addr], &ca.store(WEB));
    let answers = (0..5).map(|_| async { ask(&controller.clone()).await.unwrap() });
    drop(futures_util::future::join_all(answers).await);
    drop(controller);
    assert!(matches!(server.next().await, Seen::Opened { .. }));
    for _ in 0..5 {
        assert!(matches!(server.next().await, Seen::Request(_)));
    }
    assert_eq!(server.next().await, Seen::Closed);
}

#[tokio::test]
async fn a_restarted_server_is_found_again_at_its_new_address() {
    let ca = TestCa::new("root");
    let first = Server::start("127.0.0.1:0", Some(ca.store(CONTROL))).await;
    let (controller, names) = named(&[first.addr], &ca.store(WEB));
    ask(&controller).await.unwrap();
    drop(first);

    let mut second = Server::start("127.0.0.1:0", Some(ca.store(CONTROL))).await;
    names.set(HOST.parse().unwrap(), &[second.addr]);
    // The first request may still go out on the connection that is about to be found dead.
    timeout(LIMIT, async { while ask(&controller).await.is_err() {} }).await.expect("found again");
    assert!(matches!(second.next().await, Seen::Opened { .. }));
    assert!(matches!(second.next().await, Seen::Request(_)));
}

#[tokio::test]
async fn requests_wait_for_a_server_that_comes_late() {
    let ca = TestCa::new("root");
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = reserved.local_addr().unwrap();
    drop(reserved);
    let (controller, _) = named(&[addr], &ca.store(WEB));
    let late = async {
        // The first attempts have failed by then; the request is still waiting.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Server::start(&addr.to_string(), Some(ca.store(CONTROL))).await
    };
    let (answer, mut server) = tokio::join!(ask(&controller), late);
    answer.unwrap();
    assert!(matches!(server.next().await, Seen::Opened { .. }));
}

#[tokio::test]
async fn an_address_that_refuses_leads_to_the_next() {
    let ca = TestCa::new("root");
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Server::start("127.0.0.1:0", Some(ca.store(CONTROL))).await;
    let (controller, _) = named(&[refused, server.addr, refused], &ca.store(WEB));
    for _ in 0..8 {
        ask(&controller).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_fails_after_thirty_seconds_without_a_connection() {
    let (controller, _) = named(&[], &TestCa::new("root").store(WEB));
    let start = Instant::now();
    let req = Request::get("/service/Method").body(Body::empty()).unwrap();
    let error = controller.clone().call(req).await.err().unwrap();
    assert_eq!(start.elapsed().as_secs(), 30);
    let text = error.to_string();
    assert!(text.contains(HOST) && text.contains("has no address"), "{text}");
}

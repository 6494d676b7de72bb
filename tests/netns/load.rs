//! Requests at a steady rate from a pod, and an application that answers them and remembers which.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use causeway::demo::namespace::Namespace;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::mesh::DEADLINE;

type Body = Full<Bytes>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Http1,
    Http2,
    Grpc,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Grpc];
}

/// Each second, over all connections.
pub(crate) const RATE: u32 = 500;

/// Requests that applications saw, by pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    requests: Arc<Mutex<Vec<(usize, u64, Instant)>>>,
    /// The identity behind the last one.
    caller: Arc<Mutex<String>>,
}

impl Seen {
    pub(crate) fn by(&self, pod: usize) -> usize {
        self.requests.lock().iter().filter(|(at, ..)| *at == pod).count()
    }

    /// When each request to this pod was seen.
    pub(crate) fn times_by(&self, pod: usize) -> Vec<Instant> {
        self.requests.lock().iter().filter(|(at, ..)| *at == pod).map(|(.., when)| *when).collect()
    }

    /// Waits for a request that this identity calls with.
    pub(crate) async fn until_called_by(&self, identity: &str) {
        crate::drain::within("a call", async || *self.caller.lock() == identity).await;
    }

    /// That each of these requests was seen once, wherever.
    pub(crate) fn assert_once(&self, ids: &[u64]) {
        let mut times = std::collections::HashMap::new();
        self.requests.lock().iter().for_each(|(_, id, _)| *times.entry(*id).or_insert(0) += 1);
        for id in ids {
            assert_eq!(times.get(id), Some(&1), "request {id}");
        }
    }

    /// How often a request was seen, wherever.
    pub(crate) fn times(&self, id: u64) -> usize {
        self.requests.lock().iter().filter(|(_, seen, _)| *seen == id).count()
    }
}

/// What an application answers.
pub(crate) type Answered = Response<BoxBody<Bytes, std::convert::Infallible>>;

/// Serves HTTP in a pod: answers each request's number, one in fifty of them late, and that of [`STUCK`] never.
pub(crate) fn serve(pod: &Namespace, number: usize, port: u16, seen: &Seen) {
    let seen = seen.clone();
    serve_with(pod, port, move |req| answer(req, number, seen.clone(), Duration::from_millis(200)));
}

/// The same, and answers all at once.
pub(crate) fn serve_at_once(pod: &Namespace, number: usize, port: u16, seen: &Seen) {
    let seen = seen.clone();
    serve_with(pod, port, move |req| answer(req, number, seen.clone(), Duration::ZERO));
}

/// Serves HTTP/1 and, with prior knowledge, HTTP/2 in a pod.
pub(crate) fn serve_with<F: Future<Output = Result<Answered, hyper::Error>> + Send + 'static>(
    pod: &Namespace,
    port: u16,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) {
    let listener = pod.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            io.set_nodelay(true).unwrap();
            let answer = hyper::service::service_fn(answer.clone());
            tokio::spawn(async move {
                let either = auto::Builder::new(TokioExecutor::new());
                let _ = either.serve_connection(TokioIo::new(io), answer).await;
            });
        }
    });
}

/// The number of a request that is not answered.
pub(crate) const STUCK: u64 = 0;

/// Answers a request's number, one in fifty of them late, and that of [`STUCK`] never.
pub(crate) async fn answer(
    req: Request<Incoming>,
    pod: usize,
    seen: Seen,
    late: Duration,
) -> Result<Answered, hyper::Error> {
    let caller = req.headers().get("l5d-client-id").map(|id| id.to_str().unwrap().to_owned());
    *seen.caller.lock() = caller.unwrap_or_default();
    let id: u64 = req.uri().path().trim_start_matches('/').parse().unwrap();
    let body = req.into_body().collect().await?.to_bytes();
    assert!(body.is_empty() || body == id.to_string());
    seen.requests.lock().push((pod, id, Instant::now()));
    if id == STUCK {
        std::future::pending::<()>().await;
    }
    if id.is_multiple_of(50) {
        tokio::time::sleep(late).await;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(Response::new(
        Full::new(Bytes::from(id.to_string())).with_trailers(async move { Some(Ok(trailers)) }).boxed(),
    ))
}

/// What became of requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: Vec<u64>,
    /// How long one of these waited.
    pub(crate) slowest: Duration,
    /// Requests above the last stream of a connection that went away, and when that was told: no application may have
    /// seen them.
    pub(crate) refused: Vec<(u64, Instant)>,
    /// Requests that a connection took, and which got no good answer.
    pub(crate) failed: Vec<Failure>,
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    pub(crate) sent: Instant,
    pub(crate) told: Instant,
}

enum End {
    Answered(u64, Duration),
    /// The connection had ended before it took the request.
    NotTaken,
    Refused(u64),
    Failed(Failure),
}

/// A running load. It ends when told to, and where no connection can be made any more.
pub(crate) struct Load {
    /// Each second, over all connections of one run.
    rate: u32,
    method: Method,
    /// How many of HTTP/1.1; requests wait for the answers before them.
    connections: u32,
    pub(crate) sent: AtomicU64,
    pub(crate) end: CancellationToken,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self::at(RATE)
    }

    pub(crate) fn at(rate: u32) -> Self {
        // Numbers of one load after the other.
        static FIRST: AtomicU64 = AtomicU64::new(0);
        Self {
            rate,
            method: Method::POST,
            connections: 10,
            sent: AtomicU64::new(FIRST.fetch_add(1_000_000, Ordering::Relaxed)),
            end: CancellationToken::new(),
        }
    }

    /// Of one method, and over so many connections of HTTP/1.1 that some may be stuck.
    pub(crate) fn of(method: Method, rate: u32) -> Self {
        Self { method, connections: 40, ..Self::at(rate) }
    }

    /// Waits until so many more requests were begun.
    pub(crate) async fn more(&self, count: u64) {
        let until = self.sent.load(Ordering::Relaxed) + count;
        crate::drain::within("more requests", async || self.sent.load(Ordering::Relaxed) >= until).await;
    }

    /// Asks `to` from a pod: HTTP/1.1 over ten connections or forty, HTTP/2 over two.
    pub(crate) async fn run(&self, from: &Namespace, to: SocketAddr, kind: Kind) -> Tally {
        let connections = if kind == Kind::Http1 { self.connections } else { 2 };
        let all = join_all((0..connections).map(|_| self.worker(from, to, kind, connections))).await;
        all.into_iter().fold(Tally::default(), |mut sum, one| {
            sum.answered.extend(one.answered);
            sum.slowest = sum.slowest.max(one.slowest);
            sum.refused.extend(one.refused);
            sum.failed.extend(one.failed);
            sum
        })
    }

    /// The same over HTTP/1.1, with a connection for each request.
    pub(crate) async fn run_fresh(&self, from: &Namespace, to: SocketAddr) -> Tally {
        let mut tally = Tally::default();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / self.rate);
        let mut open = FuturesUnordered::new();
        while !self.end.is_cancelled() {
            tick.tick().await;
            let id = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
            let req = request(Kind::Http1, &self.method, id);
            open.push(async move {
                let sent = Instant::now();
                let Some(mut sender) = Sender::connect(from, to, Kind::Http1).await else {
                    return End::failed(sent, format!("{id}: no connection"));
                };
                sender.send(req, id).await
            });
            while let Some(Some(end)) = open.next().now_or_never() {
                tally.note(end);
            }
        }
        while let Some(end) = open.next().await {
            tally.note(end);
        }
        tally
    }

    async fn worker(&self, from: &Namespace, to: SocketAddr, kind: Kind, connections: u32) -> Tally {
        let mut tally = Tally::default();
        let mut tick = tokio::time::interval(Duration::from_secs(1) * connections / self.rate);
        let mut open = FuturesUnordered::new();
        'connections: while let Some(mut sender) = Sender::connect(from, to, kind).await {
            loop {
                tokio::select! {
                    biased;
                    () = self.end.cancelled() => break 'connections,
                    Some(end) = open.next() => { tally.note(end); continue }
                    _ = tick.tick() => {}
                }
                if !sender.ready().await {
                    continue 'connections;
                }
                let id = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
                let answer = sender.send(request(kind, &self.method, id), id);
                if kind == Kind::Http1 {
                    tally.note(answer.await);
                } else {
                    open.push(answer);
                }
            }
        }
        while let Some(end) = open.next().await {
            tally.note(end);
        }
        tally
    }
}

impl End {
    fn failed(sent: Instant, why: String) -> Self {
        Self::Failed(Failure { why, sent, told: Instant::now() })
    }
}

impl Tally {
    fn note(&mut self, end: End) {
        match end {
            End::Answered(id, took) => {
                self.answered.push(id);
                self.slowest = self.slowest.max(took);
            }
            End::NotTaken => {}
            End::Refused(id) => self.refused.push((id, Instant::now())),
            End::Failed(why) => self.failed.push(why),
        }
    }
}

/// One connection of an application.
pub(crate) enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

type Answering = std::pin::Pin<Box<dyn Future<Output = End> + Send>>;

impl Sender {
    /// `None` where nobody listens any more.
    pub(crate) async fn connect(from: &Namespace, to: SocketAddr, kind: Kind) -> Option<Self> {
        let io = from.socket(to).unwrap().connect(to).await.ok()?;
        io.set_nodelay(true).unwrap();
        let io = TokioIo::new(io);
        if kind == Kind::Http1 {
            let (sender, driver) = http1::handshake(io).await.ok()?;
            tokio::spawn(driver);
            return Some(Self::Http1(sender));
        }
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
        tokio::spawn(driver);
        Some(Self::Http2(sender))
    }

    async fn ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    fn send(&mut self, req: Request<Body>, id: u64) -> Answering {
        match self {
            Self::Http1(sender) => Box::pin(judge(sender.try_send_request(req), id)),
            Self::Http2(sender) => Box::pin(judge(sender.try_send_request(req), id)),
        }
    }

    /// One request, and the head of its answer.
    pub(crate) async fn ask(&mut self, req: Request<Body>) -> hyper::Result<Response<Incoming>> {
        assert!(self.ready().await, "the connection has ended");
        let sent = match self {
            Self::Http1(sender) => sender.send_request(req).left_future(),
            Self::Http2(sender) => sender.send_request(req).right_future(),
        };
        tokio::time::timeout(DEADLINE, sent).await.unwrap()
    }

    /// Sends what is never answered.
    pub(crate) fn stick(&mut self, kind: Kind) {
        tokio::spawn(self.send(request(kind, &Method::POST, STUCK), STUCK));
    }
}

async fn judge(
    sent: impl Future<Output = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<Body>>>>,
    id: u64,
) -> End {
    let began = Instant::now();
    let rsp = match tokio::time::timeout(DEADLINE, sent).await {
        Err(_) => return End::failed(began, format!("{id}: no answer")),
        Ok(Err(mut failed)) => match failed.take_message() {
            Some(_) => return End::NotTaken,
            None if is_refusal(failed.error()) => return End::Refused(id),
            None => return End::failed(began, format!("{id}: {:?}", failed.into_error())),
        },
        Ok(Ok(rsp)) => rsp,
    };
    let (status, headers) = (rsp.status(), rsp.headers().clone());
    let body = rsp.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    if status == 200 && body.as_ref().is_ok_and(|body| *body == id.to_string()) {
        return End::Answered(id, began.elapsed());
    }
    End::failed(began, format!("{id}: {status} {headers:?} {body:?}"))
}

fn is_refusal(error: &hyper::Error) -> bool {
    let h2 = std::error::Error::source(error).and_then(|error| error.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| h2.is_go_away() && h2.is_remote())
}

fn request(kind: Kind, method: &Method, id: u64) -> Request<Body> {
    let uri = if kind == Kind::Http1 { format!("/{id}") } else { format!("http://drained/{id}") };
    let mut req = Request::builder().method(method).uri(uri).header("host", "drained");
    if kind == Kind::Grpc {
        req = req.header("content-type", "application/grpc").header("te", "trailers");
    }
    let body = if *method == Method::POST { id.to_string() } else { String::new() };
    req.body(Full::new(Bytes::from(body))).unwrap()
}

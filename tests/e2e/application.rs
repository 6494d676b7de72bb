//! Applications of pods: they speak plaintext, and record what they saw.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::sandbox::Pod;

type Body = BoxBody<Bytes, std::io::Error>;

/// One request, as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub version: Version,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    pub peer: SocketAddr,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A running application. Ends, with its connections, when dropped.
pub struct App {
    pub addr: SocketAddr,
    pub state: Arc<State>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
pub struct State {
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<usize>,
    /// Answers to `/held` wait for this.
    pub release: Notify,
    /// A request for `/held` has come.
    pub held: Notify,
    /// A request for `/held` was given up by its client.
    pub abandoned: Notify,
}

impl App {
    /// Speaks HTTP/1 and, with prior knowledge, HTTP/2. What it answers depends on the path.
    pub async fn http(pod: &Pod) -> Self {
        Self::serve(pod.listen().await, |io, peer, state| async move {
            let answer = service_fn(move |req| answer(req, peer, state.clone()));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().max_header_list_size(1 << 20);
            let _ = server.serve_connection_with_upgrades(TokioIo::new(io), answer).await;
        })
    }

    /// Says that it is unavailable, to every request, as HTTP or gRPC says it.
    pub async fn failing(pod: &Pod) -> Self {
        Self::serve(pod.listen().await, |io, _, _| async move {
            let answer = service_fn(async |req: Request<Incoming>| {
                let mut rsp = Response::new(whole(Bytes::new()));
                match req.headers().get(header::CONTENT_TYPE) {
                    Some(kind) => {
                        rsp.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
                        rsp.headers_mut().insert("grpc-status", HeaderValue::from_static("14"));
                    }
                    None => *rsp.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
                }
                Ok::<_, Infallible>(rsp)
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
        })
    }

    /// Sends back whatever it gets, and ends when the client has.
    pub async fn echo(pod: &Pod) -> Self {
        Self::serve(pod.listen().await, |mut io, _, _| async move {
            let (mut read, mut write) = io.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        })
    }

    /// Reads until the client has ended, and only then answers what it got.
    pub async fn reply_at_end(pod: &Pod) -> Self {
        Self::serve(pod.listen().await, |mut io, _, _| async move {
            let mut all = Vec::new();
            let _ = io.read_to_end(&mut all).await;
            let _ = io.write_all(&all).await;
            let _ = io.shutdown().await;
        })
    }

    /// Speaks first, then echoes.
    pub async fn greeting(pod: &Pod, greeting: &'static [u8]) -> Self {
        Self::serve(pod.listen().await, move |mut io, _, _| async move {
            let _ = io.write_all(greeting).await;
            let (mut read, mut write) = io.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
    }

    pub fn serve<F>(
        listener: TcpListener,
        serve: impl Fn(TcpStream, SocketAddr, Arc<State>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (addr, state) = (listener.local_addr().unwrap(), Arc::<State>::default());
        let mut serving = JoinSet::new();
        let shared = state.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((io, peer)) = listener.accept().await {
                io.set_nodelay(true).unwrap();
                *shared.connections.lock() += 1;
                connections.spawn(serve(io, peer, shared.clone()));
            }
        });
        Self { addr, state, _serving: serving }
    }

    /// Every request so far, taken out.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.seen.lock())
    }

    /// The only request so far, taken out.
    pub fn seen_once(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "one request: {seen:?}");
        seen.remove(0)
    }

    /// How many connections were ever made to it.
    pub fn connections(&self) -> usize {
        self.state.connections()
    }
}

impl State {
    pub fn connections(&self) -> usize {
        *self.connections.lock()
    }
}

async fn answer(
    mut req: Request<Incoming>,
    peer: SocketAddr,
    state: Arc<State>,
) -> Result<Response<Body>, std::io::Error> {
    if req.uri().path() == "/stream" {
        let body = req.into_body().map_err(std::io::Error::other);
        return Ok(Response::builder().header("x-app", "bb").body(BodyExt::boxed(body)).unwrap());
    }
    let upgrade = (req.uri().path() == "/upgrade").then(|| hyper::upgrade::on(&mut req));
    let seen = read(req, peer).await?;
    state.seen.lock().push(seen.clone());
    let mut rsp = Response::builder().header("x-app", "bb");
    if let Some(kind) = seen.headers.get(header::CONTENT_TYPE) {
        rsp = rsp.header(header::CONTENT_TYPE, kind);
    }
    let rsp = match seen.uri.path() {
        "/204" => rsp.status(StatusCode::NO_CONTENT).body(whole(Bytes::new())),
        "/chunked" => rsp.body(pieces()),
        "/broken" => return Err(std::io::Error::other("as asked")),
        "/upgrade" => {
            tokio::spawn(echo_upgraded(upgrade.unwrap()));
            let rsp = rsp.status(StatusCode::SWITCHING_PROTOCOLS);
            rsp.header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "websocket")
                .body(whole("".into()))
        }
        "/held" => {
            let held = Held(state.clone());
            state.held.notify_one();
            state.release.notified().await;
            std::mem::forget(held);
            rsp.body(whole("released".into()))
        }
        "/large-head" => rsp.header("x-large", large(&seen.uri)).body(whole("".into())),
        "/large-trailers" => rsp.body(trailed("text".into(), "x-large", large(&seen.uri))),
        _ if seen.version == Version::HTTP_2 => rsp.body(with_trailers(seen.body)),
        _ => rsp.body(whole(seen.body)),
    };
    Ok(rsp.unwrap())
}

/// A request, read whole.
async fn read(req: Request<Incoming>, peer: SocketAddr) -> Result<Seen, std::io::Error> {
    let (head, body) = req.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?;
    let trailers = body.trailers().cloned();
    Ok(Seen {
        version: head.version,
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
        peer,
    })
}

async fn echo_upgraded(upgrade: hyper::upgrade::OnUpgrade) {
    let mut io = TokioIo::new(upgrade.await.unwrap());
    let mut piece = [0; 1024];
    while let Ok(n @ 1..) = io.read(&mut piece).await {
        io.write_all(&piece[..n]).await.unwrap();
    }
    let _ = io.shutdown().await;
}

/// Tells when a held request is given up.
struct Held(Arc<State>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abandoned.notify_one();
    }
}

fn sure(body: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static) -> Body {
    BodyExt::boxed(body.map_err(|never| match never {}))
}

fn whole(bytes: Bytes) -> Body {
    sure(Full::new(bytes))
}

/// A body of unknown length.
fn pieces() -> Body {
    let pieces = ["one ", "two ", "three"].map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes()))));
    sure(StreamBody::new(futures_util::stream::iter(pieces)))
}

fn with_trailers(bytes: Bytes) -> Body {
    trailed(bytes, "x-trailer", "from the application".to_owned())
}

/// As many letters as the query says.
fn large(uri: &Uri) -> String {
    "v".repeat(uri.query().unwrap().parse().unwrap())
}

fn trailed(bytes: Bytes, name: &'static str, value: String) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert(name, HeaderValue::try_from(value).unwrap());
    sure(Full::new(bytes).with_trailers(async move { Some(Ok(trailers)) }))
}

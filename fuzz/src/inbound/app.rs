//! The application: reads by the letter, answers everything, and writes down what reached it.

use std::convert::Infallible;
use std::net::TcpListener;

use bytes::Bytes;
use http::{Request as Http, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::Shared;
use crate::strict::{self, Parsed, Request};

/// Something that reached the application.
#[derive(Debug)]
pub(super) enum Seen {
    Request(Request),
    /// A request that broke off, its head whole or not.
    Cut(Option<Request>),
    /// What no proxy may send.
    Malformed(String),
}

impl Seen {
    /// The request, if its head arrived.
    pub(super) fn begun(&self) -> Option<&Request> {
        match self {
            Self::Request(request) | Self::Cut(Some(request)) => Some(request),
            Self::Cut(None) | Self::Malformed(_) => None,
        }
    }
}

pub(super) struct App {
    done: oneshot::Sender<()>,
    serving: JoinHandle<Vec<Seen>>,
}

/// Takes connections until told that no more will come.
pub(super) fn start(listener: &TcpListener) -> App {
    let listener = listener.try_clone().expect("a descriptor");
    let (done, told) = oneshot::channel();
    App { done, serving: tokio::spawn(serve(listener, told)) }
}

impl App {
    /// Everything that was seen, once every connection has ended.
    pub(super) async fn finish(self) -> Vec<Seen> {
        let _ = self.done.send(());
        self.serving.await.expect("the application does not panic")
    }
}

async fn serve(listener: TcpListener, mut told: oneshot::Receiver<()>) -> Vec<Seen> {
    let (seen, mut connections) = (Shared::<Vec<Seen>>::default(), JoinSet::new());
    let accepting = tokio::net::TcpListener::from_std(listener.try_clone().expect("a descriptor"));
    let accepting = accepting.expect("a socket that does not block");
    loop {
        tokio::select! {
            accepted = accepting.accept() => {
                connections.spawn(connection(accepted.expect("a connection").0, seen.clone()));
            }
            _ = &mut told => break,
        }
    }
    // Nobody dials any more: what is to come is in the queue.
    while let Ok((io, _)) = listener.accept() {
        io.set_nonblocking(true).expect("a socket that does not block");
        connections.spawn(connection(TcpStream::from_std(io).expect("a socket"), seen.clone()));
    }
    connections.join_all().await;
    std::mem::take(&mut *seen.lock())
}

async fn connection(mut io: TcpStream, seen: Shared<Vec<Seen>>) {
    let mut bytes = Vec::new();
    loop {
        if bytes.starts_with(b"PRI") {
            return http2(bytes, io, seen).await;
        }
        match strict::parse(&bytes) {
            Parsed::Request(request, took) => {
                bytes.drain(..took);
                let answer = answer(&request);
                seen.lock().push(Seen::Request(request));
                if io.write_all(answer).await.is_err() {
                    return;
                }
                continue;
            }
            Parsed::Partial(begun) => {
                if !matches!(io.read_buf(&mut bytes).await, Ok(1..)) {
                    if !bytes.is_empty() {
                        seen.lock().push(Seen::Cut(begun));
                    }
                    return;
                }
            }
            Parsed::Ambiguous(what) | Parsed::Malformed(what) | Parsed::Unusual(what) => {
                return seen.lock().push(malformed(what, &bytes));
            }
        }
    }
}

fn malformed(what: &str, bytes: &[u8]) -> Seen {
    Seen::Malformed(format!("{what}: {:?}", String::from_utf8_lossy(bytes)))
}

fn answer(request: &Request) -> &'static [u8] {
    match &*request.method {
        "HEAD" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        "CONNECT" => b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n",
        _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    }
}

/// Written down however its stream ends.
struct Begun {
    request: Request,
    whole: bool,
    seen: Shared<Vec<Seen>>,
}

impl Begun {
    fn finish(&mut self, body: Bytes) {
        self.request.body = body.into();
        self.whole = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let request = std::mem::take(&mut self.request);
        self.seen.lock().push(if self.whole { Seen::Request(request) } else { Seen::Cut(Some(request)) });
    }
}

async fn http2(bytes: Vec<u8>, io: TcpStream, seen: Shared<Vec<Seen>>) {
    let (read, write) = io.into_split();
    let io = tokio::io::join(std::io::Cursor::new(bytes).chain(read), write);
    let answer = service_fn(|req: Http<Incoming>| {
        let mut begun = Begun { request: head(&req), whole: false, seen: seen.clone() };
        async move {
            if let Ok(body) = req.into_body().collect().await {
                begun.finish(body.to_bytes());
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(io), answer).await;
}

fn head(req: &Http<Incoming>) -> Request {
    let authority = req.uri().authority().map(|authority| (":authority", authority.as_str().as_bytes()));
    let fields = req.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    Request {
        method: req.method().as_str().into(),
        target: req.uri().path_and_query().map(|target| target.as_str().into()).unwrap_or_default(),
        minor: 1,
        fields: authority.into_iter().chain(fields).map(|(n, v)| (n.into(), v.into())).collect(),
        body: Vec::new(),
    }
}

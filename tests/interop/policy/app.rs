//! An application that answers each request as its case tells it to, and notes what came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::world::Scene;

/// What becomes of a request that was read whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// 200; of gRPC, with 0 in trailers.
    Good,
    /// This status of HTTP, with one header more.
    Status(u16, Option<(&'static str, &'static str)>),
    /// This code of gRPC in the head.
    Code(&'static str),
    /// This code of gRPC in trailers, behind nothing.
    Trails(&'static str),
    Never,
    /// Good, so long after.
    After(Duration),
    /// The head and one piece, then nothing.
    Stalls,
    /// The head, then so many pieces, so long one after the other.
    Trickles(usize, Duration),
    /// The stream is reset.
    Resets(h2::Reason),
}

type Body = BoxBody<Bytes, Infallible>;

/// Whoever asks for this only wants to be known.
pub(super) const WARM: &str = "/warm";

/// How an application answers, and how it notes what it sees.
pub(super) struct App {
    name: &'static str,
    replies: Vec<Reply>,
    /// Whether it notes pauses that are as long.
    paced: Option<Duration>,
    begun: AtomicUsize,
    last: Mutex<Option<Instant>>,
    scene: Scene,
}

impl App {
    /// Replies one after the other, the last for ever.
    pub(super) fn start(scene: &Scene, name: &'static str, replies: &[Reply]) -> SocketAddr {
        Self::paced(scene, name, replies, None)
    }

    /// The same, which also notes where a request came so long after the one before.
    pub(super) fn paced(
        scene: &Scene,
        name: &'static str,
        replies: &[Reply],
        paced: Option<Duration>,
    ) -> SocketAddr {
        let replies = replies.to_vec();
        let (begun, last) = (AtomicUsize::new(0), Mutex::default());
        let app = Arc::new(Self { name, replies, paced, begun, last, scene: scene.clone() });
        let listener = scene.listen();
        let addr = listener.local_addr().unwrap();
        // Ends with the test's runtime.
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let app = app.clone();
                tokio::spawn(async move {
                    let _ = io.set_nodelay(true);
                    let answer = service_fn(move |req| {
                        let app = app.clone();
                        async move { app.answer(req).await }
                    });
                    let either = auto::Builder::new(TokioExecutor::new());
                    let _ = either.serve_connection(TokioIo::new(io), answer).await;
                });
            }
        });
        addr
    }

    async fn answer(&self, req: Request<Incoming>) -> Result<Response<Body>, h2::Error> {
        if req.uri().path() == WARM {
            return Ok(Response::new(whole()));
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let reply = self.replies[number.min(self.replies.len() - 1)];
        let paused = self
            .last
            .lock()
            .replace(Instant::now())
            .is_some_and(|last| self.paced.is_some_and(|pause| last.elapsed() >= pause));
        let (head, body) = req.into_parts();
        let mut line = format!("{}: {} {}", self.name, head.method, head.uri.path());
        for (name, value) in named(&head.headers) {
            line += &format!(", {name}: {value}");
        }
        if paused {
            line += ", after a pause";
        }
        let mut note = Note { scene: &self.scene, line, body: None };
        note.body = body.collect().await.ok().map(|body| body.to_bytes().len());
        drop(note);
        let grpc = head.headers.get("content-type").cloned();
        let mut rsp = Response::new(whole());
        rsp.headers_mut().insert("x-app", HeaderValue::from_static(self.name));
        if let Some(kind) = &grpc {
            rsp.headers_mut().insert("content-type", kind.clone());
        }
        self.reply(reply, grpc.is_some() && head.version == Version::HTTP_2, &mut rsp).await?;
        Ok(rsp)
    }

    async fn reply(&self, reply: Reply, grpc: bool, rsp: &mut Response<Body>) -> Result<(), h2::Error> {
        match reply {
            Reply::Good if grpc => *rsp.body_mut() = trailed("0"),
            Reply::Good => {}
            Reply::Status(status, more) => {
                *rsp.status_mut() = status.try_into().unwrap();
                if let Some((name, value)) = more {
                    rsp.headers_mut().insert(name, HeaderValue::from_static(value));
                }
            }
            Reply::Code(code) => {
                rsp.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
            }
            Reply::Trails(code) => *rsp.body_mut() = trailed(code),
            Reply::Never => std::future::pending().await,
            Reply::After(pause) => {
                sleep(pause).await;
                if grpc {
                    *rsp.body_mut() = trailed("0");
                }
            }
            Reply::Stalls => {
                let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"piece")))]);
                *rsp.body_mut() = BoxBody::new(StreamBody::new(first.chain(futures_util::stream::pending())));
            }
            Reply::Trickles(pieces, pause) => {
                let pieces = futures_util::stream::unfold(pieces, move |left| async move {
                    let left = left.checked_sub(1)?;
                    sleep(pause).await;
                    Some((Ok(Frame::data(Bytes::from_static(b"piece"))), left))
                });
                *rsp.body_mut() = BoxBody::new(StreamBody::new(Box::pin(pieces)));
            }
            Reply::Resets(reason) => return Err(reason.into()),
        }
        Ok(())
    }
}

/// Of a request: written down once it has been read whole, or cannot be.
struct Note<'a> {
    scene: &'a Scene,
    line: String,
    body: Option<usize>,
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        let body = self.body.map_or_else(|| "cut off".to_owned(), |length| format!("{length} bytes"));
        self.scene.seen.app([format!("{}, {body}", self.line)]);
    }
}

/// What routes add and remove, and what they are asked by.
fn named(headers: &HeaderMap) -> Vec<(&HeaderName, &str)> {
    let is_named = |name: &HeaderName| {
        let name = name.as_str();
        name == "host" || name.starts_with("x-") || name.starts_with("l5d-")
    };
    let text = |value: &HeaderValue| value.to_str().unwrap_or("?").to_owned();
    let mut all: Vec<_> = headers.iter().filter(|(name, _)| is_named(name)).collect();
    all.sort_by_key(|(name, value)| (name.as_str(), text(value)));
    all.into_iter().map(|(name, value)| (name, value.to_str().unwrap_or("?"))).collect()
}

fn whole() -> Body {
    Full::new(Bytes::new()).boxed()
}

fn trailed(code: &'static str) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    Full::new(Bytes::new()).with_trailers(async move { Some(Ok(trailers)) }).boxed()
}

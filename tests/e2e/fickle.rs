//! An application that answers each request as the test tells it to.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use causeway::model::filter::{Failure, FailureKind, Filter, Ratio};
use causeway::model::outbound::{HttpRoute, HttpRoutes, HttpRule, OutboundProtocol};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::application::App;
use crate::client::{Answer, Kind};
use crate::pair::{BB, Pair};
use crate::policies::{add, outbound};
use crate::sandbox::Sandbox;

/// What becomes of a request that was read whole.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// 200, and what was sent.
    Echo,
    /// This status, or for gRPC this code, in the head.
    Fails(u16, &'static str),
    /// 200, and this code of gRPC in trailers.
    Trails(&'static str),
    Never,
    /// The head and one piece, then nothing.
    Stalls,
    /// The head, then so many pieces, so long one after the other.
    Trickles(usize, Duration),
    /// The stream is refused, as if it had not been looked at.
    Refuses,
}

/// Unavailable, as HTTP and gRPC say it.
pub const BUSY: Reply = Reply::Fails(503, "14");

/// What was sent, and when it had been read.
#[derive(Clone, Debug)]
pub struct Sent {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

/// The pair, whose application is this.
pub struct Fickle {
    pub pair: Pair,
    sent: Arc<Mutex<Vec<Sent>>>,
    begun: Arc<AtomicUsize>,
    pub app: App,
}

type Body = BoxBody<Bytes, Infallible>;

impl Fickle {
    /// Replies one after the other, the last for ever.
    pub async fn new(replies: &[Reply]) -> Self {
        Self::with(&[], replies).await
    }

    /// The same, with some variables of `web` set otherwise.
    pub async fn with(web: &[(&str, &str)], replies: &[Reply]) -> Self {
        let pair = Pair::with(Sandbox::new().await, web, &[]).await;
        let (sent, begun) = (Arc::<Mutex<Vec<Sent>>>::default(), Arc::<AtomicUsize>::default());
        let (all, count, replies) = (sent.clone(), begun.clone(), Arc::<[Reply]>::from(replies));
        let app = App::serve(pair.bb.listen().await, move |io, _, _| {
            let (all, count, replies) = (all.clone(), count.clone(), replies.clone());
            async move {
                let answer = service_fn(move |req: Request<Incoming>| {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    let reply = replies[number.min(replies.len() - 1)];
                    let all = all.clone();
                    async move { answer(req, reply, &all).await }
                });
                let _ =
                    auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), answer).await;
            }
        });
        pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(app.addr)]));
        Self { pair, sent, begun, app }
    }

    /// Scripts the only rule of the only route.
    pub fn rule(&self, kind: Kind, rule: HttpRule) {
        self.routes(
            kind,
            vec![HttpRoute::new(causeway::model::ResourceRef::default_named("http"), vec![rule])].into(),
        );
    }

    pub fn routes(&self, kind: Kind, routes: HttpRoutes) {
        self.pair.world.script().policy(self.pair.service, &outbound(spoken(kind, routes)));
    }

    /// Every request that was read whole so far, taken out.
    pub fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.lock())
    }

    /// Requests whose head came, so far.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

/// Whether the application's failure came through.
pub fn is_busy(kind: Kind, answer: &Answer) -> bool {
    match kind {
        Kind::Grpc => answer.header("grpc-status") == Some("14"),
        _ => answer.status == 503 && answer.header("x-app").is_some(),
    }
}

/// A policy for what clients of this kind speak.
pub fn spoken(kind: Kind, routes: HttpRoutes) -> OutboundProtocol {
    match kind {
        Kind::Http1 => OutboundProtocol::Http1(routes),
        Kind::Http2 => OutboundProtocol::Http2(routes),
        Kind::Grpc => OutboundProtocol::Grpc(routes),
    }
}

/// A failure as the kind of route can say it.
pub fn failure(kind: Kind, ratio: Ratio) -> Filter {
    let kind = match kind {
        Kind::Grpc => FailureKind::Grpc(11),
        Kind::Http1 | Kind::Http2 => FailureKind::Http(StatusCode::IM_A_TEAPOT),
    };
    Filter::Failure(Failure { kind, message: "as told".into(), ratio })
}

async fn answer(
    req: Request<Incoming>,
    reply: Reply,
    all: &Mutex<Vec<Sent>>,
) -> Result<Response<Body>, h2::Error> {
    let (head, body) = req.into_parts();
    let body = body.collect().await.map_err(|_| h2::Reason::CANCEL)?.to_bytes();
    let grpc = head.headers.get("content-type").cloned();
    all.lock().push(Sent { headers: head.headers, body: body.clone(), at: Instant::now() });
    let mut rsp = Response::new(whole(body.clone()));
    rsp.headers_mut().insert("x-app", HeaderValue::from_static("bb"));
    if let Some(kind) = &grpc {
        rsp.headers_mut().insert("content-type", kind.clone());
    }
    match reply {
        Reply::Echo if head.version == Version::HTTP_2 => *rsp.body_mut() = trailed(body, "0"),
        Reply::Echo => {}
        Reply::Fails(_, code) if grpc.is_some() => {
            rsp.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
            *rsp.body_mut() = whole(Bytes::new());
        }
        Reply::Fails(status, _) => *rsp.status_mut() = status.try_into().unwrap(),
        Reply::Trails(code) => *rsp.body_mut() = trailed(Bytes::new(), code),
        Reply::Never => std::future::pending().await,
        Reply::Refuses => return Err(h2::Reason::REFUSED_STREAM.into()),
        Reply::Stalls => {
            let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(b"piece")))]);
            *rsp.body_mut() = BodyExt::boxed(StreamBody::new(first.chain(futures_util::stream::pending())));
        }
        Reply::Trickles(pieces, pause) => {
            let pieces = futures_util::stream::unfold(pieces, move |left| async move {
                let left = left.checked_sub(1)?;
                tokio::time::sleep(pause).await;
                Some((Ok(Frame::data(Bytes::from_static(b"piece"))), left))
            });
            *rsp.body_mut() = BodyExt::boxed(StreamBody::new(Box::pin(pieces)));
        }
    }
    Ok(rsp)
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).boxed()
}

fn trailed(bytes: Bytes, code: &'static str) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    Full::new(bytes).with_trailers(async move { Some(Ok(trailers)) }).boxed()
}

//! HTTP clients of pods, over connections that proxies take over.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;

use crate::sandbox::within;

pub type Body = BoxBody<Bytes, Infallible>;

/// The ways of HTTP that every request must work in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http1,
    Http2,
    Grpc,
}

/// One test for each kind.
#[macro_export]
macro_rules! every_kind {
    ($($(#[$doc:meta])* async fn $name:ident($kind:ident: Kind) $body:block)*) => {$(
        mod $name {
            use super::*;

            async fn scenario($kind: Kind) $body

            #[tokio::test]
            async fn http1() {
                scenario(Kind::Http1).await;
            }

            #[tokio::test]
            async fn http2() {
                scenario(Kind::Http2).await;
            }

            #[tokio::test]
            async fn grpc() {
                scenario(Kind::Grpc).await;
            }
        }
    )*};
}

/// One connection that speaks HTTP.
pub struct Client {
    kind: Kind,
    sender: Sender,
    driver: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Client {
    pub async fn new(kind: Kind, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let io = TokioIo::new(io);
        let (sender, driver) = match kind {
            Kind::Http1 => {
                let (sender, driver) = http1::handshake(io).await.unwrap();
                (Sender::Http1(sender), tokio::spawn(driver.with_upgrades()))
            }
            Kind::Http2 | Kind::Grpc => {
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .max_header_list_size(1 << 20)
                    .handshake(io)
                    .await
                    .unwrap();
                (Sender::Http2(sender), tokio::spawn(driver))
            }
        };
        Self { kind, sender, driver }
    }

    /// A request of this client's kind; for gRPC a POST with its content type.
    pub fn request(&self, path: &str) -> http::request::Builder {
        let uri = match self.kind {
            Kind::Http1 => path.to_owned(),
            Kind::Http2 | Kind::Grpc => format!("http://{HOST}{path}"),
        };
        let req = Request::builder().uri(uri);
        match self.kind {
            Kind::Http1 => req.header("host", HOST),
            Kind::Http2 => req,
            Kind::Grpc => {
                req.method(Method::POST).header("content-type", "application/grpc").header("te", "trailers")
            }
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let req = self.request(path).body(empty()).unwrap();
        self.send(req).await
    }

    /// Posts so many pieces, so long one after the other, for as long as anybody takes them. Their length is not known
    /// beforehand.
    pub async fn upload(
        &mut self,
        path: &str,
        count: usize,
        piece: impl Into<Bytes>,
        pause: Duration,
    ) -> Answer {
        let (tx, body) = pieces();
        let req = self.request(path).method("POST").body(body).unwrap();
        let piece = piece.into();
        let sending = async move {
            for _ in 0..count {
                sleep(pause).await;
                if tx.send(piece.clone()).await.is_err() {
                    return;
                }
            }
        };
        let (answer, ()) = tokio::join!(self.send(req), sending);
        answer
    }

    pub async fn send(&mut self, req: Request<Body>) -> Answer {
        self.try_send(req).await.unwrap()
    }

    pub async fn try_send(&mut self, req: Request<Body>) -> Result<Answer, hyper::Error> {
        within("an answer", async {
            let (head, body) = self.start(req).await?.into_parts();
            let body = body.collect().await?;
            let trailers = body.trailers().cloned();
            let (status, headers) = (head.status, head.headers);
            Ok(Answer { status, headers, body: body.to_bytes(), trailers })
        })
        .await
    }

    /// Sends, and returns as soon as the head of the answer is there.
    pub async fn start(&mut self, req: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(req).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(req).await
            }
        }
    }

    /// Waits until the far side has closed the connection.
    pub async fn closed(self) {
        let _ = within("the connection's end", self.driver).await;
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether this is a refusal with this status, or for gRPC this code.
    pub fn is_refused(&self, kind: Kind, status: u16, grpc: &str) -> bool {
        match kind {
            Kind::Grpc => (self.status.as_u16(), self.header("grpc-status")) == (200, Some(grpc)),
            Kind::Http1 | Kind::Http2 => self.status == status && self.header("x-app").is_none(),
        }
    }

    #[track_caller]
    pub fn assert_refused(&self, kind: Kind, status: u16, grpc: &str) {
        assert!(self.is_refused(kind, status, grpc), "not {status} or {grpc}: {self:?}");
    }

    pub fn is_answered(&self) -> bool {
        self.status == 200 && self.header("x-app").is_some()
    }

    /// Asserts that the application answered.
    #[track_caller]
    pub fn assert_answered(&self) {
        assert!(self.is_answered(), "{self:?}");
    }
}

/// The name that clients use.
pub const HOST: &str = "bb.demo.svc.cluster.local:8080";

pub fn empty() -> Body {
    full(Bytes::new())
}

pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body whose pieces are given one by one.
pub fn pieces() -> (mpsc::Sender<Bytes>, Body) {
    let (tx, rx) = mpsc::channel(1);
    let frames = ReceiverStream::new(rx).map(|bytes| Ok(Frame::data(bytes)));
    (tx, BodyExt::boxed(StreamBody::new(frames)))
}

pub fn with_trailers(bytes: impl Into<Bytes>) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", HeaderValue::from_static("from the client"));
    Full::new(bytes.into()).with_trailers(async move { Some(Ok(trailers)) }).boxed()
}

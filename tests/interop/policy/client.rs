//! The pod's application: asks, each time on a connection of its own, and notes what it is told.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::world::Scene;
use crate::messages::header_lines;
use crate::stage::DEADLINE;

/// The ways of HTTP that policy is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http1,
    Http2,
    Grpc,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Grpc];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC",
        }
    }
}

/// What is asked for, and how.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) host: &'static str,
    pub(super) path: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: Upload,
    /// Whether it is noted what becomes of the connection.
    pub(super) watched: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Upload {
    Nothing,
    /// So many bytes, of which the length is known.
    Whole(usize),
    /// So many pieces of so many bytes, so long one after the other.
    Pieces(usize, usize, Duration),
}

impl Ask {
    pub(super) fn get(path: &'static str) -> Self {
        let (method, headers) = (Method::GET, Vec::new());
        Self { method, host: "bb", path, headers, body: Upload::Nothing, watched: false }
    }

    pub(super) fn post(body: Upload) -> Self {
        Self { method: Method::POST, body, ..Self::get("/bb.Echo/Talk") }
    }

    /// Asks, and notes the answer.
    pub(super) async fn of(&self, scene: &Scene, kind: Kind) {
        let mut connection = Connection::open(scene, kind).await;
        let mut answer = timeout(DEADLINE, connection.send(self.request(kind))).await;
        if let Ok(Err(error)) = &answer
            && reason(error) == Some(h2::Reason::NO_ERROR)
        {
            // A connection that ends may take an answer of the reference's with it: clients ask again.
            connection = Connection::open(scene, kind).await;
            answer = timeout(DEADLINE, connection.send(self.request(kind))).await;
        }
        let lines = match answer {
            Err(_) => vec![format!("no answer for {DEADLINE:?}")],
            Ok(Err(error)) => vec![broken(&error)],
            Ok(Ok(rsp)) => read(rsp).await,
        };
        scene.seen.client(lines);
        if self.watched {
            let ended = timeout(SOON, connection.driver).await.is_ok();
            scene.seen.client([if ended { "the connection ends" } else { "the connection stays" }]);
        }
    }

    fn request(&self, kind: Kind) -> Request<Body> {
        let uri = match kind {
            Kind::Http1 => self.path.to_owned(),
            Kind::Http2 | Kind::Grpc => format!("http://{}{}", self.host, self.path),
        };
        let mut req = Request::builder().method(self.method.clone()).uri(uri);
        match kind {
            Kind::Http1 => req = req.header("host", self.host),
            Kind::Http2 => {}
            Kind::Grpc => {
                req = req.method(Method::POST).header("content-type", "application/grpc");
                req = req.header("te", "trailers");
            }
        }
        let req = self.headers.iter().fold(req, |req, (name, value)| req.header(*name, *value));
        let body = match self.body {
            Upload::Nothing => Empty::new().boxed(),
            Upload::Whole(length) => Full::new(vec![7; length].into()).boxed(),
            Upload::Pieces(count, size, pause) => BoxBody::new(StreamBody::new(Box::pin(
                futures_util::stream::unfold(count, move |left| async move {
                    let left = left.checked_sub(1)?;
                    sleep(pause).await;
                    Some((Ok(Frame::data(Bytes::from(vec![7; size]))), left))
                }),
            ))),
        };
        req.body(body).unwrap()
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// One that speaks HTTP.
struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

enum Sender {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Connection {
    async fn open(scene: &Scene, kind: Kind) -> Self {
        let io = TokioIo::new(scene.dial().await);
        if kind == Kind::Http1 {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            let driver = tokio::spawn(async move { drop(connection.await) });
            return Self { sender: Sender::One(sender), driver };
        }
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { sender: Sender::Two(sender), driver }
    }

    async fn send(&mut self, req: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::One(sender) => sender.send_request(req).await,
            Sender::Two(sender) => sender.send_request(req).await,
        }
    }
}

/// Far more than an end takes that comes at all.
const SOON: Duration = Duration::from_secs(1);

/// The head of an answer, its body's length, and its trailers or what cut it off.
async fn read(rsp: Response<Incoming>) -> Vec<String> {
    let (head, mut body) = rsp.into_parts();
    let mut lines = header_lines(head.status.as_str(), &pairs(&head.headers));
    let mut length = 0;
    let end = loop {
        match timeout(DEADLINE, body.frame()).await {
            Err(_) => break vec![format!("nothing for {DEADLINE:?}")],
            Ok(None) => break Vec::new(),
            Ok(Some(Err(error))) => break vec![broken(&error)],
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => length += bytes.len(),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let trailers = header_lines("trailers", &pairs(&trailers));
                    lines.push(trailers.join(", "));
                }
            },
        }
    };
    lines.push(format!("body: {length} bytes"));
    lines.extend(end);
    lines
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.as_bytes().escape_ascii().to_string())
    };
    headers.iter().map(pair).collect()
}

/// What cut something off: a stream alone, or its connection.
fn broken(error: &hyper::Error) -> String {
    reason(error).map_or_else(|| "cut off".to_owned(), |reason| format!("cut off: {reason:?}"))
}

fn reason(error: &hyper::Error) -> Option<h2::Reason> {
    std::error::Error::source(error)?.downcast_ref::<h2::Error>()?.reason()
}

//! What the control plane says over plain HTTP/1: answers that are worked out at once, to GET alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::drain::Drain;

pub(super) type Answer = Response<Full<Bytes>>;

/// A client that has not sent its request by then is cut off.
const HEADERS: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(50);

/// Serves until drained: `answer` is given the path, `None` is 404.
pub(super) fn start(
    listener: TcpListener,
    answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
    drain: &Drain,
) {
    drain.spawn(accept_all(listener, Arc::new(answer), drain.clone()));
}

async fn accept_all(
    listener: TcpListener,
    answer: Arc<impl Fn(&str) -> Option<Answer> + Send + Sync + 'static>,
    drain: Drain,
) {
    loop {
        let accepted = tokio::select! {
            () = drain.signaled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((io, _)) => drain.spawn(serve(io, answer.clone(), drain.clone())),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve(io: TcpStream, answer: Arc<impl Fn(&str) -> Option<Answer>>, drain: Drain) {
    let respond = service_fn(|req: http::Request<hyper::body::Incoming>| {
        let answer = match *req.method() {
            Method::GET => answer(req.uri().path()),
            _ => Some(text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n")),
        };
        let answer = answer.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "not found\n"));
        async { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let connection = builder.serve_connection(TokioIo::new(io), respond);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = drain.signaled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    answer
}

/// A whole answer of this type.
pub(super) fn content(kind: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

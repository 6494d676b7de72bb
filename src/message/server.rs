//! Serving HTTP on one accepted connection, until it ends, the proxy drains, or an answer closes it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::config::ServerHttp2;
use crate::drain::Drain;
use crate::error::{BoxError, Fault, Reason};
use crate::model::endpoint::FlowControl;
use crate::model::protocol::HttpVersion;

use super::body::{Body, Observe};
use super::frames::Frames;
use super::guard::{Guard, Verdict};
use super::unread::{Account, Answer, Connection, Counted, Tasks, Unread};
use super::vet::{self, Refused};

/// How long an idle HTTP/1 connection stays open once it is to end. HTTP/1 has no way to say that no
/// request will be taken but with an answer, and one may be on its way.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// Streams of one connection at once, unless the environment says otherwise: the library's own number.
const STREAMS: u32 = 200;
/// A connection's window has room for as many streams' windows, up to so many bytes.
const ROOMY: u32 = 16 * 1024 * 1024;

/// Bytes of an answer that wait for its client, for each stream. Of the library's 400 KiB a thousand streams that
/// nobody reads held half a gigabyte.
const SEND_BUFFER: usize = 32 * 1024;

/// Streams that a client may have reset before they were looked at. The library's 20 is what an application that
/// honestly cancels 5,000 streams a second sends in 4 ms; how many it may reset in all is [`Frames`]' to say.
const PENDING_RESETS: usize = 1024;

/// Serves HTTP/1 and HTTP/2 towards the clients of one listener.
#[derive(Clone)]
pub struct HttpServer {
    h1: http1::Builder,
    h2: http2::Builder<Tasks>,
    header_list: u32,
    unread: Arc<Unread>,
    /// Is told of each answer that is given up because nobody reads it.
    given_up: Arc<dyn Fn() + Send + Sync>,
}

impl HttpServer {
    /// `given_up` is told of each answer that nobody read, and that was given up therefore.
    pub fn new(
        settings: &ServerHttp2,
        unread: Arc<Unread>,
        given_up: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        // A client that ends its connection, or half of it, wants no answer any more: the request is given up.
        let mut h1 = http1::Builder::new();
        h1.max_header_size(vet::LIBRARY as usize).max_buf_size(vet::HTTP1_BUFFER);
        let mut h2 = http2::Builder::new(Tasks);
        let header_list = settings.max_header_list_size.unwrap_or(vet::LIBRARY);
        h2.timer(TokioTimer::new()).max_header_list_size(header_list);
        match settings.flow_control {
            FlowControl::Adaptive => {
                h2.adaptive_window(true);
            }
            FlowControl::Fixed { connection_window, stream_window } => {
                // Requests that an application leaves unread must not hold up the others of their connection.
                let streams = settings.max_concurrent_streams.unwrap_or(STREAMS).min(STREAMS);
                let roomy = stream_window.saturating_mul(streams).min(ROOMY);
                h2.initial_connection_window_size(connection_window.max(roomy))
                    .initial_stream_window_size(stream_window);
            }
        }
        if let Some(keep_alive) = settings.keep_alive {
            h2.keep_alive_interval(keep_alive.interval).keep_alive_timeout(keep_alive.timeout);
        }
        h2.max_concurrent_streams(settings.max_concurrent_streams.unwrap_or(STREAMS));
        if let Some(size) = settings.max_frame_size {
            h2.max_frame_size(size);
        }
        h2.max_pending_accept_reset_streams(
            settings.max_pending_accept_reset_streams.unwrap_or(PENDING_RESETS),
        );
        h2.max_send_buf_size(settings.max_send_buf_size.map_or(SEND_BUFFER, |size| size as usize));
        Self { h1, h2, header_list, unread, given_up: Arc::new(given_up) }
    }

    /// Serves one connection. `close` asks for a graceful end: HTTP/1 finishes its request, HTTP/2
    /// sends GOAWAY and finishes its streams.
    ///
    /// # Errors
    /// The client's connection broke, or what it sent was not HTTP.
    pub async fn serve<IO, W, E, F>(
        &self,
        io: IO,
        version: HttpVersion,
        drain: &Drain,
        close: CancellationToken,
        respond: impl Fn(Request<Incoming>) -> F + Send,
    ) -> Result<(), Fault>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        W: Observe + Unpin,
        E: Into<BoxError>,
        F: Future<Output = Result<Response<Body<W>>, E>> + Send + 'static,
    {
        let counted = Connection::new(self.unread.clone());
        let serving = async {
            match version {
                HttpVersion::Http1 => self.serve_http1(io, drain, close, counted.account(), respond).await,
                HttpVersion::Http2 => self.serve_http2(io, drain, close, counted.account(), respond).await,
            }
        };
        tokio::select! {
            biased;
            ended = serving => ended,
            () = counted.cut() => Err(Reason::AnswerUnread.into()),
        }
    }

    async fn serve_http1<IO, W, E, F>(
        &self,
        io: IO,
        drain: &Drain,
        close: CancellationToken,
        account: &Arc<Account>,
        respond: impl Fn(Request<Incoming>) -> F + Send,
    ) -> Result<(), Fault>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        W: Observe + Unpin,
        E: Into<BoxError>,
        F: Future<Output = Result<Response<Body<W>>, E>> + Send + 'static,
    {
        let verdict = Verdict::default();
        let io = TokioIo::new(Guard::new(io, verdict.clone()));
        let respond = service_fn(|mut req| {
            if let Some(reason) = verdict.refused() {
                req.extensions_mut().insert(Refused(reason));
            }
            let connect = req.method() == Method::CONNECT;
            // An HTTP/1.0 client expects the end unless it is told otherwise.
            let (expects, close) = (req.version() == Version::HTTP_10, &close);
            let is_last = move || drain.is_signaled() || (close.is_cancelled() && !expects);
            // In a box: hyper keeps room for it for as long as the connection lives.
            let (verdict, answer) = (&verdict, Box::pin(respond(req)));
            async move {
                let rsp = http1_answer(is_last, verdict, connect, answer).await?;
                Ok::<_, E>(rsp.map(|body| Counted::new(body, account)))
            }
        });
        let mut conn = pin!(self.h1.serve_connection(io, respond).with_upgrades());
        let ending = lingered(drain, &close);
        tokio::select! {
            // A request that has arrived is answered, also where the end has begun.
            biased;
            ended = conn.as_mut() => return ended.map_err(broken),
            () = ending => conn.as_mut().graceful_shutdown(),
        }
        conn.await.map_err(broken)
    }

    async fn serve_http2<IO, W, E, F>(
        &self,
        io: IO,
        drain: &Drain,
        close: CancellationToken,
        account: &Arc<Account>,
        respond: impl Fn(Request<Incoming>) -> F + Send,
    ) -> Result<(), Fault>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        W: Observe + Unpin,
        E: Into<BoxError>,
        F: Future<Output = Result<Response<Body<W>>, E>> + Send + 'static,
    {
        let io = Frames::of_client(io, self.header_list);
        let verdict = io.verdict();
        let respond = service_fn(|mut req: Request<Incoming>| {
            let (unread, sent) = (self.unread.clone(), Answer::new(self.given_up.clone()));
            req.extensions_mut().insert(sent.interest());
            // In a box: what it was is given back once the head of the answer is there, not with the stream.
            let (hasty, answer, account) = (verdict.is_hasty(), Box::pin(respond(req)), account.clone());
            async move {
                if hasty {
                    // A stream that has been reset is dropped here, before it costs anything.
                    tokio::task::yield_now().await;
                }
                answer.await.map(|rsp| rsp.map(|body| Counted::new(body, &account).waiting(unread, sent)))
            }
        });
        let mut conn = pin!(self.h2.serve_connection(TokioIo::new(io), respond));
        let failed = |error| match verdict.on(&error) {
            Some(reason) => Fault::new(reason, error),
            None => broken(error),
        };
        let turn = |conn: Pin<&mut _>, cx: &mut Context<'_>| {
            verdict.begin_turn();
            Future::poll(conn, cx)
        };
        let ending = asked_to_end(drain, &close);
        tokio::select! {
            // Requests that have arrived are answered, also where the end has begun: the last stream is
            // named a round trip after the client was told to open no more.
            biased;
            ended = poll_fn(|cx| turn(conn.as_mut(), cx)) => return ended.map_err(failed),
            () = ending => conn.as_mut().graceful_shutdown(),
        }
        let ended = poll_fn(|cx| turn(conn.as_mut(), cx)).await;
        ended.map_err(failed)
    }
}

/// What the end of a connection means that did not end well.
fn broken(error: hyper::Error) -> Fault {
    let reason = match vet::to_blame(&error) {
        Some(reason) => reason,
        None if error.is_parse_too_large() => Reason::HeadTooLarge,
        None if error.is_parse() => Reason::BadRequest,
        None => Reason::ClientBroken,
    };
    Fault::new(reason, error)
}

/// Resolves when a connection is to end gracefully: one of its answers or the end of its peer's right asks for it, or
/// the proxy drains.
async fn asked_to_end(drain: &Drain, close: &CancellationToken) {
    tokio::select! {
        () = drain.signaled() => {}
        () = close.cancelled() => {}
    }
}

/// Resolves when an HTTP/1 connection that is to end is closed where it is idle.
async fn lingered(drain: &Drain, close: &CancellationToken) {
    asked_to_end(drain, close).await;
    tokio::time::sleep(LAST_REQUEST).await;
}

/// An HTTP/1 answer: it decides whether the connection leaves HTTP, and is its last where that is to end.
async fn http1_answer<W: Observe, E>(
    is_last: impl Fn() -> bool,
    verdict: &Verdict,
    connect: bool,
    answer: impl Future<Output = Result<Response<Body<W>>, E>>,
) -> Result<Response<Body<W>>, E> {
    let mut rsp = answer.await?;
    let upgraded = rsp.status() == StatusCode::SWITCHING_PROTOCOLS || (connect && rsp.status().is_success());
    verdict.answered(upgraded);
    if is_last() && !upgraded {
        rsp.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(rsp)
}

//! HTTP/2 below the level of a library's manners: every frame that an application may send, and what came.

use std::future::poll_fn;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::messages::header_lines;
use crate::stage::{DEADLINE, Road};
use crate::tally::Tally;

/// A client's connection.
pub(crate) async fn connect(road: &Road) -> SendRequest<Bytes> {
    let io = road.dial().await;
    io.set_nodelay(true).unwrap();
    let (client, connection) = client::Builder::new()
        .max_header_list_size(1 << 20)
        .initial_window_size(1 << 20)
        .handshake(io)
        .await
        .unwrap();
    road.beside(async move {
        let _ = connection.await;
    });
    client
}

/// An application that plays `serve` for each stream. Each that has been played is told.
pub(crate) fn serve<F: Future<Output = ()> + Send + 'static>(
    road: &Road,
    serve: impl Fn(Road, Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
) -> mpsc::UnboundedReceiver<()> {
    let (played, waiting) = mpsc::unbounded_channel();
    let own = road.clone();
    road.serve(move |io| {
        let (road, serve, played) = (own.clone(), serve.clone(), played.clone());
        async move {
            io.set_nodelay(true).unwrap();
            let mut builder = server::Builder::new();
            builder.max_header_list_size(1 << 20).initial_window_size(1 << 20);
            let Ok(mut connection) = builder.handshake(io).await else { return };
            while let Some(Ok((req, respond))) = connection.accept().await {
                let (serving, played) = (serve(road.clone(), req, respond), played.clone());
                road.beside(async move {
                    serving.await;
                    let _ = played.send(());
                });
            }
        }
    });
    waiting
}

pub(crate) fn request_lines<B>(req: &Request<B>) -> Vec<String> {
    let start = format!("{} {} {:?}", req.method(), req.uri(), req.version());
    header_lines(&start, &pairs(req.headers()))
}

pub(crate) fn response_lines<B>(rsp: &Response<B>) -> Vec<String> {
    header_lines(&format!("{:?} {}", rsp.version(), rsp.status().as_u16()), &pairs(rsp.headers()))
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.as_bytes().escape_ascii().to_string())
    };
    headers.iter().map(pair).collect()
}

/// A body to its end, with its trailers or what cut it off.
pub(crate) async fn read(body: &mut RecvStream) -> Vec<String> {
    let mut tally = Tally::new();
    let cut = loop {
        match timeout(DEADLINE, body.data()).await {
            Err(_) => break Some(format!("nothing for {DEADLINE:?}")),
            Ok(None) => break None,
            Ok(Some(Ok(bytes))) => {
                tally.add(&bytes);
                let _ = body.flow_control().release_capacity(bytes.len());
            }
            Ok(Some(Err(error))) => break Some(how(&error)),
        }
    };
    let mut lines = vec![format!("body: {}", tally.describe())];
    match cut {
        Some(how) => lines.push(format!("cut off: {how}")),
        None => lines.extend(trailers(body).await),
    }
    lines
}

async fn trailers(body: &mut RecvStream) -> Vec<String> {
    match timeout(DEADLINE, body.trailers()).await {
        Err(_) => vec!["no trailers, and no end".to_owned()],
        Ok(Ok(None)) => Vec::new(),
        Ok(Ok(Some(trailers))) => header_lines("trailers", &pairs(&trailers))
            .into_iter()
            .map(|line| format!("trailer {line}"))
            .skip(1)
            .collect(),
        Ok(Err(error)) => vec![format!("cut off: {}", how(&error))],
    }
}

/// One piece of a body, whatever its frames.
pub(crate) async fn piece(body: &mut RecvStream, length: usize) -> String {
    let mut tally = Tally::new();
    while tally.length() < length as u64 {
        match timeout(DEADLINE, body.data()).await {
            Ok(Some(Ok(bytes))) => {
                tally.add(&bytes);
                let _ = body.flow_control().release_capacity(bytes.len());
            }
            Ok(Some(Err(error))) => return format!("cut off: {}", how(&error)),
            Ok(None) => return format!("{} and the end", tally.describe()),
            Err(_) => return format!("nothing for {DEADLINE:?}"),
        }
    }
    tally.describe()
}

/// Sends what the far side gives room for, until all is sent.
pub(crate) async fn write(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len().min(1 << 16));
        match timeout(DEADLINE, poll_fn(|cx| stream.poll_capacity(cx))).await {
            Ok(Some(room)) => {
                let piece = bytes.split_to(room?.min(bytes.len()));
                stream.send_data(piece, false)?;
            }
            Ok(None) | Err(_) => return Ok(()),
        }
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

pub(crate) fn how(error: &h2::Error) -> String {
    let by = if error.is_remote() { "the far side" } else { "this side" };
    match error.reason() {
        Some(reason) if error.is_reset() => format!("stream reset by {by}: {reason:?}"),
        Some(reason) if error.is_go_away() => format!("connection ended by {by}: {reason:?}"),
        _ if error.is_io() => "connection broke".to_owned(),
        _ => error.to_string(),
    }
}

/// Asks on a stream of its own, and notes the answer: the head, then the body to its end.
pub(crate) async fn ask(
    road: &Road,
    client: &mut SendRequest<Bytes>,
    req: Request<()>,
    body: &[&'static str],
    trailers: Option<HeaderMap>,
) {
    let ends = body.is_empty() && trailers.is_none();
    let Ok(mut ready) = client.clone().ready().await.map_err(|error| road.seen.client([how(&error)])) else {
        return;
    };
    let (answer, mut stream) = match ready.send_request(req, ends) {
        Ok(sent) => sent,
        Err(error) => return road.seen.client([how(&error)]),
    };
    for (number, piece) in body.iter().enumerate() {
        let last = number + 1 == body.len() && trailers.is_none();
        // The answer tells what became of it.
        let _ = stream.send_data(Bytes::from_static(piece.as_bytes()), last);
    }
    if let Some(trailers) = trailers {
        let _ = stream.send_trailers(trailers);
    }
    note(road, answer).await;
}

/// Notes an answer to its end.
pub(crate) async fn note(road: &Road, answer: client::ResponseFuture) {
    match timeout(DEADLINE, answer).await {
        Err(_) => road.seen.client([format!("no answer for {DEADLINE:?}")]),
        Ok(Err(error)) => road.seen.client([how(&error)]),
        Ok(Ok(mut rsp)) => {
            road.seen.client(response_lines(&rsp));
            road.seen.client(read(rsp.body_mut()).await);
        }
    }
}

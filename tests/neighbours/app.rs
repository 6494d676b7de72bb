//! The application behind the proxy: answers over HTTP/1 and HTTP/2, whatever is asked of it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

type Body = BoxBody<Bytes, Infallible>;

/// What `/` is answered with.
pub(crate) const HELLO: &str = "hello, neighbour";

/// Bytes of the answer to `/large`.
pub(crate) const LARGE: usize = 8 << 20;

/// How often `/busy` was asked for, and read whole: it is unavailable.
pub(crate) static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Bytes of the answer to `/piece`, which is one piece.
const PIECE: usize = 40 << 10;

pub(crate) async fn serve(listener: TcpListener) {
    loop {
        let Ok((io, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // A thread for each: whom an attack keeps busy, here, is not to be taken for the proxy.
        let io = io.into_std().unwrap();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { connection(TcpStream::from_std(io).unwrap()).await });
            // What an upgrade left behind goes on.
            while runtime.metrics().num_alive_tasks() > 0 {
                runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
            }
        });
    }
}

async fn connection(io: TcpStream) {
    let _ = io.set_nodelay(true);
    let mut start = [0; 3];
    loop {
        match io.peek(&mut start).await {
            Ok(0) | Err(_) => return,
            Ok(3) => break,
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let (http2, io) = (&start == b"PRI", TokioIo::new(io));
    if http2 {
        let mut server = http2::Builder::new(TokioExecutor::new());
        // This application holds what it is asked to hold, and judges nobody.
        server.max_concurrent_streams(100_000).max_pending_accept_reset_streams(100_000);
        server.max_local_error_reset_streams(None).max_header_list_size(1 << 20);
        let _ = server.serve_connection(io, service_fn(answer)).await;
    } else {
        let _ = http1::Builder::new().serve_connection(io, service_fn(answer)).with_upgrades().await;
    }
}

async fn answer(mut req: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let size = req.uri().query().and_then(|text| text.parse().ok()).unwrap_or(0);
    let rsp = match req.uri().path() {
        "/large" => Response::new(large()),
        "/piece" => Response::new(Full::new(Bytes::from_static(&[b'.'; PIECE])).boxed()),
        "/busy" => {
            let mut body = req.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            BUSY.fetch_add(usize::from(body.is_end_stream()), Ordering::Relaxed);
            let mut rsp = Response::new(whole(""));
            *rsp.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            rsp
        }
        "/never" => std::future::pending().await,
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut req);
            tokio::spawn(echo(upgrade));
            tokio::time::sleep(Duration::from_millis(size as u64)).await;
            let rsp = Response::builder().status(101).header(header::CONNECTION, "upgrade");
            rsp.header(header::UPGRADE, "echo").body(whole("")).unwrap()
        }
        "/headers" => {
            let mut rsp = Response::new(whole(HELLO));
            *rsp.headers_mut() = padding(size);
            rsp
        }
        "/trailers" => Response::new(with_trailers(padding(size))),
        _ => {
            // All of it, trailers too.
            let _ = req.into_body().collect().await;
            Response::new(whole(HELLO))
        }
    };
    Ok(rsp)
}

fn whole(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).boxed()
}

fn large() -> Body {
    static PIECE: [u8; 16 * 1024] = [b'.'; 16 * 1024];
    let pieces = std::iter::repeat_n(Bytes::from_static(&PIECE), LARGE / PIECE.len());
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(pieces.map(|piece| Ok(Frame::data(piece))))))
}

fn with_trailers(trailers: HeaderMap) -> Body {
    let hello = Full::new(Bytes::from_static(HELLO.as_bytes()));
    hello.with_trailers(async move { Some(Ok(trailers)) }).boxed()
}

/// One header that makes a list so many bytes long, by RFC 9113's reckoning (6.5.2).
pub(crate) fn padding(size: usize) -> HeaderMap {
    let name = HeaderName::from_static("x-padding");
    let mut headers = HeaderMap::new();
    if let Some(length) = size.checked_sub(name.as_str().len() + 32) {
        headers.insert(name, HeaderValue::try_from("p".repeat(length)).unwrap());
    }
    headers
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(io) = upgrade.await else { return };
    let mut io = TokioIo::new(io);
    let mut piece = [0; 16 * 1024];
    while let Ok(n @ 1..) = io.read(&mut piece).await {
        if io.write_all(&piece[..n]).await.is_err() {
            return;
        }
    }
    let _ = io.shutdown().await;
}

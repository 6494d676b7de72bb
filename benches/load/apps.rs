//! The applications: cheap, so that they are not what is measured.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

/// What client and application hand the kernel at once; large, so that the load is not what is measured.
pub(crate) const BUFFER: usize = 256 * 1024;

/// The answer to every request.
pub(crate) static ANSWER: [u8; 100] = [b'.'; 100];

/// A gRPC message: not compressed, its length, its bytes.
pub(crate) static MESSAGE: [u8; 105] = {
    let mut message = [b'.'; 105];
    let mut at = 0;
    while at < 5 {
        message[at] = 0;
        at += 1;
    }
    message[4] = 100;
    message
};

/// Listeners of the three applications.
pub(crate) struct Listeners {
    pub(crate) http1: TcpListener,
    pub(crate) http2: TcpListener,
    pub(crate) opaque: TcpListener,
}

/// Where the applications listen.
#[derive(Clone, Copy)]
pub(crate) struct Apps {
    pub(crate) http1: SocketAddr,
    pub(crate) http2: SocketAddr,
    pub(crate) opaque: SocketAddr,
}

impl Listeners {
    /// On loopback, at any ports.
    pub(crate) fn local() -> std::io::Result<Self> {
        let any = || TcpListener::bind("127.0.0.1:0");
        Ok(Self { http1: any()?, http2: any()?, opaque: any()? })
    }

    /// Serves on a thread of its own.
    pub(crate) fn start(self) -> anyhow::Result<Apps> {
        let apps = Apps {
            http1: self.http1.local_addr()?,
            http2: self.http2.local_addr()?,
            opaque: self.opaque.local_addr()?,
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            tokio::join!(each(self.http1, http1), each(self.http2, http2), each(self.opaque, opaque),)
        };
        std::thread::Builder::new().name("apps".into()).spawn(move || runtime.block_on(serve))?;
        Ok(apps)
    }
}

async fn each<F>(listener: TcpListener, serve: fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return eprintln!("an application cannot listen: {error}"),
    };
    loop {
        // That one connection ended before it began is not the end.
        if let Ok((io, _)) = listener.accept().await {
            let _ = io.set_nodelay(true);
            tokio::spawn(serve(io));
        }
    }
}

async fn http1(io: TcpStream) {
    let server = hyper::server::conn::http1::Builder::new();
    let _ = server.serve_connection(TokioIo::new(io), service_fn(answer)).await;
}

async fn http2(io: TcpStream) {
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(io), service_fn(answer)).await;
}

async fn answer(req: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let grpc = req.headers().contains_key("grpc-timeout");
    req.into_body().collect().await?;
    if !grpc {
        return Ok(Response::new(Full::new(Bytes::from_static(&ANSWER)).boxed()));
    }
    let trailers = async { Some(Ok(HeaderMap::from_iter([("grpc-status", "0")].map(named)))) };
    let body = Full::new(Bytes::from_static(&MESSAGE)).with_trailers(trailers).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap_or_default())
}

fn named((name, value): (&'static str, &'static str)) -> (http::HeaderName, http::HeaderValue) {
    (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
}

/// What a client of opaque bytes sends first: what it wants.
pub(crate) const COUNT: u8 = 1;
pub(crate) const ECHO_AND_CLOSE: u8 = 2;
pub(crate) const ECHO_AND_STAY: u8 = 3;

async fn opaque(mut io: TcpStream) {
    let Ok(wanted) = io.read_u8().await else { return };
    if wanted == COUNT {
        return count(io).await;
    }
    if io.write_u8(wanted).await.is_err() || wanted == ECHO_AND_CLOSE {
        return;
    }
    // Idle until the client has enough.
    let _ = io.read_u8().await;
}

/// Reads to the end and answers how many bytes came.
async fn count(mut io: TcpStream) {
    let (mut buf, mut total) = (vec![0; BUFFER], 0_u64);
    loop {
        match io.read(&mut buf).await {
            Ok(0) => break,
            Ok(n) => total += n as u64,
            Err(_) => return,
        }
    }
    let _ = io.write_u64(total).await;
}

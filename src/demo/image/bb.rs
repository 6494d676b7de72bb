//! `bb terminus`: a server that answers every request with the same text.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Response, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// What the guide's manifest says to `bb`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    strategy: Strategy,
}

#[derive(Debug, clap::Subcommand)]
enum Strategy {
    /// Answers by itself, without asking further services.
    Terminus {
        /// Port of the HTTP/1.1 server.
        #[arg(long, value_name = "PORT")]
        h1_server_port: u16,
        /// Body of every answer.
        #[arg(long, value_name = "TEXT", default_value = "")]
        response_text: String,
    },
}

/// Serves until killed.
///
/// # Errors
/// When the port cannot be listened on.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Strategy::Terminus { h1_server_port, response_text } = args.strategy;
    let listener =
        listen(h1_server_port).await.with_context(|| format!("cannot listen on port {h1_server_port}"))?;
    println!("terminus serving HTTP/1.1 on {}", listener.local_addr()?);
    tokio::select! {
        () = serve(listener, Bytes::from(response_text)) => {}
        signal = super::slow_cooker::asked_to_stop() => signal?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Both families where the machine has both.
async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}

async fn serve(listener: TcpListener, text: Bytes) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(answer(stream, text.clone()))),
            Err(e) => eprintln!("accept: {e}"),
        }
    }
}

async fn answer(stream: TcpStream, text: Bytes) {
    let service = service_fn(|_| {
        let text = text.clone();
        async move {
            let mut rsp = Response::new(Full::new(text));
            rsp.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
            Ok::<_, Infallible>(rsp)
        }
    });
    if let Err(e) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        eprintln!("connection: {e}");
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};
    use http_body_util::{BodyExt as _, Empty};

    use super::*;

    #[tokio::test]
    async fn every_request_gets_the_text_on_a_kept_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Bytes::from_static(b"hello\n")));
        let stream = TcpStream::connect(addr).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        for path in ["/", "/elsewhere"] {
            let req = Request::get(path).header("host", "bb").body(Empty::<Bytes>::new()).unwrap();
            let rsp = client.send_request(req).await.unwrap();
            assert_eq!(rsp.status(), StatusCode::OK);
            assert_eq!(rsp.into_body().collect().await.unwrap().to_bytes(), "hello\n");
        }
        driver.abort();
        server.abort();
    }
}

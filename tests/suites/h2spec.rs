//! h2spec's cases for a server of HTTP/2, with a proxy in the server's place: as an application meets it, and as a
//! client from outside the mesh does.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use causeway::demo::namespace::Namespace;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::mesh::{HTTP, Mesh};
use crate::program::{built, reference, run};
use crate::requests::{MESHED, UNMESHED, let_in};

/// All that there are, strict ones too.
const EVERY_CASE_PASSES: &str = "146 tests, 146 passed, 0 skipped, 0 failed";

/// The reference allows any number of streams, so that none can be one too many.
const ALL_BUT_THE_STREAM_LIMIT: &str = "146 tests, 145 passed, 1 skipped, 0 failed";

#[tokio::test(flavor = "multi_thread")]
async fn every_case_passes_at_both_listeners() {
    both_listeners(None, EVERY_CASE_PASSES).await;
}

/// Were there a case that the reference fails too, it would be listed here and not held against ours.
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_passes_the_same_cases() {
    let Some(reference) = reference() else { return };
    both_listeners(Some(reference), ALL_BUT_THE_STREAM_LIMIT).await;
}

async fn both_listeners(proxy: Option<PathBuf>, expected: &str) {
    let Some(h2spec) = built("h2spec") else { return };
    let Some(mesh) = Mesh::start_with(|_| proxy.clone()).await else { return };
    answer(mesh.pod("bb"), HTTP);
    let sink = mesh.service("west", "sink-target").await;
    let listeners = [
        ("outbound", mesh.pod("slow-cooker"), sink, MESHED),
        ("inbound", mesh.world.network().router(), mesh.pod_ip("bb"), UNMESHED),
    ];
    for (listener, from, ip, client) in listeners {
        let args = ["--strict", "--host", &ip.to_string(), "--port", &HTTP.to_string()];
        let ended = run(from, &h2spec, &args, ALL_WITHIN).await;
        assert_eq!(ended.output.lines().last(), Some(expected), "{listener}:\n{}", ended.output);
        assert!(let_in(&mesh, client).await > 0.0, "{listener}: the requests went past the proxies");
    }
}

/// An application in `pod` that takes in a request to its end, and answers it.
fn answer(pod: &Namespace, port: u16) {
    let listener = pod.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = service_fn(async |req: Request<Incoming>| {
                let text = if req.method() == Method::HEAD { "" } else { "taken in, and answered" };
                // A request that is broken off needs no answer, and gets none.
                let _ = req.into_body().collect().await;
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(text.as_bytes()))))
            });
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve),
            );
        }
    });
}

/// Two cases wait for 2 s to see that nothing comes.
const ALL_WITHIN: Duration = Duration::from_secs(60);

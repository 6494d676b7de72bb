//! Thousands of endpoints without proxies, behind one listener: each has an address of its own.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use causeway::model::Endpoint;
use http::Request;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub struct Endpoints {
    port: u16,
    open: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Endpoints {
    /// `serve` is told of each request the number of the endpoint that it was for, and answers when it returns.
    pub async fn new<F>(serve: impl Fn(usize, Request<Incoming>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let (port, open) = (listener.local_addr().unwrap().port(), Arc::<AtomicUsize>::default());
        let (mut serving, counted) = (JoinSet::new(), open.clone());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                io.set_nodelay(true).unwrap();
                let IpAddr::V4(ip) = io.local_addr().unwrap().ip() else { unreachable!() };
                let number = (u32::from(ip) - FIRST) as usize;
                let (serve, open) = (serve.clone(), counted.clone());
                open.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    let answer = service_fn(move |req| {
                        let served = serve(number, req);
                        async move {
                            served.await;
                            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"served"))))
                        }
                    });
                    let http = http2::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(io), answer).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, open, _serving: serving }
    }

    pub fn addr(&self, number: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::from(FIRST + number as u32), self.port))
    }

    pub fn endpoint(&self, number: usize) -> Endpoint {
        Endpoint::plain(self.addr(number))
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// 127.128.0.0
const FIRST: u32 = 0x7f80_0000;

//! Who calls a port, from where and in which protocol, and what became of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway::model::endpoint::EndpointTls;
use causeway::model::protocol::HttpVersion;
use causeway::model::{ResourceRef, ServerPolicy};
use causeway::net::transport_header::TransportHeader;
use causeway::tls::CredentialStore;
use http::Request;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{Answer, Client, Kind, empty};
use crate::pair::Pair;
use crate::policies::{Speaks, everyone, server};
use crate::raw::read_to_end;
use crate::sandbox::{Sandbox, fresh_ip, identity, until, within};

/// What a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http(Kind),
    /// A request of HTTP/1, carried as bytes that are nobody's business.
    Opaque,
}

/// What a caller proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Identified(String),
    /// Mesh TLS without a certificate.
    Anonymous,
    Plain,
}

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A pair whose server's port is called directly, by whomever.
pub struct Callers {
    pub pair: Pair,
    pub from: IpAddr,
    stores: HashMap<String, Arc<CredentialStore>>,
    policies: usize,
}

impl Callers {
    /// `bb` has this default policy, for the application's port alone.
    pub async fn new(default: &str) -> Self {
        Self::with(default, &[]).await
    }

    /// The same, with some variables of `bb` set otherwise.
    pub async fn with(default: &str, changes: &[(&str, &str)]) -> Self {
        let set = [&[("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", default)], changes].concat();
        let pair = Pair::with(Sandbox::new().await, &[], &set).await;
        pair.world.script().server(&pair.bb.port(pair.bb.admin), &server(Speaks::Detected, vec![everyone()]));
        let callers = Self { pair, from: fresh_ip(), stores: HashMap::new(), policies: 0 };
        until("a certificate", async || callers.admin("/ready").await.is_some_and(|a| a.status == 200)).await;
        callers
    }

    async fn admin(&self, path: &str) -> Option<Answer> {
        let io = within("a connection", TcpStream::connect(self.pair.bb.admin)).await.unwrap();
        let req = Request::get(path).header("host", "localhost").body(empty()).unwrap();
        Client::new(Kind::Http1, io).await.try_send(req).await.ok()
    }

    /// `bb`'s page of metrics.
    pub async fn metrics(&self) -> String {
        String::from_utf8(self.admin("/metrics").await.unwrap().body.to_vec()).unwrap()
    }

    /// What `bb` says of a caller.
    pub async fn explain(&self, caller: &Caller, spoken: Spoken, path: &str) -> Value {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let port = self.pair.app.addr.port().to_string();
        query.append_pair("port", &port).append_pair("src", &self.from.to_string()).append_pair("path", path);
        if spoken == Spoken::Http(Kind::Grpc) {
            query.append_pair("method", "POST");
        }
        match caller {
            Caller::Identified(id) => query.append_pair("client", id),
            Caller::Anonymous => query.append_pair("client", ""),
            Caller::Plain => &mut query,
        };
        let answer = self.admin(&format!("/explain?{}", query.finish())).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Makes this the policy of the port, and returns when it is in force.
    pub async fn enforce(&mut self, mut policy: ServerPolicy) -> Duration {
        self.policies += 1;
        let name = format!("policy-{}", self.policies);
        policy.meta = ResourceRef::object("policy.linkerd.io", "server", &name);
        let since = Instant::now();
        self.pair.admit(&policy);
        until("the policy is in force", async || {
            self.explain(&Caller::Plain, Spoken::Opaque, "/").await["server"]["name"] == *name
        })
        .await;
        since.elapsed()
    }

    /// A connection to the application's port. Who has an identity comes by the proxy's own port, as proxies do.
    pub async fn connect(&mut self, caller: &Caller, spoken: Spoken) -> Box<dyn Io> {
        let (world, bb, app) = (&self.pair.world, &self.pair.bb, self.pair.app.addr);
        let expect = EndpointTls { id: bb.id.parse().unwrap(), server_name: bb.id.parse().unwrap() };
        match caller {
            Caller::Plain => Box::new(world.connect_from(self.from, app, bb).await),
            Caller::Anonymous => {
                let io = world.connect_from(self.from, app, bb).await;
                let store = world.ca.empty_store(&identity("nobody"));
                Box::new(
                    causeway::tls::client::connect(&store, io, &expect, causeway::tls::Offer::Nothing)
                        .await
                        .unwrap()
                        .stream,
                )
            }
            Caller::Identified(id) => {
                let store = self.stores.entry(id.clone()).or_insert_with(|| world.ca.store(id)).clone();
                let io = world.connect_from(self.from, bb.inbound, bb).await;
                let mut io =
                    causeway::tls::client::connect(&store, io, &expect, causeway::tls::Offer::Transport)
                        .await
                        .unwrap()
                        .stream;
                let session = match spoken {
                    Spoken::Opaque => None,
                    Spoken::Http(Kind::Http1) => Some(HttpVersion::Http1),
                    Spoken::Http(_) => Some(HttpVersion::Http2),
                };
                let header = TransportHeader { port: app.port(), name: None, session };
                io.write_all(&header.encode()).await.unwrap();
                Box::new(io)
            }
        }
    }

    /// The status of a request on a connection of its own; of gRPC, the one that its code stands for; 0 where the
    /// connection is closed.
    pub async fn ask(&mut self, caller: &Caller, spoken: Spoken, path: &str) -> u16 {
        let mut io = within("a connection", self.connect(caller, spoken)).await;
        let Spoken::Http(kind) = spoken else {
            let request = format!("GET {path} HTTP/1.1\r\nhost: bb\r\nconnection: close\r\n\r\n");
            let _ = io.write_all(request.as_bytes()).await;
            let answer = read_to_end(&mut io).await;
            return answer
                .get(9..12)
                .map_or(0, |status| std::str::from_utf8(status).unwrap().parse().unwrap());
        };
        let mut client = Client::new(kind, io).await;
        let req = client.request(path).body(empty()).unwrap();
        client.try_send(req).await.map_or(0, |answer| status(kind, &answer))
    }
}

/// The status of an answer; of gRPC, the one that its code stands for.
pub fn status(kind: Kind, answer: &Answer) -> u16 {
    match (kind, answer.header("grpc-status")) {
        (Kind::Grpc, Some("5")) => 404,
        (Kind::Grpc, Some("7")) => 403,
        (Kind::Grpc, Some("8")) => 429,
        (Kind::Grpc, Some("13")) => 500,
        (Kind::Grpc, Some(other)) => panic!("an unexpected code: {other}"),
        _ => answer.status.as_u16(),
    }
}

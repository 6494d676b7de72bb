//! One service of the control plane, reached over gRPC (contract 1.4).
//!
//! A [`Controller`] is what a generated tonic client sits on. Its requests are balanced over the replicas
//! that its name leads to, with one HTTP/2 connection to each, shared by all clones and made when a request
//! needs it: mesh TLS towards the name that was configured, or plaintext if the configured address is
//! loopback. The connections end with the last clone and the last response body.

mod answer;
pub mod connect;
mod replicas;
pub mod resolve;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use tokio::time::Instant;
use tonic::body::Body;

pub use self::answer::Answer;
use self::connect::Session;
use self::replicas::{Replica, Replicas};
use self::resolve::Dns;
use crate::backoff::Backoff;
use crate::balance::Pick;
use crate::config::Socket;
use crate::model::endpoint::EndpointTls;
use crate::model::name::{Authority, Host};
use crate::model::{DnsName, WorkloadId};
use crate::telemetry::controllers::Client;
use crate::telemetry::requests::ResponseError;
use crate::tls::CredentialStore;

/// How long a request may wait for a connection (contract 1.4).
const FAIL_FAST: Duration = Duration::from_secs(30);

/// Where a control-plane service is and whom to expect there.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// `localhost.`, with its dot, stands here as 127.0.0.1; the bare word is a name like any other.
    pub host: Host,
    pub port: u16,
    /// SNI and identity to expect. Needed unless `host` is a loopback address, where it is not used.
    pub name: Option<DnsName>,
    /// For TCP and TLS together, of each address that is tried.
    pub connect_timeout: Duration,
    /// Delays between attempts to connect.
    pub backoff: Backoff,
    pub socket: Socket,
    /// Bytes.
    pub stream_window: u32,
    /// Bytes.
    pub connection_window: u32,
}

/// A control-plane service; cheap to clone.
#[derive(Clone, Debug)]
pub struct Controller(Arc<Replicas>);

/// Why a request got no answer from the control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Resolve(#[from] resolve::Error),
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error("{controller} was not reached within {FAIL_FAST:?}: {}", Reason(.last))]
    FailFast { controller: Authority, last: Option<Arc<Self>> },
    /// The connection ended before the answer came.
    #[error("the connection to {controller} failed: {error}")]
    Lost { controller: Authority, error: hyper::Error },
}

/// The service is not loopback, and nobody said which identity to expect there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a loopback address: the TLS name to expect there is needed")]
pub struct MissingIdentity(pub Authority);

/// What stays the same from connection to connection.
#[derive(Clone, Debug)]
struct Reach {
    config: ControllerConfig,
    session: Session,
    authority: Authority,
    /// As requests spell it: without port 80.
    uri_authority: http::uri::Authority,
    dns: Dns,
    store: Arc<CredentialStore>,
    counts: Arc<Client>,
}

impl Controller {
    pub fn new(
        config: ControllerConfig,
        dns: Dns,
        store: Arc<CredentialStore>,
    ) -> Result<Self, MissingIdentity> {
        let authority = Authority { host: config.host.clone(), port: Some(config.port) };
        let session = match (&config.host, &config.name) {
            (Host::Ip(ip), _) if ip.is_loopback() => Session::Plaintext,
            (_, Some(name)) => {
                let id = WorkloadId::Dns(name.clone());
                Session::Mesh(EndpointTls { id, server_name: name.clone() })
            }
            (_, None) => return Err(MissingIdentity(authority)),
        };
        let shown = Authority { port: authority.port.filter(|port| *port != 80), ..authority.clone() };
        let uri_authority = shown.to_string().parse().expect("names and addresses are spelled as in a URI");
        let counts = Arc::new(Client::new(&authority, session.expects()));
        let dns = dns.counting(counts.resolutions.clone());
        let reach = Reach { config, session, authority, uri_authority, dns, store, counts };
        Ok(Self(Arc::new(Replicas::new(reach))))
    }

    /// The same service over connections of its own, made with the credentials of that moment.
    pub fn fresh(&self) -> Self {
        Self(Arc::new(Replicas::new(self.0.reach().clone())))
    }

    pub fn authority(&self) -> &Authority {
        &self.0.reach().authority
    }

    /// What became of its requests, and of those of every [`fresh`](Self::fresh) one.
    pub fn counts(&self) -> &Arc<Client> {
        &self.0.reach().counts
    }
}

impl tower_service::Service<Request<Body>> for Controller {
    type Response = Response<Answer>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Body>) -> Self::Future {
        let replicas = self.0.clone();
        let in_flight = self.counts().requests.start(req.headers());
        Box::pin(async move {
            match send(&replicas, req).await {
                Ok((rsp, pick)) => {
                    let recorder = in_flight.response(rsp.status(), rsp.headers());
                    Ok(rsp.map(|body| Answer::new(body, pick, recorder)))
                }
                Err(error) => {
                    in_flight.failed(ResponseError::of(&error));
                    Err(error)
                }
            }
        })
    }
}

/// Sends a request to a replica. What never left goes to another, until the failfast timeout has passed.
async fn send(
    replicas: &Replicas,
    mut req: Request<Body>,
) -> Result<(Response<Incoming>, Pick<Replica>), Error> {
    *req.uri_mut() = replicas.reach().uri(req.uri());
    let deadline = Instant::now() + FAIL_FAST;
    loop {
        let mut lease = replicas.ready(deadline).await?;
        match lease.http.try_send_request(req).await {
            Ok(rsp) => {
                replicas.answered(&lease);
                return Ok((rsp, lease.pick));
            }
            Err(mut error) => {
                replicas.lost(lease);
                match error.take_message() {
                    Some(unsent) => req = unsent,
                    None => {
                        let controller = replicas.reach().authority.clone();
                        return Err(Error::Lost { controller, error: error.into_error() });
                    }
                }
            }
        }
    }
}

impl Reach {
    fn uri(&self, uri: &Uri) -> Uri {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.uri_authority.clone())
            .path_and_query(path)
            .build()
            .expect("all three parts are given and valid")
    }
}

struct Reason<'a>(&'a Option<Arc<Error>>);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(error) => error.fmt(f),
            None => f.write_str("still trying"),
        }
    }
}

#[cfg(test)]
mod tests;

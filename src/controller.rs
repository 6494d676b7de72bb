//! One service of the control plane, reached over gRPC (contract 1.4).
//!
//! A [`Controller`] is what a generated tonic client sits on. It keeps one HTTP/2 connection, shared by all
//! its clones and made when the first request needs it: mesh TLS towards the name that was configured, or
//! plaintext if the configured address is loopback. A lost connection is made again, with the names
//! resolved again; the connection ends with the last clone and the last response body.

pub mod connect;
pub mod resolve;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::body::Body;

use self::connect::{Http2, Session};
use self::resolve::Dns;
use crate::backoff::Backoff;
use crate::config::Socket;
use crate::model::endpoint::EndpointTls;
use crate::model::name::{Authority, Host};
use crate::model::{DnsName, WorkloadId};
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
}

/// A control-plane service; cheap to clone.
#[derive(Clone, Debug)]
pub struct Controller(Arc<Shared>);

/// Why a request got no answer from the control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Resolve(#[from] resolve::Error),
    #[error(transparent)]
    Connect(#[from] connect::Error),
    #[error("{controller} was not reached within {FAIL_FAST:?}: {}", Reason(.last))]
    FailFast { controller: Authority, last: Option<Box<Self>> },
    /// The connection ended before the answer came.
    #[error("the connection to {controller} failed: {error}")]
    Lost { controller: Authority, error: hyper::Error },
}

/// The service is not loopback, and nobody said which identity to expect there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a loopback address: the TLS name to expect there is needed")]
pub struct MissingIdentity(pub Authority);

#[derive(Debug)]
struct Shared {
    reach: Reach,
    link: Mutex<Link>,
    /// Connections in a row that failed or carried no answer.
    failures: AtomicU32,
}

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
}

/// The one connection and what is known for making it again.
#[derive(Debug, Default)]
struct Link {
    http: Option<Http2>,
    /// What the name resolved to last, for when it does not resolve.
    addrs: Vec<SocketAddr>,
    /// No attempt before this.
    not_before: Option<Instant>,
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
        Ok(Self::unconnected(Reach { config, session, authority, uri_authority, dns, store }))
    }

    /// The same service over a connection of its own, made with the credentials of that moment.
    pub fn fresh(&self) -> Self {
        Self::unconnected(self.0.reach.clone())
    }

    fn unconnected(reach: Reach) -> Self {
        Self(Arc::new(Shared { reach, link: Mutex::default(), failures: AtomicU32::new(0) }))
    }

    pub fn authority(&self) -> &Authority {
        &self.0.reach.authority
    }
}

impl tower_service::Service<Request<Body>> for Controller {
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move { shared.send(req).await })
    }
}

impl Shared {
    async fn send(&self, mut req: Request<Body>) -> Result<Response<Incoming>, Error> {
        *req.uri_mut() = self.uri(req.uri());
        let deadline = Instant::now() + FAIL_FAST;
        loop {
            let mut http = self.connection(deadline).await?;
            match http.try_send_request(req).await {
                Ok(rsp) => {
                    self.failures.store(0, Relaxed);
                    return Ok(rsp);
                }
                Err(mut error) => match error.take_message() {
                    // It never left, so it may go over the next connection.
                    Some(unsent) => req = unsent,
                    None => {
                        let (controller, error) = (self.reach.authority.clone(), error.into_error());
                        return Err(Error::Lost { controller, error });
                    }
                },
            }
        }
    }

    fn uri(&self, uri: &Uri) -> Uri {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.reach.uri_authority.clone())
            .path_and_query(path)
            .build()
            .expect("all three parts are given and valid")
    }

    /// The shared connection, made if there is none. Whoever comes first dials; the others wait for it.
    async fn connection(&self, deadline: Instant) -> Result<Http2, Error> {
        let mut last = None;
        let attempts = async {
            let mut link = self.link.lock().await;
            loop {
                if let Some(http) = link.http.as_ref().filter(|http| !http.is_closed()) {
                    return http.clone();
                }
                link.http = None;
                if let Some(at) = link.not_before {
                    sleep_until(at).await;
                }
                // Even a connection that was made counts until it has carried an answer. Noted before
                // dialling, because whoever waits here may give up at any moment.
                let failures = self.failures.fetch_add(1, Relaxed);
                let delay = self.reach.config.backoff.delay(failures, fastrand::f64());
                link.not_before = Some(Instant::now() + delay);
                match self.dial(&mut link).await {
                    Ok(http) => link.http = Some(http),
                    Err(error) => {
                        tracing::warn!(controller = %self.reach.authority, %error, "cannot reach the control plane");
                        last = Some(Box::new(error));
                    }
                }
                link.not_before = Some(Instant::now() + delay);
            }
        };
        match timeout_at(deadline, attempts).await {
            Ok(http) => Ok(http),
            Err(_) => Err(Error::FailFast { controller: self.reach.authority.clone(), last }),
        }
    }

    /// Tries each address once, from a random one on, so that proxies spread over the controller's replicas.
    async fn dial(&self, link: &mut Link) -> Result<Http2, Error> {
        match self.resolve().await {
            Ok(addrs) => link.addrs = addrs,
            Err(error) if link.addrs.is_empty() => return Err(error.into()),
            Err(error) => {
                tracing::warn!(controller = %self.reach.authority, %error, "using the last known addresses");
            }
        }
        let first = fastrand::usize(..link.addrs.len().max(1));
        let mut last = Error::Resolve(resolve::Error::NoAddress(self.reach.authority.host.clone()));
        for addr in link.addrs.iter().cycle().skip(first).take(link.addrs.len()) {
            match connect::open(*addr, &self.reach.session, &self.reach.config, &self.reach.store).await {
                Ok(http) => return Ok(http),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, resolve::Error> {
        match &self.reach.config.host {
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.reach.config.port)]),
            Host::Name(name) => self.reach.dns.resolve(name, self.reach.config.port).await,
        }
    }
}

struct Reason<'a>(&'a Option<Box<Error>>);

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

//! One connection to a controller, and why there is none.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::model::endpoint::EndpointTls;
use crate::model::{DnsName, WorkloadId};
use crate::tls::{self, CredentialStore, TrustAnchors};

/// To connect, and for each answer that is awaited by itself.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// How to reach the control plane, in common to all questions.
#[derive(clap::Args, Clone, Debug)]
pub struct Reach {
    /// Speak mesh TLS and trust these anchors, a PEM bundle [default: plaintext].
    ///
    /// Plaintext is what `kubectl port-forward` leads to, and what causeway control takes on loopback.
    #[arg(long, value_name = "FILE")]
    pub trust_anchors: Option<PathBuf>,
    /// Whom to find there.
    #[arg(
        long,
        value_name = "NAME",
        requires = "trust_anchors",
        default_value = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"
    )]
    pub server_identity: DnsName,
    /// Certificate chain to present, PEM [default: none].
    #[arg(long, value_name = "FILE", requires_all = ["trust_anchors", "key"])]
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Why a controller was not reached; the text says what may be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{address} has no address: {error}")]
    Resolve { address: String, error: io::Error },
    #[error(
        "nothing answers at {addr}: {error}\nis the control plane running, and is this its port for the \
         {service} service ({port})? In a cluster: kubectl -n linkerd port-forward deploy/linkerd-destination {port}"
    )]
    Connect { addr: SocketAddr, service: &'static str, port: u16, error: io::Error },
    #[error(
        "no connection to {addr} within {LIMIT:?}\nis it behind a firewall, or the address of a pod or Service?"
    )]
    Late { addr: SocketAddr },
    #[error("no TLS with {addr}: {error}\n{}", cause(.error))]
    Tls { addr: SocketAddr, error: Box<tls::Error> },
    #[error("{addr} does not speak HTTP/2: {error}\n{}", if *.tls { "is it another port?" } else {
        "is it another port, or does it want TLS (--trust-anchors)?" })]
    Http { addr: SocketAddr, tls: bool, error: tonic::transport::Error },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: {why}", path.display())]
    Credentials { path: PathBuf, why: String },
}

fn cause(error: &tls::Error) -> &'static str {
    match error {
        tls::Error::Untrusted(_) => "are these the anchors of that cluster, and is the clock right?",
        tls::Error::WrongIdentity { .. } => {
            "its --server-identity has another namespace or trust domain, or this is another service"
        }
        _ => "does it speak plaintext (then without --trust-anchors), or want a certificate (--cert, --key)?",
    }
}

/// Which controller this is, for what is said where it cannot be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) port: u16,
    /// What its questions look like.
    pub(super) form: &'static str,
}

impl Reach {
    /// A channel over a connection that is there already.
    pub(super) async fn connect(&self, address: &str, service: Service) -> Result<Channel, Error> {
        let resolve = |error| Error::Resolve { address: address.to_owned(), error };
        let found = timeout(LIMIT, tokio::net::lookup_host(address)).await;
        let mut found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(resolve)?;
        let addr = found.next().ok_or_else(|| resolve(io::ErrorKind::NotFound.into()))?;
        let connecting = timeout(LIMIT, TcpStream::connect(addr)).await.map_err(|_| Error::Late { addr })?;
        let Service { name, port, .. } = service;
        let io = connecting.map_err(|error| Error::Connect { addr, service: name, port, error })?;
        let Some(anchors) = &self.trust_anchors else { return channel(addr, io, false).await };
        let store = self.credentials(anchors)?;
        let name = self.server_identity.clone();
        let expect = EndpointTls { id: WorkloadId::Dns(name.clone()), server_name: name };
        let shaken = timeout(LIMIT, tls::client::connect(&store, io, &expect, tls::Offer::Nothing)).await;
        let shaken = shaken.map_err(|_| Error::Late { addr })?;
        let error = |error| Error::Tls { addr, error: Box::new(error) };
        channel(addr, shaken.map_err(error)?.stream, true).await
    }

    fn credentials(&self, anchors: &Path) -> Result<Arc<CredentialStore>, Error> {
        let wrong = |path: &Path, why: String| Error::Credentials { path: path.to_owned(), why };
        let bundle = read(anchors)?;
        let bundle = TrustAnchors::from_pem(&bundle).map_err(|error| wrong(anchors, error.to_string()))?;
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            // The name of somebody who presents nothing is never asked for.
            return Ok(CredentialStore::new(WorkloadId::Dns(self.server_identity.clone()), bundle));
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(cert)?).collect();
        let mut chain = chain.map_err(|error| wrong(cert, error.to_string()))?.into_iter();
        let leaf = chain.next().ok_or_else(|| wrong(cert, "expected a certificate in PEM".into()))?;
        let id = tls::subject::client(&leaf);
        let id = id.ok_or_else(|| wrong(cert, "the certificate names no workload".into()))?;
        let private =
            PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| wrong(key, error.to_string()))?;
        let store = CredentialStore::new(id, bundle);
        let installed = store.install(leaf, chain.collect(), &private, SystemTime::now());
        installed.map_err(|error| wrong(cert, error.to_string()))?;
        Ok(store)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::File { path: path.to_owned(), error })
}

async fn channel<IO>(addr: SocketAddr, io: IO, tls: bool) -> Result<Channel, Error>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let origin =
        Endpoint::try_from(format!("http://{addr}")).map_err(|error| Error::Http { addr, tls, error })?;
    let connected = timeout(LIMIT, origin.connect_with_connector(Once(Some(io)))).await;
    connected.map_err(|_| Error::Late { addr })?.map_err(|error| Error::Http { addr, tls, error })
}

/// Hands out the one connection; there is no second.
struct Once<IO>(Option<IO>);

impl<IO> tower_service::Service<Uri> for Once<IO>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Response = TokioIo<IO>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let io = self.0.take();
        Box::pin(async { io.map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()) })
    }
}

//! A shareable, lazily connected way to talk to one endpoint.

use std::io;
use std::sync::Arc;

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::error::{Fault, Reason, causes};
use crate::message::RequestBody;
use crate::model::Endpoint;
use crate::model::endpoint::ProtocolHint;
use crate::model::protocol::HttpVersion;
use crate::telemetry::transport::{Dialled, Metered};
use crate::tls::{Right, Stream};

use super::opaque::Held;
use super::pulse::Tell;
use super::{Connector, Error, h1, h2};

/// One endpoint, its connections, and the handles of its metrics.
pub struct Client {
    pub endpoint: Endpoint,
    /// Whom a gateway is to be asked for, in place of whom the client named (contract 3.8).
    pub authority: Option<Authority>,
    connector: Arc<Connector>,
    transport: Dialled,
    /// Is told what connections show of the endpoint.
    pub(super) tell: Option<Tell>,
    h1: h1::Pool,
    pub(super) h2: h2::Connections,
}

/// What all clients of one direction do alike.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    pub h1: h1::PoolSettings,
    pub h2: h2::Settings,
}

/// How a request travels to the endpoint (contract 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    Http1,
    Http2,
    /// HTTP/1 as HTTP/2, which the far proxy turns back.
    OrigProto,
}

/// A connection that will take one request at once.
pub enum Ready<'a> {
    Http1(h1::Lease<'a>),
    Http2(h2::Lease),
}

/// An opaque connection that may end unused.
pub struct Tentative {
    pub stream: Metered<Stream>,
    /// The far side counts it among those it let in, used or not.
    pub counted: bool,
}

/// How often a request that peers refuse is sent. One that is refused this often is not wanted, whatever
/// the reason: its client is told so.
pub const SENDINGS: usize = 4;

/// The head of an answer, its body still to come.
pub struct Answer {
    pub rsp: Response<Incoming>,
    /// To be kept until the body has ended.
    pub stream: Option<h2::Stream>,
    /// How long the endpoint may keep the connection, where that may leave HTTP.
    pub right: Option<Right>,
}

/// A request that was not answered.
pub enum Unanswered {
    /// Not a byte of it was sent: it may go elsewhere.
    Unsent(Box<Request<RequestBody>>, hyper::Error),
    /// It was sent, and the peer says that nothing was done with it: it may go elsewhere too.
    Refused(Box<Request<RequestBody>>, hyper::Error),
    /// It may have arrived. Its own body may be to blame.
    Broken(hyper::Error, Option<Reason>),
    /// It may have arrived, and its connection died: it may go elsewhere if doing it twice does no harm.
    Lost(Box<Request<RequestBody>>, hyper::Error),
}

impl Client {
    pub fn new(
        endpoint: Endpoint,
        connector: Arc<Connector>,
        settings: &HttpSettings,
        transport: Dialled,
        tell: Option<Tell>,
    ) -> Self {
        let h2 = h2::Connections::new(&settings.h2, &endpoint.http2);
        let remote = endpoint.authority_override.as_ref().filter(|_| !connector.is_local(&endpoint));
        // Spelled the same way in both.
        let authority = remote.and_then(|authority| authority.to_string().parse().ok());
        Self { endpoint, authority, connector, transport, tell, h1: h1::Pool::new(settings.h1), h2 }
    }

    /// How a request of this version is to be carried; `leaves_http` for upgrades and `CONNECT`,
    /// which need a connection of their own.
    pub fn carry(&self, version: http::Version, leaves_http: bool) -> Carry {
        if version == http::Version::HTTP_2 {
            return Carry::Http2;
        }
        let upgradable = self.endpoint.hint == ProtocolHint::H2 && !self.is_local();
        if upgradable && !leaves_http { Carry::OrigProto } else { Carry::Http1 }
    }

    /// Whether connections can be kept warm before a request needs one.
    pub fn dials_ahead(&self) -> bool {
        self.endpoint.hint == ProtocolHint::H2 && !self.is_local()
    }

    /// A new connection for opaque traffic.
    ///
    /// # Errors
    /// The endpoint cannot be reached.
    pub async fn stream(&self) -> Result<Metered<Stream>, Error> {
        self.open(None).await
    }

    /// More is known of the endpoint's host than the kernel says, for an opaque connection to it.
    pub fn hold(&self) -> Held {
        self.connector.hold(&self.endpoint)
    }

    /// The endpoint's host may be dead.
    pub fn doubt(&self) {
        self.connector.doubt(&self.endpoint);
    }

    /// The same, where it may end unused; `None` where the far side would count it nevertheless, and must not.
    ///
    /// # Errors
    /// The endpoint cannot be reached.
    pub async fn tentative(&self, may_count: bool) -> Result<Option<Tentative>, Error> {
        let dialled = self.connector.dial_tentatively(&self.endpoint, may_count).await?;
        Ok(dialled.map(|(stream, counted)| Tentative {
            stream: Metered::new(stream, self.transport.open()),
            counted,
        }))
    }

    /// A connection that takes a request now: an idle one, or a new one.
    ///
    /// # Errors
    /// A new connection was needed and the endpoint cannot be reached.
    pub async fn ready(self: &Arc<Self>, carry: Carry) -> Result<Ready<'_>, Error> {
        match carry {
            Carry::Http1 => self.h1.lease(self).await.map(Ready::Http1),
            Carry::Http2 | Carry::OrigProto => self.h2.lease(self).await.map(Ready::Http2),
        }
    }

    /// Whether the endpoint answers, by a connection of its own.
    ///
    /// # Errors
    /// It does not.
    pub async fn answers(&self) -> Result<(), Error> {
        if self.dials_ahead() {
            self.h2.redial(self).await
        } else {
            self.connector.knock(&self.endpoint).await
        }
    }

    /// Asks the far ends of open HTTP/2 connections whether they are there. False where there are none.
    pub fn prompt(&self) -> bool {
        self.h2.prompt()
    }

    /// Whether the endpoint is this pod itself, reached in plaintext.
    pub fn is_local(&self) -> bool {
        self.connector.is_local(&self.endpoint)
    }

    /// Whether any connection is open.
    pub fn is_warm(&self) -> bool {
        self.h1.is_warm() || self.h2.is_warm()
    }

    /// Closes HTTP/1 connections that have been idle too long, and HTTP/2 connections that only a crowd needed.
    pub fn sweep(&self, now: Instant) {
        self.h1.sweep(now);
        self.h2.sweep();
    }

    pub(super) async fn open(&self, session: Option<HttpVersion>) -> Result<Metered<Stream>, Error> {
        let stream = self.connector.dial(&self.endpoint, session).await?;
        Ok(Metered::new(stream, self.transport.open()))
    }
}

impl Ready<'_> {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn send(self, req: Request<RequestBody>) -> Result<Answer, Unanswered> {
        match self {
            Self::Http1(lease) => {
                let right = lease.right().cloned();
                Ok(Answer { rsp: lease.send(req).await?, stream: None, right })
            }
            Self::Http2(lease) => {
                let (rsp, stream) = lease.send(req).await?;
                Ok(Answer { rsp, stream: Some(stream), right: None })
            }
        }
    }
}

/// What it means that a request was sent this way and not answered.
pub fn broken(carry: Carry, error: hyper::Error, blame: Option<Reason>) -> Fault {
    let reset = (carry == Carry::Http2 && is_reset(&error)).then_some(Reason::StreamReset);
    let large = error.is_parse_too_large().then_some(Reason::AnswerTooLarge);
    let silent = is_silence(&error).then_some(Reason::EndpointSilent);
    Fault::new(blame.or(large).or(reset).or(silent).unwrap_or(Reason::UpstreamBroken), error)
}

/// Whether the far end was given up because nothing was heard of it: by us, the library's keep-alive, or the kernel.
fn is_silence(error: &hyper::Error) -> bool {
    let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    let io = |cause: &(dyn std::error::Error + 'static)| {
        let h2 = cause.downcast_ref::<::h2::Error>().and_then(::h2::Error::get_io);
        h2.or_else(|| cause.downcast_ref()).is_some_and(timed_out)
    };
    error.is_timeout() || causes(error).any(io)
}

/// Whether a failure is a reset of the request's own HTTP/2 stream.
pub fn is_reset(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(::h2::Error::is_reset)
}

/// What HTTP/2 itself says of a failure.
pub(super) fn h2_error(error: &hyper::Error) -> Option<&::h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

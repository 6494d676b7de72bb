//! What can go wrong on the path, and what each of it means: one reason, one row.
//!
//! Every stage has errors of its own; at the path they become a [`Fault`]. Status, gRPC code, the
//! label and whether the client's connection ends are the contract's (section 5 and 6.1).

use std::error::Error;
use std::{fmt, io};

use http::StatusCode;

pub type BoxError = Box<dyn Error + Send + Sync>;

/// A failed connection or request: why, and the error underneath if there was one.
#[derive(Debug)]
pub struct Fault {
    pub reason: Reason,
    source: Option<BoxError>,
}

/// Why a connection or request failed. A closed list: a new reason does not compile until its row
/// exists in [`Reason::row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No endpoint was ready within the failfast timeout.
    FailFast,
    /// The backend is known to have no ready endpoint.
    LoadShed,
    /// More requests wait for their answers than is allowed.
    Overloaded,
    /// No route of the policy takes the request.
    NoRoute,
    /// Which route takes the request would take too long to find out.
    RouteTooCostly,
    /// Policy no longer says that the port speaks HTTP, on a connection that does.
    NotHttp,
    /// Policy is for another protocol than is spoken, where it had no say in what that is.
    OtherProtocol,
    /// The route's backend has no dispatcher.
    NoBackend,
    /// The route refuses every connection.
    Forbidden,
    /// The control plane's policy could not be understood: refused, never guessed.
    InvalidPolicy,
    /// The control plane refused to say where the target is.
    Discovery,
    /// The request took longer, from its arrival on, than its route allows.
    RequestTimeout,
    /// No answer had come to its end in time after the request's.
    ResponseTimeout,
    /// The head of an answer did not come in the time that the route of a service profile allows.
    ProfileTimeout,
    /// The head of an answer did not come in time, where another attempt might have brought one.
    HeadersTimeout,
    /// Nothing passed for too long while a request or its answer was under way.
    IdleTimeout,
    /// The connection names no server, and its routes are chosen by that.
    NoServerName,
    ConnectTimeout,
    ConnectFailed,
    /// The far side could not prove the identity that discovery expects.
    IdentityMismatch,
    /// This proxy has no certificate, so what should be mutual TLS cannot be sent.
    NoIdentity,
    /// The application insists on an identity that the endpoint is not known to have.
    IdentityRequired,
    /// The connection broke before an answer came.
    UpstreamBroken,
    /// Nothing was heard of the endpoint for too long, and its connection was given up.
    EndpointSilent,
    /// The far side, or the client, reset the HTTP/2 stream.
    StreamReset,
    /// The client is not authorized.
    Denied,
    /// More requests a second than policy allows.
    RateLimited,
    /// A filter of the route fails the request, as it was told to.
    InjectedFailure,
    /// An original destination that is not one of this pod's addresses.
    ForeignAddress,
    /// A connection that would come back to this proxy.
    Loop,
    /// The client sent a request that cannot be forwarded.
    BadRequest,
    /// A request head, or its list of headers, beyond the limit.
    HeadTooLarge,
    /// A request head that did not end in time.
    HeadTimeout,
    /// An answer whose header or trailer list is beyond the limit.
    AnswerTooLarge,
    TlsDetectTimeout,
    /// A connection that said nothing, on a port that does not let it in as an opaque one.
    HttpDetectTimeout,
    /// The client's TLS handshake failed.
    HandshakeFailed,
    /// A connection to the direct port without identity or protocol.
    DirectRefused,
    /// No whole transport header came in time.
    HeaderTimeout,
    /// The connection ended inside its transport header.
    HeaderTruncated,
    /// The transport header says that it is longer than any may be.
    HeaderTooLong,
    /// The bytes are no transport header.
    HeaderMalformed,
    /// The transport header names a port that there is not.
    HeaderPort,
    /// What the transport header names is no host.
    HeaderName,
    /// The transport header names a target that this proxy leads nobody to: it is no gateway, or none for that name, or
    /// the control plane knows of no such name and port.
    GatewayDomain,
    /// What a gateway is to pass on was passed on by it before.
    GatewayLoop,
    /// The client broke the rules of HTTP/2.
    Http2Violation,
    /// The client reset streams faster than any application cancels.
    RapidReset,
    ContinuationFlood,
    SettingsFlood,
    PingFlood,
    EmptyDataFlood,
    /// Frames of HTTP/2 that say nothing, and too many of them.
    FrameFlood,
    /// An answer that its client leaves unread, where too many do.
    AnswerUnread,
    /// The process has no descriptor left for a connection that waits to be accepted.
    NoDescriptors,
    /// The client's connection broke.
    ClientBroken,
    /// The peer's certificate has expired, or no longer leads to a trust anchor.
    RightEnded,
}

/// One row of the table: what a [`Reason`] means to a client, a metric and an operator.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub status: StatusCode,
    /// gRPC code, decimal.
    pub grpc: u8,
    /// `error` label of the classic error families.
    pub label: &'static str,
    /// Name of our own, stable: header, log and own metrics.
    pub name: &'static str,
    /// What the operator should look at.
    pub message: &'static str,
    /// Whether the client's connection is closed after the answer.
    pub closes: bool,
    /// Whether another endpoint may be tried before anything was sent.
    pub retry: bool,
}

impl Reason {
    #[rustfmt::skip]
    pub const fn row(self) -> Row {
        use StatusCode as S;
        const fn row(status: S, grpc: u8, label: &'static str, name: &'static str, closes: bool, retry: bool,
                     message: &'static str) -> Row {
            Row { status, grpc, label, name, message, closes, retry }
        }
        match self {
            Self::FailFast         => row(S::GATEWAY_TIMEOUT, 4, "failfast", "failfast", true, false, "no endpoint was ready in time; are the pods running and reachable?"),
            Self::LoadShed         => row(S::SERVICE_UNAVAILABLE, 14, "loadshed", "loadshed", true, false, "no endpoint is ready; are the pods running and reachable?"),
            Self::Overloaded       => row(S::SERVICE_UNAVAILABLE, 14, "loadshed", "overloaded", true, false, "more requests wait for their answers than MAX_IN_FLIGHT allows"),
            Self::NoRoute          => row(S::NOT_FOUND, 5, "unexpected", "no-route", false, false, "no route takes this request"),
            Self::RouteTooCostly   => row(S::URI_TOO_LONG, 8, "unexpected", "route-too-costly", false, false, "the patterns of the routes take too long for a request of this length; are there too many of them?"),
            Self::NotHttp          => row(S::NOT_FOUND, 5, "unexpected", "not-http", true, false, "the policy of the port no longer is for HTTP; a new connection will be carried as it says"),
            Self::OtherProtocol    => row(S::INTERNAL_SERVER_ERROR, 13, "unexpected", "other-protocol", true, false, "unexpected error: the policy of the target is for another protocol than is spoken; does its Service name the right one?"),
            Self::NoBackend        => row(S::BAD_GATEWAY, 14, "unexpected", "no-backend", true, false, "the route's backend has no endpoints to dispatch to"),
            Self::Forbidden        => row(S::FORBIDDEN, 7, "unexpected", "forbidden", true, false, "the route forbids this destination; is the port declared by the Service?"),
            Self::InvalidPolicy    => row(S::INTERNAL_SERVER_ERROR, 13, "unexpected", "invalid-policy", true, false, "unexpected error: the policy from the control plane could not be understood"),
            Self::Discovery        => row(S::INTERNAL_SERVER_ERROR, 13, "unexpected", "discovery", true, false, "unexpected error: the control plane refused the look-up, or did not answer it in time"),
            Self::RequestTimeout   => row(S::GATEWAY_TIMEOUT, 4, "unexpected", "request-timeout", false, false, "the request took longer than its route allows"),
            Self::ProfileTimeout   => row(S::GATEWAY_TIMEOUT, 4, "response timeout", "profile-timeout", true, false, "no answer came in the time that the route of the service profile allows"),
            Self::ResponseTimeout  => row(S::GATEWAY_TIMEOUT, 4, "unexpected", "response-timeout", false, false, "the answer took longer than the route allows"),
            Self::HeadersTimeout   => row(S::GATEWAY_TIMEOUT, 4, "unexpected", "response-headers-timeout", false, false, "no attempt was answered in the time that the route's retries allow"),
            Self::IdleTimeout      => row(S::GATEWAY_TIMEOUT, 4, "unexpected", "idle-timeout", false, false, "nothing passed for longer than the route allows"),
            Self::NoServerName     => row(S::NOT_FOUND, 5, "unexpected", "no-server-name", true, false, "the connection is no TLS or names no server, and its routes are chosen by that name"),
            Self::ConnectTimeout   => row(S::GATEWAY_TIMEOUT, 4, "i/o", "connect-timeout", true, true, "timed out connecting; is the port open between the clusters?"),
            Self::ConnectFailed    => row(S::BAD_GATEWAY, 14, "i/o", "connect-failed", true, true, "could not connect; is the pod running?"),
            Self::IdentityMismatch => row(S::BAD_GATEWAY, 14, "i/o", "identity-mismatch", true, true, "the far side did not prove the expected identity; do both clusters share a trust anchor?"),
            Self::NoIdentity       => row(S::BAD_GATEWAY, 14, "i/o", "no-identity", true, false, "this proxy has no certificate yet; is the identity controller reachable?"),
            Self::IdentityRequired => row(S::BAD_GATEWAY, 14, "identity required", "identity-required", true, false, "the endpoint is not known to have the identity that the request requires"),
            Self::UpstreamBroken   => row(S::BAD_GATEWAY, 14, "i/o", "upstream-broken", true, false, "the connection ended before an answer came"),
            Self::EndpointSilent   => row(S::BAD_GATEWAY, 14, "i/o", "endpoint-silent", true, false, "nothing was heard of the endpoint any more; is its pod running and its network up?"),
            Self::StreamReset      => row(S::BAD_GATEWAY, 14, "unexpected", "stream-reset", false, false, "the stream was reset"),
            Self::Denied           => row(S::FORBIDDEN, 7, "unauthorized", "denied", false, false, "unauthorized: no authorization of the server lets this client in"),
            Self::RateLimited      => row(S::TOO_MANY_REQUESTS, 8, "unexpected", "rate-limited", false, false, "more requests a second than the rate limit of the server allows"),
            Self::InjectedFailure  => row(S::INTERNAL_SERVER_ERROR, 13, "unexpected", "injected-failure", true, false, "unexpected error: a filter of the route fails the request"),
            Self::ForeignAddress   => row(S::BAD_GATEWAY, 14, "unexpected", "foreign-address", true, false, "the destination is not an address of this pod"),
            Self::Loop             => row(S::BAD_GATEWAY, 14, "i/o", "loop", true, false, "the connection would come back to this proxy"),
            Self::BadRequest       => row(S::BAD_REQUEST, 13, "unexpected", "bad-request", true, false, "the request is malformed"),
            Self::HeadTooLarge     => row(S::REQUEST_HEADER_FIELDS_TOO_LARGE, 8, "unexpected", "head-too-large", true, false, "the request's headers are larger than 64 KiB"),
            Self::HeadTimeout      => row(S::REQUEST_TIMEOUT, 4, "unexpected", "head-timeout", true, false, "the request's headers did not end in time"),
            Self::AnswerTooLarge   => row(S::BAD_GATEWAY, 13, "unexpected", "answer-too-large", true, false, "the answer's headers or trailers are larger than 64 KiB"),
            Self::TlsDetectTimeout => row(S::REQUEST_TIMEOUT, 4, "tls detection timeout", "tls-detect-timeout", true, false, "the client sent no complete ClientHello in time"),
            Self::HttpDetectTimeout => row(S::REQUEST_TIMEOUT, 4, "unexpected", "http-detect-timeout", true, false, "the client sent nothing in time that says what it speaks, and the port does not let it in as an opaque connection"),
            Self::HandshakeFailed  => row(S::BAD_GATEWAY, 14, "i/o", "handshake-failed", true, false, "the client's TLS handshake failed; do both sides share a trust anchor?"),
            Self::DirectRefused    => row(S::BAD_GATEWAY, 14, "unexpected", "direct-refused", true, false, "a connection to the proxy's own port needs mutual TLS and a transport header"),
            Self::HeaderTimeout    => row(S::BAD_GATEWAY, 14, "unexpected", "transport-header-timeout", true, false, "no whole transport header came in time"),
            Self::HeaderTruncated  => row(S::BAD_GATEWAY, 14, "unexpected", "transport-header-truncated", true, false, "the connection ended inside its transport header"),
            Self::HeaderTooLong    => row(S::BAD_GATEWAY, 14, "unexpected", "transport-header-too-long", true, false, "the transport header is longer than allowed"),
            Self::HeaderMalformed  => row(S::BAD_GATEWAY, 14, "unexpected", "transport-header-malformed", true, false, "the connection does not begin with a transport header"),
            Self::HeaderPort       => row(S::BAD_GATEWAY, 14, "unexpected", "transport-header-port", true, false, "the transport header names a port that there is not"),
            Self::HeaderName       => row(S::BAD_GATEWAY, 14, "unexpected", "transport-header-name", true, false, "the transport header names a host that is no DNS name"),
            Self::GatewayDomain    => row(S::NOT_FOUND, 5, "gateway domain invalid", "gateway-domain", false, false, "this proxy is no gateway for that name and port; is it a Service's, in the gateway's cluster?"),
            Self::GatewayLoop      => row(S::LOOP_DETECTED, 10, "gateway loop", "gateway-loop", true, false, "the gateway was asked for what it has passed on itself; do the mirrors of two clusters lead to each other?"),
            Self::Http2Violation   => row(S::BAD_REQUEST, 13, "unexpected", "http2-violation", true, false, "the client broke the rules of HTTP/2"),
            Self::RapidReset       => row(S::BAD_REQUEST, 8, "unexpected", "rapid-reset", true, false, "the client resets streams as fast as it opens them"),
            Self::ContinuationFlood => row(S::BAD_REQUEST, 8, "unexpected", "continuation-flood", true, false, "the client sends one header list in too many pieces"),
            Self::SettingsFlood    => row(S::BAD_REQUEST, 8, "unexpected", "settings-flood", true, false, "the client sends SETTINGS without end"),
            Self::PingFlood        => row(S::BAD_REQUEST, 8, "unexpected", "ping-flood", true, false, "the client sends PING without end"),
            Self::EmptyDataFlood   => row(S::BAD_REQUEST, 8, "unexpected", "empty-data-flood", true, false, "the client sends DATA with nothing or next to nothing in it, without end"),
            Self::FrameFlood       => row(S::BAD_REQUEST, 8, "unexpected", "frame-flood", true, false, "the client sends frames that ask for nothing, without end"),
            Self::AnswerUnread     => row(S::SERVICE_UNAVAILABLE, 8, "unexpected", "answer-unread", false, false, "too many answers wait for clients that do not read them; the longest were given up"),
            Self::NoDescriptors    => row(S::SERVICE_UNAVAILABLE, 14, "i/o", "no-descriptors", false, false, "no file descriptor is left; is the limit of open files high enough?"),
            Self::ClientBroken     => row(S::BAD_REQUEST, 14, "i/o", "client-broken", true, false, "the client's connection broke"),
            Self::RightEnded       => row(S::BAD_GATEWAY, 14, "i/o", "right-ended", true, false, "the peer's certificate has expired, or its trust anchor was removed: the connection was closed"),
        }
    }

    /// Every reason, for tables and tests.
    pub const ALL: [Self; 57] = [
        Self::FailFast,
        Self::LoadShed,
        Self::Overloaded,
        Self::NoRoute,
        Self::RouteTooCostly,
        Self::NotHttp,
        Self::OtherProtocol,
        Self::NoBackend,
        Self::Forbidden,
        Self::InvalidPolicy,
        Self::Discovery,
        Self::RequestTimeout,
        Self::ResponseTimeout,
        Self::ProfileTimeout,
        Self::HeadersTimeout,
        Self::IdleTimeout,
        Self::NoServerName,
        Self::ConnectTimeout,
        Self::ConnectFailed,
        Self::IdentityMismatch,
        Self::NoIdentity,
        Self::IdentityRequired,
        Self::UpstreamBroken,
        Self::EndpointSilent,
        Self::StreamReset,
        Self::Denied,
        Self::RateLimited,
        Self::InjectedFailure,
        Self::ForeignAddress,
        Self::Loop,
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::AnswerTooLarge,
        Self::TlsDetectTimeout,
        Self::HttpDetectTimeout,
        Self::HandshakeFailed,
        Self::DirectRefused,
        Self::HeaderTimeout,
        Self::HeaderTruncated,
        Self::HeaderTooLong,
        Self::HeaderMalformed,
        Self::HeaderPort,
        Self::HeaderName,
        Self::GatewayDomain,
        Self::GatewayLoop,
        Self::Http2Violation,
        Self::RapidReset,
        Self::ContinuationFlood,
        Self::SettingsFlood,
        Self::PingFlood,
        Self::EmptyDataFlood,
        Self::FrameFlood,
        Self::AnswerUnread,
        Self::NoDescriptors,
        Self::ClientBroken,
        Self::RightEnded,
    ];
}

impl Fault {
    pub fn new(reason: Reason, source: impl Into<BoxError>) -> Self {
        Self { reason, source: Some(source.into()) }
    }

    pub fn source_text(&self) -> Option<String> {
        self.source.as_ref().map(|source| {
            let mut text = source.to_string();
            let mut cause = source.source();
            while let Some(next) = cause {
                text.push_str(": ");
                text.push_str(&next.to_string());
                cause = next.source();
            }
            text
        })
    }
}

/// An error and what lies underneath, the content of I/O errors too: they name as their source what their
/// content's source is, not their content.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let content = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        content.map(|content| content as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self { reason, source: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.row().message)?;
        match self.source_text() {
            Some(text) => write!(f, " ({text})"),
            None => Ok(()),
        }
    }
}

impl Error for Fault {
    // hyper looks here for the HTTP/2 error whose code it passes on.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|r| r.row().name).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')));
        assert!(Reason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
    }
}

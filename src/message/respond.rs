//! Answers made here: what a fault looks like to an HTTP or gRPC client (contract 5).

use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode, Version};

use crate::error::{Fault, Reason};
use crate::model::filter::{Failure, FailureKind};

use super::filters::Redirected;
use super::headers::{GRPC_MESSAGE, GRPC_STATUS, PROXY_CONNECTION, PROXY_ERROR, REASON};

/// What must be known of a request to answer it after it has gone.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// As the client sent it on this connection.
    pub version: Version,
    pub grpc: bool,
    /// HTTP/1 that came over HTTP/2: its connection is not the application's.
    pub orig_proto: bool,
    /// Whether the client may see the mesh's own headers (contract 4.7).
    pub informational: bool,
}

impl Asked {
    /// Whether it is answered as gRPC has it (contract 5).
    fn is_grpc(self) -> bool {
        self.grpc && self.version == Version::HTTP_2
    }
}

/// The answer for a fault, without a body. Whether the connection must end is the reason's row.
pub fn fault(asked: Asked, fault: &Fault) -> Response<()> {
    let row = fault.reason.row();
    let mut rsp = empty(asked);
    *rsp.status_mut() = if asked.is_grpc() { StatusCode::OK } else { row.status };
    let headers = rsp.headers_mut();
    if asked.is_grpc() {
        tell_grpc(headers, row.grpc.into());
    }
    if asked.informational {
        explain(headers, fault.reason, asked.is_grpc());
    }
    if row.closes && asked.version == Version::HTTP_11 && !asked.orig_proto {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    rsp
}

/// The answer that leads elsewhere. A gRPC client does not follow, and is told that there is nothing (contract 5).
pub fn redirect(asked: Asked, to: &Redirected) -> Response<()> {
    let mut rsp = empty(asked);
    let headers = rsp.headers_mut();
    if asked.informational {
        headers.insert(PROXY_ERROR, HeaderValue::from_static("redirected"));
    }
    if asked.is_grpc() {
        tell_grpc(headers, NOT_FOUND);
        return rsp;
    }
    // Made of what a target is made of, so it always is a header's value.
    if let Ok(location) = HeaderValue::try_from(to.location.to_string()) {
        headers.insert(header::LOCATION, location);
    }
    *rsp.status_mut() = to.status;
    rsp
}

/// The answer of an outbound route that was told to fail, as it was told to (contract 5).
pub fn injected(asked: Asked, failure: &Failure) -> Response<()> {
    let (status, code) = match failure.kind {
        FailureKind::Http(status) => (status, FAILED_PRECONDITION),
        // What gRPC does not define is unknown.
        FailureKind::Grpc(code) => (StatusCode::OK, if code <= 16 { code } else { UNKNOWN }),
    };
    let mut rsp = empty(asked);
    *rsp.status_mut() = if asked.is_grpc() { StatusCode::OK } else { status };
    let headers = rsp.headers_mut();
    if asked.is_grpc() {
        tell_grpc(headers, code);
    }
    if asked.informational {
        let message = HeaderValue::try_from(&failure.message);
        let message = message.unwrap_or(HeaderValue::from_static("unexpected error"));
        if asked.is_grpc() {
            headers.insert(GRPC_MESSAGE, message.clone());
        }
        headers.insert(PROXY_ERROR, message);
        headers.insert(REASON, HeaderValue::from_static(Reason::InjectedFailure.row().name));
    }
    rsp
}

/// 200 with nothing in it, to be made what it is to say.
fn empty(asked: Asked) -> Response<()> {
    let mut rsp = Response::new(());
    *rsp.version_mut() = asked.version;
    rsp.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    rsp
}

/// How a call of gRPC ends that has no messages.
fn tell_grpc(headers: &mut HeaderMap, code: u16) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
}

const UNKNOWN: u16 = 2;
const NOT_FOUND: u16 = 5;
const FAILED_PRECONDITION: u16 = 9;

/// Trailers that end a gRPC answer which cannot be passed on whole.
pub fn trailers(reason: Reason) -> HeaderMap {
    let row = reason.row();
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(row.grpc)));
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(row.message));
    trailers.insert(REASON, HeaderValue::from_static(row.name));
    trailers
}

/// The mesh's own headers. Only fixed texts: a source's text may hold what a peer wrote.
fn explain(headers: &mut HeaderMap, reason: Reason, grpc: bool) {
    let row = reason.row();
    headers.insert(PROXY_ERROR, HeaderValue::from_static(row.message));
    headers.insert(REASON, HeaderValue::from_static(row.name));
    if grpc {
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(row.message));
    }
    if row.closes {
        headers.insert(PROXY_CONNECTION, HeaderValue::from_static("close"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::filter::Ratio;

    fn asked(version: Version, grpc: bool) -> Asked {
        Asked { version, grpc, orig_proto: false, informational: true }
    }

    #[test]
    fn a_denial_is_403_and_keeps_the_connection() {
        let rsp = fault(asked(Version::HTTP_11, false), &Reason::Denied.into());
        assert_eq!(rsp.status(), StatusCode::FORBIDDEN);
        assert_eq!(rsp.headers()[REASON], "denied");
        assert!(!rsp.headers().contains_key(header::CONNECTION));
    }

    #[test]
    fn a_connection_that_ends_says_so_where_its_client_hears_it() {
        let carried = Asked { orig_proto: true, ..asked(Version::HTTP_2, false) };
        for (asked, says) in
            [(asked(Version::HTTP_11, false), true), (asked(Version::HTTP_2, false), false), (carried, false)]
        {
            let rsp = fault(asked, &Reason::ConnectFailed.into());
            assert_eq!(rsp.headers().contains_key(header::CONNECTION), says, "{asked:?}");
            assert_eq!(
                (rsp.version(), &rsp.headers()[PROXY_CONNECTION]),
                (asked.version, &HeaderValue::from_static("close"))
            );
            assert_eq!(rsp.headers()[header::CONTENT_LENGTH], "0");
        }
    }

    #[test]
    fn grpc_is_told_in_its_own_words() {
        let rsp = fault(asked(Version::HTTP_2, true), &Reason::FailFast.into());
        assert_eq!(rsp.status(), StatusCode::OK);
        assert_eq!(rsp.headers()[GRPC_STATUS], "4");
        assert_eq!(rsp.headers()[PROXY_CONNECTION], "close");
    }

    #[test]
    fn unmeshed_clients_learn_the_status_alone() {
        let silent = Asked { informational: false, ..asked(Version::HTTP_11, false) };
        let rsp = fault(silent, &Reason::ConnectFailed.into());
        assert_eq!(rsp.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(rsp.headers()[header::CONNECTION], "close");
        assert!(!rsp.headers().contains_key(PROXY_ERROR));
    }

    #[test]
    fn a_redirect_leads_elsewhere_but_for_grpc() {
        let to = Redirected { status: StatusCode::FOUND, location: "http://other/x".parse().unwrap() };
        let rsp = redirect(asked(Version::HTTP_11, false), &to);
        assert_eq!(
            (rsp.status(), &rsp.headers()[header::LOCATION]),
            (StatusCode::FOUND, &"http://other/x".parse().unwrap())
        );
        let rsp = redirect(asked(Version::HTTP_2, true), &to);
        assert_eq!((rsp.status(), &rsp.headers()[GRPC_STATUS]), (StatusCode::OK, &HeaderValue::from(5)));
        assert!(!rsp.headers().contains_key(header::LOCATION));
    }

    #[test]
    fn an_injected_failure_is_what_policy_says() {
        let failure = |kind, message: &str| Failure { kind, message: message.into(), ratio: Ratio::ALL };
        let teapot = failure(FailureKind::Http(StatusCode::IM_A_TEAPOT), "as told");
        let rsp = injected(asked(Version::HTTP_11, false), &teapot);
        assert_eq!(
            (rsp.status(), &rsp.headers()[PROXY_ERROR]),
            (StatusCode::IM_A_TEAPOT, &"as told".parse().unwrap())
        );
        let rsp = injected(asked(Version::HTTP_2, true), &teapot);
        assert_eq!((rsp.status(), &rsp.headers()[GRPC_STATUS]), (StatusCode::OK, &HeaderValue::from(9)));
        let rsp = injected(asked(Version::HTTP_2, true), &failure(FailureKind::Grpc(99), "two\nlines"));
        assert_eq!(
            (&rsp.headers()[GRPC_STATUS], &rsp.headers()[GRPC_MESSAGE]),
            (&HeaderValue::from(2), &"unexpected error".parse().unwrap())
        );
        assert_eq!(
            injected(asked(Version::HTTP_11, false), &failure(FailureKind::Grpc(5), "")).status(),
            StatusCode::OK
        );
    }

    #[test]
    fn every_reason_answers_without_panicking() {
        for reason in Reason::ALL {
            assert!(fault(asked(Version::HTTP_11, false), &reason.into()).status().as_u16() >= 400);
        }
    }
}

//! What a peer refused without looking at it may be sent again: elsewhere, or on a fresh connection. So may what a
//! connection took with it when it died, if doing it twice does no harm.

use http::{HeaderMap, Method, Request, Uri, Version};

use crate::error::Reason;
use crate::message::uri::AbsoluteForm;
use crate::message::{Claim, RequestBody, uri};

/// A request as it was, kept until its answer begins.
pub(super) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    absolute: bool,
    body: Claim,
}

impl Kept {
    /// The request to send, and what is kept of it.
    pub(super) fn of(req: Request<RequestBody>) -> (Request<RequestBody>, Self) {
        let absolute = uri::is_absolute(&req);
        let (head, body) = req.into_parts();
        let (body, claim) = body.lend();
        let kept = Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers: head.headers.clone(),
            absolute,
            body: claim,
        };
        (Request::from_parts(head, body), kept)
    }

    /// Why the request failed, if its own body is to blame.
    pub(super) fn blame(&self) -> Option<Reason> {
        self.body.blame()
    }

    /// Whether all of its body was taken.
    pub(super) fn is_sent(&self) -> bool {
        self.body.is_spent()
    }

    /// The request again. `None` if too much of its body has passed.
    pub(super) fn again(self) -> Option<Request<RequestBody>> {
        let mut req = Request::new(self.body.back()?);
        *req.method_mut() = self.method;
        *req.uri_mut() = self.uri;
        *req.version_mut() = self.version;
        *req.headers_mut() = self.headers;
        if self.absolute {
            req.extensions_mut().insert(AbsoluteForm);
        }
        Some(req)
    }
}

/// Whether a peer says that it has not processed a request and never will: it reset the stream with
/// `REFUSED_STREAM`, or went away naming an earlier stream as its last (RFC 9113, 8.7).
pub(super) fn is_refusal(error: &hyper::Error) -> bool {
    // The streams up to the last one named go on, and meet an end of the connection as an I/O error.
    super::client::h2_error(error).is_some_and(|h2| {
        h2.is_remote() && (h2.is_go_away() || h2.reason() == Some(::h2::Reason::REFUSED_STREAM))
    })
}

/// Whether a failure is the end of the request's connection, not of its stream alone: nobody knows what became of it.
pub(super) fn is_loss(error: &hyper::Error) -> bool {
    match super::client::h2_error(error) {
        Some(h2) => h2.is_io() || h2.is_go_away(),
        // The library unpacks I/O errors.
        None => !error.is_parse() && !error.is_user(),
    }
}

/// Whether doing what a request asks for twice is as good as doing it once (RFC 9110, 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
}

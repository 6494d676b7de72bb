//! HTTP/1 carried over HTTP/2 between two proxies (contract 3.7, 4.6).
//!
//! The sending proxy writes the version it got into `l5d-orig-proto`; the receiving one makes an
//! HTTP/1 request of it again, and the answer takes the same way back.

use http::header::{self, HeaderValue};
use http::{Request, Response, Version};

use super::headers::{ORIG_PROTO, strip_connection};
use super::uri::{self, AbsoluteForm};

/// Makes an HTTP/1 request, whose target already has its authority, an HTTP/2 one that remembers
/// what it was.
pub fn upgrade<B>(req: &mut Request<B>) {
    let value = match (req.version(), uri::is_absolute(req)) {
        (Version::HTTP_10, false) => "HTTP/1.0",
        (Version::HTTP_10, true) => "HTTP/1.0; absolute-form",
        (_, false) => "HTTP/1.1",
        (_, true) => "HTTP/1.1; absolute-form",
    };
    req.headers_mut().insert(ORIG_PROTO, HeaderValue::from_static(value));
    req.headers_mut().remove(header::TRANSFER_ENCODING);
    *req.version_mut() = Version::HTTP_2;
}

/// Gives the answer to an upgraded request its HTTP/1 version back: the one the far proxy names,
/// else the request's.
pub fn restore<B>(rsp: &mut Response<B>, requested: Version) {
    let named = rsp.headers_mut().remove(ORIG_PROTO);
    *rsp.version_mut() = match named.as_ref().map(HeaderValue::as_bytes) {
        Some(b"HTTP/1.1") => Version::HTTP_11,
        Some(b"HTTP/1.0") => Version::HTTP_10,
        _ => requested,
    };
}

/// Makes an upgraded request an HTTP/1 one again. `None` when it never was one.
pub fn downgrade<B>(req: &mut Request<B>) -> Option<Version> {
    if req.version() != Version::HTTP_2 {
        return None;
    }
    let value = req.headers().get(ORIG_PROTO)?.as_bytes();
    let (version, form) = value.split_at_checked(8)?;
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return None,
    };
    let absolute = form == b"; absolute-form";
    *req.version_mut() = version;
    req.headers_mut().remove(ORIG_PROTO);
    if absolute {
        req.extensions_mut().insert(AbsoluteForm);
    }
    Some(version)
}

/// Makes the application's HTTP/1 answer one that the sending proxy can take back.
pub fn upgrade_response<B>(rsp: &mut Response<B>) {
    let value = if rsp.version() == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
    strip_connection(rsp.headers_mut());
    rsp.headers_mut().remove(header::TRANSFER_ENCODING);
    rsp.headers_mut().insert(ORIG_PROTO, HeaderValue::from_static(value));
    *rsp.version_mut() = Version::HTTP_2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_way_there_and_an_answer_the_way_back() {
        for (version, absolute) in
            [(Version::HTTP_10, true), (Version::HTTP_11, false), (Version::HTTP_11, true)]
        {
            let mut req = Request::get("http://bb/").version(version).body(()).unwrap();
            if absolute {
                uri::mark_absolute(&mut req);
            }
            upgrade(&mut req);
            assert_eq!(req.version(), Version::HTTP_2);
            req.extensions_mut().clear();
            assert_eq!(downgrade(&mut req), Some(version));
            assert_eq!(uri::is_absolute(&req), absolute);

            let mut rsp = Response::builder().version(version).body(()).unwrap();
            upgrade_response(&mut rsp);
            restore(&mut rsp, Version::HTTP_11);
            assert_eq!(rsp.version(), version);
            assert!(rsp.headers().is_empty());
        }
    }

    #[test]
    fn a_plain_http2_request_is_left_alone() {
        let mut req = Request::get("http://bb/").version(Version::HTTP_2).body(()).unwrap();
        assert_eq!(downgrade(&mut req), None);
        req.headers_mut().insert(ORIG_PROTO, HeaderValue::from_static("HTTP/3"));
        assert_eq!(downgrade(&mut req), None);
    }
}

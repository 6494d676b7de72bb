//! Whether a message may be carried at all, before anybody asks where to.

use std::error::Error;

use http::header::{self, HeaderMap};
use http::uri::Authority;
use http::{Request, Response};

use crate::error::{Reason, causes};

use super::{body, uri};

/// Bytes of one header list at most, counted as HTTP/2 does: name, value and 32 for each (RFC 9113,
/// 6.5.2). The reference proxy's is its library's 16 KiB, which is less than common servers accept.
pub const HEADER_LIST: usize = 64 * 1024;

/// The same between proxies: the sending one has added headers of the mesh's own, which must not push a
/// list over the limit that it has let in.
pub const PASSED_ON: usize = HEADER_LIST + 4 * 1024;

/// What the libraries are told, so that the answer to a list beyond ours is ours too. Beyond this one
/// HTTP/2 requests get the library's own 431, and trailers are cut.
pub const LIBRARY: u32 = 128 * 1024;

/// Bytes that wait on either side of an HTTP/1 connection: a whole head, and what keeps it busy. The library's own 408 KiB
/// are more than that takes, for each client that does not read.
pub const HTTP1_BUFFER: usize = LIBRARY as usize + 64 * 1024;

/// Put by the server into the harmless request that stands for one it refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused(pub Reason);

/// A request whose body turned out to be malformed while it was passed on.
#[derive(Debug, thiserror::Error)]
#[error("the request's body is malformed")]
pub struct MalformedBody(pub Reason);

/// Judges a request as it came. `passed_on` by another proxy, `carried` if that one got it over HTTP/1.
///
/// # Errors
/// [`Reason::BadRequest`], [`Reason::HeadTooLarge`] or [`Reason::HeadTimeout`].
pub fn request<B>(req: &Request<B>, passed_on: bool, carried: bool) -> Result<(), Reason> {
    if let Some(Refused(reason)) = req.extensions().get() {
        return Err(*reason);
    }
    if !carried && uri::is_malformed(req) {
        return Err(Reason::BadRequest);
    }
    if !is_for_one_authority(req) || !names_a_host(req) {
        return Err(Reason::BadRequest);
    }
    let target = req.uri().path().len() + req.uri().query().map_or(0, str::len);
    let authority = req.uri().authority().map_or(0, |authority| authority.as_str().len());
    let size = PSEUDO_HEADERS + req.method().as_str().len() + target + authority + list_size(req.headers());
    if size > limit(passed_on) { Err(Reason::HeadTooLarge) } else { Ok(()) }
}

/// Judges the head of an answer.
///
/// # Errors
/// [`Reason::AnswerTooLarge`].
pub fn answer<B>(rsp: &Response<B>, passed_on: bool) -> Result<(), Reason> {
    let size = list_size(rsp.headers());
    if size > limit(passed_on) { Err(Reason::AnswerTooLarge) } else { Ok(()) }
}

/// What an error underneath says of the message, if the message is to blame.
pub fn to_blame(error: &(dyn Error + 'static)) -> Option<Reason> {
    causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(body::Error::TrailersTooLarge) => Some(Reason::HeadTooLarge),
        _ => cause.downcast_ref().map(|MalformedBody(reason)| *reason),
    })
}

fn limit(passed_on: bool) -> usize {
    if passed_on { PASSED_ON } else { HEADER_LIST }
}

/// Names of `:method`, `:scheme`, `:authority` and `:path`, their 32 each, and `http`.
const PSEUDO_HEADERS: usize = 7 + 7 + 10 + 5 + 4 * 32 + 4;

/// The size of a header list, bytes.
pub fn list_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// `Host` and the target's authority must name one and the same: policy judges by one, and the
/// application may go by the other.
fn is_for_one_authority<B>(req: &Request<B>) -> bool {
    let mut hosts = req.headers().get_all(header::HOST).iter();
    let Some(host) = hosts.next() else { return true };
    if hosts.next().is_some() {
        return false;
    }
    if host.is_empty() {
        return true;
    }
    let Some(authority) =
        req.uri().authority().filter(|authority| authority.as_str().as_bytes() != host.as_bytes())
    else {
        return true;
    };
    Authority::try_from(host.as_bytes())
        .is_ok_and(|host| without_default_port(&host).eq_ignore_ascii_case(without_default_port(authority)))
}

/// Whether what a request says of whom it is for is a host and a port, and nothing else. An application may look at what
/// stands before an `@`, policy looks at what stands behind it.
fn names_a_host<B>(req: &Request<B>) -> bool {
    let names = |authority: &Authority| !authority.as_str().contains('@') && !authority.host().is_empty();
    let host = req.headers().get(header::HOST).filter(|host| !host.is_empty());
    req.uri().authority().is_none_or(names)
        && host.is_none_or(|host| Authority::try_from(host.as_bytes()).is_ok_and(|host| names(&host)))
}

fn without_default_port(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.strip_suffix(":80").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    fn judged(uri: &str, hosts: &[&str]) -> Result<(), Reason> {
        let mut req = Request::get(uri);
        for host in hosts {
            req = req.header("host", *host);
        }
        request(&req.body(()).unwrap(), false, false)
    }

    #[test]
    fn a_request_is_for_one_authority_alone() {
        for (uri, hosts) in [
            ("/", &[][..]),
            ("/", &["a"]),
            ("http://a/", &["a"]),
            ("http://a:80/", &["A"]),
            ("http://a/", &["a:80"]),
            ("http://a/", &[""]),
            ("http://a/", &[]),
        ] {
            assert_eq!(judged(uri, hosts), Ok(()), "{uri} {hosts:?}");
        }
        for (uri, hosts) in [
            ("/", &["a", "a"][..]),
            ("/", &["a", "b"]),
            ("http://a/", &["b"]),
            ("http://a/", &["a:81"]),
            ("http://a/", &["b@a"]),
            ("/", &["a:80@b"]),
            ("/", &[":80"]),
            ("/", &["a/b"]),
            ("/", &["a b"]),
            ("http://a@b/", &[]),
            ("http://a@b/", &["a@b"]),
            ("http://a/", &["a b"]),
        ] {
            assert_eq!(judged(uri, hosts), Err(Reason::BadRequest), "{uri} {hosts:?}");
        }
    }

    #[test]
    fn a_header_list_has_a_limit_of_64_kib_as_http2_counts_it() {
        let size = |value: usize| {
            let req = Request::get("http://authority/path").version(Version::HTTP_2);
            req.header("x", "v".repeat(value)).body(()).unwrap()
        };
        let overhead =
            [":method", "GET", ":scheme", "http", ":authority", "authority", ":path", "/path", "x"];
        let fits = HEADER_LIST - overhead.concat().len() - 5 * 32;
        assert_eq!(request(&size(fits), false, false), Ok(()));
        assert_eq!(request(&size(fits + 1), false, false), Err(Reason::HeadTooLarge));
        assert_eq!(request(&size(fits + 1), true, false), Ok(()));
    }
}

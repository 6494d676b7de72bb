//! Request targets: absolute form, origin form, and the authority a request is for.

use http::uri::{Authority, InvalidUri, Parts, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version, header};

/// Marks an HTTP/1 request whose target was in absolute form, which is kept end to end.
#[derive(Clone, Copy, Debug)]
pub struct AbsoluteForm;

/// Marks a request whose application sent an absolute target.
pub fn mark_absolute<B>(req: &mut Request<B>) {
    if req.method() != Method::CONNECT && req.uri().authority().is_some() {
        req.extensions_mut().insert(AbsoluteForm);
    }
}

/// Whether an HTTP/1 request's target does not fit its method (contract 3.7): `CONNECT` needs HTTP/1.1
/// and an authority alone, and nothing else may have that.
pub fn is_malformed<B>(req: &Request<B>) -> bool {
    if req.version() == Version::HTTP_2 {
        return false;
    }
    let authority_alone = req.uri().authority().is_some() && req.uri().scheme().is_none();
    match *req.method() {
        Method::CONNECT => req.version() != Version::HTTP_11 || !authority_alone,
        _ => authority_alone,
    }
}

pub fn is_absolute<B>(req: &Request<B>) -> bool {
    req.extensions().get::<AbsoluteForm>().is_some()
}

/// Whom a request is for: its target's authority, else `Host`.
pub fn authority<B>(req: &Request<B>) -> Option<Authority> {
    match req.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => req.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok()),
    }
}

/// Gives an origin-form target scheme and authority, as HTTP/2 needs them: from `Host`, else the
/// given default (contract 3.7). A target that has an authority keeps it.
///
/// # Errors
/// `Host` names no authority.
pub fn normalize<B>(req: &mut Request<B>, default: &Authority) -> Result<(), InvalidUri> {
    if req.uri().authority().is_some() && req.uri().scheme().is_some() {
        return Ok(());
    }
    let host = req.headers().get(header::HOST).filter(|host| !host.is_empty());
    let authority = match (req.uri().authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes())?,
        (None, None) => default.clone(),
    };
    let mut parts = Parts::default();
    parts.scheme = Some(req.uri().scheme().cloned().unwrap_or(Scheme::HTTP));
    parts.authority = Some(authority);
    parts.path_and_query =
        Some(req.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *req.uri_mut() = uri;
    }
    Ok(())
}

/// Reduces a target to origin form, as an HTTP/1 server expects it.
pub fn to_origin_form<B>(req: &mut Request<B>) {
    let path = req.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *req.uri_mut() = Uri::from(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_form_gets_its_authority_from_host_and_gives_it_up_again() {
        let mut req = Request::get("/a?b=1").header("host", "bb:8080").body(()).unwrap();
        normalize(&mut req, &Authority::from_static("10.0.0.1:80")).unwrap();
        assert_eq!(req.uri(), "http://bb:8080/a?b=1");
        to_origin_form(&mut req);
        assert_eq!(req.uri(), "/a?b=1");
    }

    #[test]
    fn connect_and_authority_form_belong_together() {
        let malformed = |method: Method, uri: &'static str, version| {
            is_malformed(&Request::builder().method(method).uri(uri).version(version).body(()).unwrap())
        };
        assert!(!malformed(Method::CONNECT, "bb:80", Version::HTTP_11));
        assert!(malformed(Method::CONNECT, "bb:80", Version::HTTP_10));
        assert!(malformed(Method::CONNECT, "/x", Version::HTTP_11));
        assert!(malformed(Method::GET, "bb:80", Version::HTTP_11));
        assert!(!malformed(Method::GET, "http://bb:80/", Version::HTTP_11));
        assert!(!malformed(Method::GET, "/", Version::HTTP_10));
    }

    #[test]
    fn without_host_the_default_stands_in() {
        let mut req = Request::get("/").body(()).unwrap();
        normalize(&mut req, &Authority::from_static("10.0.0.1:80")).unwrap();
        assert_eq!(req.uri(), "http://10.0.0.1:80/");
    }
}

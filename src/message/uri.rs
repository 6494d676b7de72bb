//! Request targets: absolute form, origin form, and the authority a request is for.

use http::uri::{Authority, InvalidUri, Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri, Version, header};

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

/// Why nobody can tell whom a request is for.
#[derive(Debug, thiserror::Error)]
pub enum Unaddressed {
    #[error("its host is none: {0}")]
    Host(InvalidUri),
    #[error("it does not say whom it is for")]
    Nobody,
}

/// Gives an origin-form target scheme and authority, as HTTP/2 needs them: from `Host`, else the
/// given default, if there is one (contract 3.7, 4.2). A target that has an authority keeps it.
///
/// # Errors
/// `Host` names no authority, or nothing does.
pub fn normalize<B>(
    req: &mut Request<B>,
    default: impl FnOnce() -> Option<Authority>,
) -> Result<(), Unaddressed> {
    if req.uri().authority().is_some() && req.uri().scheme().is_some() {
        return Ok(());
    }
    let host = req.headers().get(header::HOST).filter(|host| !host.is_empty());
    let authority = match (req.uri().authority(), host) {
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).map_err(Unaddressed::Host)?,
        (None, None) => default().ok_or(Unaddressed::Nobody)?,
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

/// Puts another authority into a target that has one. What goes to a gateway is `http`, as there: TLS is the mesh's.
pub fn set_authority<B>(req: &mut Request<B>, authority: &Authority) {
    let mut parts = req.uri().clone().into_parts();
    if parts.authority.replace(authority.clone()).is_none() {
        return;
    }
    // A target that is an authority alone has neither.
    parts.scheme = parts.path_and_query.as_ref().map(|_| Scheme::HTTP);
    if let Ok(uri) = Uri::from_parts(parts) {
        *req.uri_mut() = uri;
    }
}

/// Gives a request the form in which an HTTP/1 server expects it: absolute with a `Host` where it came so, else origin
/// form.
pub fn to_http1_form<B>(req: &mut Request<B>) {
    if !is_absolute(req) {
        return to_origin_form(req);
    }
    if !req.headers().contains_key(header::HOST)
        && let Some(host) = host(req.uri())
    {
        req.headers_mut().insert(header::HOST, host);
    }
}

/// What `Host` says of a target: no user, and no port that goes without saying.
fn host(uri: &Uri) -> Option<HeaderValue> {
    let default = match uri.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    let host = uri.host()?;
    match uri.port_u16().filter(|port| *port != default) {
        Some(port) => HeaderValue::try_from(format!("{host}:{port}")).ok(),
        None => HeaderValue::try_from(host).ok(),
    }
}

/// Reduces a target to origin form.
fn to_origin_form<B>(req: &mut Request<B>) {
    let path = req.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *req.uri_mut() = Uri::from(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_form_gets_its_authority_from_host_and_gives_it_up_again() {
        let mut req = Request::get("/a?b=1").header("host", "bb:8080").body(()).unwrap();
        normalize(&mut req, || None).unwrap();
        assert_eq!(req.uri(), "http://bb:8080/a?b=1");
        to_http1_form(&mut req);
        assert_eq!(req.uri(), "/a?b=1");
    }

    #[test]
    fn absolute_form_stays_and_has_a_host() {
        for (target, host) in
            [("http://me@bb:8080/a", "bb:8080"), ("http://bb:80/a", "bb"), ("https://bb/", "bb")]
        {
            let mut req = Request::get(target).body(()).unwrap();
            mark_absolute(&mut req);
            to_http1_form(&mut req);
            assert_eq!(
                (req.uri().to_string().as_str(), &req.headers()["host"]),
                (target, &HeaderValue::from_static(host))
            );
        }
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
    fn an_authority_is_put_in_place_of_another() {
        let other = Authority::from_static("api:81");
        for (uri, set) in [
            ("http://bb:80/a?b", "http://api:81/a?b"),
            ("https://bb/", "http://api:81/"),
            ("bb:80", "api:81"),
            ("/a", "/a"),
        ] {
            let mut req = Request::get(uri).body(()).unwrap();
            set_authority(&mut req, &other);
            assert_eq!(req.uri().to_string(), set);
        }
    }

    #[test]
    fn without_host_the_default_stands_in_if_there_is_one() {
        let mut req = Request::get("/").body(()).unwrap();
        assert!(matches!(normalize(&mut req, || None), Err(Unaddressed::Nobody)));
        normalize(&mut req, || Some(Authority::from_static("10.0.0.1:80"))).unwrap();
        assert_eq!(req.uri(), "http://10.0.0.1:80/");
    }
}

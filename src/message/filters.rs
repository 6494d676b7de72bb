//! What a route does to a request before it is passed on, or instead, and to its answer (contract 3.11, 4.4).

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, StatusCode, Uri};

use crate::error::{Fault, Reason};
use crate::model::filter::{Failure, Filter, PathChange, Redirect};
use crate::model::matching::{PathMatch, RequestMatch};

/// A request is to be answered with another location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirected {
    pub status: StatusCode,
    pub location: Uri,
}

/// What a filter has in store for a request in place of being passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead<'f> {
    Redirected(Redirected),
    Failed(&'f Failure),
}

/// Takes the filters in order, up to one that answers the request. `matched` is the match that led to them.
///
/// # Errors
/// A filter cannot be taken.
pub fn apply<'f, B>(
    filters: &'f [Filter],
    matched: Option<&RequestMatch>,
    req: &mut Request<B>,
) -> Result<Option<Instead<'f>>, Fault> {
    for filter in filters {
        match filter {
            Filter::RequestHeaders(change) => change.apply(req.headers_mut()),
            Filter::Failure(failure) if is_hit(failure) => return Ok(Some(Instead::Failed(failure))),
            Filter::Failure(_) | Filter::ResponseHeaders(_) => {}
            Filter::Redirect(redirect) => {
                let location = location(redirect, matched, req.uri())
                    .ok_or_else(|| Fault::new(Reason::InvalidPolicy, "a redirect that leads nowhere"))?;
                if location != *req.uri() {
                    let status = redirect.status.unwrap_or(StatusCode::MOVED_PERMANENTLY);
                    return Ok(Some(Instead::Redirected(Redirected { status, location })));
                }
            }
            Filter::Unknown => return Err(Fault::new(Reason::InvalidPolicy, "a filter of an unknown kind")),
        }
    }
    Ok(None)
}

/// Takes the filters that are for answers, in order.
pub fn apply_to_answer(filters: &[Filter], headers: &mut HeaderMap) {
    for filter in filters {
        if let Filter::ResponseHeaders(change) = filter {
            change.apply(headers);
        }
    }
}

fn is_hit(failure: &Failure) -> bool {
    fastrand::u32(..failure.ratio.denominator()) < failure.ratio.numerator()
}

/// Where a redirect leads. `None` where the request has no authority to keep, or where a prefix is to be replaced and
/// none matched.
fn location(redirect: &Redirect, matched: Option<&RequestMatch>, asked: &Uri) -> Option<Uri> {
    let scheme = redirect.scheme.as_ref().or_else(|| asked.scheme()).cloned().unwrap_or(Scheme::HTTP);
    let authority = authority(redirect, &scheme, asked)?;
    let path = path(redirect, matched, asked)?;
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}

/// A port that goes without saying is not said, unless it is the request's own and all of its authority is kept.
fn authority(redirect: &Redirect, scheme: &Scheme, asked: &Uri) -> Option<Authority> {
    let said = |port: &u16| {
        let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        *port != default || ![Scheme::HTTP, Scheme::HTTPS].contains(scheme)
    };
    let (host, port) = match (&redirect.host, redirect.port) {
        (None, None) => return asked.authority().cloned(),
        (Some(host), Some(port)) => (host.as_str(), Some(port)),
        (Some(host), None) => (host.as_str(), asked.port_u16().filter(said)),
        (None, Some(port)) => (asked.host()?, Some(port).filter(said)),
    };
    let text = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Authority::try_from(text).ok()
}

fn path(redirect: &Redirect, matched: Option<&RequestMatch>, asked: &Uri) -> Option<PathAndQuery> {
    match &redirect.path {
        None => Some(asked.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))),
        Some(PathChange::Full(path)) => PathAndQuery::try_from(path.as_str()).ok(),
        Some(PathChange::Prefix(replacement)) => {
            let rest = asked.path().get(prefix_length(matched)?..)?;
            let slash = if rest.is_empty() || rest.starts_with('/') { "" } else { "/" };
            let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
            PathAndQuery::try_from(format!("{replacement}{slash}{rest}{query}")).ok()
        }
    }
}

/// The length of the prefix that matched; of what says nothing of paths, that of `/`.
fn prefix_length(matched: Option<&RequestMatch>) -> Option<usize> {
    match matched.and_then(|matched| matched.path.as_ref()) {
        None => Some(1),
        Some(path) if path.takes_every_path() => Some(1),
        Some(PathMatch::Prefix(prefix)) => Some(prefix.trim_end_matches('/').len()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::model::filter::{FailureKind, HeaderChange, Ratio};

    fn redirected(redirect: Redirect, matched: Option<PathMatch>, uri: &str) -> Option<String> {
        let matched = matched.map(|path| RequestMatch { path: Some(path), ..RequestMatch::default() });
        location(&redirect, matched.as_ref(), &uri.parse().unwrap()).map(|location| location.to_string())
    }

    #[test]
    fn what_a_redirect_does_not_name_stays_as_it_was_asked() {
        let asked = "http://bb:8080/a/b?c=d";
        let host = || Some("other".parse().unwrap());
        let to = |path| Some(PathChange::Full(path));
        for (redirect, location) in [
            (Redirect::default(), asked),
            (Redirect { scheme: Some(Scheme::HTTPS), ..Redirect::default() }, "https://bb:8080/a/b?c=d"),
            (Redirect { host: host(), ..Redirect::default() }, "http://other:8080/a/b?c=d"),
            (Redirect { host: host(), port: Some(80), ..Redirect::default() }, "http://other:80/a/b?c=d"),
            (Redirect { port: Some(81), ..Redirect::default() }, "http://bb:81/a/b?c=d"),
            (Redirect { port: Some(80), ..Redirect::default() }, "http://bb/a/b?c=d"),
            (
                Redirect { port: Some(443), scheme: Some(Scheme::HTTPS), ..Redirect::default() },
                "https://bb/a/b?c=d",
            ),
            (Redirect { path: to("/x?y".into()), ..Redirect::default() }, "http://bb:8080/x?y"),
        ] {
            assert_eq!(redirected(redirect.clone(), None, asked).as_deref(), Some(location), "{redirect:?}");
        }
        let host = Redirect { host: host(), ..Redirect::default() };
        assert_eq!(redirected(host, None, "http://bb:80/").as_deref(), Some("http://other/"));
        assert_eq!(redirected(Redirect::default(), None, "/a"), None, "nobody to redirect to");
    }

    #[test]
    fn a_prefix_is_replaced_where_one_matched() {
        let to = |path: &str| Redirect { path: Some(PathChange::Prefix(path.into())), ..Redirect::default() };
        let prefix = |path: &str| Some(PathMatch::Prefix(path.into()));
        for (replacement, matched, asked, location) in [
            ("/x", prefix("/a"), "http://bb/a/b?q", Some("http://bb/x/b?q")),
            ("/x", prefix("/a/"), "http://bb/a", Some("http://bb/x")),
            ("/x", prefix("/"), "http://bb/a", Some("http://bb/x/a")),
            ("/x", None, "http://bb/a", Some("http://bb/x/a")),
            ("/x", Some(PathMatch::Exact("/a".into())), "http://bb/a", None),
        ] {
            assert_eq!(
                redirected(to(replacement), matched.clone(), asked).as_deref(),
                location,
                "{matched:?} {asked}"
            );
        }
    }

    #[test]
    fn filters_are_taken_in_order_until_one_answers() {
        let set = |value| {
            let set = vec![("x".parse().unwrap(), HeaderValue::from_static(value))];
            Filter::RequestHeaders(HeaderChange { set, ..HeaderChange::default() })
        };
        let fail = |numerator| {
            let ratio = Ratio::new(numerator, 1).unwrap();
            Filter::Failure(Failure { kind: FailureKind::Grpc(1), message: String::new(), ratio })
        };
        let away = Filter::Redirect(Redirect { port: Some(81), ..Redirect::default() });
        let here = Filter::Redirect(Redirect::default());
        let ends = |filters: &[Filter]| {
            let mut req = Request::get("http://bb/").header("x", "0").body(()).unwrap();
            let end = apply(filters, None, &mut req).map_err(|fault| fault.reason);
            let end = end.map(|instead| match instead {
                None => "passed",
                Some(Instead::Redirected(to)) => to.status.as_str().to_owned().leak(),
                Some(Instead::Failed(_)) => "failed",
            });
            (end, req.headers()["x"].to_str().unwrap().to_owned())
        };
        assert_eq!(ends(&[]), (Ok("passed"), "0".into()));
        assert_eq!(ends(&[set("1"), here, fail(0), set("2")]), (Ok("passed"), "2".into()));
        assert_eq!(ends(&[set("1"), fail(1), set("2")]), (Ok("failed"), "1".into()));
        assert_eq!(ends(&[away, Filter::Unknown]), (Ok("301"), "0".into()));
        assert_eq!(ends(&[Filter::Unknown, set("2")]), (Err(Reason::InvalidPolicy), "0".into()));
    }

    #[test]
    fn headers_are_added_then_set_then_removed() {
        let pair = |name: &str, value| (name.parse().unwrap(), HeaderValue::from_static(value));
        let change = HeaderChange {
            add: vec![pair("added", "2"), pair("both", "1"), pair("gone", "1")],
            set: vec![pair("both", "2")],
            remove: vec!["gone".parse().unwrap(), "old".parse().unwrap()],
        };
        let mut req = Request::get("/").header("added", "1").header("old", "1").body(()).unwrap();
        let filters = [Filter::RequestHeaders(change.clone()), Filter::ResponseHeaders(change)];
        apply(&filters, None, &mut req).unwrap();
        let headers: Vec<_> =
            req.headers().iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        assert_eq!(headers, ["added=1", "added=2", "both=2"]);
        let mut answer = HeaderMap::new();
        apply_to_answer(&filters, &mut answer);
        assert_eq!(
            (answer.len(), &answer["added"], &answer["both"]),
            (2, &"2".parse().unwrap(), &"2".parse().unwrap())
        );
    }
}

//! Which Service is a request for, and what does its profile say of it (contract 3.13)? Its client's proxy tells, or else
//! whom it asks for. Nothing is decided by that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ::http::uri::Authority as UriAuthority;
use ::http::{HeaderValue, Request, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::discover::profiles::{Counted, Named, Profiles};
use crate::message::headers;
use crate::model::Authority;

/// How a request names its Service.
struct Said {
    canonical: Option<HeaderValue>,
    authority: Option<UriAuthority>,
    /// Where there is no authority.
    host: Option<HeaderValue>,
}

/// The Service of a connection's latest request: the next is likely to name it in the same words. Its profile is not kept
/// for that.
#[derive(Default)]
pub(super) struct Latest(Mutex<Option<(Said, Known)>>);

/// What is known of a Service that was named.
enum Known {
    Named(Weak<Named>),
    /// Nobody is asked for it.
    Nobodys,
    /// There was no place for it; until then none is looked for.
    OneTooMany(Instant),
}

/// As long as it takes for names of nothing to make room.
const PAUSE: Duration = Duration::from_secs(1);

impl Latest {
    pub(super) fn named<B>(&self, profiles: &Profiles, req: &Request<B>) -> Option<Arc<Named>> {
        let mut latest = self.0.lock();
        match latest.as_ref().filter(|(said, _)| said.is_of(req)) {
            Some((_, Known::Nobodys)) => return None,
            Some((_, Known::OneTooMany(until))) if Instant::now() < *until => return None,
            Some((_, Known::Named(named))) => {
                if let Some(named) = named.upgrade() {
                    return Some(named);
                }
            }
            _ => {}
        }
        let said = Said::of(req);
        let service = said.service().filter(|service| profiles.asks_for(service));
        let named = service.as_ref().and_then(|service| profiles.get(service));
        let known = match (&service, &named) {
            (None, _) => Known::Nobodys,
            (_, None) => Known::OneTooMany(Instant::now() + PAUSE),
            (_, Some(named)) => Known::Named(Arc::downgrade(named)),
        };
        *latest = Some((said, known));
        named
    }
}

/// What a Service's profile says, which its first requests wait for a moment.
pub(super) async fn counted(named: Option<Arc<Named>>) -> Option<Arc<Counted>> {
    let named = named?;
    match named.now() {
        Some(answer) => answer,
        None => Box::pin(async move { named.first().await }).await,
    }
}

impl Said {
    /// Copies, since what a request holds may be a part of all that its connection read with it.
    fn of<B>(req: &Request<B>) -> Self {
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        let authority = req.uri().authority();
        let host = req.headers().get(header::HOST).filter(|_| authority.is_none());
        Self {
            canonical: req.headers().get(headers::DST_CANONICAL).and_then(copy),
            authority: authority.and_then(|authority| UriAuthority::try_from(authority.as_str()).ok()),
            host: host.and_then(copy),
        }
    }

    fn is_of<B>(&self, req: &Request<B>) -> bool {
        self.canonical.as_ref() == req.headers().get(headers::DST_CANONICAL)
            && self.authority.as_ref() == req.uri().authority()
            && (self.authority.is_some() || self.host.as_ref() == req.headers().get(header::HOST))
    }

    /// A name with a port, 80 where the client has none.
    fn service(&self) -> Option<Authority> {
        let text = |value: &HeaderValue| value.to_str().ok()?.parse::<Authority>().ok();
        let canonical = self.canonical.as_ref().and_then(text).filter(|of| of.port.is_some());
        let named = |of: &Authority| of.name().is_some();
        let own = || {
            let host = self.host.as_ref().and_then(text);
            self.authority.as_ref().and_then(|authority| authority.as_str().parse().ok()).or(host)
        };
        let service = canonical.filter(named).or_else(own).filter(named)?;
        Some(Authority { port: service.port.or(Some(80)), ..service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_whom_its_client_s_proxy_says_or_else_for_whom_it_asks() {
        let of = |uri: &str, all: &[(&str, &str)]| {
            let req = all.iter().fold(Request::get(uri), |req, (name, value)| req.header(*name, *value));
            let req = req.body(()).unwrap();
            let said = Said::of(&req);
            assert!(said.is_of(&req));
            said.service().map(|service| service.to_string())
        };
        let canonical = "l5d-dst-canonical";
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("http://web/", &[(canonical, "BB.demo.svc:81")]), some("bb.demo.svc:81"));
        for wrong in ["bb.demo.svc", "10.0.0.1:80", "a b:80", ""] {
            assert_eq!(of("http://web:8080/", &[(canonical, wrong)]), some("web:8080"), "{wrong:?}");
        }
        assert_eq!(of("http://web/", &[("host", "other")]), some("web:80"));
        assert_eq!(of("/", &[("host", "web:9")]), some("web:9"));
        for none in ["10.0.0.1:80", "[::1]:80", "a_b c"] {
            assert_eq!(of("/", &[("host", none)]), None);
        }
        assert_eq!(of("/", &[]), None);
    }
}

//! Which Service is a request for, and what does its profile say of it (contract 3.13)? Its client's proxy tells, or else
//! whom it asks for. Nothing is decided by that.

use std::sync::{Arc, Weak};

use ::http::uri::Authority as UriAuthority;
use ::http::{HeaderValue, Request, header};
use parking_lot::Mutex;

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
/// for that; `None` where none is asked for.
#[derive(Default)]
pub(super) struct Latest(Mutex<Option<(Said, Option<Weak<Named>>)>>);

impl Latest {
    pub(super) fn named<B>(&self, profiles: &Profiles, req: &Request<B>) -> Option<Arc<Named>> {
        let mut latest = self.0.lock();
        if let Some((_, known)) = latest.as_ref().filter(|(said, _)| said.is_of(req)) {
            let named = known.as_ref()?.upgrade();
            if named.is_some() {
                return named;
            }
        }
        let said = Said::of(req);
        let Some(service) = said.service().filter(|service| profiles.asks_for(service)) else {
            *latest = Some((said, None));
            return None;
        };
        let named = profiles.get(&service)?;
        *latest = Some((said, Some(Arc::downgrade(&named))));
        Some(named)
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
    fn of<B>(req: &Request<B>) -> Self {
        let (canonical, authority) = (req.headers().get(headers::DST_CANONICAL), req.uri().authority());
        let host = req.headers().get(header::HOST).filter(|_| authority.is_none());
        Self { canonical: canonical.cloned(), authority: authority.cloned(), host: host.cloned() }
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

//! The form that a request has on a connection to an endpoint, and the one that it came in.

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, Uri, Version, header};

use crate::connect::client::Carry;
use crate::message::{RequestBody, headers, orig_proto, uri};

/// Gives a request the form of its connection. A gateway is asked for its target by the name that this has there, and
/// told nothing of the name that the client used (contract 3.8).
pub(super) fn carry_as(
    req: &mut Request<RequestBody>,
    carry: Carry,
    leaves_http: bool,
    gateway: Option<&Authority>,
) {
    if let Some(authority) = gateway {
        ask_for(req, authority, carry);
    }
    match carry {
        Carry::Http2 => {}
        Carry::OrigProto => orig_proto::upgrade(req),
        Carry::Http1 if leaves_http => {}
        Carry::Http1 => uri::to_http1_form(req),
    }
}

fn ask_for(req: &mut Request<RequestBody>, authority: &Authority, carry: Carry) {
    NAMES.into_iter().for_each(|name| drop(req.headers_mut().remove(name)));
    if carry == Carry::Http1
        && let Ok(host) = HeaderValue::try_from(authority.as_str())
    {
        // Over HTTP/1 there is no other place for it, unless the target is absolute.
        req.headers_mut().insert(header::HOST, host);
    }
    uri::set_authority(req, authority);
}

/// What [`carry_as`] changes, kept for another connection.
pub(super) struct Form {
    uri: Uri,
    version: Version,
    /// Of a request for a gateway: what the client called its target, in the order of [`NAMES`].
    names: Option<[Option<HeaderValue>; 2]>,
}

const NAMES: [HeaderName; 2] = [header::HOST, headers::DST_CANONICAL];

impl Form {
    pub(super) fn of(req: &Request<RequestBody>, gateway: Option<&Authority>) -> Self {
        let names = gateway.map(|_| NAMES.map(|name| req.headers().get(name).cloned()));
        Self { uri: req.uri().clone(), version: req.version(), names }
    }

    /// The request as it came.
    pub(super) fn restore(self, mut req: Request<RequestBody>) -> Request<RequestBody> {
        *req.uri_mut() = self.uri;
        *req.version_mut() = self.version;
        req.headers_mut().remove(headers::ORIG_PROTO);
        for (name, value) in NAMES.into_iter().zip(self.names.into_iter().flatten()) {
            match value {
                Some(value) => drop(req.headers_mut().insert(name, value)),
                None => drop(req.headers_mut().remove(name)),
            }
        }
        req
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Body;

    fn request() -> Request<RequestBody> {
        let req = Request::get("http://bb-east:8080/a").header("host", "bb-east:8080");
        req.header("l5d-dst-canonical", "bb-east:8080").body(Body::empty(Default::default())).unwrap()
    }

    #[test]
    fn a_gateway_is_asked_by_its_own_name_and_another_endpoint_as_the_client_did() {
        let gateway = Authority::from_static("bb.demo.svc.cluster.local:8080");
        let mut req = request();
        let came = Form::of(&req, Some(&gateway));
        carry_as(&mut req, Carry::OrigProto, false, Some(&gateway));
        assert_eq!(req.uri(), "http://bb.demo.svc.cluster.local:8080/a");
        assert_eq!(req.headers().keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["l5d-orig-proto"]);
        let req = came.restore(req);
        assert_eq!((req.uri(), req.version()), (request().uri(), Version::HTTP_11));
        assert_eq!(req.headers(), request().headers());
    }

    #[test]
    fn over_http1_a_gateway_is_asked_in_host() {
        let gateway = Authority::from_static("bb.demo.svc.cluster.local:8080");
        let mut req = request();
        carry_as(&mut req, Carry::Http1, false, Some(&gateway));
        assert_eq!(req.uri(), "/a");
        assert_eq!(req.headers()["host"], "bb.demo.svc.cluster.local:8080");
    }
}

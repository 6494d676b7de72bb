//! Filters of routes, inbound and outbound (contract 3.11).

use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, StatusCode};
use linkerd2_proxy_api::http_route::path_modifier::Replace;
use linkerd2_proxy_api::http_route::{
    self as pb, HttpFailureInjector, RequestHeaderModifier, RequestRedirect, ResponseHeaderModifier,
};
use linkerd2_proxy_api::http_types::{self, headers::Header};
use linkerd2_proxy_api::{grpc_route, inbound, outbound};

use super::InvalidPolicy;
use crate::model::filter::{Failure, FailureKind, Filter, HeaderChange, PathChange, Ratio, Redirect};

type Http = inbound::http_route::filter::Kind;
type Grpc = inbound::grpc_route::filter::Kind;
type OutboundHttp = outbound::http_route::filter::Kind;
type OutboundGrpc = outbound::grpc_route::filter::Kind;

/// Reads a filter of an inbound HTTP route.
pub(super) fn http(pb: inbound::http_route::Filter) -> Result<Filter, InvalidPolicy> {
    Ok(match pb.kind {
        None => Filter::Unknown,
        Some(Http::FailureInjector(injector)) => http_failure(injector)?,
        Some(Http::RequestHeaderModifier(change)) => request_headers(change)?,
        Some(Http::Redirect(to)) => Filter::Redirect(redirect(to)?),
    })
}

/// Reads a filter of an inbound gRPC route.
pub(super) fn grpc(pb: inbound::grpc_route::Filter) -> Result<Filter, InvalidPolicy> {
    Ok(match pb.kind {
        None => Filter::Unknown,
        Some(Grpc::FailureInjector(injector)) => grpc_failure(injector)?,
        Some(Grpc::RequestHeaderModifier(change)) => request_headers(change)?,
    })
}

/// Reads a filter of an outbound HTTP route. One of a kind that is not known makes the whole policy invalid, as there.
pub(super) fn outbound_http(pb: outbound::http_route::Filter) -> Result<Filter, InvalidPolicy> {
    Ok(match pb.kind.ok_or(UNKNOWN)? {
        OutboundHttp::FailureInjector(injector) => http_failure(injector)?,
        OutboundHttp::RequestHeaderModifier(change) => request_headers(change)?,
        OutboundHttp::Redirect(to) => Filter::Redirect(redirect(to)?),
        OutboundHttp::ResponseHeaderModifier(ResponseHeaderModifier { add, set, remove }) => {
            Filter::ResponseHeaders(header_change(add, set, remove)?)
        }
    })
}

/// The same of a gRPC route.
pub(super) fn outbound_grpc(pb: outbound::grpc_route::Filter) -> Result<Filter, InvalidPolicy> {
    Ok(match pb.kind.ok_or(UNKNOWN)? {
        OutboundGrpc::FailureInjector(injector) => grpc_failure(injector)?,
        OutboundGrpc::RequestHeaderModifier(change) => request_headers(change)?,
    })
}

const UNKNOWN: InvalidPolicy = InvalidPolicy::Unsupported("a filter of an unknown kind");

fn http_failure(pb: HttpFailureInjector) -> Result<Filter, InvalidPolicy> {
    let kind = FailureKind::Http(status_code(pb.status)?);
    Ok(Filter::Failure(Failure { kind, message: pb.message, ratio: ratio(pb.ratio)? }))
}

fn grpc_failure(pb: grpc_route::GrpcFailureInjector) -> Result<Filter, InvalidPolicy> {
    let code = u16::try_from(pb.code).map_err(|_| field("failure", "a code of gRPC"))?;
    Ok(Filter::Failure(Failure {
        kind: FailureKind::Grpc(code),
        message: pb.message,
        ratio: ratio(pb.ratio)?,
    }))
}

fn request_headers(pb: RequestHeaderModifier) -> Result<Filter, InvalidPolicy> {
    header_change(pb.add, pb.set, pb.remove).map(Filter::RequestHeaders)
}

fn field(field: &'static str, expected: &'static str) -> InvalidPolicy {
    InvalidPolicy::Field { field, expected }
}

fn status_code(status: u32) -> Result<StatusCode, InvalidPolicy> {
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    status.ok_or_else(|| field("status", "a status from 100 to 999"))
}

/// What is not given is all.
fn ratio(pb: Option<pb::Ratio>) -> Result<Ratio, InvalidPolicy> {
    let Some(pb::Ratio { numerator, denominator }) = pb else { return Ok(Ratio::ALL) };
    Ratio::new(numerator, denominator).ok_or_else(|| field("ratio", "a part of one"))
}

fn header_change(
    add: Option<http_types::Headers>,
    set: Option<http_types::Headers>,
    remove: Vec<String>,
) -> Result<HeaderChange, InvalidPolicy> {
    let name =
        |name: String| HeaderName::try_from(name).map_err(|_| field("header modifier", "names of headers"));
    let pairs = |headers: Option<http_types::Headers>| {
        let headers = headers.unwrap_or_default().headers.into_iter();
        let pairs = headers.map(|Header { name: key, value }| {
            let value = HeaderValue::from_bytes(&value);
            Ok((name(key)?, value.map_err(|_| field("header modifier", "values of headers"))?))
        });
        pairs.collect::<Result<Vec<_>, InvalidPolicy>>()
    };
    Ok(HeaderChange {
        add: pairs(add)?,
        set: pairs(set)?,
        remove: remove.into_iter().map(name).collect::<Result<_, _>>()?,
    })
}

fn redirect(pb: RequestRedirect) -> Result<Redirect, InvalidPolicy> {
    let scheme = pb.scheme.map(Scheme::try_from).transpose();
    let host = Some(pb.host).filter(|host| !host.is_empty()).map(Authority::try_from).transpose();
    let port = u16::try_from(pb.port).map_err(|_| field("redirect", "a port below 65536"))?;
    let absolute = |path: String| {
        if path.starts_with('/') { Ok(path) } else { Err(field("redirect", "a path from the root")) }
    };
    let path = pb.path.and_then(|path| path.replace).map(|replace| match replace {
        Replace::Full(path) => absolute(path).map(PathChange::Full),
        Replace::Prefix(path) => absolute(path).map(PathChange::Prefix),
    });
    Ok(Redirect {
        scheme: scheme.map_err(|_| field("redirect", "a scheme"))?,
        host: host.map_err(|_| field("redirect", "a host"))?,
        port: Some(port).filter(|port| *port > 0),
        path: path.transpose()?,
        status: Some(pb.status).filter(|status| *status > 0).map(status_code).transpose()?,
    })
}

/// Writes a filter of an inbound HTTP route; what has no form there is unknown.
pub(super) fn encode_http(from: &Filter) -> inbound::http_route::Filter {
    let kind = match from {
        Filter::Failure(failure) => encode_http_failure(failure).map(Http::FailureInjector),
        Filter::RequestHeaders(change) => Some(Http::RequestHeaderModifier(encode_change(change))),
        Filter::Redirect(to) => Some(Http::Redirect(encode_redirect(to))),
        Filter::ResponseHeaders(_) | Filter::Unknown => None,
    };
    inbound::http_route::Filter { kind }
}

/// Writes a filter of an inbound gRPC route; what has no form there is unknown.
pub(super) fn encode_grpc(from: &Filter) -> inbound::grpc_route::Filter {
    let kind = match from {
        Filter::Failure(failure) => encode_grpc_failure(failure).map(Grpc::FailureInjector),
        Filter::RequestHeaders(change) => Some(Grpc::RequestHeaderModifier(encode_change(change))),
        Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Unknown => None,
    };
    inbound::grpc_route::Filter { kind }
}

/// Writes a filter of an outbound HTTP route; what has no form there is unknown.
pub(super) fn encode_outbound_http(from: &Filter) -> outbound::http_route::Filter {
    let kind = match from {
        Filter::Failure(failure) => encode_http_failure(failure).map(OutboundHttp::FailureInjector),
        Filter::RequestHeaders(change) => Some(OutboundHttp::RequestHeaderModifier(encode_change(change))),
        Filter::ResponseHeaders(change) => {
            let RequestHeaderModifier { add, set, remove } = encode_change(change);
            Some(OutboundHttp::ResponseHeaderModifier(ResponseHeaderModifier { add, set, remove }))
        }
        Filter::Redirect(to) => Some(OutboundHttp::Redirect(encode_redirect(to))),
        Filter::Unknown => None,
    };
    outbound::http_route::Filter { kind }
}

/// Writes a filter of an outbound gRPC route; what has no form there is unknown.
pub(super) fn encode_outbound_grpc(from: &Filter) -> outbound::grpc_route::Filter {
    let kind = match from {
        Filter::Failure(failure) => encode_grpc_failure(failure).map(OutboundGrpc::FailureInjector),
        Filter::RequestHeaders(change) => Some(OutboundGrpc::RequestHeaderModifier(encode_change(change))),
        Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Unknown => None,
    };
    outbound::grpc_route::Filter { kind }
}

/// `None` where it is one of gRPC's.
fn encode_http_failure(from: &Failure) -> Option<HttpFailureInjector> {
    let FailureKind::Http(status) = from.kind else { return None };
    let (message, ratio) = (from.message.clone(), encode_ratio(from.ratio));
    Some(HttpFailureInjector { status: status.as_u16().into(), message, ratio })
}

/// `None` where it is one of HTTP's.
fn encode_grpc_failure(from: &Failure) -> Option<grpc_route::GrpcFailureInjector> {
    let FailureKind::Grpc(code) = from.kind else { return None };
    let (message, ratio) = (from.message.clone(), encode_ratio(from.ratio));
    Some(grpc_route::GrpcFailureInjector { code: code.into(), message, ratio })
}

fn encode_ratio(from: Ratio) -> Option<pb::Ratio> {
    Some(pb::Ratio { numerator: from.numerator(), denominator: from.denominator() })
}

fn encode_change(from: &HeaderChange) -> RequestHeaderModifier {
    let pairs = |pairs: &[(HeaderName, HeaderValue)]| {
        let headers = pairs
            .iter()
            .map(|(name, value)| Header { name: name.to_string(), value: value.as_bytes().to_vec() });
        Some(http_types::Headers { headers: headers.collect() })
    };
    RequestHeaderModifier {
        add: pairs(&from.add),
        set: pairs(&from.set),
        remove: from.remove.iter().map(ToString::to_string).collect(),
    }
}

fn encode_redirect(from: &Redirect) -> RequestRedirect {
    let path = from.path.as_ref().map(|path| match path {
        PathChange::Full(path) => Replace::Full(path.clone()),
        PathChange::Prefix(path) => Replace::Prefix(path.clone()),
    });
    RequestRedirect {
        scheme: from.scheme.as_ref().map(Into::into),
        host: from.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        path: path.map(|replace| pb::PathModifier { replace: Some(replace) }),
        port: from.port.unwrap_or(0).into(),
        status: from.status.map_or(0, |status| status.as_u16().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_as_asked_is_refused() {
        let failure =
            |status, ratio| Http::FailureInjector(HttpFailureInjector { status, message: "".into(), ratio });
        let part = |numerator, denominator| Some(pb::Ratio { numerator, denominator });
        let named = |name: &str| {
            Http::RequestHeaderModifier(RequestHeaderModifier {
                remove: vec![name.into()],
                ..RequestHeaderModifier::default()
            })
        };
        let valued = |value: &[u8]| {
            let headers = vec![Header { name: "x".into(), value: value.into() }];
            Http::RequestHeaderModifier(RequestHeaderModifier {
                set: Some(http_types::Headers { headers }),
                ..RequestHeaderModifier::default()
            })
        };
        let to = |to: RequestRedirect| Http::Redirect(to);
        let path = |replace| Some(pb::PathModifier { replace: Some(replace) });
        let read = |kind| http(inbound::http_route::Filter { kind: Some(kind) });
        for bad in [
            failure(0, None),
            failure(99_999, None),
            failure(500, part(1, 0)),
            failure(500, part(2, 1)),
            named("x y"),
            valued(b"\n"),
            to(RequestRedirect { status: 99, ..RequestRedirect::default() }),
            to(RequestRedirect { port: 65_536, ..RequestRedirect::default() }),
            to(RequestRedirect { host: "a b".into(), ..RequestRedirect::default() }),
            to(RequestRedirect {
                scheme: Some(http_types::Scheme { r#type: None }),
                ..RequestRedirect::default()
            }),
            to(RequestRedirect { path: path(Replace::Full("x".into())), ..RequestRedirect::default() }),
            to(RequestRedirect { path: path(Replace::Prefix("".into())), ..RequestRedirect::default() }),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad:?}");
        }
        for good in
            [failure(500, None), failure(999, part(0, 1)), valued(&[0xff]), to(RequestRedirect::default())]
        {
            assert!(read(good.clone()).is_ok(), "{good:?}");
        }
        assert_eq!(http(inbound::http_route::Filter { kind: None }), Ok(Filter::Unknown));
        assert_eq!(grpc(inbound::grpc_route::Filter { kind: None }), Ok(Filter::Unknown));
        let code = grpc_route::GrpcFailureInjector { code: 65_536, ..Default::default() };
        assert!(grpc(inbound::grpc_route::Filter { kind: Some(Grpc::FailureInjector(code)) }).is_err());
        assert_eq!(outbound_http(outbound::http_route::Filter { kind: None }), Err(UNKNOWN));
        assert_eq!(outbound_grpc(outbound::grpc_route::Filter { kind: None }), Err(UNKNOWN));
    }
}

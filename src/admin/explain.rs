//! `/explain`: how a port's policy judges a caller, and what led to it.
//!
//! For the pod itself alone, and under a local name alone: a page in a browser that some name leads here by DNS has that
//! name in `Host`.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{empty, text, typed};
use crate::authorize::explain::{self, Explanation, Tried, Verdict};
use crate::model::matching::Head;
use crate::model::peer::NoTls;
use crate::model::{Peer, ResourceRef, ServerPolicy};

/// A port's policy, and whether the controller has spoken of it; else it is the default.
pub type Policies = Box<dyn Fn(u16) -> (Arc<ServerPolicy>, bool) + Send + Sync>;

/// A question: who calls, and what for.
struct Question {
    port: u16,
    src: IpAddr,
    peer: Peer,
    request: Request<()>,
}

/// For clients that are known to be local.
pub(super) fn respond(policies: &Policies, request: &Parts) -> Response<Bytes> {
    if request.method != Method::GET {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !has_local_name(request) {
        return text(StatusCode::FORBIDDEN, "Requests are only permitted to localhost.");
    }
    match question(request.uri.query().unwrap_or_default()) {
        Ok(asked) => {
            let (policy, answered) = policies(asked.port);
            typed(StatusCode::OK, "application/json", answer(&policy, answered, &asked).to_string())
        }
        Err(why) => {
            let body = json!({ "error": why, "expected": EXPECTED });
            typed(StatusCode::BAD_REQUEST, "application/json", body.to_string())
        }
    }
}

const EXPECTED: &str = "port=NUMBER&src=ADDRESS, and if it applies client=IDENTITY (empty: TLS without a certificate) or \
     sni=NAME, method=METHOD, path=PATH, host=NAME, header=NAME:VALUE";

/// An address of this host, or `localhost`.
fn has_local_name(request: &Parts) -> bool {
    let named = request.uri.authority().cloned().or_else(|| {
        let host = request.headers.get(header::HOST)?;
        Authority::try_from(host.as_bytes()).ok()
    });
    let Some(named) = named else { return false };
    let host = named.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(super::is_local)
}

fn question(query: &str) -> Result<Question, String> {
    let (mut port, mut src, mut peer) = (None, None, Peer::Plaintext(NoTls::NoTlsFromRemote));
    let (mut path, mut host) = ("/".to_owned(), None);
    let mut builder = Request::builder();
    for (key, bytes) in fields(query) {
        let value = String::from_utf8_lossy(&bytes);
        let wrong = |what: &str| format!("{key} is no {what}: {value:?}");
        match &*key {
            "port" => port = Some(value.parse::<u16>().map_err(|_| wrong("port"))?).filter(|port| *port > 0),
            "src" => src = Some(value.parse::<IpAddr>().map_err(|_| wrong("address"))?),
            "client" if value.is_empty() => peer = Peer::Anonymous,
            "client" => peer = Peer::Identified(value.parse().map_err(|_| wrong("identity"))?),
            "sni" => peer = Peer::Passthrough(value.parse().map_err(|_| wrong("name"))?),
            "method" => builder = builder.method(Method::try_from(&*value).map_err(|_| wrong("method"))?),
            "path" if value == "*" || value.starts_with('/') => path = value.into_owned(),
            "path" => return Err(wrong("path")),
            "host" => host = Some(value.into_owned()),
            "header" => {
                let (name, value) = header(&bytes).ok_or_else(|| wrong("header"))?;
                builder = builder.header(name, value);
            }
            _ => return Err(format!("{key:?} is nothing that can be asked")),
        }
    }
    let uri = match host {
        Some(host) => format!("http://{host}{path}"),
        None => path,
    };
    let uri = Uri::try_from(&uri).map_err(|_| format!("no request has such a target: {uri:?}"))?;
    let request = builder.uri(uri).body(()).map_err(|error| error.to_string())?;
    let missing = |what: &str| format!("{what} is missing");
    Ok(Question {
        port: port.ok_or_else(|| missing("port"))?,
        src: src.ok_or_else(|| missing("src"))?,
        peer,
        request,
    })
}

/// A form's fields. The values of headers need not be text, so bytes are kept.
fn fields(query: &str) -> impl Iterator<Item = (String, Vec<u8>)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).collect::<Vec<u8>>();
    query.split('&').filter(|field| !field.is_empty()).map(move |field| {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        (String::from_utf8_lossy(&decode(key)).into_owned(), decode(value))
    })
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
    let value = HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?;
    Some((HeaderName::from_bytes(name).ok()?, value))
}

/// The decision on a request, where the policy is for HTTP, and the one on a connection that is not HTTP.
fn answer(policy: &ServerPolicy, answered: bool, asked: &Question) -> Value {
    let tcp = explain::tcp(policy, asked.src, &asked.peer);
    let http = policy
        .protocol
        .routes()
        .map(|_| explain::http(policy, asked.src, &asked.peer, &Head::of(&asked.request)));
    json!({
        "port": asked.port,
        "server": named(&policy.meta),
        "protocol": policy.protocol.name(),
        "answered": answered,
        "request": http.as_ref().map(explained),
        "connection": explained(&tcp),
    })
}

fn explained(of: &Explanation<'_>) -> Value {
    let (verdict, route, authorization) = match &of.verdict {
        Verdict::Allowed { route, authz } => ("allowed", *route, Some(*authz)),
        Verdict::Denied { route } => ("denied", *route, None),
        Verdict::NoRoute { .. } => ("no-route", None, None),
        Verdict::NotHttp => ("not-http", None, None),
        Verdict::HttpAlone => ("http-alone", None, None),
        Verdict::Unjudged { route } => ("unjudged", Some(*route), None),
    };
    json!({
        "allowed": of.is_allowed(),
        "verdict": verdict,
        "why": of.verdict.to_string(),
        "route": route.map(named),
        "authorization": authorization.map(named),
        "readAs": of.read_as,
        "tried": of.tried.iter().map(tried).collect::<Vec<_>>(),
    })
}

fn tried(one: &Tried<'_>) -> Value {
    json!({
        "authorization": named(one.authz),
        "failed": one.failed.map(|failed| failed.name()),
        "why": one.failed.map(|failed| failed.to_string()),
    })
}

fn named(of: &ResourceRef) -> Value {
    json!({ "group": of.group(), "kind": of.kind(), "name": of.name() })
}

#[cfg(test)]
mod tests;

//! `/proxy-log-level`: which filter is in force, and another one.

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};

use super::{empty, text};
use crate::telemetry::log::LogHandle;

/// For clients that are known to be local.
pub(super) fn respond(log: &LogHandle, method: &Method, body: &[u8]) -> Response<Bytes> {
    let Some(filter) = log.filter() else { return empty(StatusCode::NOT_FOUND) };
    match *method {
        Method::GET => text(StatusCode::OK, filter),
        Method::PUT => replace(log, body),
        _ => {
            let mut refused = empty(StatusCode::METHOD_NOT_ALLOWED);
            for method in ["GET", "PUT"] {
                refused.headers_mut().append(header::ALLOW, header::HeaderValue::from_static(method));
            }
            refused
        }
    }
}

fn replace(log: &LogHandle, body: &[u8]) -> Response<Bytes> {
    let Ok(filter) = std::str::from_utf8(body) else {
        return text(StatusCode::BAD_REQUEST, "expected a log filter in UTF-8");
    };
    match log.set(filter.trim()) {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(error) => text(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

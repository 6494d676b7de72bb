//! `/env.json`: the environment this process was started with.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use serde_json::json;

use super::{empty, typed};

const JSON: &str = "application/json";

/// All of `env`, or with a query `?A&B` those named, `null` for what is not set.
pub(super) fn respond(env: &[(String, String)], request: &Parts) -> Response<Bytes> {
    if request.method != Method::GET {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    if let Some(accept) = request.headers.get(header::ACCEPT) {
        let Ok(accept) = std::str::from_utf8(accept.as_bytes()) else {
            return refused("Accept header must be UTF-8");
        };
        if ![JSON, "application/*", "*/*"].iter().any(|kind| accept.contains(kind)) {
            return typed(StatusCode::NOT_ACCEPTABLE, "text/plain", JSON);
        }
    }
    let all: BTreeMap<&str, &str> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let Some(query) = request.uri.query() else {
        return typed(StatusCode::OK, JSON, json!(all).to_string());
    };
    if query.contains('=') {
        return refused("expected names separated by '&', without values");
    }
    let named: BTreeMap<&str, Option<&&str>> = query.split('&').map(|key| (key, all.get(key))).collect();
    typed(StatusCode::OK, JSON, json!(named).to_string())
}

fn refused(why: &str) -> Response<Bytes> {
    let status = StatusCode::BAD_REQUEST;
    typed(status, JSON, json!({ "error": why, "status": status.as_u16() }).to_string())
}

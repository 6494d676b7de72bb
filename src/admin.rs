//! What does the operator, the kubelet or a scraper ask of this process?
//!
//! The answers of contract 7.1, given a request and where it came from. Accepting the connection and
//! judging it by the admin port's policy is done around this module; the loopback rules are done here.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::telemetry::Metrics;
use crate::telemetry::log::LogHandle;

mod env;
pub mod explain;
pub mod server;
mod log_level;
mod metrics;

/// All that the answers are made of.
pub struct Admin {
    /// Certificates installed so far: ready from the first on.
    pub certificates: watch::Receiver<u64>,
    pub metrics: Arc<Metrics>,
    /// Cancelled by `POST /shutdown`.
    pub shutdown: CancellationToken,
    pub shutdown_enabled: bool,
    pub log: LogHandle,
    /// The environment as `/env.json` shows it, usually [`std::env::vars_os`] made readable.
    pub env: Vec<(String, String)>,
    /// Of this pod's ports.
    pub policies: explain::Policies,
}

impl Admin {
    /// Answers one request. `client` is the address of the connection's other end; `body` is the whole
    /// body, which the caller has bounded.
    pub fn respond(&self, client: IpAddr, request: &Parts, body: &[u8]) -> Response<Bytes> {
        match request.uri.path() {
            "/live" => text(StatusCode::OK, "live\n"),
            "/ready" if *self.certificates.borrow() > 0 => text(StatusCode::OK, "ready\n"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/metrics" => metrics::respond(&self.metrics, request),
            "/env.json" => env::respond(&self.env, request),
            "/proxy-log-level" if is_local(client) => log_level::respond(&self.log, &request.method, body),
            "/proxy-log-level" => not_local(),
            "/explain" if is_local(client) => explain::respond(&self.policies, request),
            "/explain" => not_local(),
            "/shutdown" => self.shut_down(client, &request.method),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    fn shut_down(&self, client: IpAddr, method: &Method) -> Response<Bytes> {
        if method != Method::POST {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        if !is_local(client) {
            return not_local();
        }
        if !self.shutdown_enabled {
            return text(StatusCode::NOT_FOUND, "shutdown endpoint is not enabled\n");
        }
        self.shutdown.cancel();
        text(StatusCode::OK, "shutdown\n")
    }
}

/// Loopback, also where IPv4 arrives as mapped IPv6.
fn is_local(client: IpAddr) -> bool {
    client.to_canonical().is_loopback()
}

fn not_local() -> Response<Bytes> {
    text(StatusCode::FORBIDDEN, "Requests are only permitted from localhost.")
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Bytes> {
    typed(status, "text/plain", body)
}

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;

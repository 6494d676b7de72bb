//! Connections that stop being HTTP: `Upgrade` and `CONNECT` (contract 3.7).

use std::future::Future;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

use crate::net::relay::relay;

/// Whether a request asks to leave HTTP: `Upgrade` on HTTP/1.1 to anything but `h2c`, or `CONNECT`.
pub fn wanted<B>(req: &Request<B>) -> bool {
    if req.version() != Version::HTTP_11 {
        return false;
    }
    if req.method() == Method::CONNECT {
        return true;
    }
    let upgrade = req.headers().get(header::UPGRADE);
    upgrade.is_some_and(|protocol| !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"))
}

/// Whether an answer grants what [`wanted`] asked for.
pub fn granted<B>(method: &Method, rsp: &Response<B>) -> bool {
    rsp.status() == StatusCode::SWITCHING_PROTOCOLS
        || (*method == Method::CONNECT && rsp.status().is_success())
}

/// Removes from a granted `CONNECT` what would frame a body: it has none (contract 3.7).
pub fn strip_framing(method: &Method, headers: &mut HeaderMap) {
    if *method == Method::CONNECT {
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
    }
}

/// Relays the two connections once both have left HTTP, until both directions end or `cut` ends them.
pub async fn splice(client: OnUpgrade, server: OnUpgrade, cut: impl Future<Output = ()>) {
    let (client, server) = match tokio::try_join!(client, server) {
        Ok(both) => both,
        Err(error) => return debug!(%error, "an upgrade was granted but never completed"),
    };
    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
    tokio::select! {
        ended = relay(&mut client, &mut server) => if let Err(broken) = ended {
            debug!(?broken, "an upgraded connection broke");
        },
        () = cut => debug!("an upgraded connection was cut"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http11_leaves_http_and_never_for_h2c() {
        let ask = |version, protocol| {
            let req = Request::get("/").version(version).header("upgrade", protocol).body(()).unwrap();
            wanted(&req)
        };
        assert!(ask(Version::HTTP_11, "websocket"));
        assert!(!ask(Version::HTTP_10, "websocket"));
        assert!(!ask(Version::HTTP_11, "h2c"));
        let connect = Request::connect("bb:80").version(Version::HTTP_11).body(()).unwrap();
        assert!(wanted(&connect));
    }
}

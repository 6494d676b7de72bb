//! Connections that stop being HTTP: `Upgrade` and `CONNECT` (contract 3.7).

use std::future::Future;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

use crate::net::relay::relay;

/// Whether a request asks to leave HTTP: `Upgrade` on HTTP/1.1, or `CONNECT`. Never where it might go on in HTTP, whatever
/// else it offers: the requests that came then would be nobody's to judge. The reference looks for `h2c` alone.
pub fn wanted<B>(req: &Request<B>) -> bool {
    if req.version() != Version::HTTP_11 {
        return false;
    }
    if req.method() == Method::CONNECT {
        return true;
    }
    let mut offers = req.headers().get_all(header::UPGRADE).iter().peekable();
    offers.peek().is_some() && !offers.any(offers_http)
}

/// Whether one of the protocols is HTTP under any of its names.
fn offers_http(offer: &HeaderValue) -> bool {
    offer.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(|protocol| {
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or(protocol);
        [&b"h2"[..], b"h2c", b"h3", b"http"].iter().any(|http| name.eq_ignore_ascii_case(http))
    })
}

/// Whether an answer grants what [`wanted`] asked for.
pub fn granted<B>(method: &Method, rsp: &Response<B>) -> bool {
    (rsp.status() == StatusCode::SWITCHING_PROTOCOLS
        && !rsp.headers().get_all(header::UPGRADE).iter().any(offers_http))
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
    fn only_http11_leaves_http_and_never_for_http() {
        let ask = |version, protocol| {
            let req = Request::get("/").version(version).header("upgrade", protocol).body(()).unwrap();
            wanted(&req)
        };
        assert!(ask(Version::HTTP_11, "websocket"));
        assert!(!ask(Version::HTTP_10, "websocket"));
        for http in ["h2c", "H2C", "h2c, x", "websocket,h2c", " x , h2 ", "HTTP/2.0"] {
            assert!(!ask(Version::HTTP_11, http), "{http}");
        }
        let twice =
            Request::get("/").header("upgrade", "websocket").header("upgrade", "h2c").body(()).unwrap();
        assert!(!wanted(&twice));
        let connect = Request::connect("bb:80").version(Version::HTTP_11).body(()).unwrap();
        assert!(wanted(&connect));
    }
}

//! Headers that end at this hop, and the names of the mesh's own (contract 3.7, 3.13).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub const ORIG_PROTO: HeaderName = HeaderName::from_static("l5d-orig-proto");
pub const CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");
pub const PROXY_ERROR: HeaderName = HeaderName::from_static("l5d-proxy-error");
pub const PROXY_CONNECTION: HeaderName = HeaderName::from_static("l5d-proxy-connection");
pub const DST_CANONICAL: HeaderName = HeaderName::from_static("l5d-dst-canonical");
pub const DST_OVERRIDE: HeaderName = HeaderName::from_static("l5d-dst-override");
pub const REQUIRE_ID: HeaderName = HeaderName::from_static("l5d-require-id");
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Our own: the name of the reason of an answer made here.
pub const REASON: HeaderName = HeaderName::from_static("causeway-reason");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP1_PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what concerns one connection only: `connection` and every header it names, `upgrade`,
/// `proxy-connection` and `keep-alive` (contract 3.7).
pub fn strip_connection(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        headers.remove(header::CONNECTION);
        for name in named {
            headers.remove(name);
        }
    }
    headers.remove(header::UPGRADE);
    headers.remove(HTTP1_PROXY_CONNECTION);
    headers.remove(KEEP_ALIVE);
}

/// Removes what a client says of its own identity, also where it writes `_` for `-`: many applications take the two for
/// one (contract 4.8).
pub fn strip_client_id(headers: &mut HeaderMap) {
    headers.remove(CLIENT_ID);
    let twin = |name: &&HeaderName| {
        name.as_str().len() == CLIENT_ID.as_str().len()
            && name.as_str().replace('_', "-") == CLIENT_ID.as_str()
    };
    while let Some(name) = headers.keys().find(twin).cloned() {
        headers.remove(name);
    }
}

/// On a connection that leaves HTTP `connection` stays; but what the client names there as its hop's own must not be
/// what the mesh says of the client.
pub fn keep_mesh(headers: &mut HeaderMap) {
    let mesh = |name: &[u8]| name.trim_ascii().to_ascii_lowercase().starts_with(b"l5d-");
    let names = |value: &HeaderValue| value.as_bytes().split(|byte| *byte == b',').any(mesh);
    if !headers.get_all(header::CONNECTION).iter().any(names) {
        return;
    }
    headers.remove(header::CONNECTION);
    if headers.contains_key(header::UPGRADE) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close, x-hop"));
        headers.append("connection", HeaderValue::from_static("te"));
        for name in ["x-hop", "te", "keep-alive", "upgrade", "proxy-connection", "x-kept"] {
            headers.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("1"));
        }
        strip_connection(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn what_reads_as_a_client_id_goes() {
        let mut headers = HeaderMap::new();
        let kept = ["l5d-client_idx", "l5d-client", "l5d-dst-canonical", "x"];
        let gone = ["l5d-client-id", "l5d_client_id", "l5d-client_id", "l5d_client-id"];
        for name in kept.iter().chain(&gone) {
            headers.append(*name, HeaderValue::from_static("1"));
            headers.append(*name, HeaderValue::from_static("2"));
        }
        strip_client_id(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), kept);
        assert_eq!(headers.len(), 2 * kept.len());
    }

    #[test]
    fn connection_stays_for_an_upgrade_unless_it_names_what_the_mesh_says() {
        for (sent, kept) in
            [("keep-alive, Upgrade", "keep-alive, Upgrade"), ("upgrade, L5D-Client-Id", "upgrade")]
        {
            let mut headers = HeaderMap::new();
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            headers.insert("connection", HeaderValue::from_static(sent));
            keep_mesh(&mut headers);
            assert_eq!(headers["connection"], kept);
        }
    }
}

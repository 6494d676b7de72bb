//! The page of metrics, compressed for those who take gzip (contract 6).

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};

use super::text;
use crate::telemetry::Metrics;

pub(super) fn respond(metrics: &Metrics, request: &Parts) -> Response<Bytes> {
    let page = metrics.render();
    match takes_gzip(request).then(|| gzip(page.as_bytes())) {
        Some(Ok(packed)) => {
            let mut response = text(StatusCode::OK, packed);
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        // Into memory it cannot fail; if it did, the page itself is as good.
        Some(Err(_)) | None => text(StatusCode::OK, page),
    }
}

/// As the reference judges: the word anywhere in the header.
fn takes_gzip(request: &Parts) -> bool {
    let mut named = request.headers.get_all(header::ACCEPT_ENCODING).iter();
    named.any(|value| value.as_bytes().windows(4).any(|part| part == b"gzip"))
}

fn gzip(page: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::with_capacity(page.len() / 16), Compression::fast());
    packed.write_all(page)?;
    packed.finish()
}

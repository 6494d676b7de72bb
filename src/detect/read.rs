//! Reading enough to decide, and no more.

use std::io;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout_at};

use crate::model::DnsName;
use crate::model::protocol::HttpVersion;
use crate::net::Prefixed;

use super::{client_hello, http};

/// What the first bytes of a connection say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    Is(HttpVersion),
    Not,
    /// Too few bytes came in time to tell.
    TimedOut,
}

/// Reads until the bytes are HTTP, or cannot become it, or time is up. All bytes stay in the prefix.
///
/// # Errors
/// The connection broke, or ended before its first byte.
pub async fn read_http<IO: AsyncRead + Unpin>(io: &mut Prefixed<IO>, timeout: Duration) -> io::Result<Http> {
    // A policy may name any time: beyond what the clock can hold, it is never.
    let deadline = Instant::now().checked_add(timeout).unwrap_or_else(far);
    loop {
        if let Some(decided) = decided(http::detect(io.prefix())) {
            return Ok(decided);
        }
        let Ok(read) = timeout_at(deadline, io.read_more(http::LIMIT)).await else {
            let settled = decided(http::settle(io.prefix())).filter(|found| *found != Http::Not);
            return Ok(settled.unwrap_or(Http::TimedOut));
        };
        match (read?, io.prefix()) {
            (0, []) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (0, bytes) => return Ok(decided(http::settle(bytes)).unwrap_or(Http::Not)),
            _ => {}
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400 * 365)
}

fn decided(progress: http::Progress) -> Option<Http> {
    match progress {
        http::Progress::Http1 => Some(Http::Is(HttpVersion::Http1)),
        http::Progress::Http2 => Some(Http::Is(HttpVersion::Http2)),
        http::Progress::NotHttp => Some(Http::Not),
        http::Progress::NeedMore => None,
    }
}

/// Reads until the bytes are a whole ClientHello, or cannot become one. `Some` is the name that a
/// ClientHello asks for; no TLS and TLS without a name are alike `None`.
///
/// # Errors
/// The connection broke.
pub async fn read_client_hello<IO: AsyncRead + Unpin>(io: &mut Prefixed<IO>) -> io::Result<Option<DnsName>> {
    loop {
        match client_hello::parse(io.prefix()) {
            client_hello::Progress::Hello { sni } => return Ok(sni),
            client_hello::Progress::NotTls => return Ok(None),
            client_hello::Progress::NeedMore => {}
        }
        if io.read_more(client_hello::LIMIT).await? == 0 {
            return Ok(None);
        }
    }
}

//! Reading what a process says over plain HTTP.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A page of metrics of a large cluster is some megabytes.
const LARGEST: usize = 64 << 20;

/// A whole answer, and the time at which it was given by either clock.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// The header `Date`, whole seconds.
    pub(super) date: Option<SystemTime>,
    /// Before the question, and after the answer, by this clock.
    pub(super) asked: SystemTime,
    pub(super) answered: SystemTime,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("nothing listens at {authority}, or it cannot be reached: {error}")]
    Connect { authority: String, error: io::Error },
    #[error("{authority} does not speak HTTP: {error}")]
    Http { authority: String, error: hyper::Error },
    #[error("{url} answers more than {LARGEST} bytes, or not to the end: {error}")]
    Body { url: String, error: Box<dyn std::error::Error + Send + Sync> },
    #[error("no answer from {url} within {}", humantime::format_duration(*.limit))]
    Timeout { url: String, limit: Duration },
    #[error("{url} is no address")]
    Url { url: String },
}

/// Reads `path` of the server at `authority` (`host:port`), over a connection of its own.
pub(super) async fn get(authority: &str, path: &str, limit: Duration) -> Result<Answer, Error> {
    let late = || Error::Timeout { url: format!("http://{authority}{path}"), limit };
    timeout(limit, exchange(authority, path)).await.map_err(|_| late())?
}

async fn exchange(authority: &str, path: &str) -> Result<Answer, Error> {
    let url = || format!("http://{authority}{path}");
    let io = TcpStream::connect(authority).await;
    let io = io.map_err(|error| Error::Connect { authority: authority.to_owned(), error })?;
    let failed = |error| Error::Http { authority: authority.to_owned(), error };
    let (mut client, connection) = http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let req = Request::get(path).header(header::HOST, authority).header(header::CONNECTION, "close");
    let req = req.body(Empty::<Bytes>::new()).map_err(|_| Error::Url { url: url() })?;
    let asked = SystemTime::now();
    let rsp = client.send_request(req).await.map_err(failed)?;
    let answered = SystemTime::now();
    let (status, date) = (rsp.status(), rsp.headers().get(header::DATE).and_then(date));
    let body = Limited::new(rsp.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| Error::Body { url: url(), error })?.to_bytes();
    Ok(Answer { status, body, date, asked, answered })
}

/// The form that servers write: `Sat, 28 Nov 2026 18:00:00 GMT`.
fn date(value: &http::HeaderValue) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = value.to_str().ok()?;
    let (_, rest) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let [day, month, year, time] = rest.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn dates_of_servers_are_read() {
        let read = |text: &str| date(&text.parse().unwrap());
        let known = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(known));
        for bad in
            ["", "Sun, 06 Nov 1994 08:49:37", "Sunday, 06-Nov-94 08:49:37 GMT", "x, 06 Foo 1994 1:1:1 GMT"]
        {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}

//! HTTP/1 as it is on the wire, byte for byte: written as given, read without forgiving.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::stage::DEADLINE;
use crate::tally::Tally;

/// One end of a connection.
pub(crate) struct Wire {
    pub(crate) io: TcpStream,
    unread: Vec<u8>,
}

/// Start line and headers, as they came.
pub(crate) struct Head {
    pub(crate) start: String,
    headers: Vec<(String, String)>,
}

/// How a message's body ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    UntilClosed,
}

/// A message of which everything that came has been read.
pub(crate) struct Message {
    pub(crate) head: Head,
    /// The body, its trailers, and what cut it off if something did.
    body: Vec<String>,
}

impl Wire {
    pub(crate) fn new(io: TcpStream) -> Self {
        io.set_nodelay(true).unwrap();
        Self { io, unread: Vec::new() }
    }

    /// Sends bytes as they are. Where the far side has gone, reading will tell.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        for piece in bytes.as_ref().chunks(1 << 20) {
            let _ = timeout(DEADLINE, self.io.write_all(piece)).await;
        }
    }

    /// The next message that came; the method is that of the request if it is a response.
    ///
    /// # Errors
    /// How the connection ended before or in its head.
    pub(crate) async fn message(&mut self, method: Option<&str>) -> Result<Message, String> {
        let head = self.head().await?;
        let body = self.body(head.framing(method)).await;
        Ok(Message { head, body })
    }

    pub(crate) async fn head(&mut self) -> Result<Head, String> {
        let mut lines = Vec::new();
        loop {
            match self.line().await {
                Ok(line) if line.is_empty() && !lines.is_empty() => break,
                Ok(line) => lines.push(line),
                Err(how) if lines.is_empty() => return Err(how),
                Err(how) => return Err(format!("{how} after {lines:?}")),
            }
        }
        let start = lines.remove(0);
        let parse = |line: &String| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim_start().to_owned())
        };
        Ok(Head { start, headers: lines.iter().map(parse).collect() })
    }

    pub(crate) async fn body(&mut self, framing: Framing) -> Vec<String> {
        let mut tally = Tally::new();
        let (how, rest) = match framing {
            Framing::Nothing => return Vec::new(),
            Framing::Length(length) => ("", self.take(length, &mut tally).await.map(|()| Vec::new())),
            Framing::Chunked => (" chunked", self.chunks(&mut tally).await),
            Framing::UntilClosed => (" until the end", self.rest(&mut tally).await.map(|()| Vec::new())),
        };
        let mut lines = vec![format!("body{how}: {}", tally.describe())];
        lines.extend(rest.unwrap_or_else(|how| vec![format!("cut off: {how}")]));
        lines
    }

    /// Reads until the connection ends, and says how it does.
    pub(crate) async fn end(&mut self) -> String {
        let mut tally = Tally::new();
        let how = match self.rest(&mut tally).await {
            Ok(()) => "ended".to_owned(),
            Err(how) => how,
        };
        if tally.length() == 0 { how } else { format!("{how} after {}", tally.describe()) }
    }

    /// How the connection ends where it should soon.
    pub(crate) async fn end_soon(&mut self) -> String {
        timeout(SOON, self.end()).await.unwrap_or_else(|_| "stays open".to_owned())
    }

    /// Reads exactly so many bytes.
    pub(crate) async fn take(&mut self, length: u64, tally: &mut Tally) -> Result<(), String> {
        let mut left = usize::try_from(length).unwrap();
        while left > 0 {
            if self.unread.is_empty() {
                self.more().await?;
            }
            let take = left.min(self.unread.len());
            tally.add(&self.unread[..take]);
            self.unread.drain(..take);
            left -= take;
        }
        Ok(())
    }

    async fn rest(&mut self, tally: &mut Tally) -> Result<(), String> {
        loop {
            tally.add(&std::mem::take(&mut self.unread));
            match self.more().await {
                Ok(()) => {}
                Err(how) if how == ENDED => return Ok(()),
                Err(how) => return Err(how),
            }
        }
    }

    async fn chunks(&mut self, tally: &mut Tally) -> Result<Vec<String>, String> {
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| format!("chunk size {line:?}"))?;
            if size == 0 {
                break;
            }
            self.take(size, tally).await?;
            let after = self.line().await?;
            if !after.is_empty() {
                return Err(format!("{after:?} after a chunk"));
            }
        }
        let mut trailers = Vec::new();
        loop {
            match self.line().await? {
                line if line.is_empty() => return Ok(trailers),
                line => trailers.push(format!("trailer {line}")),
            }
        }
    }

    /// A line without its CR LF, escaped. Nothing else ends one.
    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.unread[..at].escape_ascii().to_string();
                self.unread.drain(..at + 2);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), String> {
        self.unread.reserve(64 * 1024);
        match timeout(DEADLINE, self.io.read_buf(&mut self.unread)).await {
            Err(_) => Err(format!("nothing for {DEADLINE:?}")),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Err("reset".to_owned()),
            Ok(Err(error)) => Err(error.kind().to_string()),
            Ok(Ok(0)) => Err(ENDED.to_owned()),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

/// Far more than an end takes that comes at all.
const SOON: Duration = Duration::from_secs(1);

const ENDED: &str = "ended";

/// What an application may answer as the time of day, to tell it from a proxy's.
pub(crate) const LONG_AGO: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The second word of a status line.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_default()
    }

    /// Whether a connection ends after this message.
    pub(crate) fn closes(&self) -> bool {
        let connection = self.get("connection").unwrap_or_default().to_ascii_lowercase();
        let old = self.start.starts_with("HTTP/1.0") || self.start.ends_with("HTTP/1.0");
        connection.contains("close") || old && !connection.contains("keep-alive")
    }

    /// By RFC 9112, 6.3.
    pub(crate) fn framing(&self, method: Option<&str>) -> Framing {
        let chunked = self.get("transfer-encoding").is_some_and(|codings| codings.ends_with("chunked"));
        let length = self.get("content-length").and_then(|length| length.parse().ok()).map(Framing::Length);
        match method {
            Some("HEAD") => Framing::Nothing,
            Some(_) if matches!(self.status(), 100..200 | 204 | 304) => Framing::Nothing,
            Some("CONNECT") if self.status() / 100 == 2 => Framing::Nothing,
            _ if chunked => Framing::Chunked,
            None => length.unwrap_or(Framing::Nothing),
            Some(_) => length.unwrap_or(Framing::UntilClosed),
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        header_lines(&self.start, &self.headers)
    }
}

/// The order of headers of different names says nothing, so they are sorted. What is in a proxy's own words is left
/// out.
pub(crate) fn header_lines(start: &str, headers: &[(String, String)]) -> Vec<String> {
    let mut sorted: Vec<_> = headers.iter().filter(|(name, _)| name != "causeway-reason").collect();
    sorted.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    let line = |(name, value): &(String, String)| match name.to_ascii_lowercase().as_str() {
        "date" if value != LONG_AGO => format!("{name}: <now>"),
        "l5d-proxy-error" | "grpc-message" if !value.is_empty() => format!("{name}: <words>"),
        _ if value.len() > 256 => {
            let mut tally = Tally::new();
            tally.add(value.as_bytes());
            format!("{name}: <{}>", tally.describe())
        }
        _ => format!("{name}: {value}"),
    };
    std::iter::once(start.to_owned()).chain(sorted.into_iter().map(line)).collect()
}

impl Message {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.head.lines().into_iter().chain(self.body.iter().cloned()).collect()
    }
}

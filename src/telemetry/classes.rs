//! What was each connection taken for, and why?
//!
//! `causeway_connections_total`: one series for each direction, protocol and cause that was met.

use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::Labels;
use super::page::Page;
use crate::model::protocol::HttpVersion;

/// Why a connection is taken for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Policy says so.
    Policy,
    /// The profile says so.
    Profile,
    /// The far proxy's transport header says so.
    Header,
    /// The client's first bytes are what they are.
    Bytes,
    /// The server spoke before the client did.
    ServerFirst,
    /// The client's first bytes did not come in time.
    Silence,
}

impl Cause {
    const ALL: [Self; 6] =
        [Self::Policy, Self::Profile, Self::Header, Self::Bytes, Self::ServerFirst, Self::Silence];

    fn label(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Profile => "profile",
            Self::Header => "transport-header",
            Self::Bytes => "bytes",
            Self::ServerFirst => "server-first",
            Self::Silence => "silence",
        }
    }
}

/// The connections of one direction.
pub struct Classes {
    direction: &'static str,
    /// By protocol, then by cause.
    counts: [[AtomicU64; Cause::ALL.len()]; PROTOCOLS.len()],
}

const PROTOCOLS: [&str; 3] = ["opaque", "http/1", "http/2"];

const NAME: &str = "causeway_connections_total";

impl Classes {
    pub fn new(direction: &'static str) -> Self {
        Self { direction, counts: Default::default() }
    }

    /// Counts a connection; `None`: it is opaque.
    pub fn count(&self, http: Option<HttpVersion>, cause: Cause) {
        let protocol = match http {
            None => 0,
            Some(HttpVersion::Http1) => 1,
            Some(HttpVersion::Http2) => 2,
        };
        if let Some(count) = self.counts[protocol].get(cause as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes both directions as one family.
    pub fn render(all: [&Self; 2], page: &mut Page) {
        page.family(NAME, "counter", "Connections by what they were taken for, and why.");
        for one in all {
            for (protocol, counts) in PROTOCOLS.iter().zip(&one.counts) {
                for (cause, count) in Cause::ALL.iter().zip(counts) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        let labels = Labels::new().with("direction", one.direction);
                        let labels = labels.with("protocol", protocol).with("cause", cause.label());
                        page.sample(NAME, labels.as_str(), count);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_a_protocol_and_a_cause() {
        let (inbound, outbound) = (Classes::new("inbound"), Classes::new("outbound"));
        for (at, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, at);
        }
        inbound.count(Some(HttpVersion::Http2), Cause::Header);
        outbound.count(None, Cause::ServerFirst);
        outbound.count(None, Cause::ServerFirst);
        let mut page = Page::default();
        Classes::render([&inbound, &outbound], &mut page);
        let text = page.finish();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                r#"causeway_connections_total{direction="inbound",protocol="http/2",cause="transport-header"} 1"#,
                r#"causeway_connections_total{direction="outbound",protocol="opaque",cause="server-first"} 2"#,
            ]
        );
    }
}

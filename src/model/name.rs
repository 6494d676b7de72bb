//! Names of services as they stand in requests and configuration.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// A DNS name: lower case, no trailing dot, labels of 1 to 63 of `[a-z0-9_-]`, 253 bytes at most.
/// A leading `*` is not a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Arc<str>);

/// Why a text is not a [`DnsName`] or an [`Authority`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("expected a DNS name of 1 to 253 bytes")]
    Length,
    #[error("expected labels of 1 to 63 letters, digits, '-' or '_', separated by dots")]
    Label,
    #[error("expected a port from 1 to 65535 after the colon")]
    Port,
}

impl DnsName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `suffix` itself or lies below it, label by label.
    pub fn is_within(&self, suffix: &str) -> bool {
        match self.0.strip_suffix(suffix) {
            Some(rest) => rest.is_empty() || rest.ends_with('.') || suffix.is_empty(),
            None => false,
        }
    }
}

impl FromStr for DnsName {
    type Err = InvalidName;

    /// Reads a name in any case, with or without a trailing dot.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return Err(InvalidName::Length);
        }
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !text.split('.').all(label_ok) {
            return Err(InvalidName::Label);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The host half of an [`Authority`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    Name(DnsName),
    Ip(IpAddr),
}

/// A host and, if it was given, a port: `web.shop.svc.cluster.local:8080`, `10.0.0.1:80`, `web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    pub host: Host,
    pub port: Option<u16>,
}

impl Authority {
    /// A named host with a port.
    pub fn named(name: DnsName, port: u16) -> Self {
        Self { host: Host::Name(name), port: Some(port) }
    }

    pub fn name(&self) -> Option<&DnsName> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Ip(_) => None,
        }
    }
}

impl FromStr for Authority {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or(InvalidName::Label)?;
            (host, port)
        } else {
            match text.find(':') {
                Some(at) => (&text[..at], &text[at..]),
                None => (text, ""),
            }
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return Err(InvalidName::Port),
        };
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(host.parse()?),
        };
        Ok(Self { host, port })
    }
}

fn parse_port(digits: &str) -> Result<u16, InvalidName> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if plain && port > 0 => Ok(port),
        _ => Err(InvalidName::Port),
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (Host::Name(name), None) => write!(f, "{name}"),
            (Host::Name(name), Some(port)) => write!(f, "{name}:{port}"),
            (Host::Ip(IpAddr::V6(ip)), None) => write!(f, "[{ip}]"),
            (Host::Ip(ip), None) => write!(f, "{ip}"),
            (Host::Ip(IpAddr::V6(ip)), Some(port)) => write!(f, "[{ip}]:{port}"),
            (Host::Ip(ip), Some(port)) => write!(f, "{ip}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_case_and_lose_the_trailing_dot() {
        let name: DnsName = "BB.mc-demo.svc.cluster.local.".parse().unwrap();
        assert_eq!(name.as_str(), "bb.mc-demo.svc.cluster.local");
        assert!(name.is_within("svc.cluster.local"));
        assert!(!name.is_within("c.cluster.local"));
        assert!(name.is_within(""));
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", ".", "a..b", "a b", "*.x", &"a".repeat(64), &"a.".repeat(128)] {
            assert!(bad.parse::<DnsName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn authorities_print_as_they_parse() {
        for text in ["bb:8080", "bb", "10.0.0.1:80", "[::1]:4143", "[fd00::2]", "127.0.0.1"] {
            assert_eq!(text.parse::<Authority>().unwrap().to_string(), text);
        }
        for bad in ["bb:", "bb:0", "bb:65536", "bb:+8", "[::1", "[::1]8", ":80", ""] {
            assert!(bad.parse::<Authority>().is_err(), "{bad:?}");
        }
    }
}

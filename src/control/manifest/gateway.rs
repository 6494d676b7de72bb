//! A Link's gateway: where it is, who answers there, and how it is probed (controlplane 1.1, 1.9).

use std::net::IpAddr;
use std::time::Duration;

use super::reader::Reader;
use super::yaml::{Node, Value};

/// The proxy that lets in what is for the Services behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// As the Link lists them, never empty.
    pub addresses: Vec<GatewayAddress>,
    pub port: u16,
    /// DNS-like identity of the gateway's proxy; without one proxies leave it out.
    pub identity: Option<String>,
    /// `None`: not probed.
    pub probe: Option<GatewayProbe>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatewayAddress {
    Ip(IpAddr),
    /// To be resolved by DNS.
    Name(String),
}

/// `probeSpec`, with the CRD's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayProbe {
    pub path: String,
    pub port: u16,
    pub period: Duration,
    pub timeout: Duration,
    /// Failures in a row.
    pub failure_threshold: u32,
}

const PORT_FORM: &str = "a port from 1 to 65535, in quotes";
pub(super) const DURATION_FORM: &str = "a duration such as 3s or 1m30s";

/// `None` for a Link without a gateway.
pub(super) fn read(reader: &mut Reader, spec: &Node) -> Option<Gateway> {
    let probe = reader.mapping(spec, "probeSpec").and_then(|node| read_probe(reader, node));
    let addresses = read_addresses(reader, spec);
    let port = parsed(reader, spec, "gatewayPort", PORT_FORM, port);
    let identity = parsed(reader, spec, "gatewayIdentity", "the name in the gateway's certificate", |text| {
        text.parse::<crate::model::DnsName>().ok().map(|name| name.to_string())
    });
    if addresses.is_empty() {
        return None;
    }
    if spec.get("gatewayPort").is_none() {
        reader.problem(spec, "the gateway has no port", "`gatewayPort` beside `gatewayAddress`");
    }
    check_not_empty(reader, spec, "gatewayPort", PORT_FORM);
    Some(Gateway { addresses, port: port?, identity, probe })
}

fn read_addresses(reader: &mut Reader, spec: &Node) -> Vec<GatewayAddress> {
    let text = reader.text(spec, "gatewayAddress").unwrap_or_default();
    let mut addresses = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let address = GatewayAddress::parse(part);
        if address.is_none() {
            let at = spec.get("gatewayAddress").unwrap_or(spec);
            reader.problem(at, format!("{part:?} is no address"), "IP addresses or host names, with commas");
        }
        addresses.extend(address);
    }
    addresses
}

impl GatewayAddress {
    /// Digits and dots alone are an address or a mistake, and no host's name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.parse() {
            Ok(ip) => Some(Self::Ip(ip)),
            Err(_) if is_numeric => None,
            Err(_) => text.parse::<crate::model::DnsName>().ok().map(|_| Self::Name(text.to_owned())),
        }
    }
}

/// Without a path there is no probing.
fn read_probe(reader: &mut Reader, node: &Node) -> Option<GatewayProbe> {
    let port = parsed(reader, node, "port", PORT_FORM, port);
    let period = parsed(reader, node, "period", DURATION_FORM, duration);
    let timeout = parsed(reader, node, "timeout", DURATION_FORM, duration);
    let threshold = parsed(reader, node, "failureThreshold", "a number from 1, in quotes", |text| {
        decimal(text)?.parse().ok()
    });
    let path = reader.text(node, "path").filter(|path| !path.is_empty())?;
    for (key, expected) in [("port", PORT_FORM), ("period", DURATION_FORM)] {
        reader.required(node, key);
        check_not_empty(reader, node, key, expected);
    }
    Some(GatewayProbe {
        path,
        port: port?,
        period: period?,
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
        failure_threshold: threshold.unwrap_or(3),
    })
}

/// A text that must have a form; absent and empty are `None`, anything else is a problem.
fn parsed<T>(
    reader: &mut Reader,
    parent: &Node,
    key: &str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = reader.text(parent, key).filter(|text| !text.is_empty())?;
    let parsed = parse(&text);
    if parsed.is_none() {
        reader.problem(parent.get(key).unwrap_or(parent), format!("`{key}` is {text:?}"), expected);
    }
    parsed
}

/// `parsed` takes empty for absent; this is for what may not be absent.
fn check_not_empty(reader: &mut Reader, parent: &Node, key: &str, expected: &str) {
    if let Some(at) = parent.get(key).filter(|node| node.value == Value::Text(String::new())) {
        reader.problem(at, format!("`{key}` is empty"), expected);
    }
}

fn port(text: &str) -> Option<u16> {
    decimal(text)?.parse().ok()
}

/// The text, if it is digits without a sign and without a zero in front.
fn decimal(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    plain.then_some(text)
}

/// Go's form: numbers with units, one after the other; not negative. Zero needs no unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit_on) = rest.split_at(digits);
        let end = unit_on.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit_on.len());
        let (unit, after) = unit_on.split_at(end);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("3s"), Some(Duration::from_secs(3)));
        assert_eq!(duration("1m30.5s"), Some(Duration::from_millis(90_500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for bad in ["", "3", "00", "s", "-3s", "3 s", "3d", "1e99h", "..s"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }
}

//! How one variable's text becomes a value (contract 1.2).
//!
//! A [`Form`] pairs a parser with the words that tell a user what was expected. Parsers say only
//! whether the text fits: place and value are added by the reader of the environment.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::{AccessLog, Anchors, ControlAddr, DefaultPolicy, ExpiredPeers, LogFormat, Suffixes};
use crate::model::name::Host;
use crate::model::outbound::LoadBand;
use crate::model::{DnsName, WorkloadId, duration};

/// A kind of value: what it looks like, and how it is read.
#[derive(Clone, Copy)]
pub struct Form<T> {
    /// Completes "expected …".
    pub expected: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
}

const fn form<T>(expected: &'static str, parse: fn(&str) -> Option<T>) -> Form<T> {
    Form { expected, parse }
}

pub(super) const DURATION: Form<Duration> =
    form("an integer with a unit: ms, s, m, h or d (such as 300ms), or 0", duration::parse);
pub(super) const DURATION_OR_EMPTY: Form<Option<Duration>> =
    form("an integer with a unit: ms, s, m, h or d (such as 5m), or nothing for no limit", |text| {
        if text.is_empty() { Some(None) } else { duration::parse(text).map(Some) }
    });
pub(super) const BOOL: Form<bool> = form("true or false", |text| text.parse().ok());
pub(super) const U32: Form<u32> = form("an integer from 0 to 4294967295", number);
pub(super) const COUNT: Form<usize> = form("an integer, 0 or more", number);
pub(super) const WINDOW: Form<u32> =
    form("a number of bytes from 0 to 2147483647", |text| number(text).filter(|bytes| *bytes <= MAX_WINDOW));
pub(super) const FRAME: Form<u32> =
    form("a number of bytes from 16384 to 16777215", |text| number(text).filter(|n| FRAME_SIZES.contains(n)));
pub(super) const LOAD_BAND: Form<LoadBand> =
    form("LOW-HIGH, two integers above 0, the second the larger", load_band);
pub(super) const CORES: Form<usize> =
    form("a number of cores, 1 or more", |text| number(text).filter(|cores| *cores > 0));
pub(super) const CORES_RATIO: Form<f64> =
    form("a number above 0 and up to 1", |text| number(text).filter(|ratio| *ratio > 0.0 && *ratio <= 1.0));
pub(super) const JITTER: Form<f64> =
    form("a number from 0 to 100", |text| number(text).filter(|ratio| (0.0..=100.0).contains(ratio)));
pub(super) const SOCKET_ADDR: Form<SocketAddr> = form("IP:PORT (IPv6 in brackets)", number);
pub(super) const SOCKET_ADDRS: Form<Vec<SocketAddr>> =
    form("one or two IP:PORT, separated by a comma", socket_addrs);
pub(super) const PORTS: Form<BTreeSet<u16>> =
    form("ports or ranges (LOW-HIGH) from 0 to 65535, separated by commas", ports);
pub(super) const IPS: Form<BTreeSet<IpAddr>> =
    form("IP addresses separated by commas, without blanks", |text| text.split(',').map(number).collect());
pub(super) const NETWORKS: Form<Vec<IpNet>> =
    form("networks such as 10.0.0.0/8, separated by commas", |text| items(text).map(number).collect());
pub(super) const SUFFIXES: Form<Suffixes> =
    form("DNS suffixes separated by commas, or . for every name", suffixes);
pub(super) const CONTROL_ADDR: Form<ControlAddr> = form("HOST:PORT, with an IP or a DNS name", control_addr);
pub(super) const DNS_NAME: Form<DnsName> = form("a DNS name", dns_name);
pub(super) const IDENTITY: Form<WorkloadId> =
    form("a DNS-like name without trailing dot, or a URI such as spiffe://domain/path", number);
pub(super) const POLICY: Form<DefaultPolicy> = form(
    "all-unauthenticated, all-authenticated, cluster-authenticated, cluster-unauthenticated, audit or deny",
    DefaultPolicy::named,
);
pub(super) const ACCESS_LOG: Form<AccessLog> = form("apache or json", AccessLog::named);
pub(super) const AUTHORITY_LABELS: Form<bool> = form("unsafe, or nothing", |text| match text {
    "" => Some(false),
    _ => text.eq_ignore_ascii_case("unsafe").then_some(true),
});
pub(super) const LOG_FORMAT: Form<LogFormat> = form("plain or json", LogFormat::named);
pub(super) const ANCHORS: Form<Anchors> =
    form("PEM certificates", |text| if text.trim().is_empty() { None } else { Some(Anchors(text.into())) });
pub(super) const EXPIRED_PEERS: Form<ExpiredPeers> = form("keep, drain or close", ExpiredPeers::named);
pub(super) const PATH: Form<PathBuf> =
    form("a path", |text| if text.is_empty() { None } else { Some(text.into()) });
pub(super) const SOCKET_PATH: Form<PathBuf> = form("a path, with unix: before it or without", |text| {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.is_empty() { None } else { Some(path.into()) }
});
/// Taken byte for byte: the injector's values end in a newline that belongs to them.
pub(super) const TEXT: Form<String> = form("any text", |text| Some(text.into()));
pub(super) const RETIRED: Form<()> =
    form("nothing: identity cannot be disabled", |text| text.is_empty().then_some(()));

/// HTTP/2 windows and frames have bounds of their own (RFC 9113 6.5.2).
const MAX_WINDOW: u32 = (1 << 31) - 1;
const FRAME_SIZES: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn socket_addrs(text: &str) -> Option<Vec<SocketAddr>> {
    let addrs: Vec<SocketAddr> = text.split(',').map(number).collect::<Option<_>>()?;
    (addrs.len() <= 2).then_some(addrs)
}

fn ports(text: &str) -> Option<BTreeSet<u16>> {
    let mut set = BTreeSet::new();
    for item in items(text) {
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let (low, high): (u16, u16) = (number(low.trim())?, number(high.trim())?);
        if high < low {
            return None;
        }
        set.extend(low..=high);
    }
    Some(set)
}

fn load_band(text: &str) -> Option<LoadBand> {
    let (low, high) = text.split_once('-')?;
    let band = LoadBand { low: number(low.trim())?, high: number(high.trim())? };
    (0 < band.low && band.low < band.high).then_some(band)
}

fn suffixes(text: &str) -> Option<Suffixes> {
    let mut all = Suffixes::default();
    for item in items(text) {
        if item == "." {
            all.every_name = true;
        } else {
            all.names.push(dns_name(item)?);
        }
    }
    Some(all)
}

/// Names in DNS: a hyphen stands between other characters, and the last label is not a number, or it
/// would be a misspelt address.
fn dns_name(text: &str) -> Option<DnsName> {
    let name: DnsName = number(text)?;
    let mut labels = name.as_str().rsplit('.');
    let is_number = labels.next()?.bytes().all(|b| b.is_ascii_digit());
    let odd = |label: &str| label.starts_with('-') || label.ends_with('-');
    (!is_number && !name.as_str().split('.').any(odd)).then_some(name)
}

/// `localhost.`, with its dot, is this machine without asking DNS (contract 1.4).
fn control_addr(text: &str) -> Option<ControlAddr> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Some(ControlAddr { host: Host::Ip(addr.ip()), port: addr.port() });
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.eq_ignore_ascii_case("localhost.") {
        Host::Ip(IpAddr::from([127, 0, 0, 1]))
    } else {
        Host::Name(dns_name(host)?)
    };
    Some(ControlAddr { host, port: number(port)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_as_lists_and_ranges() {
        assert_eq!(ports("25,587, 4-6,,"), Some([4, 5, 6, 25, 587].into()));
        assert_eq!(ports(""), Some([].into()));
        assert_eq!(ports("1-65535").map(|set| set.len()), Some(65_535));
        for bad in ["http", "80-79", "-1", "2-", "69420", "1-69420"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_load_band_rises() {
        assert_eq!(load_band("4-8"), Some(LoadBand { low: 4, high: 8 }));
        for bad in ["", "8", "8-4", "4-4", "0-4", "-4-8", "4-8-9", "a-b", "4.5-8"] {
            assert_eq!(load_band(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_list_has_one_or_two_entries() {
        assert_eq!(socket_addrs("127.0.0.1:4140,[::1]:4140").map(|addrs| addrs.len()), Some(2));
        for bad in ["", "localhost:4140", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", "127.0.0.1:1,"] {
            assert_eq!(socket_addrs(bad), None, "{bad}");
        }
    }

    #[test]
    fn suffixes_match_whole_labels_and_the_root_matches_all() {
        let name = |text: &str| text.parse::<DnsName>().unwrap();
        let cluster = suffixes("SVC.cluster.local., b.c").unwrap();
        assert!(cluster.contains(&name("web.ns.svc.cluster.local")) && cluster.contains(&name("b.c")));
        assert!(!cluster.contains(&name("ab.c")));
        assert!(suffixes(".").unwrap().contains(&name("anything")));
        assert!(!suffixes("").unwrap().contains(&name("anything")));
        assert_eq!(suffixes("a b"), None);
    }

    #[test]
    fn only_the_absolute_localhost_is_this_machine() {
        assert!(control_addr("LocalHost.:8086").unwrap().is_loopback());
        assert!(control_addr("[::1]:8086").unwrap().is_loopback());
        assert!(!control_addr("localhost:8086").unwrap().is_loopback());
        for bad in
            ["web", "web:", "web:x", ":80", "[::1]", "10.0.0:80", "1.2.3.4.5:80", "-web:80", "a.b-.c:80"]
        {
            assert_eq!(control_addr(bad), None, "{bad}");
        }
    }
}

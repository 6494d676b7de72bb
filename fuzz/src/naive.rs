//! The rules of inbound policy, read one sentence after the other with no thought for speed: what the proxy's decisions
//! are compared with, here and in the proxy's own tests. Shares no code with them but the types.

use std::collections::BTreeSet;
use std::net::IpAddr;

use causeway::model::inbound::{Authentication, Authorization, IdentityMatch, InboundRoute, ServerProtocol};
use causeway::model::matching::{HostMatch, PathMatch, RequestMatch, ValueMatch};
use causeway::model::{Peer, ServerPolicy, WorkloadId};
use http::Request;

/// The names of route and authorization, or why not: of each reading that is refused, and which of them is told does not
/// matter.
pub type Decision<'p> = Result<(&'p str, &'p str), Vec<Refused<'p>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused<'p> {
    NoRoute,
    Denied(&'p str),
    Unjudged(&'p str),
}

/// One way to read a request.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    method: String,
    host: Option<String>,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, Vec<u8>)>,
}

/// A request is let in if it is, however it is read.
pub fn http<'p>(policy: &'p ServerPolicy, client: IpAddr, peer: &Peer, req: &Request<()>) -> Decision<'p> {
    let routes = policy.protocol.routes().ok_or_else(|| vec![Refused::NoRoute])?;
    let came = as_it_came(req);
    let permitted = one(routes, client, peer, &came).map_err(|refused| vec![refused])?;
    let all = readings(routes, &came).ok_or_else(|| vec![Refused::Unjudged(permitted.0)])?;
    let refused: Vec<_> = all.iter().filter_map(|reading| one(routes, client, peer, reading).err()).collect();
    if refused.is_empty() { Ok(permitted) } else { Err(refused) }
}

/// Whether a decision is this one.
pub fn agrees<'p>(decision: &Decision<'p>, with: Result<(&'p str, &'p str), Refused<'p>>) -> bool {
    match (decision, with) {
        (Ok(permitted), Ok(with)) => *permitted == with,
        (Err(refused), Err(with)) => refused.contains(&with),
        _ => false,
    }
}

/// The authorization that lets a connection in.
pub fn tcp<'p>(policy: &'p ServerPolicy, client: IpAddr, peer: &Peer) -> Option<&'p str> {
    match policy.protocol {
        ServerProtocol::Http1(_) | ServerProtocol::Http2(_) | ServerProtocol::Grpc(_) => None,
        _ => policy.authorizations.iter().find(|a| lets_in(a, client, peer)).map(|a| a.meta.name()),
    }
}

fn lets_in(authorization: &Authorization, client: IpAddr, peer: &Peer) -> bool {
    let client = match client {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(client, IpAddr::V4),
        v4 => v4,
    };
    let mut near = false;
    for network in &authorization.networks {
        near |= network.net.contains(&client) && network.except.iter().all(|net| !net.contains(&client));
    }
    let known = match (&authorization.authentication, peer) {
        (Authentication::Unauthenticated, _) => true,
        (Authentication::TlsUnauthenticated, Peer::Identified(_) | Peer::Anonymous) => true,
        (Authentication::Identities(ids), Peer::Identified(id)) => ids.iter().any(|wanted| is(id, wanted)),
        _ => false,
    };
    near && known
}

fn is(id: &WorkloadId, wanted: &IdentityMatch) -> bool {
    let dns = matches!(id, WorkloadId::Dns(_));
    match wanted {
        IdentityMatch::Exact(exact) => exact.to_string() == id.to_string(),
        IdentityMatch::Never(_) => false,
        IdentityMatch::Suffix(labels) if labels.is_empty() => dns,
        IdentityMatch::Suffix(labels) => dns && id.to_string().ends_with(&format!(".{}", labels.join("."))),
    }
}

fn one<'p>(
    routes: &'p [InboundRoute],
    client: IpAddr,
    peer: &Peer,
    reading: &Reading,
) -> Result<(&'p str, &'p str), Refused<'p>> {
    let mut found = Vec::new();
    for route in routes {
        let host = route.hosts.iter().filter_map(|wanted| host_rank(wanted, reading.host.as_deref()?)).max();
        if route.hosts.is_empty() || host.is_some() {
            for rule in &route.rules {
                let lowest = rule.matches.is_empty().then_some((1, 0, 0, 0, false));
                let ranks = rule.matches.iter().filter_map(|wanted| rank(wanted, reading)).chain(lowest);
                found.extend(ranks.max().map(|rank| ((host, rank), route)));
            }
        }
    }
    // The sort is stable: of equals, the first stays in front.
    found.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    let (_, route) = found.first().ok_or(Refused::NoRoute)?;
    let allowing = route.authorizations.iter().find(|authorization| lets_in(authorization, client, peer));
    let allowing = allowing.ok_or_else(|| Refused::Denied(route.meta.name()))?;
    Ok((route.meta.name(), allowing.meta.name()))
}

/// Exact hosts before suffixes, longer ones before shorter.
fn host_rank(wanted: &HostMatch, host: &str) -> Option<(bool, usize)> {
    let plain = |host: &str| host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let host = plain(host);
    match wanted {
        HostMatch::Exact(exact) => (plain(exact) == host).then_some((true, plain(exact).len())),
        HostMatch::Suffix(labels) => {
            let labels = labels.iter().rev().filter(|label| !label.is_empty()).map(|label| plain(label));
            let suffix: String = labels.map(|label| format!(".{label}")).collect();
            (host.ends_with(&suffix) && host.len() > suffix.len()).then_some((false, suffix.len()))
        }
    }
}

/// Length of the path, of the method of a call, headers, query parameters, whether the method is named.
fn rank(wanted: &RequestMatch, reading: &Reading) -> Option<(usize, usize, usize, usize, bool)> {
    if wanted.method.as_ref().is_some_and(|method| method.as_str() != reading.method) {
        return None;
    }
    let (path, call) = match &wanted.path {
        None => (1, 0),
        Some(PathMatch::Exact(exact)) if *exact == reading.path => (exact.len(), 0),
        Some(PathMatch::Regex(pattern)) if covers(pattern.as_str(), &reading.path) => (reading.path.len(), 0),
        Some(PathMatch::Prefix(prefix)) => {
            let prefix = prefix.trim_end_matches('/');
            let (wanted, has): (Vec<_>, Vec<_>) =
                (prefix.split('/').collect(), reading.path.split('/').collect());
            match prefix {
                "" => (1, 0),
                _ if has.starts_with(&wanted) => (prefix.len(), 0),
                _ => return None,
            }
        }
        Some(PathMatch::Rpc { service, method }) => {
            let parts: Vec<_> = reading.path.split('/').collect();
            let ["", has_service, has_method, ..] = parts[..] else { return None };
            let differs =
                |wanted: &Option<String>, has: &str| wanted.as_deref().is_some_and(|wanted| wanted != has);
            if differs(service, has_service) || differs(method, has_method) {
                return None;
            }
            (1 + service.as_ref().map_or(0, String::len), method.as_ref().map_or(0, String::len))
        }
        Some(_) => return None,
    };
    for header in &wanted.headers {
        if !reading
            .headers
            .iter()
            .any(|(name, has)| *name == header.name.as_str() && takes(&header.value, has))
        {
            return None;
        }
    }
    for query in &wanted.query {
        if !reading.query.iter().any(|(name, has)| *name == query.name && takes(&query.value, has.as_bytes()))
        {
            return None;
        }
    }
    Some((path, call, wanted.headers.len(), wanted.query.len(), wanted.method.is_some()))
}

fn takes(wanted: &ValueMatch, value: &[u8]) -> bool {
    match wanted {
        ValueMatch::Exact(exact) => exact == value,
        ValueMatch::Regex(pattern) => {
            std::str::from_utf8(value).is_ok_and(|value| covers(pattern.as_str(), value))
        }
    }
}

/// The first match at each length, tried from the longest: one of them ends where the value does.
fn covers(pattern: &str, value: &str) -> bool {
    let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).expect("a pattern");
    value.len() <= 16 * 1024 && pattern.find(value).is_some_and(|found| found.range() == (0..value.len()))
}

fn as_it_came(req: &Request<()>) -> Reading {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let host = req.uri().host().map(str::to_owned).or_else(|| {
        let host = text(req.headers().get("host")?.as_bytes());
        Some(host.split(':').next().unwrap_or_default().to_owned())
    });
    Reading {
        method: req.method().to_string(),
        host,
        path: req.uri().path().to_owned(),
        query: form_urlencoded::parse(req.uri().query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        headers: req
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect(),
    }
}

/// All ways to read a request, as far as routes look at what differs; `None` where that is too much.
fn readings(routes: &[InboundRoute], came: &Reading) -> Option<Vec<Reading>> {
    let all: Vec<&RequestMatch> = routes.iter().flat_map(|r| &r.rules).flat_map(|r| &r.matches).collect();
    if all.iter().any(|wanted| is_beyond_patterns(wanted, came)) {
        return None;
    }
    let everything =
        |path: &PathMatch| matches!(path, PathMatch::Prefix(p) if p.trim_end_matches('/').is_empty());
    let by_path = all.iter().any(|wanted| wanted.path.as_ref().is_some_and(|path| !everything(path)));
    let mut paths = BTreeSet::from([came.path.clone()]);
    // Everybody reads a path alike that has none of these.
    let odd = ["%", "\\", ";", "//", "/."].iter().any(|odd| came.path.contains(odd));
    if by_path && odd {
        for steps in 0..1 << STEPS.len() {
            let taken = STEPS.iter().enumerate().filter(|(at, _)| steps >> at & 1 == 1);
            paths.insert(taken.fold(came.path.clone(), |path, (_, step)| step(&path)));
        }
    }
    if paths.len() > 32 {
        return None;
    }
    let values = by_values(&all, came);
    if paths.len() * values.len() > 64 {
        return None;
    }
    let with = |path: &String, of: &Reading| Reading { path: path.clone(), ..of.clone() };
    Some(paths.iter().flat_map(|path| values.iter().map(|of| with(path, of))).collect())
}

fn is_beyond_patterns(wanted: &RequestMatch, came: &Reading) -> bool {
    let beyond = |value: &[u8]| value.len() > 16 * 1024 || std::str::from_utf8(value).is_err();
    let pattern = |value: &ValueMatch| matches!(value, ValueMatch::Regex(_));
    matches!(wanted.path, Some(PathMatch::Regex(_))) && beyond(came.path.as_bytes())
        || wanted.headers.iter().any(|header| {
            let mut values = came.headers.iter().filter(|(name, _)| *name == header.name.as_str());
            pattern(&header.value) && values.any(|(_, value)| beyond(value))
        })
        || wanted.query.iter().any(|query| {
            let mut values = came.query.iter().filter(|(name, _)| *name == query.name);
            pattern(&query.value) && values.any(|(_, value)| beyond(value.as_bytes()))
        })
}

/// As it came; with what stands between commas; and of each field that came more than once, with each value alone.
fn by_values(all: &[&RequestMatch], came: &Reading) -> Vec<Reading> {
    let mut read = vec![came.clone()];
    let looked_at =
        |name: &str| all.iter().any(|m| m.headers.iter().any(|header| header.name.as_str() == name));
    let commas = |(name, value): &&(String, Vec<u8>)| looked_at(name) && value.contains(&b',');
    if came.headers.iter().any(|header| commas(&header)) {
        let mut pieces = came.clone();
        for (name, value) in &came.headers {
            let split =
                value.split(|byte| *byte == b',').map(|piece| (name.clone(), piece.trim_ascii().to_vec()));
            pieces.headers.extend(split);
        }
        read.push(pieces);
    }
    for (name, value) in came.headers.iter().filter(|(name, _)| looked_at(name)) {
        let mut alone = came.clone();
        alone.headers.retain(|(other, _)| other != name);
        alone.headers.push((name.clone(), value.clone()));
        push_new(&mut read, alone, came.headers.iter().filter(|(other, _)| other == name).count());
    }
    let asked_for = |name: &str| all.iter().any(|m| m.query.iter().any(|query| query.name == name));
    for (name, value) in came.query.iter().filter(|(name, _)| asked_for(name)) {
        let mut alone = came.clone();
        alone.query.retain(|(other, _)| other != name);
        alone.query.push((name.clone(), value.clone()));
        push_new(&mut read, alone, came.query.iter().filter(|(other, _)| other == name).count());
    }
    read
}

fn push_new(read: &mut Vec<Reading>, alone: Reading, times: usize) {
    if times > 1 && !read.contains(&alone) {
        read.push(alone);
    }
}

/// Each may be taken by an application, or not, in this order.
const STEPS: [fn(&str) -> String; 8] = [
    decoded,
    decoded,
    |path| path.replace('\\', "/"),
    |path| path.chars().take_while(|c| !['?', '#', '\0'].contains(c)).collect(),
    |path| path.split('/').map(|s| s.split_once(';').map_or(s, |(s, _)| s)).collect::<Vec<_>>().join("/"),
    |path| walked(path.strip_prefix('/').unwrap_or(path).split('/').collect()),
    |path| {
        let slash = if path.ends_with('/') || path.is_empty() { vec![""] } else { vec![] };
        walked(path.split('/').filter(|segment| !segment.is_empty()).chain(slash).collect())
    },
    |path| Some(path.trim_end_matches('/')).filter(|path| !path.is_empty()).unwrap_or("/").to_owned(),
];

fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let digits = path.as_bytes().get(at + 1..at + 3).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| path.as_bytes()[at] == b'%') {
            Some(digits) => {
                bytes.push(u8::from_str_radix(digits, 16).expect("digits"));
                at += 3;
            }
            None => {
                bytes.push(path.as_bytes()[at]);
                at += 1;
            }
        }
    }
    text(&bytes)
}

/// By the table of UTF-8's forms, however many bytes too many.
fn text(bytes: &[u8]) -> String {
    let bits = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:08b}")).collect() };
    let mut text = String::new();
    let mut at = 0;
    'next: while at < bytes.len() {
        for (length, lead) in [(1, "0"), (2, "110"), (3, "1110"), (4, "11110")] {
            let Some(form) = bytes.get(at..at + length).map(bits) else { continue };
            let (first, rest) = form.split_at(8);
            let rest: Vec<&str> = (0..length - 1).map(|n| &rest[n * 8..n * 8 + 8]).collect();
            if first.starts_with(lead) && rest.iter().all(|byte| byte.starts_with("10")) {
                let digits: String =
                    [&first[lead.len()..]].into_iter().chain(rest.iter().map(|b| &b[2..])).collect();
                if let Some(c) = char::from_u32(u32::from_str_radix(&digits, 2).expect("digits")) {
                    text.push(c);
                    at += length;
                    continue 'next;
                }
            }
        }
        text.push('\u{fffd}');
        at += 1;
    }
    text
}

/// What is left of segments once `.` and `..` are walked; a last one that is no name leaves a slash.
fn walked(segments: Vec<&str>) -> String {
    let mut kept = Vec::new();
    for segment in &segments {
        match *segment {
            "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name),
        }
    }
    if segments.last() == Some(&"") {
        kept.pop();
    }
    let path = format!("/{}", kept.join("/"));
    let nameless = segments.last().is_some_and(|last| [".", "..", ""].contains(last));
    if nameless && !kept.is_empty() { path + "/" } else { path }
}

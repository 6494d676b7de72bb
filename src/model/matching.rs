//! Request matchers, used by routes of both sides (contract 3.11).

use http::{HeaderName, HeaderValue, Method};

mod head;
mod host;
mod pattern;

pub use head::{Head, Values};
pub use host::{HostMatch, HostRank};
pub use pattern::{InvalidPattern, Pattern};

/// All given parts must hold; an empty match takes every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatch {
    pub path: Option<PathMatch>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    pub method: Option<Method>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    Exact(String),
    /// By whole segments, trailing slashes ignored.
    Prefix(String),
    Regex(Pattern),
    /// A gRPC call, whose path is `/service/method`; what is not named may be anything.
    Rpc {
        service: Option<String>,
        method: Option<String>,
    },
}

/// One of a header's values must be this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    pub name: HeaderName,
    pub value: ValueMatch,
}

/// One of a query parameter's values must be this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    Exact(Vec<u8>),
    Regex(Pattern),
}

/// How specific a match was: by the length of the matched path, of a gRPC method, the number of headers and query
/// parameters, and whether the method was named. Greater wins, the first of equals wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    path: usize,
    rpc_method: usize,
    headers: usize,
    query: usize,
    method: bool,
}

/// Of what says nothing of paths: that of the prefix `/`.
const EVERY_PATH: usize = 1;

impl Rank {
    const LOWEST: Self = Self { path: EVERY_PATH, rpc_method: 0, headers: 0, query: 0, method: false };
}

impl RequestMatch {
    /// How well a request matches, or `None`.
    pub fn rank(&self, head: &Head<'_>) -> Option<Rank> {
        if self.method.as_ref().is_some_and(|method| method != head.method) {
            return None;
        }
        let (path, rpc_method) = match &self.path {
            None => (EVERY_PATH, 0),
            Some(path) => path.matched_length(head.path)?,
        };
        let matched = self.headers.iter().all(|header| head.header(&header.name, |v| header.value.takes(v)))
            && self.query.iter().all(|query| head.query(&query.name, |v| query.value.takes(v)));
        matched.then_some(Rank {
            path,
            rpc_method,
            headers: self.headers.len(),
            query: self.query.len(),
            method: self.method.is_some(),
        })
    }

    /// The best rank that it could have, before anything dear is looked at.
    fn best_rank(&self, head: &Head<'_>) -> Rank {
        let (path, rpc_method) = match &self.path {
            None => (EVERY_PATH, 0),
            Some(PathMatch::Rpc { .. }) => (head.path.len(), head.path.len()),
            Some(PathMatch::Prefix(prefix)) => (prefix.len().max(EVERY_PATH), 0),
            Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => (head.path.len(), 0),
        };
        Rank {
            path,
            rpc_method,
            headers: self.headers.len(),
            query: self.query.len(),
            method: self.method.is_some(),
        }
    }

    /// What a look costs: one, and one for each value of a header; of patterns, and of queries, each byte that they look
    /// at as well.
    fn effort(&self, head: &Head<'_>) -> usize {
        let path = if matches!(self.path, Some(PathMatch::Regex(_))) { head.path.len() + 1 } else { 1 };
        let header = |matched: &HeaderMatch| {
            let bytes = |value: &HeaderValue| if matched.value.is_pattern() { value.len() + 1 } else { 1 };
            head.headers.get_all(&matched.name).iter().map(bytes).sum::<usize>()
        };
        let headers = self.headers.iter().map(header);
        let query = head.uri.query().map_or(0, str::len) + 1;
        path + headers.sum::<usize>() + query * self.query.len()
    }

    /// Whether its patterns can be asked about this request at all: see [`Pattern::can_judge`].
    pub fn can_judge(&self, head: &Head<'_>) -> bool {
        let path = match &self.path {
            Some(PathMatch::Regex(_)) => Pattern::can_judge(head.path.as_bytes()),
            _ => true,
        };
        path && self.headers.iter().all(|h| !h.value.is_pattern() || !head.header(&h.name, cannot_judge))
            && self.query.iter().all(|q| !q.value.is_pattern() || !head.query(&q.name, cannot_judge))
    }
}

fn cannot_judge(value: &[u8]) -> bool {
    !Pattern::can_judge(value)
}

impl PathMatch {
    /// Whether every path matches.
    pub fn takes_every_path(&self) -> bool {
        matches!(self, Self::Prefix(prefix) if prefix.trim_end_matches('/').is_empty())
    }

    /// Of the path, or of a call's service and method.
    fn matched_length(&self, path: &str) -> Option<(usize, usize)> {
        match self {
            Self::Exact(exact) => (exact == path).then_some((path.len(), 0)),
            // Everything, `*` too.
            Self::Prefix(_) if self.takes_every_path() => Some((EVERY_PATH, 0)),
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                let rest = path.strip_prefix(prefix)?;
                (rest.is_empty() || rest.starts_with('/')).then_some((prefix.len(), 0))
            }
            Self::Regex(pattern) => pattern.covers(path.as_bytes()).then_some((path.len(), 0)),
            Self::Rpc { service, method } => {
                let mut parts = path.strip_prefix('/')?.split('/');
                let service = named(service.as_deref(), parts.next()?)?;
                Some((EVERY_PATH + service, named(method.as_deref(), parts.next()?)?))
            }
        }
    }
}

/// The length of a name that is wanted, if it is this.
fn named(wanted: Option<&str>, name: &str) -> Option<usize> {
    match wanted {
        None => Some(0),
        Some(wanted) => (wanted == name).then_some(wanted.len()),
    }
}

impl ValueMatch {
    fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(pattern) => pattern.covers(value),
        }
    }

    fn is_pattern(&self) -> bool {
        matches!(self, Self::Regex(_))
    }
}

/// The best-ranked of `matches`, and which that is; an empty list takes everything at the lowest rank.
pub fn best<'m>(matches: &'m [RequestMatch], head: &Head<'_>) -> Option<(Rank, Option<&'m RequestMatch>)> {
    if matches.is_empty() {
        return Some((Rank::LOWEST, None));
    }
    matches.iter().filter_map(|m| Some((m.rank(head)?, Some(m)))).max_by_key(|(rank, _)| *rank)
}

/// Looking for the best match takes longer than any request is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooCostly;

/// What may still be spent on one request.
#[derive(Debug)]
pub struct Effort(usize);

impl Default for Effort {
    /// 5 ms of looking, 40 with patterns that are written for it: ten thousand patterns on a path of 400 bytes, or 250
    /// on one of 16 KiB.
    fn default() -> Self {
        Self(4 << 20)
    }
}

impl Effort {
    /// For what is only counted, where too much to look at refuses nobody and may come again and again.
    pub fn to_count() -> Self {
        Self(256 << 10)
    }

    /// Spends it on looking at so many bytes.
    ///
    /// # Errors
    /// There is not so much left.
    pub fn spend(&mut self, bytes: usize) -> Result<(), TooCostly> {
        self.0 = self.0.checked_sub(bytes).ok_or(TooCostly)?;
        Ok(())
    }
}

/// The same as [`best`], of matches that are ranked higher than `above`, looking no closer than that takes.
///
/// # Errors
/// More was to be looked at than `effort` allows.
pub fn best_above<'m>(
    matches: &'m [RequestMatch],
    head: &Head<'_>,
    above: Option<Rank>,
    effort: &mut Effort,
) -> Result<Option<(Rank, Option<&'m RequestMatch>)>, TooCostly> {
    if matches.is_empty() {
        let rank = Rank::LOWEST;
        return Ok(above.is_none_or(|above| rank > above).then_some((rank, None)));
    }
    let mut best = above.map(|above| (above, None));
    for matched in matches {
        // Of those ranked alike the last counts, as in the other.
        let may = match &best {
            None => true,
            Some((held, None)) => matched.best_rank(head) > *held,
            Some((held, Some(_))) => matched.best_rank(head) >= *held,
        };
        if !may {
            continue;
        }
        effort.spend(matched.effort(head))?;
        let Some(rank) = matched.rank(head) else { continue };
        if best.as_ref().is_none_or(|(held, found)| rank > *held || (found.is_some() && rank == *held)) {
            best = Some((rank, Some(matched)));
        }
    }
    Ok(best.filter(|(_, found)| found.is_some()))
}

/// The same as [`best_host`], looking no closer than it is worth.
///
/// # Errors
/// More was to be looked at than `effort` allows.
pub fn best_host_within<'h>(
    hosts: &[HostMatch],
    own: impl FnOnce() -> Option<&'h str>,
    effort: &mut Effort,
) -> Result<Option<HostRank>, TooCostly> {
    let Some(own) = (!hosts.is_empty()).then(own).flatten() else { return Ok(None) };
    let mut best = None;
    for wanted in hosts {
        effort.spend(wanted.effort(own))?;
        best = best.max(wanted.rank(own));
    }
    Ok(best)
}

/// The rank of the best of `hosts` for a request's own, which is looked at where there are any.
pub fn best_host<'h>(hosts: &[HostMatch], own: impl FnOnce() -> Option<&'h str>) -> Option<HostRank> {
    if hosts.is_empty() {
        return None;
    }
    let own = own()?;
    hosts.iter().filter_map(|wanted| wanted.rank(own)).max()
}

#[cfg(test)]
mod tests;

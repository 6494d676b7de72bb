//! Matching of the host that a request is for.

/// The host of a request's authority, in any case, with or without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMatch {
    Exact(String),
    /// These labels at the end, last first, and one more at least: `*.example.com` is `com`, `example`.
    Suffix(Vec<String>),
}

/// How specific a match was: exact before suffix, longer before shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRank {
    Suffix(usize),
    Exact(usize),
}

impl HostMatch {
    pub fn rank(&self, host: &str) -> Option<HostRank> {
        let host = without_dot(host);
        match self {
            Self::Exact(exact) => {
                let exact = without_dot(exact);
                exact.eq_ignore_ascii_case(host).then_some(HostRank::Exact(exact.len()))
            }
            Self::Suffix(labels) => {
                let mut rest = host;
                for label in labels.iter().filter(|label| !label.is_empty()) {
                    let (before, last) = rest.rsplit_once('.')?;
                    if !last.eq_ignore_ascii_case(label) {
                        return None;
                    }
                    rest = before;
                }
                (!rest.is_empty()).then(|| HostRank::Suffix(host.len() - rest.len()))
            }
        }
    }
}

fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

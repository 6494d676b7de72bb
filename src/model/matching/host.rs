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
                    rest = before_label(rest, label)?;
                }
                (!rest.is_empty()).then(|| HostRank::Suffix(host.len() - rest.len()))
            }
        }
    }

    /// What a look costs: one, and each byte of it that may be compared with the host's.
    pub(super) fn effort(&self, host: &str) -> usize {
        let bytes = match self {
            Self::Exact(exact) => {
                let (exact, host) = (without_dot(exact).len(), without_dot(host).len());
                if exact == host { exact } else { 0 }
            }
            Self::Suffix(labels) => labels.iter().map(|label| label.len() + 1).sum::<usize>().min(host.len()),
        };
        bytes + 1
    }
}

/// What stands before a host's last label, if that is this one.
fn before_label<'h>(host: &'h str, label: &str) -> Option<&'h str> {
    let at = host.len().checked_sub(label.len() + 1)?;
    let (before, last) = (host.get(..at)?, host.get(at..)?);
    last.strip_prefix('.')?.eq_ignore_ascii_case(label).then_some(before)
}

fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

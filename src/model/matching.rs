//! Request matchers, used by routes of both sides.

use http::Method;

/// All given parts must hold; an empty match takes every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatch {
    pub path: Option<PathMatch>,
    pub method: Option<Method>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    Exact(String),
    /// By whole segments, trailing slashes ignored (contract 3.11).
    Prefix(String),
}

/// How specific a match was: length of the matched path, then whether the method was named.
/// Greater wins, the first of equals wins (contract 3.11).
pub type Rank = (usize, bool);

impl RequestMatch {
    /// How well a request matches, or `None`.
    pub fn rank(&self, method: &Method, path: &str) -> Option<Rank> {
        if self.method.as_ref().is_some_and(|m| m != method) {
            return None;
        }
        let length = match &self.path {
            None => 0,
            Some(matcher) => matcher.matched_length(path)?,
        };
        Some((length, self.method.is_some()))
    }
}

impl PathMatch {
    fn matched_length(&self, path: &str) -> Option<usize> {
        match self {
            Self::Exact(exact) => (exact == path).then_some(path.len()),
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                if prefix.is_empty() {
                    // Everything, `*` too.
                    return Some(1);
                }
                let rest = path.strip_prefix(prefix)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
            }
        }
    }
}

/// The best-ranked of `matches`; an empty list takes everything at the lowest rank.
pub fn best_rank(matches: &[RequestMatch], method: &Method, path: &str) -> Option<Rank> {
    if matches.is_empty() {
        return Some((0, false));
    }
    matches.iter().filter_map(|m| m.rank(method, path)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(p: &str) -> RequestMatch {
        RequestMatch { path: Some(PathMatch::Prefix(p.into())), method: None }
    }

    #[test]
    fn prefixes_match_whole_segments() {
        let get = Method::GET;
        assert!(prefix("/").rank(&get, "/any/thing").is_some());
        assert!(prefix("/").rank(&Method::OPTIONS, "*").is_some());
        assert!(prefix("/a").rank(&get, "/a/b").is_some());
        assert!(prefix("/a/").rank(&get, "/a").is_some());
        assert!(prefix("/a").rank(&get, "/ab").is_none());
    }

    #[test]
    fn longer_paths_and_named_methods_rank_higher() {
        let exact = RequestMatch { path: Some(PathMatch::Exact("/live".into())), method: Some(Method::GET) };
        let everything = best_rank(&[prefix("/")], &Method::GET, "/live").unwrap();
        assert!(best_rank(&[exact], &Method::GET, "/live").unwrap() > everything);
        assert_eq!(best_rank(&[], &Method::GET, "/x"), Some((0, false)));
    }
}

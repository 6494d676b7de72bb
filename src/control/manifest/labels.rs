//! Labels and annotations: a handful of pairs, of which a control plane holds very many and reads all at each change.

use std::fmt;
use std::slice::Iter;

use serde::{Serialize, Serializer};

/// Sorted by key, each key once, side by side: a tree's smallest node has room for eleven pairs.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

type Pairs<'a> = std::iter::Map<Iter<'a, (String, String)>, fn(&(String, String)) -> (&String, &String)>;

impl Labels {
    pub fn get(&self, key: &str) -> Option<&String> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// By key.
    pub fn iter(&self) -> Pairs<'_> {
        self.into_iter()
    }

    pub(in crate::control) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(key, _)| key)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::control) fn with_capacity(pairs: usize) -> Self {
        Self(Vec::with_capacity(pairs))
    }

    pub(in crate::control) fn insert(&mut self, key: String, value: String) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Leaves what is there.
    pub(in crate::control) fn insert_missing(&mut self, key: &str, value: &str) {
        if let Err(at) = self.place(key) {
            self.0.insert(at, (key.to_owned(), value.to_owned()));
        }
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(key))
    }
}

impl Extend<(String, String)> for Labels {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, pairs: I) {
        pairs.into_iter().for_each(|(key, value)| self.insert(key, value));
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut labels = Self::default();
        labels.extend(pairs);
        labels
    }
}

impl<const N: usize> From<[(String, String); N]> for Labels {
    fn from(pairs: [(String, String); N]) -> Self {
        let mut labels = Self::with_capacity(N);
        labels.extend(pairs);
        labels
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a String, &'a String);
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

/// As a mapping.
impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// As a mapping.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
impl Labels {
    pub(in crate::control) fn remove(&mut self, key: &str) {
        self.0.retain(|(known, _)| known != key);
    }
}

#[cfg(test)]
impl std::ops::Index<&str> for Labels {
    type Output = String;

    fn index(&self, key: &str) -> &String {
        self.get(key).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_keys_are_in_order() {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let mut labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].map(pair).into();
        labels.insert_missing("a", "4");
        labels.insert_missing("c", "5");
        let all: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(all, [("a", "2"), ("b", "3"), ("c", "5")]);
        assert_eq!((labels.get("b").map(String::as_str), labels.contains_key("d")), (Some("3"), false));
    }
}

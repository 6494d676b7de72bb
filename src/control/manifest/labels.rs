//! Labels and annotations: a handful of pairs, of which a control plane holds very many and reads all at each change.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::control::ordered::{Iter, Ordered};

/// By key, each key once, side by side: a tree's smallest node has room for eleven pairs.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Ordered<String, String>);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&String> {
        self.0.get(key)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub fn iter(&self) -> Iter<'_, String, String> {
        self.0.iter()
    }

    pub(in crate::control) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::control) fn insert(&mut self, key: String, value: String) {
        self.0.insert(key, value);
    }

    /// Leaves what is there.
    pub(in crate::control) fn insert_missing(&mut self, key: &str, value: &str) {
        if !self.contains_key(key) {
            self.0.insert(key.to_owned(), value.to_owned());
        }
    }
}

impl Extend<(String, String)> for Labels {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, pairs: I) {
        self.0.extend(pairs);
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<const N: usize> From<[(String, String); N]> for Labels {
    fn from(pairs: [(String, String); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a String, &'a String);
    type IntoIter = Iter<'a, String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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
        self.0.retain(|known, _| known != key);
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

//! Which objects of a namespace have a label? So that a selector finds its own without looking at all.

use std::collections::{BTreeSet, HashMap};

pub use super::labels::Labels;

/// Objects by namespace and label.
pub(in crate::control) struct Labelled<'a, T>(HashMap<(&'a str, &'a str, &'a str), Vec<&'a T>>);

impl<'a, T> Labelled<'a, T> {
    /// Of all objects by namespace, with their labels; `keys` are those that will be asked for.
    pub(in crate::control) fn of(
        objects: impl Iterator<Item = (&'a str, &'a Labels, &'a T)>,
        keys: &BTreeSet<&str>,
    ) -> Self {
        let objects: Vec<_> = objects.collect();
        let mut found: HashMap<_, Vec<&'a T>> = HashMap::with_capacity(objects.len());
        for (namespace, labels, object) in objects {
            for (key, value) in labels.iter().filter(|(key, _)| keys.contains(key.as_str())) {
                found.entry((namespace, key.as_str(), value.as_str())).or_default().push(object);
            }
        }
        Self(found)
    }

    /// All that have the rarest of these labels, in the order that they were given in: whoever has all of
    /// the labels is among them.
    pub(in crate::control) fn candidates<'s>(
        &'s self,
        namespace: &'s str,
        labels: &'s Labels,
    ) -> &'s [&'a T] {
        let keys = labels.iter().map(|(key, value)| (namespace, key.as_str(), value.as_str()));
        let found = keys.map(|key| self.0.get(&key).map(Vec::as_slice).unwrap_or_default());
        found.min_by_key(|found| found.len()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_all_labels_is_a_candidate_in_its_own_namespace() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let objects = [
            ("a", labels(&[("app", "web"), ("part", "shop")]), 1),
            ("a", labels(&[("app", "db"), ("part", "shop")]), 2),
            ("b", labels(&[("app", "web"), ("part", "shop")]), 3),
            ("a", labels(&[("app", "web"), ("other", "x")]), 4),
        ];
        let all = || objects.iter().map(|(namespace, labels, object)| (*namespace, labels, object));
        let index = Labelled::of(all(), &BTreeSet::from(["app", "part"]));
        let candidates = |namespace, pairs: &[_]| index.candidates(namespace, &labels(pairs)).to_vec();
        assert_eq!(candidates("a", &[("app", "web")]), [&1, &4]);
        assert_eq!(candidates("a", &[("app", "db"), ("part", "shop")]), [&2]);
        assert_eq!(candidates("b", &[("app", "db")]), [] as [&i32; 0]);
        assert_eq!(candidates("a", &[]), [] as [&i32; 0], "who asks for nothing selects nothing");
    }
}

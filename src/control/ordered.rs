//! A map that is made once and then read: one list in the order of its keys.
//!
//! A cluster is thousands of small things under names. In one piece they are copied, compared and gone through at the
//! speed of memory, and what comes in order is put in order by looking at it once.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::iter::Map;
use std::slice;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ordered<K, V>(Vec<(K, V)>);

pub type Iter<'a, K, V> = Map<slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

impl<K, V> Ordered<K, V> {
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub fn at(&self, place: usize) -> Option<(&K, &V)> {
        self.0.get(place).map(|(key, value)| (key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }
}

impl<K: Ord, V> Ordered<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.place(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Those from this key on.
    pub fn starting(&self, first: &K) -> Iter<'_, K, V> {
        let place = self.0.partition_point(|(known, _)| known < first);
        self.0.get(place..).unwrap_or_default().iter().map(|(key, value)| (key, value))
    }

    /// Returns what had the key before. Cheap where keys come in order.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.0.last().map(|(last, _)| key.cmp(last)) {
            None | Some(Ordering::Greater) => self.0.push((key, value)),
            Some(_) => match self.0.binary_search_by(|(known, _)| known.cmp(&key)) {
                Ok(at) => return self.0.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
                Err(at) => self.0.insert(at, (key, value)),
            },
        }
        None
    }

    /// Where the key is that this compares as equal: at this place, else anywhere.
    pub(in crate::control) fn place_near(
        &self,
        place: usize,
        compare: impl Fn(&K) -> Ordering,
    ) -> Option<usize> {
        match self.0.get(place) {
            Some((known, _)) if compare(known).is_eq() => Some(place),
            _ => self.0.binary_search_by(|(known, _)| compare(known)).ok(),
        }
    }

    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(key))
    }
}

/// Looks keys up that come in order, each once, without searching for each from the start.
pub(in crate::control) struct InOrder<'a, K, V> {
    all: &'a Ordered<K, V>,
    place: usize,
}

impl<'a, K: Ord, V> InOrder<'a, K, V> {
    pub(in crate::control) fn of(all: &'a Ordered<K, V>) -> Self {
        Self { all, place: 0 }
    }

    /// The place of what has the key.
    pub(in crate::control) fn place(&mut self, key: &K) -> Option<usize> {
        loop {
            match self.all.0.get(self.place)?.0.cmp(key) {
                Ordering::Less => self.place += 1,
                Ordering::Equal => {
                    self.place += 1;
                    return Some(self.place - 1);
                }
                Ordering::Greater => return None,
            }
        }
    }

    pub(in crate::control) fn get(&mut self, key: &K) -> Option<&'a V> {
        let place = self.place(key)?;
        self.all.at(place).map(|(_, value)| value)
    }
}

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Of two with one key the later one counts.
impl<K: Ord, V> FromIterator<(K, V)> for Ordered<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        // Keys are texts in memory far away, and most often in order: they are looked at as seldom as can be.
        if all.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Self(all);
        }
        // Whatever stays beside its equal was compared with one.
        let mut any_twice = false;
        all.sort_by(|(a, _), (b, _)| {
            let order = a.cmp(b);
            any_twice |= order.is_eq();
            order
        });
        if any_twice {
            all.dedup_by(|later, earlier| {
                let twice = later.0 == earlier.0;
                if twice {
                    std::mem::swap(later, earlier);
                }
                twice
            });
        }
        Self(all)
    }
}

/// The same, of what is there already and what is added.
impl<K: Ord, V> Extend<(K, V)> for Ordered<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, more: I) {
        let mut known = std::mem::take(&mut self.0).into_iter().peekable();
        let mut more = more.into_iter().collect::<Self>().0.into_iter().peekable();
        self.0.reserve_exact(known.len() + more.len());
        while let (Some((known_key, _)), Some((key, _))) = (known.peek(), more.peek()) {
            let order = known_key.cmp(key);
            let earlier = known.next_if(|_| order.is_le());
            self.0.extend(earlier.filter(|_| order.is_lt()).or_else(|| more.next()));
        }
        self.0.extend(known.chain(more));
    }
}

impl<K, V> IntoIterator for Ordered<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a Ordered<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
impl<K: Ord, V> std::ops::Index<&K> for Ordered<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the key is there")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_tree_is(made in prop::collection::vec((0u8..20, any::<u8>()), 0..30),
                                added in prop::collection::vec((0u8..20, any::<u8>()), 0..30),
                                extended in prop::collection::vec((0u8..20, any::<u8>()), 0..30)) {
            let mut list: Ordered<u8, u8> = made.iter().copied().collect();
            let mut tree: BTreeMap<u8, u8> = made.into_iter().collect();
            for (key, value) in added {
                prop_assert_eq!(list.insert(key, value), tree.insert(key, value));
            }
            list.extend(extended.iter().copied());
            tree.extend(extended);
            prop_assert!(list.iter().eq(tree.iter()));
            prop_assert!((0..20u8).all(|key| list.get(&key) == tree.get(&key)));
        }
    }
}

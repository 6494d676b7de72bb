//! A cluster's pods as one list: there are more of them than of anything else.

use std::ops::Deref;
use std::sync::Arc;

use super::{Given, ObjectName, Pod};

/// In the order of their names.
#[derive(Clone, Debug)]
pub(super) struct Pods(Vec<Pod>);

impl Pods {
    /// Of two with one name the later one counts.
    pub(super) fn new(mut pods: Vec<Pod>) -> Self {
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods.dedup_by(|later, earlier| {
            let twice = later.name == earlier.name;
            if twice {
                std::mem::swap(later, earlier);
            }
            twice
        });
        Self(pods)
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&Pod> {
        let at = self.0.binary_search_by(|pod| pod.name.cmp(name)).ok()?;
        self.0.get(at)
    }

    pub(super) fn at(&self, place: u32) -> Option<&Pod> {
        self.0.get(place as usize)
    }

    /// Takes the addresses that were given out, and with them the names under which they were.
    pub(super) fn settle(&mut self, given: &Given) {
        let mut known = given.in_order();
        for pod in self.0.iter_mut().filter(|pod| pod.ip.is_none()) {
            if let Some((name, ip)) = known.get(&pod.name) {
                (pod.name, pod.ip) = (name.clone(), Some(*ip));
            }
        }
    }
}

impl Deref for Pods {
    type Target = [Pod];

    fn deref(&self) -> &[Pod] {
        &self.0
    }
}

impl PartialEq for Pods {
    /// Pods of a template stand beside each other, and so do those that they are compared with: a template is
    /// looked at once for all of them.
    fn eq(&self, other: &Self) -> bool {
        let mut templates = Compared::default();
        self.len() == other.len()
            && self
                .iter()
                .zip(other.iter())
                .all(|(a, b)| templates.are(&a.template, &b.template) && a.is_same_but_for_template(b))
    }
}

/// Compares what many share: pairs that come again are known.
pub(super) struct Compared<T>(Option<(Arc<T>, Arc<T>)>);

impl<T> Default for Compared<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq> Compared<T> {
    pub(super) fn are(&mut self, a: &Arc<T>, b: &Arc<T>) -> bool {
        let same = |(known, twin): &(Arc<T>, Arc<T>)| Arc::ptr_eq(known, a) && Arc::ptr_eq(twin, b);
        if Arc::ptr_eq(a, b) || self.0.as_ref().is_some_and(same) {
            return true;
        }
        let equal = a == b;
        if equal {
            self.0 = Some((a.clone(), b.clone()));
        }
        equal
    }
}

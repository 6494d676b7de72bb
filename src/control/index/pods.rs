//! A cluster's pods as one list: there are more of them than of anything else.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use super::{Given, ObjectName, Pod};

/// In the order of their names.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    all: Vec<Pod>,
    /// Addresses that manifests give them and their nodes.
    claimed: BTreeSet<IpAddr>,
}

/// Pods that are made one after the other. What is to be known of all is seen while each is at hand: a list of ten
/// thousand is larger than what a processor has near.
pub(super) struct Gathered {
    pods: Pods,
    in_order: bool,
    /// The latest node's.
    host_ips: Arc<[IpAddr]>,
}

impl Gathered {
    pub(super) fn with_capacity(count: usize) -> Self {
        let pods = Pods { all: Vec::with_capacity(count), claimed: BTreeSet::new() };
        Self { pods, in_order: true, host_ips: Arc::default() }
    }

    /// Of two with one name the later one counts.
    pub(super) fn sorted(self) -> Pods {
        let Self { mut pods, in_order, .. } = self;
        if !in_order {
            pods.all.sort_by(|a, b| a.name.cmp(&b.name));
            pods.all.dedup_by(|later, earlier| {
                let twice = later.name == earlier.name;
                if twice {
                    std::mem::swap(later, earlier);
                }
                twice
            });
        }
        pods
    }
}

impl Extend<Pod> for Gathered {
    fn extend<I: IntoIterator<Item = Pod>>(&mut self, more: I) {
        for pod in more {
            self.in_order &= self.pods.all.last().is_none_or(|last| last.name < pod.name);
            self.pods.claimed.extend(pod.ip.iter().chain(&pod.other_ip));
            if !Arc::ptr_eq(&self.host_ips, &pod.host_ips) {
                self.pods.claimed.extend(pod.host_ips.iter());
                self.host_ips = pod.host_ips.clone();
            }
            self.pods.all.push(pod);
        }
    }
}

impl Pods {
    pub(super) fn claimed(&self) -> &BTreeSet<IpAddr> {
        &self.claimed
    }

    pub(super) fn get(&self, name: &ObjectName) -> Option<&Pod> {
        let at = self.all.binary_search_by(|pod| pod.name.cmp(name)).ok()?;
        self.all.get(at)
    }

    pub(super) fn at(&self, place: u32) -> Option<&Pod> {
        self.all.get(place as usize)
    }

    /// Names of those that have no address yet.
    pub(super) fn bare(&self) -> impl Iterator<Item = &ObjectName> + Clone {
        self.all.iter().filter(|pod| pod.ip.is_none()).map(|pod| &pod.name)
    }

    /// Gives each of those its address, which is at its place among the given ones, and the name as it is known
    /// there.
    pub(super) fn settle(&mut self, given: &Given, places: &[Option<usize>]) {
        let bare = self.all.iter_mut().filter(|pod| pod.ip.is_none());
        for (pod, place) in bare.zip(places) {
            if let Some((name, ip)) = place.and_then(|place| given.at(place)) {
                (pod.name, pod.ip) = (name.clone(), Some(ip));
            }
        }
    }
}

impl Deref for Pods {
    type Target = [Pod];

    fn deref(&self) -> &[Pod] {
        &self.all
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

//! A cluster's pods as one list: there are more of them than of anything else.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::addresses::AddressesOfPods;
use super::{Given, Host, ObjectName, Pod};

/// In the order of their names.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    all: Vec<Pod>,
    /// Addresses that manifests give them and their nodes.
    claimed: BTreeSet<IpAddr>,
    /// Where pods begin that do not share the template and the namespace of those before.
    starts: Vec<u32>,
    addresses: AddressesOfPods,
}

/// Pods that are made one after the other. What is to be known of all is seen while each is at hand: a list of ten
/// thousand is larger than what a processor has near.
pub(super) struct Gathered {
    pods: Pods,
    /// What was given out to those that no manifest gives an address.
    known: Vec<Option<IpAddr>>,
    in_order: bool,
    /// The latest pod's.
    host: Arc<Host>,
}

impl Gathered {
    pub(super) fn with_capacity(count: usize) -> Self {
        let pods = Pods {
            all: Vec::with_capacity(count),
            claimed: BTreeSet::new(),
            starts: Vec::new(),
            addresses: AddressesOfPods::default(),
        };
        Self { pods, known: Vec::with_capacity(count), in_order: true, host: Arc::default() }
    }

    /// Of two with one name the later one counts. Also what was given out to those that no manifest gives an address.
    pub(super) fn sorted(self) -> (Pods, Vec<Option<IpAddr>>) {
        let Self { mut pods, known, in_order, .. } = self;
        if in_order {
            pods.addresses.sort();
        } else {
            pods.all.sort_by(|a, b| a.name.cmp(&b.name));
            pods.all.dedup_by(|later, earlier| {
                let twice = later.name == earlier.name;
                if twice {
                    std::mem::swap(later, earlier);
                }
                twice
            });
            let start = |next: &mut u32, alike: &[Pod]| {
                *next += alike.len() as u32;
                Some(*next - alike.len() as u32)
            };
            pods.starts = pods.all.chunk_by(are_alike).scan(0, start).collect();
            pods.addresses = AddressesOfPods::of(&pods.all);
        }
        (pods, known)
    }
}

impl Extend<Pod> for Gathered {
    fn extend<I: IntoIterator<Item = Pod>>(&mut self, more: I) {
        for pod in more {
            let last = self.pods.all.last();
            self.in_order &= last.is_none_or(|last| last.name < pod.name);
            if !last.is_some_and(|last| are_alike(last, &pod)) {
                self.pods.starts.push(self.pods.all.len() as u32);
            }
            self.pods.claimed.extend(pod.ip.iter().filter(|_| pod.given_ip).copied().chain(pod.other_ip()));
            if !Arc::ptr_eq(&self.host, &pod.host) {
                self.pods.claimed.extend(pod.host.ips.iter());
                self.host = pod.host.clone();
            }
            if !pod.given_ip {
                self.known.push(pod.ip);
            }
            self.pods.addresses.add(self.pods.all.len() as u32, &pod);
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

    /// Names of those that no manifest gives an address.
    pub(super) fn bare(&self) -> impl Iterator<Item = &ObjectName> {
        self.all.iter().filter(|pod| !pod.given_ip).map(|pod| &pod.name)
    }

    /// Living ones with this address of their own.
    pub(super) fn of_ip(&self, ip: IpAddr) -> impl Iterator<Item = &Pod> {
        self.addresses.own.at(ip).filter_map(|place| self.all.get(place as usize))
    }

    /// Living ones that take ports of the node with this address.
    pub(super) fn on_host(&self, ip: IpAddr) -> impl Iterator<Item = &Pod> {
        self.addresses.on_hosts.at(ip).filter_map(|place| self.all.get(place as usize))
    }

    /// Gives each of those the address that is given out to it by now.
    pub(super) fn settle(&mut self, given: &Given) {
        let known = Known::of(Some(given));
        self.all.iter_mut().for_each(|pod| known.settle(pod));
        self.addresses = AddressesOfPods::of(&self.all);
    }

    /// Places of pods that share template and namespace and stand beside each other.
    pub(super) fn alike(&self) -> impl Iterator<Item = Range<u32>> {
        let ends = self.starts.iter().skip(1).copied().chain([self.all.len() as u32]);
        self.starts.iter().zip(ends).map(|(start, end)| *start..end)
    }

    pub(super) fn within(&self, places: &Range<u32>) -> &[Pod] {
        self.all.get(places.start as usize..places.end as usize).unwrap_or_default()
    }
}

fn are_alike(a: &Pod, b: &Pod) -> bool {
    Arc::ptr_eq(&a.template, &b.template) && a.name.namespace == b.name.namespace
}

/// Addresses that were given out, for pods that come in the order of their names, or nearly so.
pub(super) struct Known<'a> {
    given: Option<&'a Given>,
    /// Where the next one probably is.
    next: Cell<usize>,
}

impl<'a> Known<'a> {
    pub(super) fn of(given: Option<&'a Given>) -> Self {
        Self { given, next: Cell::new(0) }
    }

    /// The name as it is known, which is shared instead of made again, and the address.
    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<(&'a ObjectName, IpAddr)> {
        let given = self.given?;
        let place = given.place_near(self.next.get(), namespace, name)?;
        self.next.set(place + 1);
        given.at(place)
    }

    pub(super) fn settle(&self, pod: &mut Pod) {
        if pod.given_ip {
            return;
        }
        let known = self.named(&pod.name.namespace, &pod.name.name);
        pod.ip = known.map(|(_, ip)| ip);
        if let Some((name, _)) = known {
            pod.name = name.clone();
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
    /// looked at once for all of them. The rest follows from the pods.
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

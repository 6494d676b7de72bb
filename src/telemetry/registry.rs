//! Where do counts live, and how many series may there be?
//!
//! A [`Family`] maps label text to shared metrics. Whoever counts keeps the [`Arc`] and touches atomics
//! only: labels are formatted once, when the handle is fetched. A series that nobody holds and that has
//! not changed for the retention time is forgotten; one that is held never is, so no count is lost.
//!
//! Callers can make up labels: names in a ClientHello, ports, certificates of many accounts. So there is
//! a [`Budget`]. What does not fit is counted under the same labels with `other` for those values, and
//! `causeway_metrics_absorbed_total` says how much that was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::labels::Labels;
use super::metric::{Counter, Histogram, LatencyMs};
use super::page::Page;

/// Label sets of all families together.
pub const MOST_SERIES: usize = 20_000;

/// Label sets of one family.
pub const MOST_IN_FAMILY: usize = 5_000;

/// Label sets of one family with a value that nobody vouches for: neither discovery, nor policy, nor a
/// certificate.
pub const MOST_UNPROVEN: usize = 250;

/// A full family looks for idle series at most this often: looking takes time, and a flood of names
/// would make every caller look.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What a [`Family`] can hold.
pub trait Metric: Default {
    /// A number that moves whenever something was counted; tells idle series from busy ones.
    fn activity(&self) -> u64;
}

impl Metric for Counter {
    fn activity(&self) -> u64 {
        self.value()
    }
}

impl Metric for Histogram<LatencyMs> {
    fn activity(&self) -> u64 {
        self.count()
    }
}

/// What all families share: the retention time, and how many series there may be.
#[derive(Clone)]
pub struct Budget(Arc<Shared>);

struct Shared {
    retain_idle: Duration,
    /// Label sets now.
    used: AtomicUsize,
    /// By family: look-ups that got the `other` series.
    absorbed: Mutex<BTreeMap<&'static str, Arc<Counter>>>,
}

impl Budget {
    pub fn new(retain_idle: Duration) -> Self {
        Self(Arc::new(Shared { retain_idle, used: AtomicUsize::new(0), absorbed: Mutex::default() }))
    }

    /// A family that draws on this budget. `name` is how the count of what it absorbed calls it.
    pub fn family<M: Metric>(&self, name: &'static str) -> Family<M> {
        let absorbed = self.0.absorbed.lock().entry(name).or_default().clone();
        Family { budget: self.clone(), absorbed, series: Mutex::default() }
    }

    /// Label sets that exist now.
    pub fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    fn take(&self) -> bool {
        let more = |used| (used < MOST_SERIES).then_some(used + 1);
        self.0.used.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    pub fn render(&self, page: &mut Page) {
        page.family("causeway_metrics_series", "gauge", "Label sets that the budget of series counts.");
        page.sample("causeway_metrics_series", "", self.used());
        let name = "causeway_metrics_absorbed_total";
        let help = "Look-ups of series that did not fit the budget, and were counted as other.";
        page.family(name, "counter", help);
        for (family, count) in self.0.absorbed.lock().iter() {
            page.sample(name, Labels::new().with("family", family).as_str(), count.value());
        }
    }
}

/// Series of one kind by their labels.
pub struct Family<M> {
    budget: Budget,
    absorbed: Arc<Counter>,
    series: Mutex<Known<M>>,
}

/// The labels and the metric of a series, at a scrape.
pub type Scraped<M> = (Arc<str>, Arc<M>);

struct Known<M> {
    by_labels: BTreeMap<Arc<str>, Series<M>>,
    unproven: usize,
    /// When idle series were last looked for because the family was full.
    looked: Option<Instant>,
}

struct Series<M> {
    metric: Arc<M>,
    unproven: bool,
    /// [`Metric::activity`] when last looked at.
    seen: Option<u64>,
    /// When it was last fetched, held or seen to move.
    busy: Instant,
}

impl<M> Default for Known<M> {
    fn default() -> Self {
        Self { by_labels: BTreeMap::new(), unproven: 0, looked: None }
    }
}

impl<M: Metric> Family<M> {
    /// The metric with these labels; keep it for as long as the thing it counts lives. Beyond the budget
    /// it is the one that all such labels share.
    pub fn get(&self, labels: &Labels) -> Arc<M> {
        let mut known = self.series.lock();
        if let Some(metric) = known.find(labels) {
            return metric;
        }
        if self.admits(&mut known, labels) {
            return known.insert(labels);
        }
        self.absorbed.incr();
        let general = labels.absorbed();
        if let Some(metric) = known.find(&general) {
            return metric;
        }
        // As many as policy and discovery make. Where even that is too much, nothing is printed.
        if known.by_labels.len() < 2 * MOST_IN_FAMILY && self.budget.0.used.load(Relaxed) < 2 * MOST_SERIES {
            self.budget.0.used.fetch_add(1, Relaxed);
            return known.insert(&general);
        }
        Arc::default()
    }

    /// Takes from the budget what a new series needs.
    fn admits(&self, known: &mut Known<M>, labels: &Labels) -> bool {
        if self.has_room(known, labels) && self.budget.take() {
            return true;
        }
        let now = Instant::now();
        if known.looked.is_some_and(|looked| now.duration_since(looked) < LOOK_AGAIN) {
            return false;
        }
        known.looked = Some(now);
        self.forget_idle(known, now);
        self.has_room(known, labels) && self.budget.take()
    }

    fn has_room(&self, known: &Known<M>, labels: &Labels) -> bool {
        known.by_labels.len() < MOST_IN_FAMILY && (!labels.unproven() || known.unproven < MOST_UNPROVEN)
    }

    fn forget_idle(&self, known: &mut Known<M>, now: Instant) {
        let (before, retain_idle) = (known.by_labels.len(), self.budget.0.retain_idle);
        let mut forgotten = 0;
        known.by_labels.retain(|_, one| {
            let activity = one.metric.activity();
            // Handles are made under this lock or from other handles: one owner stays one owner.
            if Arc::strong_count(&one.metric) > 1 || one.seen != Some(activity) {
                one.seen = Some(activity);
                one.busy = now;
            }
            let keep = now.duration_since(one.busy) < retain_idle;
            forgotten += usize::from(one.unproven && !keep);
            keep
        });
        known.unproven -= forgotten;
        self.budget.0.used.fetch_sub(before - known.by_labels.len(), Relaxed);
    }

    /// Forgets idle series and returns the others, ordered by their labels.
    pub fn scrape(&self) -> Vec<Scraped<M>> {
        let mut known = self.series.lock();
        self.forget_idle(&mut known, Instant::now());
        known.by_labels.iter().map(|(labels, one)| (labels.clone(), one.metric.clone())).collect()
    }
}

impl<M: Metric> Known<M> {
    fn find(&mut self, labels: &Labels) -> Option<Arc<M>> {
        let known = self.by_labels.get_mut(labels.as_str())?;
        known.busy = Instant::now();
        Some(known.metric.clone())
    }

    fn insert(&mut self, labels: &Labels) -> Arc<M> {
        let metric = Arc::<M>::default();
        self.unproven += usize::from(labels.unproven());
        let busy = Instant::now();
        let new = Series { metric: metric.clone(), unproven: labels.unproven(), seen: None, busy };
        self.by_labels.insert(labels.as_str().into(), new);
        metric
    }
}

#[cfg(test)]
mod tests;

//! What can be counted: atomics that go up, go up and down, or fall into buckets.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn incr(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn incr(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn decr(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The buckets of a histogram.
pub trait Buckets: Debug + Default {
    /// Upper bounds, inclusive, rising, in what is observed; above them lies `+Inf`.
    const BOUNDS: &'static [u64];
    /// One number for each bound.
    type Counts: AsRef<[AtomicU64]> + Debug + Default;
}

/// Whole numbers in the buckets of `B`.
#[derive(Debug, Default)]
pub struct Histogram<B: Buckets> {
    counts: B::Counts,
    beyond: AtomicU64,
    sum: AtomicU64,
    buckets: PhantomData<B>,
}

impl<B: Buckets> Histogram<B> {
    pub fn observe(&self, value: u64) {
        let at = B::BOUNDS.partition_point(|bound| *bound < value);
        self.counts.as_ref().get(at).unwrap_or(&self.beyond).fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// How many values each bucket holds, without those below it; the last is beyond all bounds.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.as_ref().iter().chain([&self.beyond]).map(|count| count.load(Relaxed))
    }

    pub fn count(&self) -> u64 {
        self.counts().sum()
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }
}

/// Defines a type that stands for a list of bounds.
macro_rules! buckets {
    ($($(#[$doc:meta])* $name:ident = [$($bound:expr),* $(,)?];)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        impl Buckets for $name {
            const BOUNDS: &'static [u64] = &[$($bound),*];
            type Counts = [AtomicU64; [$($bound),*].len()];
        }
    )*};
}

const MILLISECOND: u64 = 1_000_000;
const MICROSECOND: u64 = 1_000;

buckets! {
    /// Milliseconds of the classic latencies (contract 6.1).
    LatencyMs = [
        1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000, 10000,
        20000, 30000, 40000, 50000,
    ];
    /// Nanoseconds: the seconds of contract 6.2's finer durations.
    Fine = [
        25 * MILLISECOND, 50 * MILLISECOND, 100 * MILLISECOND, 250 * MILLISECOND, 500 * MILLISECOND,
        1000 * MILLISECOND, 10_000 * MILLISECOND,
    ];
    /// Nanoseconds: the seconds of contract 6.2's coarser durations.
    Coarse = [50 * MILLISECOND, 500 * MILLISECOND, 1000 * MILLISECOND, 10_000 * MILLISECOND];
    /// Nanoseconds: what telling protocols apart takes.
    Detecting = [1000 * MICROSECOND, 100 * MILLISECOND];
    /// Bytes of one piece of a body.
    FrameSizes = [128, 1024, 10240];
}

/// Nanoseconds, as histograms of durations count them.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Metrics by a key that has few values: found without a lock, and never forgotten one by one. Values
/// beyond [`MOST_KEYS`] share one metric, since some of them, such as statuses, are a peer's to choose.
#[derive(Debug)]
pub struct ByKey<K, M> {
    first: OnceLock<Box<Node<K, M>>>,
    others: OnceLock<Box<M>>,
}

/// More than an ordinary application has statuses and ways to fail.
pub const MOST_KEYS: usize = 32;

#[derive(Debug)]
struct Node<K, M> {
    key: K,
    metric: M,
    next: OnceLock<Box<Self>>,
}

impl<K: PartialEq + Copy, M: Default> ByKey<K, M> {
    pub fn get(&self, key: K) -> &M {
        let mut place = &self.first;
        for _ in 0..MOST_KEYS {
            let node =
                place.get_or_init(|| Box::new(Node { key, metric: M::default(), next: OnceLock::new() }));
            if node.key == key {
                return &node.metric;
            }
            place = &node.next;
        }
        self.others.get_or_init(Box::default)
    }

    /// Every key met so far with its metric; `None` is what did not fit.
    pub fn iter(&self) -> impl Iterator<Item = (Option<K>, &M)> {
        let nodes = std::iter::successors(self.first.get(), |node| node.next.get());
        let others = self.others.get().map(|metric| (None, &**metric));
        nodes.map(|node| (Some(node.key), &node.metric)).chain(others)
    }
}

impl<K, M> Default for ByKey<K, M> {
    fn default() -> Self {
        Self { first: OnceLock::new(), others: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_what_lies_above_is_kept() {
        let histogram = Histogram::<FrameSizes>::default();
        for bytes in [0, 128, 129, 10_240, 10_241, 99_999] {
            histogram.observe(bytes);
        }
        assert_eq!(histogram.counts().collect::<Vec<_>>(), [2, 1, 1, 2]);
        assert_eq!((histogram.count(), histogram.sum()), (6, 120_737));
    }

    #[test]
    fn keys_share_one_metric_once_there_are_too_many() {
        let by_key = ByKey::<u16, Counter>::default();
        for round in 0..2 {
            for key in 0..100 {
                by_key.get(key).add(round + 1);
            }
        }
        let all: Vec<_> = by_key.iter().map(|(key, count)| (key, count.value())).collect();
        assert_eq!(all.len(), MOST_KEYS + 1);
        assert_eq!((all[7], all[MOST_KEYS]), ((Some(7), 3), (None, 3 * (100 - MOST_KEYS as u64))));
    }

    #[test]
    fn no_count_is_lost_where_threads_meet_new_keys_at_once() {
        let by_key = ByKey::<u64, Counter>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..4_000).for_each(|n| by_key.get(n % 40).incr()));
            }
        });
        assert_eq!(by_key.iter().map(|(_, count)| count.value()).sum::<u64>(), 16_000);
    }
}

//! Where do counts live, and how do they become text?
//!
//! A [`Family`] maps label text to shared metrics. Whoever counts keeps the [`Arc`] and touches atomics
//! only: labels are formatted once, when the handle is fetched. A series that nobody holds and that has
//! not changed for the retention time is forgotten when it would next be printed.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::labels::Labels;

/// Upper bounds (inclusive, milliseconds) of the latency buckets, contract 6.1; above them lies `+Inf`.
pub const LATENCY_BOUNDS_MS: [u64; 25] = [
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000, 10000, 20000,
    30000, 40000, 50000,
];

/// Some labels come from a peer (the SNI of TLS that is passed on), so a family stops growing somewhere.
/// Far above what a pod's own endpoints and clients need.
const MAX_SERIES: usize = 20_000;

/// What a [`Family`] can hold.
pub trait Metric: Default {
    /// A number that moves whenever something was counted; tells idle series from busy ones.
    fn activity(&self) -> u64;
}

/// Series of one kind by their labels.
pub struct Family<M> {
    retain_idle: Duration,
    series: Mutex<BTreeMap<Arc<str>, Series<M>>>,
}

struct Series<M> {
    metric: Arc<M>,
    /// [`Metric::activity`] at the last scrape.
    seen: Option<u64>,
    /// When it was last fetched, held or seen to move.
    busy: Instant,
}

impl<M: Metric> Family<M> {
    pub fn new(retain_idle: Duration) -> Self {
        Self { retain_idle, series: Mutex::default() }
    }

    /// The metric with these labels; keep it for as long as the thing it counts lives. A family that is
    /// full hands out a metric of its own that is never printed.
    pub fn get(&self, labels: &Labels) -> Arc<M> {
        let mut series = self.series.lock();
        if let Some(known) = series.get_mut(labels.as_str()) {
            known.busy = Instant::now();
            return known.metric.clone();
        }
        let metric = Arc::<M>::default();
        if series.len() >= MAX_SERIES {
            // Room for what lives: callers can choose labels (names, ports) of connections long gone.
            series.retain(|_, one| Arc::strong_count(&one.metric) > 1);
        }
        if series.len() < MAX_SERIES {
            let new = Series { metric: metric.clone(), seen: None, busy: Instant::now() };
            series.insert(labels.as_str().into(), new);
        }
        metric
    }

    /// Forgets idle series and returns the others, ordered by their labels.
    pub fn scrape(&self) -> Vec<(Arc<str>, Arc<M>)> {
        let now = Instant::now();
        let mut series = self.series.lock();
        series.retain(|_, one| {
            let activity = one.metric.activity();
            // Handles are made under this lock or from other handles: one owner stays one owner.
            if Arc::strong_count(&one.metric) > 1 || one.seen != Some(activity) {
                one.seen = Some(activity);
                one.busy = now;
            }
            now.duration_since(one.busy) < self.retain_idle
        });
        series.iter().map(|(labels, one)| (labels.clone(), one.metric.clone())).collect()
    }
}

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

impl Metric for Counter {
    fn activity(&self) -> u64 {
        self.value()
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

    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Latencies in whole milliseconds, rounded down, in the buckets of [`LATENCY_BOUNDS_MS`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_MS.len()],
    beyond: AtomicU64,
    sum_ms: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, elapsed: Duration) {
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let at = LATENCY_BOUNDS_MS.partition_point(|bound| *bound < ms);
        self.buckets.get(at).unwrap_or(&self.beyond).fetch_add(1, Relaxed);
        self.sum_ms.fetch_add(ms, Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().chain([&self.beyond]).map(|bucket| bucket.load(Relaxed)).sum()
    }
}

/// A page of Prometheus text being written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// The lines that introduce a family. `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub fn unit(&mut self, name: &str, unit: &str) {
        let _ = writeln!(self.0, "# UNIT {name} {unit}");
    }

    /// One sample; `labels` is text made by [`Labels`], possibly empty.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// The samples of one histogram: cumulative buckets, count, sum.
    pub fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (bound, bucket) in LATENCY_BOUNDS_MS.iter().zip(&histogram.buckets) {
            total += bucket.load(Relaxed);
            let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}");
        }
        // Read once: `+Inf` and the count must agree while others go on counting.
        total += histogram.beyond.load(Relaxed);
        let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}");
        self.sample(&format!("{name}_count"), labels, total);
        self.sample(&format!("{name}_sum"), labels, histogram.sum_ms.load(Relaxed));
    }

    /// A whole family of counters; nothing at all while it has no series.
    pub fn counters(&mut self, name: &str, help: &str, family: &Family<Counter>) {
        let series = family.scrape();
        if series.is_empty() {
            return;
        }
        self.family(name, "counter", help);
        for (labels, counter) in series {
            self.sample(name, &labels, counter.value());
        }
    }

    /// Ends the page; nothing may follow the mark.
    pub fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETAIN: Duration = Duration::from_secs(600);

    fn labels(name: &str) -> Labels {
        Labels::new().with("name", name)
    }

    #[test]
    fn equal_labels_share_a_series_and_print_in_order() {
        let family = Family::<Counter>::new(RETAIN);
        family.get(&labels("b")).add(2);
        family.get(&labels("a")).incr();
        family.get(&labels("b")).incr();
        let mut page = Page::default();
        page.counters("x_total", "Xs.", &family);
        assert_eq!(
            page.finish(),
            "# HELP x_total Xs.\n# TYPE x_total counter\nx_total{name=\"a\"} 1\nx_total{name=\"b\"} 3\n# EOF\n"
        );
    }

    #[test]
    fn a_family_without_series_prints_nothing() {
        let mut page = Page::default();
        page.counters("x_total", "Xs.", &Family::new(RETAIN));
        assert_eq!(page.finish(), "# EOF\n");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_series_go_and_held_or_busy_ones_stay() {
        let family = Family::<Counter>::new(RETAIN);
        let held = family.get(&labels("held"));
        family.get(&labels("idle")).incr();
        family.get(&labels("fetched")).incr();
        assert_eq!(family.scrape().len(), 3);
        tokio::time::advance(RETAIN / 2).await;
        family.get(&labels("fetched"));
        tokio::time::advance(RETAIN / 2).await;
        let left: Vec<_> = family.scrape().into_iter().map(|(labels, _)| labels.to_string()).collect();
        assert_eq!(left, [r#"name="fetched""#, r#"name="held""#]);
        drop(held);
        tokio::time::advance(RETAIN).await;
        assert!(family.scrape().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_made_since_the_last_scrape_is_seen_once_more() {
        let family = Family::<Counter>::new(RETAIN);
        let counter = family.get(&labels("late"));
        family.scrape();
        tokio::time::advance(RETAIN * 2).await;
        counter.incr();
        drop(counter);
        assert_eq!(family.scrape().len(), 1);
    }

    #[test]
    fn a_full_family_still_hands_out_metrics() {
        let family = Family::<Counter>::new(RETAIN);
        let held: Vec<_> = (0..=MAX_SERIES).map(|n| family.get(&labels(&n.to_string()))).collect();
        held.iter().for_each(|counter| counter.incr());
        assert_eq!(family.scrape().len(), MAX_SERIES);
    }

    #[test]
    fn a_full_family_makes_room_by_forgetting_what_nobody_holds() {
        let family = Family::<Counter>::new(RETAIN);
        let held = family.get(&labels("held"));
        for n in 1..MAX_SERIES {
            family.get(&labels(&n.to_string())).incr();
        }
        let _newcomer = family.get(&labels("newcomer"));
        assert_eq!(family.scrape().len(), 2);
        drop(held);
    }

    #[test]
    fn buckets_are_inclusive_and_cumulative() {
        let histogram = Histogram::default();
        for micros in [400, 1_000, 1_999, 2_000, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut page = Page::default();
        page.histogram("h", "a=\"b\"", &histogram);
        let text = page.finish();
        for line in [
            r#"h_bucket{a="b",le="1"} 3"#,
            r#"h_bucket{a="b",le="2"} 4"#,
            r#"h_bucket{a="b",le="50000"} 4"#,
            r#"h_bucket{a="b",le="+Inf"} 5"#,
            r#"h_count{a="b"} 5"#,
            r#"h_sum{a="b"} 60004"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
        assert_eq!(histogram.count(), 5);
    }
}

//! What do the proxies' own metrics say about the traffic?
//!
//! From scrapes of their admin ports to the tables that the guide prints: [`scrape`] reads a page,
//! [`window`] compares the scrapes of a time window, [`stat`] and [`authz`] are the tables
//! (controlplane 7.4-7.6). [`control`] reads what a control plane says of other clusters.

use std::collections::BTreeMap;

pub mod scrape;
pub mod window;
pub mod quantile;
pub mod table;
pub mod stat;
pub mod authz;
pub mod control;

use quantile::Buckets;
use scrape::Labels;
use window::{Origin, Window};

/// The responses of one group within the window, and their latency quantiles in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub success: u64,
    pub failure: u64,
    pub p50_ms: u64,
    pub p95_ms: u64,
    pub p99_ms: u64,
}

impl Traffic {
    pub fn total(&self) -> u64 {
        self.success + self.failure
    }

    /// From 0 to 1; 0 without traffic.
    pub fn success_rate(&self) -> f64 {
        if self.total() == 0 { 0.0 } else { self.success as f64 / self.total() as f64 }
    }
}

/// Inbound responses and latencies by the group that `group` puts a series into; `None` leaves it out.
///
/// Latencies are taken over the whole window; the reference looks at its last two scrapes only.
fn inbound_traffic<K: Ord + Clone>(
    window: &Window,
    group: impl Fn(&Origin, &Labels) -> Option<K>,
) -> BTreeMap<K, Traffic> {
    let mut responses: BTreeMap<(K, String, String), f64> = BTreeMap::new();
    let mut latencies: BTreeMap<K, Buckets> = BTreeMap::new();
    let inbound = |origin: &Origin, labels: &Labels| {
        if labels.get("direction") == "inbound" { group(origin, labels) } else { None }
    };
    for (origin, labels, increase) in window.increases("response_total") {
        if let Some(key) = inbound(origin, labels) {
            let key = (key, labels.get("classification").to_string(), labels.get("tls").to_string());
            *responses.entry(key).or_default() += increase;
        }
    }
    for (origin, labels, increase) in window.increases("response_latency_ms_bucket") {
        if let Some(key) = inbound(origin, labels) {
            latencies.entry(key).or_default().add(labels.get("le"), increase);
        }
    }
    let mut traffic: BTreeMap<K, Traffic> = BTreeMap::new();
    for ((key, classification, _), count) in responses {
        let row = traffic.entry(key).or_default();
        match classification.as_str() {
            "success" => row.success += rounded(count),
            "failure" => row.failure += rounded(count),
            _ => {}
        }
    }
    for (key, buckets) in latencies {
        let row = traffic.entry(key).or_default();
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| rounded(buckets.quantile(q)));
        (row.p50_ms, row.p95_ms, row.p99_ms) = (p50, p95, p99);
    }
    traffic
}

/// Samples count in whole numbers; what is no number counts as nothing.
fn rounded(value: f64) -> u64 {
    // The cast takes NaN and negative numbers to 0.
    value.round() as u64
}

#[cfg(test)]
mod tests;

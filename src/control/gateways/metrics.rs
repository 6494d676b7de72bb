//! What probes have shown, in the families of Linkerd's service mirror (controlplane 1.9).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::health::Seen;
use crate::telemetry::labels::Labels;
use crate::telemetry::metric::{Counter, Gauge, Histogram, LatencyMs};
use crate::telemetry::page::Page;

/// By target cluster.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<String, Arc<Counts>>>);

/// Of one Link.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// 1 where the gateway is probed.
    pub(super) enabled: Gauge,
    alive: Gauge,
    /// Of the last probe that succeeded, in ms.
    latency: Gauge,
    latencies: Histogram<LatencyMs>,
    succeeded: Counter,
    failed: Counter,
    pub(super) repairs: Counter,
}

impl Counts {
    /// Failures below the threshold say nothing, as in Linkerd.
    pub(super) fn record(&self, seen: Seen, took: Duration) {
        match seen.answered {
            Some(true) => {
                let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                self.alive.set(1);
                self.latency.set(i64::try_from(ms).unwrap_or(i64::MAX));
                self.latencies.observe(ms);
                self.succeeded.incr();
            }
            Some(false) => {
                self.alive.set(0);
                self.failed.incr();
            }
            None => {}
        }
    }
}

impl Metrics {
    pub(super) fn add(&self, target_cluster: &str) -> Arc<Counts> {
        self.0.lock().entry(target_cluster.to_owned()).or_default().clone()
    }

    pub(super) fn remove(&self, target_cluster: &str) {
        self.0.lock().remove(target_cluster);
    }

    pub fn render(&self, page: &mut Page) {
        let all = self.0.lock();
        let labelled = || {
            all.iter().map(|(cluster, counts)| (Labels::new().with("target_cluster_name", cluster), counts))
        };
        let mut gauge = |name: &str, help: &str, of: fn(&Counts) -> &Gauge| {
            page.family(name, "gauge", help);
            for (labels, counts) in labelled() {
                page.sample(name, labels.as_str(), of(counts).value());
            }
        };
        gauge("gateway_alive", "1 if the gateway answers its probes.", |counts| &counts.alive);
        gauge("gateway_enabled", "1 if the gateway is probed.", |counts| &counts.enabled);
        gauge("gateway_latency", "Milliseconds that the last probe took that was answered.", |counts| {
            &counts.latency
        });
        let name = "gateway_probe_latency_ms";
        page.family(name, "histogram", "Milliseconds that probes took that were answered.");
        for (labels, counts) in labelled() {
            page.latencies(name, labels.as_str(), &counts.latencies);
        }
        let name = "gateway_probes";
        page.family(name, "counter", "Probes that were answered, and failures from the threshold on.");
        for (labels, counts) in labelled() {
            for (successful, count) in [("true", &counts.succeeded), ("false", &counts.failed)] {
                page.sample(
                    name,
                    labels.clone().with("probe_successful", successful).as_str(),
                    count.value(),
                );
            }
        }
        let name = "service_mirror_endpoint_repairs";
        page.family(name, "counter", "How often gateways' names were looked up and endpoints repaired.");
        for (labels, counts) in labelled() {
            page.sample(name, labels.as_str(), counts.repairs.value());
        }
    }
}

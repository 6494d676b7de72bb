//! What does a control plane say of the clusters that it is linked with?
//!
//! From a scrape of `causeway control`, or of Linkerd's service mirror for the gateways (controlplane 1.9).

use std::collections::BTreeMap;
use std::time::Duration;

use super::scrape::Sample;

/// The parts of a control plane's page that are about clusters, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Linked {
    pub clusters: BTreeMap<String, Cluster>,
    /// By target cluster. One that is not probed is here too, and not enabled.
    pub gateways: BTreeMap<String, Gateway>,
    /// What lies in its issuer's folder cannot be used; an older one is in force.
    pub issuer_stale: bool,
}

/// How old what a control plane knows of a cluster is, its own or a linked one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Since its manifests were last found sound.
    pub manifests: Duration,
    /// Since its control plane last showed that it lives; `None` where it never did, and of its own.
    pub control: Option<Duration>,
    /// What the latest look found wrong.
    pub problems: u64,
    /// Whether what is in force may no longer be what the cluster says.
    pub stale: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gateway {
    /// Whether it is probed.
    pub enabled: bool,
    pub alive: bool,
    /// Probes have failed, as often as the Link says that it takes to be sure.
    pub failed: bool,
    /// Of the last probe that succeeded; `None` before the first.
    pub latency: Option<Duration>,
}

impl Linked {
    pub fn read(samples: &[Sample]) -> Self {
        let mut linked = Self::default();
        for Sample { name, labels, value } in samples {
            if name.starts_with("causeway_cluster_") {
                let cluster = linked.clusters.entry(labels.get("cluster").to_owned()).or_default();
                match (name.as_str(), labels.get("of")) {
                    ("causeway_cluster_age_seconds", "manifests") => cluster.manifests = seconds(*value),
                    ("causeway_cluster_age_seconds", "control") => cluster.control = Some(seconds(*value)),
                    ("causeway_cluster_problems", _) => cluster.problems = super::rounded(*value),
                    ("causeway_cluster_stale", _) => cluster.stale = *value == 1.0,
                    _ => {}
                }
            } else if name == "causeway_issuer_stale" {
                linked.issuer_stale = *value == 1.0;
            } else if let "gateway_enabled" | "gateway_alive" | "gateway_latency" | "gateway_probes" =
                name.as_str()
            {
                let gateway =
                    linked.gateways.entry(labels.get("target_cluster_name").to_owned()).or_default();
                match name.as_str() {
                    "gateway_enabled" => gateway.enabled = *value == 1.0,
                    "gateway_alive" => gateway.alive = *value == 1.0,
                    "gateway_probes" => {
                        gateway.failed |= labels.get("probe_successful") == "false" && *value > 0.0;
                    }
                    _ => gateway.latency = Some(seconds(*value / 1e3)),
                }
            }
        }
        linked
    }
}

/// What is no length of time counts as none.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viz::scrape;

    #[test]
    fn clusters_and_gateways_are_found_on_the_page() {
        let page = r#"
causeway_cluster_age_seconds{cluster="west",of="manifests"} 0.5
causeway_cluster_age_seconds{cluster="east",of="manifests"} 60
causeway_cluster_age_seconds{cluster="east",of="control"} 7.25
causeway_cluster_problems{cluster="east"} 2
causeway_cluster_stale{cluster="east"} 1
gateway_enabled{target_cluster_name="east"} 1
gateway_alive{target_cluster_name="east"} 1
gateway_latency{target_cluster_name="east"} 12
gateway_probes{target_cluster_name="east",probe_successful="true"} 7
gateway_probes{target_cluster_name="east",probe_successful="false"} 2
gateway_enabled{target_cluster_name="north"} 0
causeway_issuer_stale 1
other NaN
"#;
        let linked = Linked::read(&scrape::parse(page).unwrap());
        let east = Cluster {
            manifests: Duration::from_secs(60),
            control: Some(Duration::from_millis(7250)),
            problems: 2,
            stale: true,
        };
        assert_eq!(linked.clusters["east"], east);
        assert_eq!(
            linked.clusters["west"],
            Cluster { manifests: Duration::from_millis(500), ..Cluster::default() }
        );
        let latency = Some(Duration::from_millis(12));
        assert_eq!(linked.gateways["east"], Gateway { enabled: true, alive: true, failed: true, latency });
        assert_eq!(linked.gateways["north"], Gateway::default());
        assert!(linked.issuer_stale);
    }
}

//! What the control plane counts, as Linkerd's controllers show it (controlplane 1.2, 1.9), and how old what it
//! knows of each cluster is: a page for Prometheus.
//!
//! `GET /metrics`; `/ready`, `/live` and `/ping` answer as soon as this serves.

use std::sync::Arc;
use std::time::SystemTime;

use ::http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

use super::http::{self, Answer};
use crate::control::ca::Issuing;
use crate::control::files::Freshness;
use crate::control::files::freshness::Seen;
use crate::control::{Snapshot, gateways};
use crate::drain::Drain;
use crate::telemetry::labels::Labels;
use crate::telemetry::page::Page;
use crate::telemetry::process::{Process, render_build};

/// What there is to tell.
#[derive(Debug)]
pub struct Sources {
    /// This cluster's.
    pub cluster_name: String,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub freshness: watch::Receiver<Freshness>,
    pub gateways: Arc<gateways::metrics::Metrics>,
    pub issuing: Issuing,
}

/// Serves until drained.
pub fn start(listener: TcpListener, sources: Sources, drain: &Drain) {
    let process = Process::start();
    let answer = move |path: &str| answer(path, &sources, &process);
    http::start(listener, answer, drain);
}

fn answer(path: &str, sources: &Sources, process: &Process) -> Option<Answer> {
    Some(match path {
        "/metrics" => http::content("text/plain; version=0.0.4", page(sources, process)),
        "/ready" => http::text(StatusCode::OK, "ready\n"),
        "/live" => http::text(StatusCode::OK, "live\n"),
        "/ping" => http::text(StatusCode::OK, "pong\n"),
        _ => return None,
    })
}

/// How long the issuer lives (controlplane 4.3), and whether it is the one that lies in the folder.
fn render_issuer(page: &mut Page, issuing: &Issuing, now: SystemTime) {
    let left = issuing.now().not_after().duration_since(now).unwrap_or_default();
    page.family("issuer_cert_ttl_seconds", "gauge", "How long the issuer's certificate still lives.");
    page.sample("issuer_cert_ttl_seconds", "", left.as_secs());
    page.family(
        "causeway_issuer_stale",
        "gauge",
        "Whether a newer issuer, or newer trust anchors, cannot be used.",
    );
    page.sample("causeway_issuer_stale", "", u8::from(issuing.is_stale()));
}

fn page(sources: &Sources, process: &Process) -> String {
    let mut page = Page::default();
    let known = sources.snapshots.borrow().clusters().count();
    page.family("cluster_store_size", "gauge", "Clusters that remote discovery reaches.");
    page.sample("cluster_store_size", "", known);
    sources.gateways.render(&mut page);
    render_issuer(&mut page, &sources.issuing, SystemTime::now());
    render_freshness(&mut page, &sources.cluster_name, &sources.freshness.borrow(), Instant::now());
    render_build(&mut page);
    process.render(&mut page);
    page.finish()
}

fn render_freshness(page: &mut Page, own: &str, freshness: &Freshness, now: Instant) {
    let linked = freshness.linked.iter().map(|(name, seen)| (name.as_str(), seen));
    let clusters: Vec<(&str, &Seen)> = freshness.own.iter().map(|seen| (own, seen)).chain(linked).collect();
    let name = "causeway_cluster_age_seconds";
    page.family(
        name,
        "gauge",
        "Since manifests were last found sound, and since their control plane last lived.",
    );
    for (cluster, seen) in &clusters {
        for (of, at) in [("manifests", Some(seen.manifests)), ("control", seen.control)] {
            let Some(at) = at else { continue };
            let labels = Labels::new().with("cluster", cluster).with("of", of);
            page.sample(name, labels.as_str(), now.duration_since(at).as_secs_f64());
        }
    }
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Seen) -> usize| {
        page.family(name, "gauge", help);
        for (cluster, seen) in &clusters {
            page.sample(name, Labels::new().with("cluster", cluster).as_str(), value(seen));
        }
    };
    gauge("causeway_cluster_problems", "What the latest look at the manifests found wrong.", &|seen| {
        seen.problems
    });
    let help = "Whether what is in force may no longer be what the cluster says.";
    gauge("causeway_cluster_stale", help, &|seen| usize::from(seen.stale(now)));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::control::ca::{Anchor, Authority};

    #[test]
    fn the_issuer_tells_how_long_it_lives() {
        let now = SystemTime::now();
        let anchor = Anchor::generate(now).unwrap();
        let issuer = anchor.issuer_for("west", now).unwrap();
        let authority = Authority::from_pem(&issuer.certificate, &issuer.key, anchor.pem(), now).unwrap();
        let (end, issuing) = (authority.not_after(), Issuing::fixed(authority));
        for (before, left) in [(Duration::from_secs(3600), 3600), (Duration::ZERO, 0)] {
            let mut page = Page::default();
            render_issuer(&mut page, &issuing, end - before);
            let page = page.finish();
            assert!(page.contains(&format!("\nissuer_cert_ttl_seconds {left}\n")), "{page}");
            assert!(page.contains("\ncauseway_issuer_stale 0\n"), "{page}");
        }
    }

    #[test]
    fn every_cluster_has_its_age() {
        let now = Instant::now() + Duration::from_secs(100);
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
        let fresh = Seen { manifests: ago(1), control: None, problems: 0 };
        let stale = Seen { manifests: ago(60), control: Some(ago(2)), problems: 3 };
        let linked = BTreeMap::from([("east".to_owned(), stale)]);
        let mut page = Page::default();
        render_freshness(&mut page, "west", &Freshness { own: Some(fresh), linked }, now);
        let samples: Vec<_> =
            page.finish().lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
        assert_eq!(
            samples,
            [
                r#"causeway_cluster_age_seconds{cluster="west",of="manifests"} 1"#,
                r#"causeway_cluster_age_seconds{cluster="east",of="manifests"} 60"#,
                r#"causeway_cluster_age_seconds{cluster="east",of="control"} 2"#,
                r#"causeway_cluster_problems{cluster="west"} 0"#,
                r#"causeway_cluster_problems{cluster="east"} 3"#,
                r#"causeway_cluster_stale{cluster="west"} 0"#,
                r#"causeway_cluster_stale{cluster="east"} 1"#,
            ]
        );
    }
}

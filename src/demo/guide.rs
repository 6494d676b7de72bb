//! The guide to pod-to-pod communication, step by step: a service in the east, a permitted and a refused caller in the
//! west, and the figures that their proxies give.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

mod tables;
mod verdict;

use self::verdict::Verdict;
use super::cluster::{Plan, network};
use super::manifests::{Manifests, manifests};
use super::scenario::{Outcome, say};
use super::world::World;

/// Kubernetes namespace of all that the guide runs, in both clusters.
pub const NAMESPACE: &str = "mc-demo";

/// Holds the service.
pub const EAST: Manifests = manifests!("guide/", "east": "01-namespace.yaml", "02-bb.yaml", "03-policy.yaml");

/// Calls it.
pub const WEST: Manifests = manifests!(
    "guide/", "west": "01-namespace.yaml", "02-link.yaml", "03-slow-cooker.yaml", "04-slow-cooker-evil.yaml",
);

/// The pod and service networks must not meet: the clusters are one flat network.
pub(super) fn plans() -> Vec<Plan> {
    let control = |last: u8| IpAddr::from(Ipv4Addr::new(172, 31, 255, last));
    vec![
        Plan { manifests: EAST, control: control(11), pods: network(22), services: network(23) },
        Plan { manifests: WEST, control: control(12), pods: network(42), services: network(43) },
    ]
}

/// Waits for traffic, watches it for `duration`, and prints the guide's tables.
///
/// # Errors
/// When a step cannot be done.
pub(super) async fn play(world: &mut World, duration: Duration) -> anyhow::Result<Outcome> {
    say("waiting for traffic (the guide's load generators sleep for 5 s)");
    world.await_traffic().await?;
    say(&format!("traffic flows; measuring for {}", humantime::format_duration(duration)));
    let end = Instant::now() + duration;
    let mut scrapes = world.scrape(EAST.cluster).await?;
    sleep_until(end).await;
    scrapes.extend(world.scrape(EAST.cluster).await?);
    let verdict = Verdict {
        admitted: world.report("slow-cooker").await?,
        refused: world.report("slow-cooker-evil").await?,
    };
    write!(io::stdout(), "{}", tables::print(world, EAST.cluster, NAMESPACE, scrapes)?)?;
    Ok(Outcome {
        summary: verdict.summary(),
        problems: verdict.problems(),
        promised: "as the guide promises",
    })
}

//! Three clusters that are all linked to each other, and one of them dies. Traffic goes from the north to a service that
//! all three have, to mirrors that lead to pods of the west and of the east, and to one behind the east's gateway.
//!
//! ```text
//!   traffic ─▶ calls ─▶ live           what each request became, as it happens
//!                  └──▶ table, verdict at the end: what was seen before, while the east was dead, after
//! ```

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

mod calls;
mod live;
mod table;
mod traffic;
mod verdict;

use self::calls::{Timeline, now};
use self::live::Live;
use self::traffic::Traffic;
use super::cluster::{Plan, network};
use super::manifests::{Manifests, manifests};
use super::scenario::{Outcome, say};
use super::world::World;

/// Stays as it is.
pub const WEST: Manifests = manifests!(
    "three-clusters/", "west": "01-namespaces.yaml", "02-links.yaml", "03-frontend.yaml", "04-api.yaml",
);

/// Dies and comes back.
pub const EAST: Manifests = manifests!(
    "three-clusters/", "east": "01-namespaces.yaml", "02-links.yaml", "03-frontend.yaml", "04-api.yaml",
    "05-analytics.yaml", "06-gateway.yaml",
);

/// Calls the others.
pub const NORTH: Manifests = manifests!(
    "three-clusters/", "north": "01-namespaces.yaml", "02-links.yaml", "03-frontend.yaml", "04-traffic.yaml",
);

/// In the order in which they start: traffic last.
pub const ALL: [Manifests; 3] = [WEST, EAST, NORTH];

/// What the network's load balancer gave the east's gateway, as its Service and the Links to the east say.
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 31, 255, 21));

/// The pod and service networks must not meet: the clusters are one flat network.
#[must_use]
pub fn plans() -> Vec<Plan> {
    let control = |last: u8| IpAddr::from(Ipv4Addr::new(172, 31, 255, last));
    let numbered = (1_u8..).zip([22, 42, 62]).zip(ALL);
    let plan = |((number, net), manifests)| Plan {
        manifests,
        control: control(10 + number),
        pods: network(net),
        services: network(net + 1),
    };
    numbered.map(plan).collect()
}

/// Lets the east die and come back, and judges what callers saw. `part` is how long it is alive, dead, and back; dead at
/// least for as long as it takes to notice.
///
/// `ours`: no other proxy is in place of ours, which is held to more.
///
/// # Errors
/// When a step cannot be done.
pub(super) async fn play(world: &mut World, part: Option<Duration>, ours: bool) -> anyhow::Result<Outcome> {
    let part = part.unwrap_or(PART);
    let notice = if ours { NOTICED } else { NOTICED_BY_KEEP_ALIVE };
    world.balance(GATEWAY, EAST.cluster, "linkerd-gateway")?;
    say("waiting for traffic to flow to all of them");
    world.await_traffic().await?;
    let mut traffic = Traffic::of(world)?;
    traffic.await_answers(FLOWS_WITHIN).await?;
    let began = now();
    let mut live = Live::new(io::stdout().is_terminal(), began + millis(part));
    watch(sleep(part), &mut traffic, &mut live).await?;
    say("the east dies: its links are cut, then its processes killed");
    let died = now();
    live.died(died);
    world.cut(EAST.cluster)?;
    world.kill(EAST.cluster)?;
    watch(sleep(part.max(notice + AFTERWARDS)), &mut traffic, &mut live).await?;
    say("the east comes back, from the folder that nobody touched");
    let returned = now();
    watch(world.revive(EAST.cluster, say), &mut traffic, &mut live).await??;
    let ready = now();
    say("all of the east is ready");
    watch(sleep(part), &mut traffic, &mut live).await?;
    let time = Timeline { began, died, returned, ready, ended: now(), notice: millis(notice) };
    let calls = traffic.into_calls();
    let mut summary = format!("\n{}{}", table::print(&calls, &time), table::failures(&calls, &time));
    if !ours {
        summary.push_str("\nof another proxy only the distribution is judged");
    }
    Ok(Outcome { summary, problems: verdict::problems(&calls, &time, ours), promised: "as it should be" })
}

/// Does `work`, and meanwhile reads what the callers see, and shows it every second.
async fn watch<T>(
    work: impl Future<Output = T>,
    traffic: &mut Traffic,
    live: &mut Live,
) -> anyhow::Result<T> {
    let mut work = std::pin::pin!(work);
    let mut shown = Instant::now();
    loop {
        let done = timeout_at(shown + EVERY, &mut work).await.ok();
        // What comes next has lines of its own; a moment needs none.
        if done.is_none() || shown.elapsed() > EVERY / 2 {
            shown = Instant::now();
            traffic.read()?;
            writeln!(io::stdout(), "{}", live.line(now(), traffic.calls()))?;
        }
        if let Some(done) = done {
            return Ok(done);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Time between two lines of the view.
const EVERY: Duration = Duration::from_secs(1);
const PART: Duration = Duration::from_secs(20);
/// A connection that requests wait on is given up after 700 ms, and the next one is not made in a second.
const NOTICED: Duration = Duration::from_secs(2);
/// HTTP/2's keep-alive (controlplane 2.1) gives a silent peer up after 13 s.
const NOTICED_BY_KEEP_ALIVE: Duration = Duration::from_secs(14);
/// What is refused then is judged.
const AFTERWARDS: Duration = Duration::from_secs(4);
const FLOWS_WITHIN: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_service_and_every_link_to_it_name_the_load_balancers_address() {
        let named = |manifests: Manifests, key: &str| {
            let line = format!("{key}: {GATEWAY}");
            manifests.files.iter().map(|(_, text)| text.matches(&line).count()).sum::<usize>()
        };
        assert_eq!(ALL.map(|manifests| named(manifests, "gatewayAddress")), [1, 0, 1]);
        assert_eq!(named(EAST, "- ip"), 1);
        let plans = plans();
        assert!(plans.iter().all(|plan| !plan.pods.contains(&GATEWAY) && plan.control != GATEWAY));
    }
}

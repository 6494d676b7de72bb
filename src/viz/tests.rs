//! The guide's tables, from pages that the proxy's own metrics print. The clock stands still, so that every
//! request takes no time.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use super::stat::Pods;
use super::window::Scrape;
use super::*;
use crate::model::peer::NoTls;
use crate::model::{Peer, ResourceRef};
use crate::telemetry::labels::InboundTarget;
use crate::telemetry::{Metrics, RETAIN_IDLE};

const WINDOW: Duration = Duration::from_secs(60);

/// A pod that carries traffic and is scraped.
struct Pod {
    origin: Origin,
    metrics: Metrics,
}

impl Pod {
    fn new(namespace: &str, deployment: &str) -> Self {
        let pod = format!("{deployment}-1");
        let origin = Origin { namespace: namespace.into(), pod, deployment: deployment.into() };
        Self { origin, metrics: Metrics::new(RETAIN_IDLE) }
    }

    fn scrape(&self, at: Instant) -> Scrape {
        let samples = scrape::parse(&self.metrics.render()).unwrap();
        Scrape { origin: self.origin.clone(), at, samples }
    }

    fn allow(&self, port: &Port, route: &ResourceRef, authz: &ResourceRef, status: u16, count: usize) {
        let at = port.at();
        let requests = self.metrics.requests.inbound(&at, route, authz);
        for _ in 0..count {
            self.metrics.authz.http_allow(&at, route, authz).incr();
            requests
                .start(&HeaderMap::new())
                .response(StatusCode::from_u16(status).unwrap(), &HeaderMap::new())
                .end(None, Instant::now());
        }
    }
}

struct Port {
    server: ResourceRef,
    number: u16,
    peer: Peer,
}

impl Port {
    fn at(&self) -> InboundTarget<'_> {
        let target = ([10, 0, 0, 7], self.number).into();
        InboundTarget { target, server: &self.server, peer: &self.peer }
    }
}

fn client(sa: &str) -> Peer {
    let id = format!("{sa}.mc-demo.serviceaccount.identity.linkerd.cluster.local");
    Peer::Identified(id.parse().unwrap())
}

fn bb_port(sa: &str) -> Port {
    Port { server: ResourceRef::object("policy.linkerd.io", "server", "bb"), number: 8080, peer: client(sa) }
}

fn admin_port() -> Port {
    let server = ResourceRef::default_named("all-unauthenticated");
    Port { server, number: 4191, peer: Peer::Plaintext(NoTls::NoTlsFromRemote) }
}

fn default(name: &str) -> ResourceRef {
    ResourceRef::default_named(name)
}

fn bb_authz() -> ResourceRef {
    ResourceRef::object("policy.linkerd.io", "authorizationpolicy", "bb-authz")
}

/// Traffic from before the window, which no table may show, then the guide's.
fn guide(denied: u64) -> Window {
    let (bb, other) = (Pod::new("mc-demo", "bb"), Pod::new("elsewhere", "bb"));
    let start = Instant::now();
    bb.allow(&bb_port("slow-cooker"), &default("default"), &bb_authz(), 500, 5);
    other.allow(&bb_port("slow-cooker"), &default("default"), &bb_authz(), 200, 1);
    let first = [bb.scrape(start), other.scrape(start)];

    other.allow(&bb_port("slow-cooker"), &default("default"), &bb_authz(), 200, 1000);
    bb.allow(&bb_port("slow-cooker"), &default("default"), &bb_authz(), 200, 600);
    bb.allow(&admin_port(), &default("default"), &default("all-unauthenticated"), 200, 6);
    bb.allow(&admin_port(), &default("probe"), &default("probe"), 200, 12);
    let refused = bb_port("slow-cooker-evil");
    if denied > 0 {
        bb.metrics.authz.http_deny(&refused.at(), &default("default")).add(denied);
    }
    let _open = [
        bb.metrics.transport.accept_inbound(&bb_port("slow-cooker").at()).open(),
        bb.metrics.transport.accept_inbound(&refused.at()).open(),
        bb.metrics.transport.connect_inbound().open(),
    ];
    let last = [bb.scrape(start + WINDOW), other.scrape(start + WINDOW)];
    Window::new(first.into_iter().chain(last).collect()).unwrap()
}

fn pods(meshed: usize, running: usize) -> Pods {
    Pods { meshed, running }
}

#[tokio::test(start_paused = true)]
async fn stat_prints_the_guides_table() {
    let deployments = [("bb".to_string(), pods(1, 1))].into();
    let rows = stat::rows(&guide(0), "mc-demo", &deployments);
    assert_eq!(
        stat::print(&rows),
        "\
NAME   MESHED   SUCCESS       RPS   LATENCY_P50   LATENCY_P95   LATENCY_P99   TCP_CONN
bb        1/1   100.00%   10.3rps           1ms           1ms           1ms          3
"
    );
    let stats = rows[0].stats.unwrap();
    assert_eq!((stats.traffic.success, stats.traffic.failure, stats.tcp_connections), (618, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn stat_shows_idle_workloads_and_hides_unmeshed_ones() {
    let deployments =
        [("slow-cooker", pods(2, 3)), ("bb", pods(1, 1)), ("plain", pods(0, 1))].map(|(n, p)| (n.into(), p));
    let rows = stat::rows(&guide(0), "mc-demo", &deployments.into());
    assert_eq!(
        stat::print(&rows),
        "\
NAME          MESHED   SUCCESS       RPS   LATENCY_P50   LATENCY_P95   LATENCY_P99   TCP_CONN
bb               1/1   100.00%   10.3rps           1ms           1ms           1ms          3
slow-cooker      2/3         -         -             -             -             -          -
"
    );
    assert_eq!(stat::print(&[]), "No traffic found.\n");
}

#[tokio::test(start_paused = true)]
async fn authz_prints_the_guides_first_table() {
    assert_eq!(
        authz::print(&authz::rows(&guide(0), "mc-demo")).replace("  \n", "\n"),
        "\
ROUTE    SERVER                       AUTHORIZATION                 UNAUTHORIZED  SUCCESS      RPS  LATENCY_P50  LATENCY_P95  LATENCY_P99
default  bb                           authorizationpolicy/bb-authz        0.0rps  100.00%  10.0rps          1ms          1ms          1ms
default  default:all-unauthenticated  default/all-unauthenticated         0.0rps  100.00%   0.1rps          1ms          1ms          1ms
probe    default:all-unauthenticated  default/probe                       0.0rps  100.00%   0.2rps          1ms          1ms          1ms
"
    );
}

#[tokio::test(start_paused = true)]
async fn authz_prints_the_guides_second_table() {
    let rows = authz::rows(&guide(600), "mc-demo");
    assert_eq!(
        authz::print(&rows).replace("  \n", "\n"),
        "\
ROUTE    SERVER                       AUTHORIZATION                 UNAUTHORIZED  SUCCESS      RPS  LATENCY_P50  LATENCY_P95  LATENCY_P99
default  bb                                                              10.0rps    0.00%   0.0rps          0ms          0ms          0ms
default  bb                           authorizationpolicy/bb-authz        0.0rps  100.00%  10.0rps          1ms          1ms          1ms
default  default:all-unauthenticated  default/all-unauthenticated         0.0rps  100.00%   0.1rps          1ms          1ms          1ms
probe    default:all-unauthenticated  default/probe                       0.0rps  100.00%   0.2rps          1ms          1ms          1ms
"
    );
    assert_eq!((rows[0].denied, rows[0].unauthorized_rps, rows[0].rps), (600, 10.0, 0.0));
    assert_eq!(rows[1].traffic.success, 600);
}

#[tokio::test(start_paused = true)]
async fn authz_keeps_written_authorizations_without_traffic_and_drops_others() {
    let bb = Pod::new("mc-demo", "bb");
    bb.allow(&bb_port("slow-cooker"), &default("default"), &bb_authz(), 200, 1);
    bb.allow(&admin_port(), &default("probe"), &default("probe"), 200, 1);
    bb.metrics.authz.http_deny(&bb_port("evil").at(), &default("default")).incr();
    let start = Instant::now();
    let window = Window::new(vec![bb.scrape(start), bb.scrape(start + WINDOW)]).unwrap();
    let rows = authz::rows(&window, "mc-demo");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let text = authz::print(&rows);
    let cells: Vec<_> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(cells, ["default", "bb", "authorizationpolicy/bb-authz", "-", "-", "-", "-", "-", "-"]);
}

#[tokio::test(start_paused = true)]
async fn failures_lower_the_success_rate() {
    let bb = Pod::new("mc-demo", "bb");
    let start = Instant::now();
    let first = bb.scrape(start);
    bb.allow(&bb_port("slow-cooker"), &default("default"), &bb_authz(), 200, 2);
    bb.allow(&bb_port("slow-cooker"), &default("default"), &bb_authz(), 503, 1);
    let window = Window::new(vec![first, bb.scrape(start + WINDOW)]).unwrap();
    let text = authz::print(&authz::rows(&window, "mc-demo"));
    assert!(text.contains("  66.67%  "), "{text}");
}

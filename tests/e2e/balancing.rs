//! Which endpoints do requests go to, while load and endpoints change? A whole proxy, many endpoints without one,
//! and a steady rate of requests.
//!
//! A process of its own, since it measures itself, and its tests take turns. `CAUSEWAY_BALANCING=full` runs them as
//! long and as large as they are meant; `--nocapture` shows the figures.

// Everything here is a test, and fails by panicking.
#![allow(clippy::unwrap_used, clippy::large_futures, unreachable_pub)]
#![allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]

mod application;
mod client;
mod pair;
mod policies;
mod raw;
mod sandbox;
mod scripted;

#[path = "balancing/churn.rs"]
mod churn;
#[path = "balancing/endpoints.rs"]
mod endpoints;
#[path = "balancing/load.rs"]
mod load;
#[path = "balancing/local_first.rs"]
mod local_first;

use std::net::SocketAddr;

/// Tests measure, so they run one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Whether everything is to be run as large as it is meant.
fn full() -> bool {
    std::env::var("CAUSEWAY_BALANCING").is_ok_and(|size| size == "full")
}

/// A proxy's page of metrics.
async fn page(admin: SocketAddr) -> String {
    let io = tokio::net::TcpStream::connect(admin).await.unwrap();
    let page = client::Client::new(client::Kind::Http1, io).await.get("/metrics").await;
    String::from_utf8(page.body.to_vec()).unwrap()
}

/// The sum of a page's samples that begin so and contain this.
fn sum(page: &str, name: &str, label: &str) -> u64 {
    let of = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
    of.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

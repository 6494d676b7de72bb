//! Does anybody notice which proxy is at the other end?
//!
//! Applications in two pods speak to each other, each pod with our proxy or with the reference one. What both
//! applications saw is written down the same way for every pairing, and compared with what was seen between two
//! reference proxies: `records/reference.txt`. Where ours differ, that is in [`deviations`] with its reason, and what
//! was seen instead is in `records/deviations.txt`. The same again with a gateway between the clusters, in
//! `records/gateway`. What policy does is in [`policy`].
//!
//! Ours with ours always runs. The other pairings run where `LINKERD2_PROXY_BIN` names a reference proxy, and say
//! loudly that they did not where none is. `CAUSEWAY_WRITE_RECORDS=1` writes what was seen into both files, those of the
//! reference first: run that test before the others, and one at a time. `CAUSEWAY_INTEROP_CASE` plays only the cases
//! whose titles hold it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod cases;
#[path = "../control/mod.rs"]
mod control;
mod deviations;
mod frames;
#[path = "../hello/mod.rs"]
mod hello;
#[path = "../lone_pod/mod.rs"]
mod lone_pod;
mod messages;
mod policy;
mod record;
mod stage;
mod tally;

#[allow(dead_code, reason = "shared with the namespace tests")]
#[path = "../netns/mesh.rs"]
mod mesh;
#[path = "../netns/namespace.rs"]
mod namespace;
#[allow(dead_code, reason = "shared with the namespace tests")]
#[path = "../netns/world.rs"]
mod world;

use record::Records;
use stage::{Between, Pairing, Proxy, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn two_of_ours_do_as_two_reference_proxies_do() {
    compare(Pairing { client: Proxy::Ours, server: Proxy::Ours }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_calls_the_reference_proxy() {
    compare(Pairing { client: Proxy::Ours, server: Proxy::Reference }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_proxy_calls_ours() {
    compare(Pairing { client: Proxy::Reference, server: Proxy::Ours }).await;
}

/// The yardstick is what was recorded, also where a newer reference proxy would say otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn two_reference_proxies_do_as_recorded() {
    compare(Pairing { client: Proxy::Reference, server: Proxy::Reference }).await;
}

/// With a gateway between the clusters, which says for whom it calls.
#[tokio::test(flavor = "multi_thread")]
async fn our_gateway_between_two_of_ours_does_as_the_reference_s_between_its_own() {
    compare_through_gateway(Pairing { client: Proxy::Ours, server: Proxy::Ours }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_calls_through_the_reference_s_gateway() {
    compare_through_gateway(Pairing { client: Proxy::Ours, server: Proxy::Reference }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_proxy_calls_through_our_gateway() {
    compare_through_gateway(Pairing { client: Proxy::Reference, server: Proxy::Ours }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_s_gateway_does_as_recorded() {
    compare_through_gateway(Pairing { client: Proxy::Reference, server: Proxy::Reference }).await;
}

async fn compare(pairing: Pairing) {
    compare_between(pairing, Between::FlatNetwork).await;
}

async fn compare_through_gateway(pairing: Pairing) {
    compare_between(pairing, Between::Gateway).await;
}

async fn compare_between(pairing: Pairing, between: Between) {
    let Some(stage) = Stage::set(pairing, between).await else { return };
    let seen = cases::run(&stage).await;
    let problems = Records::load(between.folder()).compare(pairing, &seen);
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), seen.len(), record::told(&problems));
}

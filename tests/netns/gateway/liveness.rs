//! A gateway that hangs is taken out of its mirrors by the control plane that probes it, and comes back (controlplane
//! 1.9): whoever's proxy it has.

use std::net::SocketAddr;
use std::time::Duration;

use causeway::demo::node;
use causeway::viz::{control, scrape};
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::stage::{HTTP, Proxy, Stage};
use super::{outcome, request};
use crate::load::{Kind, Sender};
use crate::mesh::DEADLINE;

#[tokio::test(flavor = "multi_thread")]
async fn our_gateway_that_hangs_is_found_dead_and_alive_again() {
    lives_and_dies(Proxy::Ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_is_the_reference_s() {
    lives_and_dies(Proxy::Reference).await;
}

async fn lives_and_dies(gateway: Proxy) {
    let Some(mut stage) = Stage::set(gateway).await else { return };
    let _asked = stage.serve("server-ours");
    let quick = "period: 300ms, timeout: 500ms, failureThreshold: '3'";
    stage.edit("west", "01-link.yaml", "period: 3s", quick);
    await_alive(&stage, true).await;
    assert_eq!(ask(&stage).await, 200);

    stage.signal("linkerd-gateway", Signal::SIGSTOP);
    let began = Instant::now();
    await_alive(&stage, false).await;
    eprintln!("{gateway}: dead after {:?}", began.elapsed());
    // Nobody is waited for any more: the mirror has no endpoint.
    await_answer(&stage, &REFUSED).await;

    stage.signal("linkerd-gateway", Signal::SIGCONT);
    let began = Instant::now();
    await_alive(&stage, true).await;
    await_answer(&stage, &[200]).await;
    eprintln!("{gateway}: alive after {:?}", began.elapsed());
}

async fn ask(stage: &Stage) -> u16 {
    let to = stage.mirror("server-ours", HTTP).await;
    let mut sender = Sender::connect(stage.pod("client-ours"), to, Kind::Http1).await.unwrap();
    outcome(Kind::Http1, &sender.ask(request(Kind::Http1)).await.unwrap())
}

/// After the failfast timeout, and at once from then on.
const REFUSED: [u16; 2] = [504, 503];

async fn await_answer(stage: &Stage, wanted: &[u16]) {
    let began = Instant::now();
    loop {
        let answer = ask(stage).await;
        if wanted.contains(&answer) {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{answer}, not one of {wanted:?}");
    }
}

async fn await_alive(stage: &Stage, wanted: bool) {
    let began = Instant::now();
    loop {
        let admin = SocketAddr::from((stage.control("west"), 9999));
        let page = node::fetch(stage.router(), admin, "/metrics", DEADLINE).await.unwrap();
        let linked = control::Linked::read(&scrape::parse(std::str::from_utf8(&page).unwrap()).unwrap());
        let gateway = linked.gateways.get("target").copied().unwrap_or_default();
        if gateway.enabled && gateway.alive == wanted {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{gateway:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! Does a route, a retry, a timeout or a breaker do what it does in the reference proxy?
//!
//! One pod with a proxy under a scripted control plane, and applications outside that answer as each case tells them
//! to. What both ends saw is compared with what was seen with the reference proxy, as in the other cases:
//! `records/policy`. Ours alone always runs, the reference where it is named.

mod app;
mod breakers;
mod client;
mod connections;
mod lost;
mod profiles;
mod retries;
mod routing;
mod timeouts;
mod world;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::record::{self, Observed, Records};
use crate::stage::{Pairing, Proxy};
use world::{Scene, World};

#[tokio::test(flavor = "multi_thread")]
async fn policy_does_with_ours_what_it_does_with_the_reference() {
    compare(Proxy::Ours).await;
}

/// The yardstick is what was recorded, also where a newer reference proxy would say otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn policy_does_with_the_reference_as_recorded() {
    compare(Proxy::Reference).await;
}

async fn compare(proxy: Proxy) {
    let Some(world) = World::start(proxy).await else { return };
    let (world, pairing) = (Arc::new(world), Pairing { client: proxy, server: proxy });
    let seen = run(&world).await;
    let problems = Records::load("policy").compare(pairing, &seen);
    let count = (problems.len(), seen.len());
    assert!(problems.is_empty(), "{proxy:?}, {} of {} cases:\n{}", count.0, count.1, record::told(&problems));
}

type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Something that is asked of a service with a policy of its own.
struct Case {
    name: String,
    play: Box<dyn FnOnce(Scene) -> Playing + Send>,
}

impl Case {
    fn new<F: Future<Output = ()> + Send + 'static>(
        name: impl Into<String>,
        play: impl FnOnce(Scene) -> F + Send + 'static,
    ) -> Self {
        Self { name: name.into(), play: Box::new(move |scene| Box::pin(play(scene))) }
    }
}

/// Longer than any case takes, which are failfast timeouts and pauses of breakers.
const LONGEST: Duration = Duration::from_secs(60);

/// Cases that run at once. They wait more than they work.
const ABREAST: usize = 24;

async fn run(world: &Arc<World>) -> Observed {
    let all = [
        routing::cases(),
        timeouts::cases(),
        retries::cases(),
        lost::cases(),
        breakers::cases(),
        profiles::cases(),
        connections::cases(),
    ];
    let all = all.into_iter().flatten().filter(|case| case.name.contains(&*record::CASES));
    let playing = all.map(|Case { name, play }| {
        let scene = world.scene();
        let seen = scene.seen.clone();
        async move {
            match timeout(LONGEST, tokio::spawn(play(scene))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => seen.client([error.to_string()]),
                Err(_) => seen.client([format!("the case did not end within {LONGEST:?}")]),
            }
            (name, seen.text())
        }
    });
    futures_util::stream::iter(playing).buffer_unordered(ABREAST).collect().await
}

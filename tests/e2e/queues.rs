//! Limits on how many may wait, for an endpoint and for an answer (contract 1.3, 4.6).

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Kind;
use crate::every_kind;
use crate::pair::{BB, Pair};
use crate::policies::{add, none};
use crate::sandbox::{Sandbox, within};

every_kind! {
    async fn no_more_outbound_requests_wait_for_answers_than_allowed(kind: Kind) {
        let limit = [("LINKERD2_PROXY_OUTBOUND_MAX_IN_FLIGHT", "1")];
        let pair = Pair::with(Sandbox::new().await, &limit, &[]).await;
        let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
        let (held, ()) = tokio::join!(first.get("/held"), async {
            within("the first request", pair.app.state.held.notified()).await;
            second.get("/").await.assert_refused(kind, 503, "14");
            pair.app.state.release.notify_one();
        });
        held.assert_answered();
        pair.get(kind).await.assert_answered();
    }

    async fn no_more_inbound_requests_wait_for_answers_than_allowed(kind: Kind) {
        let limit = [("LINKERD2_PROXY_INBOUND_MAX_IN_FLIGHT", "1")];
        let pair = Pair::with(Sandbox::new().await, &[], &limit).await;
        let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
        let (held, ()) = tokio::join!(first.get("/held"), async {
            within("the first request", pair.app.state.held.notified()).await;
            second.get("/").await.assert_refused(kind, 503, "14");
            pair.app.state.release.notify_one();
        });
        held.assert_answered();
        pair.get(kind).await.assert_answered();
    }

    async fn no_more_requests_wait_for_an_endpoint_than_the_queue_holds(kind: Kind) {
        let limit = [("LINKERD2_PROXY_OUTBOUND_HTTP_QUEUE_CAPACITY", "1")];
        let pair = Pair::with(Sandbox::new().await, &limit, &[]).await;
        pair.world.script().endpoints(BB, &none());
        let (mut first, mut second) = (pair.client(kind).await, pair.client(kind).await);
        let (waited, ()) = tokio::join!(first.get("/"), async {
            pair.world.script().endpoints.until_opened(BB, 1).await;
            let asked = Instant::now();
            second.get("/").await.assert_refused(kind, 503, "14");
            assert!(asked.elapsed() < Duration::from_secs(2), "refused without a wait");
            pair.world.script().endpoints(BB, &add(vec![pair.bb.endpoint(pair.app.addr)]));
        });
        waited.assert_answered();
    }
}

//! Connections that must go nowhere.

use std::net::SocketAddr;

use crate::client::Kind;
use crate::every_kind;
use crate::pair::Pair;
use crate::policies::{detect, forward};
use crate::raw::exchange;
use crate::sandbox::{Sandbox, fresh_ip};

every_kind! {
    async fn outbound_never_dials_loopback_in_a_real_pod(kind: Kind) {
        let mut world = Sandbox::new().await;
        world.allow_loopback = false;
        let pair = Pair::with(world, &[], &[]).await;
        let policy = detect(forward(pair.bb.endpoint(pair.app.addr)));
        pair.world.script().policy(pair.service, &policy);
        let answer = pair.get(kind).await;
        answer.assert_refused(kind, 502, "14");
        assert_eq!(answer.header("causeway-reason"), Some("loop"));
        assert_eq!(pair.app.connections(), 0);
    }
}

#[tokio::test]
async fn an_address_that_is_not_the_pods_is_closed() {
    let pair = Pair::new().await;
    let foreign = SocketAddr::new(fresh_ip(), pair.app.addr.port());
    let io = pair.world.connect_unmeshed(foreign, &pair.bb).await;
    assert_eq!(exchange(io, "GET / HTTP/1.1\r\nhost: bb\r\n\r\n").await, "");
    assert_eq!(pair.app.connections(), 0);
    pair.unmeshed(Kind::Http1).await.get("/").await.assert_answered();
}

#[tokio::test]
async fn a_pod_that_calls_itself_does_so_in_plaintext() {
    let pair = Pair::new().await;
    let mut client = pair.client_of(&pair.bb, Kind::Http1).await;
    client.get("/").await.assert_answered();
    let seen = pair.app.seen_once();
    assert_eq!((seen.header("l5d-client-id"), seen.peer.ip()), (None, pair.bb.ip));
}

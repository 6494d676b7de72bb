//! What holds for a port while the controller has said nothing of it (contract 4.3).

use crate::client::Kind;
use crate::pair::Pair;
use crate::raw::exchange;
use crate::sandbox::Sandbox;

/// Status for a meshed client and for one without a proxy; 0 where the connection is closed.
async fn statuses(default: &str, cluster: &str) -> (u16, u16) {
    let set = [
        ("LINKERD2_PROXY_INBOUND_DEFAULT_POLICY", default),
        ("LINKERD2_PROXY_POLICY_CLUSTER_NETWORKS", cluster),
    ];
    let pair = Pair::with(Sandbox::new().await, &[], &set).await;
    let meshed = pair.get(Kind::Http1).await.status.as_u16();
    let io = pair.world.connect_unmeshed(pair.app.addr, &pair.bb).await;
    let answer = exchange(io, "GET / HTTP/1.1\r\nhost: bb\r\nconnection: close\r\n\r\n").await;
    let unmeshed = answer.get(9..12).map_or(0, |status| status.parse().unwrap());
    let let_in = [meshed, unmeshed].iter().filter(|status| **status == 200).count();
    assert_eq!(pair.app.seen().len(), let_in);
    (meshed, unmeshed)
}

const HERE: &str = "127.0.0.0/8";
const ELSEWHERE: &str = "10.0.0.0/8";

#[tokio::test]
async fn unauthenticated_lets_everyone_in() {
    assert_eq!(statuses("all-unauthenticated", ELSEWHERE).await, (200, 200));
    assert_eq!(statuses("cluster-unauthenticated", HERE).await, (200, 200));
    assert_eq!(statuses("audit", ELSEWHERE).await, (200, 200));
}

#[tokio::test]
async fn authenticated_lets_the_meshed_in() {
    assert_eq!(statuses("all-authenticated", ELSEWHERE).await, (200, 403));
    assert_eq!(statuses("cluster-authenticated", HERE).await, (200, 403));
}

#[tokio::test]
async fn cluster_lets_nobody_in_from_outside() {
    assert_eq!(statuses("cluster-authenticated", ELSEWHERE).await, (403, 403));
    assert_eq!(statuses("cluster-unauthenticated", ELSEWHERE).await, (403, 403));
}

#[tokio::test]
async fn deny_has_no_routes_and_closes() {
    assert_eq!(statuses("deny", HERE).await, (404, 0));
}

use std::time::SystemTime;

use tokio::time::{advance, timeout};

use super::*;
use crate::tls::CredentialStore;
use crate::tls::Error;
use crate::tls::testing::{Issued, San, TestCa};

const WEB: &str = "web.ns.serviceaccount.identity.linkerd.cluster.local";
const API: &str = "api.ns.serviceaccount.identity.linkerd.cluster.local";
const DAY: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_millis(1);

fn tied(store: &CredentialStore, role: Role, peer: &Issued) -> Right {
    store.peers().tie(role, &peer.leaf, &peer.intermediates)
}

fn both(one: &TestCa, other: &TestCa) -> TrustAnchors {
    TrustAnchors::from_pem(format!("{}{}", one.root_pem(), other.root_pem()).as_bytes()).unwrap()
}

fn until(end: SystemTime, ca: &TestCa) -> Issued {
    ca.leaf_between(&[San::Dns(WEB)], end - DAY, end)
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// What of a connection has ended.
async fn state(right: &Right) -> (bool, bool, bool) {
    let closed = timeout(SOON, closed(Some(right))).await.is_ok();
    (right.is_over(), closed, timeout(SOON, cut(Some(right))).await.is_ok())
}

#[tokio::test(start_paused = true)]
async fn who_comes_from_a_removed_anchor_is_over_and_closed_at_once_and_cut_after_the_grace() {
    for role in [Role::Client, Role::Server] {
        let (old, new) = (TestCa::new("old"), TestCa::new("new"));
        let store = old.store(API);
        let [before, after] = [&old, &new].map(|ca| tied(&store, role, &ca.leaf(&[San::Dns(WEB)])));
        let (over, not) = (before.over(), after.over());
        store.trust(both(&old, &new)).await.unwrap();
        assert_eq!(
            (state(&before).await, state(&after).await),
            ((false, false, false), (false, false, false))
        );

        store.trust(new.anchors()).await.unwrap();
        assert!(over.is_cancelled() && !not.is_cancelled());
        assert_eq!((state(&before).await, state(&after).await), ((true, true, false), (false, false, false)));
        advance(GRACE).await;
        store.look(ExpiredPeers::Drain);
        assert_eq!((state(&before).await, state(&after).await), ((true, true, true), (false, false, false)));
        assert_eq!(
            (store.peers().untrusted.load(Ordering::Relaxed), store.peers().expired.load(Ordering::Relaxed)),
            (1, 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_hears_of_the_end() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let store = old.store(API);
    let right = tied(&store, Role::Client, &old.leaf(&[San::Dns(WEB)]));
    let (opaque, http) = (right.clone(), right.clone());
    let waiting = tokio::spawn(async move { either_closed([None, Some(opaque)]).await });
    let cut_off = tokio::spawn(async move { cut(Some(&http)).await });
    yield_now().await;
    store.trust(new.anchors()).await.unwrap();
    timeout(SOON, waiting).await.unwrap().unwrap();
    assert!(!cut_off.is_finished());
    advance(GRACE).await;
    store.look(ExpiredPeers::Keep);
    timeout(SOON, cut_off).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_expired_peer_is_kept_drained_or_closed() {
    let ca = TestCa::new("root");
    let store = ca.store(API);
    let end = SystemTime::now() + DAY;
    let cases = [
        (ExpiredPeers::Keep, (false, false, false), (false, false, false)),
        (ExpiredPeers::Drain, (true, false, false), (true, false, false)),
        (ExpiredPeers::Close, (true, true, false), (true, true, true)),
    ];
    for (setting, then, later) in cases {
        let right = tied(&store, Role::Client, &until(end, &ca));
        let look = |at| store.peers().look(&store.anchors(), setting, unix(at));
        look(end);
        assert_eq!(state(&right).await, (false, false, false), "{setting:?}");
        look(end + Duration::from_secs(1));
        assert_eq!(state(&right).await, then, "{setting:?}");
        advance(GRACE).await;
        look(end + Duration::from_secs(2));
        assert_eq!(state(&right).await, later, "{setting:?}");
    }
    assert_eq!(store.peers().expired.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_expired_peer_whose_anchor_is_removed_too_is_closed() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let store = old.store(API);
    let end = SystemTime::now() + DAY;
    let right = tied(&store, Role::Server, &until(end, &old));
    store.peers().look(&store.anchors(), ExpiredPeers::Drain, unix(end + Duration::from_secs(1)));
    assert_eq!(state(&right).await, (true, false, false));
    store.trust(new.anchors()).await.unwrap();
    assert_eq!(state(&right).await, (true, true, false));
}

#[test]
fn what_ends_without_being_part_of_the_path_ends_nothing() {
    let ca = TestCa::new("root");
    let store = ca.store(API);
    let end = SystemTime::now() + DAY;
    let mut peer = ca.leaf(&[San::Dns(WEB)]);
    peer.intermediates.push(until(end, &TestCa::new("elsewhere")).leaf);
    let right = tied(&store, Role::Client, &peer);
    for _ in 0..2 {
        store.peers().look(&store.anchors(), ExpiredPeers::Close, unix(end + Duration::from_secs(1)));
        assert!(!right.is_over());
    }
}

#[tokio::test]
async fn a_chain_is_kept_once_and_forgotten_with_its_last_connection() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let store = old.store(API);
    let peer = old.leaf(&[San::Dns(WEB)]);
    let known = || store.peers().chains.lock().known.len();
    let first = tied(&store, Role::Client, &peer);
    let second = tied(&store, Role::Client, &peer);
    assert_eq!(known(), 1);
    let as_server = tied(&store, Role::Server, &peer);
    assert_eq!(known(), 2);
    drop((first, as_server));
    assert_eq!(known(), 1);
    store.trust(new.anchors()).await.unwrap();
    // It is proven again, by an anchor that has come back: its older connection ends all the same.
    store.trust(old.anchors()).await.unwrap();
    let third = tied(&store, Role::Client, &peer);
    assert!(second.is_over() && !third.is_over());
    drop(second);
    assert_eq!(known(), 1);
    drop(third);
    assert_eq!(known(), 0);
    assert!(store.peers().chains.lock().over.is_empty());
}

#[tokio::test]
async fn an_anchor_that_is_removed_during_a_handshake_does_not_let_it_through() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let store = old.store(API);
    let peer = old.leaf(&[San::Dns(WEB)]);
    let chain: Vec<_> = std::iter::once(peer.leaf).chain(peer.intermediates).collect();
    let held = store.held();
    assert!(store.admit(&held, Role::Client, &chain).unwrap().is_some());
    store.trust(both(&old, &new)).await.unwrap();
    assert!(store.admit(&held, Role::Client, &chain).unwrap().is_some());
    store.trust(new.anchors()).await.unwrap();
    let refused = store.admit(&held, Role::Client, &chain).unwrap_err();
    assert!(matches!(refused, Error::Untrusted(_)), "{refused}");
    assert!(store.admit(&held, Role::Client, &[]).unwrap().is_none());
}

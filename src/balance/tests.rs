use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::model::outbound::Penalty;

mod local_first;

const MS: Duration = Duration::from_millis(1);

fn addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], n))
}

/// Members 1 to `n`, all ready; a member's value is its port.
fn ready(n: u16) -> Balancer<u16> {
    let balancer = Balancer::new(Load::default());
    balancer.add((1..=n).map(|n| balancer.member(addr(n), |_| n)));
    balancer.members().iter().for_each(|member| member.set_ready(true));
    balancer
}

fn shares(balancer: &Balancer<u16>, picks: u32) -> BTreeMap<u16, u32> {
    let mut seen = BTreeMap::new();
    for _ in 0..picks {
        let pick = balancer.pick().unwrap();
        *seen.entry(*pick).or_insert(0) += 1;
        pick.abandon();
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn equal_members_get_equal_shares() {
    let seen = shares(&ready(4), 4_000);
    assert_eq!(seen.len(), 4);
    assert!(seen.values().all(|picks| (800..1200).contains(picks)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn the_slower_of_two_is_left_alone_until_it_is_forgiven() {
    let balancer = ready(2);
    let slow = balancer.get(addr(1)).unwrap();
    slow.latency.record(Duration::from_secs(1), Instant::now());
    assert_eq!(shares(&balancer, 100), [(2, 100)].into());
    tokio::time::advance(Duration::from_secs(600)).await;
    assert_eq!(shares(&balancer, 1_000).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_weighs_on_a_member() {
    let balancer = ready(2);
    let held: Vec<_> = (0..10).map(|_| balancer.pick().unwrap()).collect();
    let waiting: Vec<u32> = balancer.members().iter().map(|member| member.in_flight()).collect();
    assert_eq!(waiting, [5, 5]);
    drop(held);
    assert!(balancer.members().iter().all(|member| member.in_flight() == 0));
}

#[tokio::test(start_paused = true)]
async fn latency_is_measured_once_up_to_the_response() {
    let balancer = ready(1);
    let mut pick = balancer.pick().unwrap();
    tokio::time::advance(200 * MS).await;
    pick.responded();
    let member = balancer.get(addr(1)).unwrap();
    assert_eq!(member.in_flight(), 0);
    let load = member.load(Instant::now());
    assert!((0.19..0.21).contains(&load), "{load}");
    tokio::time::advance(5 * MS).await;
    let before = member.load(Instant::now());
    drop(pick);
    assert_eq!(member.load(Instant::now()), before);

    let pick = balancer.pick().unwrap();
    tokio::time::advance(900 * MS).await;
    drop(pick);
    let load = member.load(Instant::now());
    assert!((0.89..0.91).contains(&load), "{load}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_as_its_penalty_at_once_where_there_is_one() {
    for penalty in [None, Some(Penalty::default())] {
        let balancer = Balancer::new(Load { penalty, ..Load::default() });
        balancer.add([balancer.member(addr(1), |_| 1)]);
        balancer.members()[0].set_ready(true);
        let member = balancer.get(addr(1)).unwrap();
        let mut pick = balancer.pick().unwrap();
        pick.answered(StatusCode::OK, &HeaderMap::new());
        assert_eq!(member.in_flight(), 1, "its answer has not begun");
        pick.answered(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new());
        assert_eq!(member.in_flight(), u32::from(penalty.is_none()));
        drop(pick);
        let load = member.load(Instant::now());
        assert_eq!(load > 4.9, penalty.is_some(), "{load}");
    }
}

#[tokio::test(start_paused = true)]
async fn unready_and_removed_members_are_not_picked() {
    let balancer = ready(3);
    balancer.get(addr(1)).unwrap().set_ready(false);
    balancer.remove(&[addr(2)]);
    assert_eq!(shares(&balancer, 100), [(3, 100)].into());
    balancer.reset([]);
    assert!(balancer.pick().is_none() && !balancer.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_replaced_member_starts_anew_and_a_kept_one_goes_on() {
    let balancer = ready(2);
    let kept = balancer.get(addr(1)).unwrap();
    balancer.reset([kept.clone(), balancer.member(addr(2), |_| 20)]);
    assert!(Arc::ptr_eq(&kept, &balancer.get(addr(1)).unwrap()));
    assert!(!balancer.get(addr(2)).unwrap().is_ready());
    assert_eq!(shares(&balancer, 10), [(1, 10)].into());
    balancer.get(addr(2)).unwrap().set_ready(true);
    assert_eq!(shares(&balancer, 100).into_keys().collect::<Vec<_>>(), [1, 20]);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_a_member_becomes_ready_or_at_the_deadline() {
    let balancer: Arc<Balancer<u16>> = Arc::new(Balancer::new(Load::default()));
    let start = Instant::now();
    assert!(!balancer.wait_ready(start + 3000 * MS).await);
    assert_eq!(start.elapsed(), 3000 * MS);

    let waiting = tokio::spawn({
        let balancer = balancer.clone();
        async move { balancer.wait_ready(Instant::now() + 3000 * MS).await }
    });
    tokio::time::sleep(100 * MS).await;
    let mut later = None;
    balancer.add([balancer.member(addr(1), |readiness| {
        later = Some(readiness);
        1
    })]);
    tokio::time::sleep(100 * MS).await;
    assert!(!waiting.is_finished(), "a member that is not ready ends no wait");
    later.unwrap().set(true);
    assert!(waiting.await.unwrap());
    assert_eq!(start.elapsed(), 3200 * MS);
}

#[derive(Clone, Debug)]
enum Change {
    Add(Vec<u16>),
    Remove(Vec<u16>),
    Reset(Vec<u16>),
    Ready(u16, bool),
}

fn change() -> impl Strategy<Value = Change> {
    let ports = || proptest::collection::vec(1_u16..20, 0..6);
    prop_oneof![
        ports().prop_map(Change::Add),
        ports().prop_map(Change::Remove),
        ports().prop_map(Change::Reset),
        (1_u16..20, any::<bool>()).prop_map(|(port, ready)| Change::Ready(port, ready)),
    ]
}

proptest! {
    #[test]
    fn any_series_of_changes_leaves_what_a_map_would_hold(changes in proptest::collection::vec(change(), 0..40)) {
        let balancer = Balancer::new(Load::default());
        let mut model: BTreeMap<u16, bool> = BTreeMap::new();
        let new = |ports: &[u16]| ports.iter().map(|n| balancer.member(addr(*n), |_| *n)).collect::<Vec<_>>();
        for change in changes {
            match change {
                Change::Add(ports) => {
                    balancer.add(new(&ports));
                    model.extend(ports.into_iter().map(|port| (port, false)));
                }
                Change::Remove(ports) => {
                    balancer.remove(&ports.iter().map(|n| addr(*n)).collect::<Vec<_>>());
                    model.retain(|port, _| !ports.contains(port));
                }
                Change::Reset(ports) => {
                    balancer.reset(new(&ports));
                    model = ports.into_iter().map(|port| (port, false)).collect();
                }
                Change::Ready(port, ready) => {
                    if let Some(member) = balancer.get(addr(port)) {
                        member.set_ready(ready);
                    }
                    model.entry(port).and_modify(|is| *is = ready);
                }
            }
            let held: BTreeMap<u16, bool> = balancer.members().iter().map(|m| (***m, m.is_ready())).collect();
            prop_assert_eq!(&held, &model);
            let may: BTreeSet<u16> = model.iter().filter(|(_, ready)| **ready).map(|(port, _)| *port).collect();
            match balancer.pick() {
                Some(pick) => prop_assert!(may.contains(&*pick)),
                None => prop_assert!(may.is_empty()),
            }
        }
    }
}

//! Local members first.

use super::*;

const BAND: LoadBand = LoadBand { low: 2, high: 4 };

/// Members 1 and 2 are local and 3 to 5 are not; all are ready.
fn zones() -> Balancer<u16> {
    let balancer = Balancer::local_first(Load::default(), [Some(BAND), None, None]);
    let place = |n| if n < 3 { Locality::Local } else { Locality::Remote };
    // In no order.
    let members = [4, 2, 5, 1, 3].map(|n| balancer.member_at(addr(n), place(n), |_| n));
    balancer.add(members);
    balancer.members().iter().for_each(|member| member.set_ready(true));
    balancer
}

fn shares_of(balancer: &Balancer<u16>, used: Use) -> Vec<u16> {
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        let pick = balancer.pick_for(used).unwrap();
        seen.insert(*pick);
        pick.abandon();
    }
    seen.into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn local_members_get_everything_while_they_are_ready() {
    let balancer = zones();
    assert_eq!(shares_of(&balancer, Use::Http), [1, 2]);
    balancer.get(addr(1)).unwrap().set_ready(false);
    assert_eq!(shares_of(&balancer, Use::Http), [2]);
    balancer.get(addr(2)).unwrap().set_ready(false);
    assert_eq!(shares_of(&balancer, Use::Http), [3, 4, 5]);
    balancer.get(addr(1)).unwrap().set_ready(true);
    assert_eq!(shares_of(&balancer, Use::Http), [1]);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_asked_for_it_all_are_alike() {
    assert_eq!(shares_of(&zones(), Use::Tcp), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn members_are_found_replaced_and_removed_wherever_they_are() {
    let balancer = zones();
    for n in 1..=5 {
        assert_eq!(**balancer.get(addr(n)).unwrap(), n);
    }
    // One moves out of the zone, one into it.
    let moved = [(1, Locality::Remote), (5, Locality::Local)];
    balancer.add(moved.map(|(n, place)| balancer.member_at(addr(n), place, |_| n * 10)));
    balancer.members().iter().for_each(|member| member.set_ready(true));
    assert_eq!(shares_of(&balancer, Use::Http), [2, 50]);
    balancer.remove(&[addr(2), addr(5)]);
    assert_eq!(shares_of(&balancer, Use::Http), [3, 4, 10]);
}

/// So many picks that are held, one every five milliseconds; how many of them are local.
async fn hold(balancer: &Balancer<u16>, picks: usize, held: &mut Vec<Pick<u16>>) -> usize {
    let mut local = 0;
    for _ in 0..picks {
        tokio::time::advance(5 * MS).await;
        let pick = balancer.pick_for(Use::Http).unwrap();
        local += usize::from(*pick < 3);
        held.push(pick);
    }
    local
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_for_local_members_goes_elsewhere_and_comes_back() {
    let balancer = zones();
    let mut held = Vec::new();
    let local = hold(&balancer, 400, &mut held).await;
    assert!((8..80).contains(&local), "{local}: it takes a moment to see");
    assert_eq!(balancer.spill(Use::Http).map(|spill| (spill.spilling, spill.changes)), Some((1, 1)));
    assert_eq!(balancer.spill(Use::Http).map(|spill| spill.spilled), Some(400 - local as u64));
    assert_eq!(hold(&balancer, 100, &mut held).await, 0, "still none has been answered");
    // Two are answered: there is room for as many, if no more than the band's end is left.
    let (mut near, far): (Vec<_>, Vec<_>) = held.into_iter().partition(|pick| **pick < 3);
    near.truncate(6);
    assert_eq!(hold(&balancer, 10, &mut near).await, 2);
    drop((near, far));
    // They are below the band for long.
    for _ in 0..60 {
        assert!(*balancer.pick_for(Use::Http).unwrap() < 3);
        tokio::time::advance(200 * MS).await;
    }
    assert_eq!(balancer.spill(Use::Http).map(|spill| (spill.spilling, spill.changes)), Some((0, 2)));
}

#[tokio::test(start_paused = true)]
async fn too_much_is_better_than_none() {
    let balancer = zones();
    balancer.remove(&[addr(3), addr(4), addr(5)]);
    let mut held = Vec::new();
    assert_eq!(hold(&balancer, 400, &mut held).await, 400);
    assert_eq!(balancer.spill(Use::Http).map(|spill| (spill.spilling, spill.spilled)), Some((1, 0)));
}

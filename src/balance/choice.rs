//! Two distinct members at random, out of those that are ready.
//!
//! Usually nearly all are, so drawing and looking is enough and costs the same for ten members as for
//! ten thousand. Only where draws keep failing is every member looked at.

/// What there is to choose from; the order is random.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'a, M> {
    One(&'a M),
    Two(&'a M, &'a M),
}

/// `None` if no member is ready. Every pair of ready members is as likely as any other.
pub(super) fn two<M>(members: &[M], ready: impl Fn(&M) -> bool) -> Option<Choice<'_, M>> {
    if members.len() >= 2 {
        for _ in 0..DRAWS {
            let first = fastrand::usize(..members.len());
            let other = fastrand::usize(..members.len() - 1);
            let second = if other < first { other } else { other + 1 };
            if ready(&members[first]) && ready(&members[second]) {
                return Some(Choice::Two(&members[first], &members[second]));
            }
        }
    }
    search(members, ready)
}

/// Looks at every member, keeping two of the ready ones with equal chances for all (reservoir
/// sampling).
fn search<M>(members: &[M], ready: impl Fn(&M) -> bool) -> Option<Choice<'_, M>> {
    let mut ready = members.iter().filter(|member| ready(member));
    let mut first = ready.next()?;
    let Some(mut second) = ready.next() else { return Some(Choice::One(first)) };
    for (seen, member) in (2..).zip(ready) {
        match fastrand::usize(..=seen) {
            0 => first = member,
            1 => second = member,
            _ => {}
        }
    }
    Some(if fastrand::bool() { Choice::Two(first, second) } else { Choice::Two(second, first) })
}

/// With half of the members ready, one pick in ten looks at all of them.
const DRAWS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_and_one_are_told() {
        assert_eq!(two(&[1, 2, 3], |_| false), None);
        assert_eq!(two::<u8>(&[], |_| true), None);
        assert_eq!(two(&[1], |_| true), Some(Choice::One(&1)));
        assert_eq!(two(&[1, 2, 3], |m| *m == 2), Some(Choice::One(&2)));
    }

    #[test]
    fn every_ordered_pair_of_ready_members_comes_up_equally_often() {
        // Many ready: found by drawing. Three among hundreds: found by searching.
        for (size, is_ready) in [
            (4_usize, &(|m: &usize| *m != 0) as &dyn Fn(&usize) -> bool),
            (300, &|m: &usize| [7, 8, 299].contains(m)),
        ] {
            let members: Vec<usize> = (0..size).collect();
            let mut seen = std::collections::BTreeMap::new();
            for _ in 0..6_000 {
                match two(&members, is_ready) {
                    Some(Choice::Two(a, b)) => *seen.entry((*a, *b)).or_insert(0) += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(seen.len(), 6, "{seen:?}");
            assert!(seen.values().all(|times| (800..1200).contains(times)), "{seen:?}");
        }
    }
}

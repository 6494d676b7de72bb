//! Was it as it should be? Judged by what the callers saw, each target by what is promised of its kind.

use super::calls::{ANALYTICS, API_EAST, API_WEST, Calls, FRONTEND, Span, Timeline, by_cluster, reason};
use super::{EAST, NORTH, WEST};
use crate::demo::image::slow_cooker::Record;

/// What is not as it should be; empty if all is well. Another proxy than ours is held to the distribution alone.
pub(super) fn problems(calls: &[Calls], time: &Timeline, ours: bool) -> Vec<String> {
    let to = |target: &str| {
        let found = calls.iter().find(|calls| calls.target == target);
        found.cloned().unwrap_or_else(|| Calls { target: target.to_owned(), records: Vec::new() })
    };
    let mut problems = Vec::new();
    distribution(&to(FRONTEND), time, if ours { 10 } else { 40 }, &mut problems);
    if ours {
        outlived(&to(FRONTEND), time, &mut problems);
        unharmed(&to(API_WEST), time, &mut problems);
        for target in [API_EAST, ANALYTICS] {
            comes_back(&to(target), time, &mut problems);
        }
    }
    problems
}

/// Three clusters, then two, then three again: each with one in so many of the good answers.
fn distribution(calls: &Calls, time: &Timeline, parts_of: u64, problems: &mut Vec<String>) {
    let (all, others) = ([WEST, EAST, NORTH].map(|it| it.cluster), [WEST, NORTH].map(|it| it.cluster));
    let parts = [
        ("while the east lived", time.before(), all.as_slice()),
        ("while the east was dead", time.settled(), others.as_slice()),
        ("after the east came back", time.recovered(), all.as_slice()),
    ];
    for (when, span, clusters) in parts {
        let served = by_cluster(calls.sent_in(&span));
        let good: u64 = served.values().sum();
        let enough = |cluster: &&str| served.get(cluster).is_some_and(|count| count * parts_of >= good);
        let shared = clusters.iter().all(enough) && served.keys().all(|cluster| clusters.contains(cluster));
        if good == 0 || !shared {
            problems.push(format!(
                "{FRONTEND}, {when}: served by {served:?}, expected one in {parts_of} or more each by {}",
                clusters.join(", ")
            ));
        }
    }
}

/// What others have too: the death costs next to nothing, and at once or never.
fn outlived(calls: &Calls, time: &Timeline, problems: &mut Vec<String>) {
    let sent: Vec<_> = calls.sent_in(&(time.began..time.ended)).collect();
    let failed: Vec<_> = sent.iter().filter(|record| !record.good()).collect();
    let last = failed.iter().max_by_key(|record| record.sent + record.took);
    if failed.len() * MOST_FAILED > sent.len() {
        problems.push(format!("{FRONTEND}: {} of {} requests failed", failed.len(), sent.len()));
    }
    if let Some(last) = last.filter(|last| last.sent + last.took > time.died + LAST_FAILURE) {
        problems.push(format!("{FRONTEND}: the last failure was late: {}", told(last, time)));
    }
}

/// What has nothing to do with the east.
fn unharmed(calls: &Calls, time: &Timeline, problems: &mut Vec<String>) {
    let span = time.began..time.ended;
    let failed: Vec<_> = calls.sent_in(&span).filter(|record| !record.good()).collect();
    if let Some(first) = failed.first() {
        problems.push(format!("{API_WEST}: {} failures, the first: {}", failed.len(), told(first, time)));
    }
    for (when, span) in [("before", time.before()), ("during", time.dead()), ("after", time.after())] {
        if calls.sent_in(&span).count() == 0 {
            problems.push(format!("{API_WEST}: no request {when} the death"));
        }
    }
}

/// What only the east has: good, then refused fast and with the cause, then good by itself.
fn comes_back(calls: &Calls, time: &Timeline, problems: &mut Vec<String>) {
    let mut expect = |what: &str, span: Span, holds: fn(&Record) -> bool| {
        let sent: Vec<_> = calls.sent_in(&span).collect();
        let wrong: Vec<_> = sent.iter().filter(|record| !holds(record)).collect();
        match wrong.first() {
            Some(first) => problems.push(format!(
                "{}: {} of {} requests were not {what}, the first: {}",
                calls.target,
                wrong.len(),
                sent.len(),
                told(first, time)
            )),
            None if sent.is_empty() => problems.push(format!("{}: no request to be {what}", calls.target)),
            None => {}
        }
    };
    expect("answered while the east lived", time.undisturbed(), Record::good);
    expect("refused with a cause while the east was dead", time.dead(), |it| {
        !it.good() && it.status.is_some() && it.reason.is_some()
    });
    expect("refused fast", time.settled(), |it| it.took <= FAST);
    expect("answered after the east came back", time.recovered(), Record::good);
}

/// One request, for people.
fn told(record: &Record, time: &Timeline) -> String {
    let since = (record.sent.cast_signed() - time.died.cast_signed()) as f64 / 1000.0;
    let Record { took, status, .. } = record;
    let status = status.map_or("no answer".to_owned(), |status| status.to_string());
    format!("sent {since:+.1} s from the death, {status} after {took} ms: {}", reason(record))
}

/// One in so many.
const MOST_FAILED: usize = 1_000;
/// After the death, in milliseconds: cutting the links one after the other takes a moment, too.
const LAST_FAILURE: u64 = 1_300;

/// The failfast timeout, 3 s (contract 3.4), and what a busy machine adds. In milliseconds.
const FAST: u64 = 4_000;

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timeline =
        Timeline { began: 0, died: 20_000, returned: 40_000, ready: 42_000, ended: 60_000, notice: 2_000 };

    fn good(cluster: &str) -> Record {
        Record { sent: 0, took: 1, status: Some(200), reason: None, said: cluster.to_owned() }
    }

    fn refused() -> Record {
        let reason = Some("connect-timeout".to_owned());
        Record { sent: 0, took: 1000, status: Some(504), reason, said: "no".to_owned() }
    }

    /// A request every 100 ms, which becomes what `outcome` says.
    fn calls(target: &str, outcome: impl Fn(u64) -> Record) -> Calls {
        let records = (0..600).map(|number| Record { sent: number * 100, ..outcome(number * 100) });
        Calls { target: target.to_owned(), records: records.collect() }
    }

    fn alive(at: u64) -> bool {
        !(20_000..41_000).contains(&at)
    }

    fn frontend() -> Calls {
        calls(FRONTEND, |at| {
            good(match at / 100 % 3 {
                0 => "west",
                1 if alive(at) => "east",
                _ => "north",
            })
        })
    }

    fn as_it_should_be() -> Vec<Calls> {
        let of_east = |at| if alive(at) { good("east") } else { refused() };
        let api_west = calls(API_WEST, |_| good("west"));
        vec![frontend(), api_west, calls(API_EAST, of_east), calls(ANALYTICS, of_east)]
    }

    fn with(index: usize, calls: Calls) -> Vec<String> {
        let mut all = as_it_should_be();
        all[index] = calls;
        problems(&all, &TIME, true)
    }

    #[test]
    fn three_then_two_then_three_is_as_it_should_be() {
        assert_eq!(problems(&as_it_should_be(), &TIME, true), Vec::<String>::new());
    }

    #[test]
    fn a_cluster_that_does_not_share_is_noticed_in_every_part() {
        let never = with(0, calls(FRONTEND, |at| good(if at / 100 % 2 == 0 { "west" } else { "north" })));
        assert_eq!(never.len(), 2, "{never:?}");
        let undead = calls(FRONTEND, |at| good(["west", "east", "north"][(at / 100 % 3) as usize]));
        assert_eq!(with(0, undead).len(), 1);
        assert_eq!(with(0, calls(FRONTEND, |_| refused())).len(), 5);
        assert_eq!(problems(&[], &TIME, false).len(), 3);
    }

    #[test]
    fn the_death_of_a_cluster_costs_its_service_one_request_in_a_thousand_at_once() {
        let with_failures = |failing: std::ops::Range<u64>| {
            let mut all = frontend();
            let of_time = |record: &&mut Record| failing.contains(&record.sent);
            all.records.iter_mut().filter(of_time).for_each(|record| {
                *record = Record { sent: record.sent, took: 700, ..refused() };
            });
            // Ten times as many good ones.
            let good: Vec<_> = (0..6_000).map(|n| Record { sent: n * 10, ..good("west") }).collect();
            all.records.extend(good);
            outlived_problems(&all)
        };
        assert_eq!(with_failures(20_000..20_600), Vec::<String>::new());
        assert_eq!(with_failures(20_000..21_000).len(), 2, "too many, and too late");
        let late = with_failures(25_000..25_100);
        assert!(late.len() == 1 && late[0].contains("the last failure was late: sent +5.0 s"), "{late:?}");
    }

    fn outlived_problems(calls: &Calls) -> Vec<String> {
        let mut problems = Vec::new();
        outlived(calls, &TIME, &mut problems);
        problems
    }

    #[test]
    fn one_failure_of_what_does_not_need_the_east_is_too_much() {
        let once = |at| if at == 30_000 { refused() } else { good("west") };
        let problems = with(1, calls(API_WEST, once));
        assert_eq!(
            problems,
            [
                "api-west: 1 failures, the first: sent +10.0 s from the death, 504 after 1000 ms: connect-timeout"
            ]
        );
    }

    #[test]
    fn what_needs_the_east_must_fail_fast_with_a_cause_and_recover() {
        let of = |dead: fn() -> Record, back: u64| {
            calls(API_EAST, move |at| if at < 20_000 || at >= back { good("east") } else { dead() })
        };
        assert_eq!(with(2, of(refused, 41_000)), Vec::<String>::new());
        let slow = || Record { took: 4_001, ..refused() };
        assert!(with(2, of(slow, 41_000)).iter().all(|problem| problem.contains("refused fast")));
        let unexplained = || Record { reason: None, ..refused() };
        assert!(with(2, of(unexplained, 41_000))[0].contains("refused with a cause"));
        let silent = || Record { status: None, ..refused() };
        assert_eq!(with(2, of(silent, 41_000)).len(), 1);
        assert!(with(2, of(refused, 55_000))[0].contains("came back"));
        let lost = |since: u64| {
            let fate = move |at| if (since..41_000).contains(&at) { refused() } else { good("east") };
            with(2, calls(API_EAST, fate))
        };
        assert_eq!(lost(19_900), Vec::<String>::new(), "what was under way is caught by the death");
        assert!(lost(19_000)[0].contains("while the east lived"));
        // Another proxy's failures are recorded, not judged.
        let mut all = as_it_should_be();
        all[2] = of(slow, 55_000);
        assert_eq!(problems(&all, &TIME, false), Vec::<String>::new());
    }
}

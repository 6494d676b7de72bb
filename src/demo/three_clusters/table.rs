//! The end's tables: what callers saw of each target in each part, and when the failures of `frontend` were.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ALL;
use super::calls::{Calls, FRONTEND, Span, Timeline, by_cluster, by_reason, percent, reason};
use crate::demo::image::slow_cooker::Record;

/// A row for each target and part.
pub(super) fn print(calls: &[Calls], time: &Timeline) -> String {
    let mut table =
        format!("{:<10} {:<12} {:>8} {:>6} {:>6}", "TARGET", "EAST IS", "REQUESTS", "GOOD", "FAILED");
    for manifests in ALL {
        let _ = write!(table, " {:>6}", manifests.cluster.to_uppercase());
    }
    let _ = writeln!(table, " {:>8} {:>8} {:>8}  FAILURES", "P50", "P99", "SLOWEST");
    for calls in calls {
        for (part, span) in [("alive", time.before()), ("dead", time.dead()), ("back", time.after())] {
            let _ = writeln!(table, "{:<10} {part:<12} {}", calls.target, row(calls, &span));
        }
    }
    table
}

fn row(calls: &Calls, span: &Span) -> String {
    let sent = calls.sent_in(span);
    let served = by_cluster(sent.clone());
    let (all, good) = (sent.clone().count() as u64, served.values().sum::<u64>());
    let mut row = format!("{all:>8} {good:>6} {:>6}", all - good);
    for manifests in ALL {
        let share = percent(served.get(manifests.cluster).copied().unwrap_or(0), good);
        let _ = write!(row, " {:>6}", format!("{share}%"));
    }
    let mut took: Vec<u64> = sent.clone().map(|record| record.took).collect();
    took.sort_unstable();
    for per_cent in [50, 99, 100] {
        let at = took.len().saturating_sub(1) * per_cent / 100;
        let _ = write!(row, " {:>8}", format!("{} ms", took.get(at).unwrap_or(&0)));
    }
    let failures: Vec<_> = by_reason(sent).into_iter().map(|(why, count)| format!("{count} {why}")).collect();
    let _ = write!(row, "  {}", failures.join(", "));
    row.trim_end().to_owned()
}

/// The failures of `frontend` since the death, by the second in which they were told. Every one of them counts, so a
/// proxy that has none says so.
pub(super) fn failures(calls: &[Calls], time: &Timeline) -> String {
    let records = calls.iter().filter(|calls| calls.target == FRONTEND).flat_map(|calls| &calls.records);
    let failed: Vec<&Record> =
        records.filter(|record| !record.good() && record.sent + record.took >= time.died).collect();
    if failed.is_empty() {
        return format!("\nno request to {FRONTEND} failed after the death of the east");
    }
    let mut seconds: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for record in &failed {
        let since = (record.sent + record.took - time.died) / 1000;
        *seconds.entry((since, reason(record))).or_default() += 1;
    }
    let mut text = format!("\nfailures of {FRONTEND}, by the time since the death of the east:");
    for ((second, why), count) in seconds {
        let _ = write!(text, "\n  +{second:>3} s  {count:>4}  {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_sums_what_was_sent_in_its_part() {
        let record = |sent, took, status, said: &str| Record {
            sent,
            took,
            status: Some(status),
            reason: (status > 500).then(|| "failfast".to_owned()),
            said: said.to_owned(),
        };
        let records =
            vec![record(50, 1, 200, "west"), record(60, 9, 200, "east"), record(150, 3000, 504, "no")];
        let calls = vec![Calls { target: FRONTEND.to_owned(), records }];
        let time = Timeline { began: 0, died: 100, returned: 200, ready: 300, ended: 400, notice: 2_000 };
        let table = print(&calls, &time);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1][..9], ["frontend", "alive", "2", "2", "0", "50%", "50%", "0%", "1"]);
        assert_eq!(rows[2][..5], ["frontend", "dead", "1", "0", "1"]);
        assert!(table.lines().nth(2).unwrap().ends_with("3000 ms  1 failfast"), "{table}");
        assert_eq!(rows[3][..5], ["frontend", "back", "0", "0", "0"]);
        assert!(failures(&calls, &time).ends_with("\n  +  3 s     1  failfast"));
        assert!(failures(&[], &time).contains("no request to frontend failed"));
    }
}

//! What happened in one interval, counted, and as a line that can be read back.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use http::StatusCode;

/// The heading above the lines.
pub(super) const HEADER: &str =
    "# time                  good/bad/failed total good% span    min [p50 p95 p99 p999] max (ms)  statuses";

/// Requests of an interval that is still running. Grows by one number per request until reported.
#[derive(Debug, Default)]
pub(super) struct Tally {
    latencies: Vec<u64>,
    statuses: BTreeMap<u16, u64>,
    failed: u64,
}

impl Tally {
    pub(super) fn answered(&mut self, status: StatusCode, after: Duration) {
        self.latencies.push(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        *self.statuses.entry(status.as_u16()).or_default() += 1;
    }

    pub(super) fn failed(&mut self) {
        self.failed += 1;
    }

    pub(super) fn report(mut self, span: Duration) -> Line {
        self.latencies.sort_unstable();
        let report = Report { statuses: self.statuses, failed: self.failed };
        Line { at: SystemTime::now(), span, latencies: self.latencies, report }
    }
}

/// One line of output. Good is every status below 400.
#[derive(Debug)]
pub(super) struct Line {
    at: SystemTime,
    span: Duration,
    latencies: Vec<u64>,
    report: Report,
}

impl Line {
    /// In milliseconds; 0 if nothing was answered.
    fn quantile(&self, per_mille: usize) -> u64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get(last * per_mille / 1000).copied().unwrap_or(0)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (report, good) = (&self.report, self.report.good());
        let total = report.total();
        let percent = (good * 100).checked_div(total).unwrap_or(0);
        write!(f, "{} ", humantime::format_rfc3339_seconds(self.at))?;
        write!(f, "{good:>6}/{}/{} {total} {percent}% ", report.bad(), report.failed)?;
        write!(f, "{:.1}s ", self.span.as_secs_f64())?;
        let [min, p50, p95, p99, p999, max] = [0, 500, 950, 990, 999, 1000].map(|q| self.quantile(q));
        write!(f, "{min:>3} [{p50:>3} {p95:>3} {p99:>3} {p999:>4} ] {max:>4} ")?;
        for (status, count) in &report.statuses {
            write!(f, " {status}:{count}")?;
        }
        write!(f, " failed:{}", report.failed)
    }
}

/// How requests ended, by status; read back from the lines a load generator printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failed: u64,
}

/// A line of figures that is not one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a line of figures that ends in STATUS:COUNT … failed:COUNT, found {0:?}")]
pub struct Unreadable(String);

impl Report {
    /// The sum of a whole output; headings are passed over.
    ///
    /// # Errors
    /// At the first line that is neither a heading nor figures.
    pub fn sum(output: &str) -> Result<Self, Unreadable> {
        let mut sum = Self::default();
        for line in output.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
            let report: Self = line.parse()?;
            sum.failed += report.failed;
            for (status, count) in report.statuses {
                *sum.statuses.entry(status).or_default() += count;
            }
        }
        Ok(sum)
    }

    /// Requests sent.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.failed
    }

    /// Answers with `status`.
    #[must_use]
    pub fn with(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    fn good(&self) -> u64 {
        self.statuses.range(..400).map(|(_, count)| count).sum()
    }

    fn bad(&self) -> u64 {
        self.statuses.range(400..).map(|(_, count)| count).sum()
    }
}

impl FromStr for Report {
    type Err = Unreadable;

    fn from_str(line: &str) -> Result<Self, Unreadable> {
        let unreadable = || Unreadable(line.to_owned());
        let mut report = Self::default();
        let mut ended = false;
        for (name, count) in line.split_whitespace().skip(1).filter_map(|word| word.split_once(':')) {
            let count = count.parse().map_err(|_| unreadable())?;
            match name {
                "failed" => (report.failed, ended) = (count, true),
                status => drop(report.statuses.insert(status.parse().map_err(|_| unreadable())?, count)),
            }
        }
        if ended { Ok(report) } else { Err(unreadable()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(ok: u64, denied: u64, failed: u64) -> Tally {
        let mut tally = Tally::default();
        (0..ok).for_each(|ms| tally.answered(StatusCode::OK, Duration::from_millis(ms)));
        (0..denied).for_each(|_| tally.answered(StatusCode::FORBIDDEN, Duration::from_millis(1)));
        (0..failed).for_each(|_| tally.failed());
        tally
    }

    #[test]
    fn a_line_reads_back_as_what_was_counted() {
        for (ok, denied, failed) in [(0, 0, 0), (100, 0, 0), (3, 4, 5), (0, 99, 0)] {
            let line = tally(ok, denied, failed).report(Duration::from_secs(10)).to_string();
            let report: Report = line.parse().unwrap();
            assert_eq!((report.with(200), report.with(403), report.failed), (ok, denied, failed), "{line}");
            assert_eq!(report.total(), ok + denied + failed);
        }
    }

    #[test]
    fn quantiles_stay_within_what_was_seen() {
        let line = tally(101, 0, 0).report(Duration::from_secs(10));
        assert_eq!([0, 500, 950, 990, 1000].map(|q| line.quantile(q)), [0, 50, 95, 99, 100]);
        assert_eq!(Tally::default().report(Duration::ZERO).quantile(1000), 0);
    }

    #[test]
    fn an_output_sums_over_its_lines_and_a_cut_line_is_refused() {
        let lines = [tally(10, 0, 0), tally(5, 2, 1)].map(|t| t.report(Duration::from_secs(10)).to_string());
        let output =
            format!("# sending 10 GET req/s\n{HEADER}\n{}\nrequest failed: reset\n{}\n", lines[0], lines[1]);
        let sum = Report::sum(&output).unwrap();
        assert_eq!((sum.with(200), sum.with(403), sum.failed), (15, 2, 1));
        let cut = &lines[0][..lines[0].len() - 9];
        assert!(Report::sum(cut).is_err(), "{cut}");
    }
}

//! One line a second, of what ended in it: for people at a terminal with a bar in colours, else in words alone.

use std::fmt::Write as _;

use super::ALL;
use super::calls::{Calls, FRONTEND, by_cluster, by_reason, percent};

/// Where the view is.
pub(super) struct Live {
    colours: bool,
    died: u64,
    /// How many of each caller's requests have been shown.
    shown: Vec<usize>,
}

impl Live {
    /// `dies` is when the east will be dead, by plan: times are told from there.
    pub(super) fn new(colours: bool, dies: u64) -> Self {
        Self { colours, died: dies, shown: Vec::new() }
    }

    pub(super) fn died(&mut self, at: u64) {
        self.died = at;
    }

    /// What ended since the last line.
    pub(super) fn line(&mut self, now: u64, calls: &[Calls]) -> String {
        self.shown.resize(calls.len(), 0);
        let seconds = (now.cast_signed() - self.died.cast_signed()) as f64 / 1000.0;
        let mut line = format!("{seconds:>+6.1} s");
        for (calls, shown) in calls.iter().zip(&mut self.shown) {
            let fresh = calls.records.get(*shown..).unwrap_or_default();
            *shown = calls.records.len();
            let served = by_cluster(fresh.iter());
            let good: u64 = served.values().sum();
            let _ = write!(line, "  {} {good:>2}", calls.target);
            if calls.target == FRONTEND {
                let share = |cluster: &str| percent(served.get(cluster).copied().unwrap_or(0), good);
                line.push_str(&shares(share, self.colours));
            }
            let failed: Vec<_> = by_reason(fresh.iter())
                .into_iter()
                .map(|(reason, count)| format!("{count} {}", cut(reason)))
                .collect();
            if !failed.is_empty() {
                let failed = format!(", failed: {}", failed.join(", "));
                line.push_str(&paint(&failed, RED, self.colours));
            }
        }
        line
    }
}

fn shares(share: impl Fn(&str) -> u64, colours: bool) -> String {
    let mut shares = String::new();
    if colours {
        shares.push(' ');
        let mut drawn = 0;
        for (manifests, colour) in ALL.iter().zip(COLOURS) {
            let cells = usize::try_from(share(manifests.cluster) * BAR / 100).unwrap_or(0);
            drawn += cells;
            shares.push_str(&paint(&"█".repeat(cells), colour, true));
        }
        shares.push_str(&" ".repeat(usize::try_from(BAR).unwrap_or(0).saturating_sub(drawn)));
    }
    for (manifests, colour) in ALL.iter().zip(COLOURS) {
        let text = format!(" {} {:>2}%", manifests.cluster, share(manifests.cluster));
        shares.push_str(&paint(&text, colour, colours));
    }
    shares
}

/// Other proxies say more than a word.
fn cut(reason: &str) -> String {
    if reason.chars().count() <= WORD {
        reason.to_owned()
    } else {
        reason.chars().take(WORD).chain(['…']).collect()
    }
}

fn paint(text: &str, colour: u8, colours: bool) -> String {
    if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Of the clusters in their order: blue, yellow, green.
const COLOURS: [u8; 3] = [34, 33, 32];
const RED: u8 = 31;
/// Cells of a whole bar.
const BAR: u64 = 24;
const WORD: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::image::slow_cooker::Record;

    #[test]
    fn a_line_tells_what_ended_since_the_last_one() {
        let record = |status, said: &str, reason: Option<&str>| Record {
            sent: 0,
            took: 1,
            status: Some(status),
            reason: reason.map(str::to_owned),
            said: said.to_owned(),
        };
        let west = record(200, "west", None);
        let mut calls = vec![Calls { target: FRONTEND.to_owned(), records: vec![west.clone(), west] }];
        let mut live = Live::new(false, 10_000);
        assert_eq!(live.line(8_500, &calls), "  -1.5 s  frontend  2 west 100% east  0% north  0%");
        calls[0].records.push(record(200, "north", None));
        calls[0].records.push(record(502, "", Some("connect-failed")));
        let line = live.line(11_000, &calls);
        assert_eq!(line, "  +1.0 s  frontend  1 west  0% east  0% north 100%, failed: 1 connect-failed");
        let mut coloured = Live::new(true, 10_000);
        assert!(coloured.line(11_000, &calls).contains("\x1b[34m████████████████\x1b[0m"));
    }
}

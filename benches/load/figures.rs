//! From rounds to figures.

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Done, Until, Workload};
use std::time::Duration;

/// One figure of one round: its name with its unit, and its value.
pub(crate) type Figure = (String, f64);

impl Until {
    pub(super) fn goes_on(self, started: Instant, done: usize) -> bool {
        match self {
            Self::Time(time) => started.elapsed() < time,
            Self::Count(count) => done < count,
        }
    }
}

impl Done {
    /// What all clients saw.
    pub(super) async fn of(
        mut clients: JoinSet<anyhow::Result<Vec<Duration>>>,
        started: Instant,
    ) -> anyhow::Result<Self> {
        let mut latencies = Vec::new();
        while let Some(client) = clients.join_next().await {
            latencies.extend(client??);
        }
        let took = started.elapsed();
        latencies.sort();
        anyhow::ensure!(!latencies.is_empty(), "no request was answered");
        Ok(Self { took, units: latencies.len() as f64, latencies })
    }

    /// Microseconds.
    fn quantile(&self, q: f64) -> f64 {
        let at = (self.latencies.len() as f64 * q) as usize;
        self.latencies[at.min(self.latencies.len() - 1)].as_secs_f64() * 1e6
    }

    /// Rates and latencies, and what `cpu` seconds make of each unit.
    pub(crate) fn figures(&self, workload: &Workload, cpu: &[(&str, f64)]) -> Vec<Figure> {
        let unit = workload.unit();
        let rate = self.units / self.took.as_secs_f64();
        let mut figures = match workload {
            Workload::Stream { .. } => vec![("Gbit/s".to_owned(), rate * 8.0)],
            Workload::Rate { .. } => Vec::new(),
            _ => vec![(format!("{unit}s/s"), rate)],
        };
        if !self.latencies.is_empty() {
            let quantiles = [("p50 µs", 0.5), ("p99 µs", 0.99), ("p99.9 µs", 0.999)];
            figures.extend(quantiles.map(|(name, q)| (name.to_owned(), self.quantile(q))));
        }
        let scaled = |seconds: f64| match workload {
            Workload::Stream { .. } => ("s", seconds / self.units),
            _ => ("µs", seconds * 1e6 / self.units),
        };
        figures.extend(cpu.iter().map(|(whose, seconds)| {
            let (scale, value) = scaled(*seconds);
            (format!("CPU {scale} a {unit}, {whose}"), value)
        }));
        figures
    }
}

/// The middle value; of an even number, the upper one of the two.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What one way's rounds showed.
pub(crate) struct Column {
    pub(crate) way: &'static str,
    pub(crate) rounds: Vec<Vec<Figure>>,
}

impl Column {
    pub(crate) fn new(way: &'static str) -> Self {
        Self { way, rounds: Vec::new() }
    }

    fn median(&self, name: &str) -> Option<f64> {
        let named = |round: &Vec<Figure>| round.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
        let values: Vec<f64> = self.rounds.iter().filter_map(named).collect();
        (!values.is_empty()).then(|| median(values))
    }
}

/// Prints a line for each figure: the medians of each way, and the second way compared with the last or, of two, with
/// the first. Where `added` is set, latencies also as what they add to the first way's.
pub(crate) fn table(title: &str, columns: &[Column], added: bool) {
    let [first, second, ..] = columns else { return };
    let base = columns.get(2).unwrap_or(first);
    print!("\n{title:<44}");
    columns.iter().for_each(|column| print!(" {:>11}", column.way));
    println!("  {}/{}", second.way, base.way);
    let longest = columns.iter().flat_map(|column| column.rounds.first()).max_by_key(|round| round.len());
    for (name, _) in longest.into_iter().flatten() {
        line(name, columns, base, |column| column.median(name));
        if added && name.starts_with('p') {
            let direct = first.median(name).unwrap_or_default();
            let name_added = format!("{name}, added to {}", first.way);
            line(&name_added, &columns[1..], base, |column| Some(column.median(name)? - direct));
        }
    }
}

fn line(name: &str, columns: &[Column], base: &Column, value: impl Fn(&Column) -> Option<f64>) {
    print!("  {name:<42}");
    let missing = 3_usize.saturating_sub(columns.len()).min(usize::from(name.contains("added")));
    print!("{:width$}", "", width = missing * 12);
    for column in columns {
        match value(column) {
            Some(value) => print!(" {value:>11.3}"),
            None => print!(" {:>11}", "-"),
        }
    }
    let second = columns.iter().find(|column| column.way == "ours" || column.way == "pair");
    match second.and_then(&value).zip(value(base)) {
        Some((second, base)) => println!("  {:>8.3}", second / base),
        None => println!("  {:>8}", "-"),
    }
}

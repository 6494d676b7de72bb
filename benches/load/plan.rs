//! What to measure, how long, and how often: the arguments that all of these benches take.

use super::Workload;

pub(crate) struct Plan {
    /// Everything once and briefly, to see that it works.
    pub(crate) brief: bool,
    pub(crate) rounds: usize,
    /// Requests of each connection or stream, instead of a time.
    pub(crate) count: Option<usize>,
    names: Vec<String>,
}

impl Plan {
    /// `[--bench] [--test] [--rounds N] [--count N] [WORKLOAD…]`.
    pub(crate) fn from_args() -> anyhow::Result<Self> {
        let mut args = std::env::args().skip(1);
        let (mut bench, mut test, mut rounds, mut count, mut names) = (false, false, 5, None, Vec::new());
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => bench = true,
                "--test" => test = true,
                "--rounds" => rounds = args.next().unwrap_or_default().parse()?,
                "--count" => count = Some(args.next().unwrap_or_default().parse()?),
                _ => names.push(arg),
            }
        }
        let brief = test || !bench;
        Ok(Self { brief, rounds: if brief { 1 } else { rounds.max(1) }, count, names })
    }

    /// The workloads that were named, or all.
    pub(crate) fn chosen(&self, mut all: Vec<Workload>) -> anyhow::Result<Vec<Workload>> {
        let known: Vec<String> = all.iter().map(Workload::name).collect();
        all.retain(|workload| self.names.is_empty() || self.names.contains(&workload.name()));
        anyhow::ensure!(!all.is_empty(), "no such workload: expected one of {}", known.join(", "));
        Ok(all)
    }
}

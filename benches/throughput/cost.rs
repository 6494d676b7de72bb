//! What did it cost? Processor time, for the whole process and for the proxies' threads alone.

use std::fs;

use anyhow::Context;

/// Names of the threads whose time is the proxies'.
pub(crate) const PROXIES: [&str; 2] = ["west", "east"];

/// Seconds on a processor, user and system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) all: f64,
    pub(crate) proxies: f64,
}

impl Cpu {
    /// The time used so far by the threads that live now; none of this bench's ends early. The
    /// scheduler's own account is in nanoseconds, where `stat` has ticks of 10 ms.
    pub(crate) fn now() -> anyhow::Result<Self> {
        let mut sum = Self::default();
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            let name = fs::read_to_string(task.join("comm"))?;
            let account = fs::read_to_string(task.join("schedstat"))?;
            let nanos = account.split_whitespace().next().context("an empty schedstat")?;
            let seconds = nanos.parse::<u64>()? as f64 / 1e9;
            sum.all += seconds;
            if PROXIES.contains(&name.trim_end()) {
                sum.proxies += seconds;
            }
        }
        Ok(sum)
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { all: self.all - before.all, proxies: self.proxies - before.proxies }
    }
}

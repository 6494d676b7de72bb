//! What do the callers see? Each request is a line of a load generator's log, which is read while it grows.

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

use super::calls::Calls;
use crate::demo::image::slow_cooker::Record;
use crate::demo::world::World;

/// All callers.
pub(super) struct Traffic {
    tails: Vec<Tail>,
    calls: Vec<Calls>,
}

impl Traffic {
    /// Every load generator that runs, under the name of its container.
    ///
    /// # Errors
    /// When a log cannot be opened.
    pub(super) fn of(world: &World) -> anyhow::Result<Self> {
        let mut traffic = Self { tails: Vec::new(), calls: Vec::new() };
        for running in world.pods() {
            for cooker in running.cookers() {
                let path = running.pod.log(cooker);
                let log = File::open(&path).with_context(|| path.display().to_string())?;
                traffic.tails.push(Tail { log, cut: Vec::new() });
                traffic.calls.push(Calls { target: cooker.to_owned(), records: Vec::new() });
            }
        }
        Ok(traffic)
    }

    /// What was seen up to the last [`Traffic::read`], for each caller.
    pub(super) fn calls(&self) -> &[Calls] {
        &self.calls
    }

    pub(super) fn into_calls(self) -> Vec<Calls> {
        self.calls
    }

    /// Takes in what has been written since.
    ///
    /// # Errors
    /// When a log cannot be read, or a line of it.
    pub(super) fn read(&mut self) -> anyhow::Result<()> {
        for (tail, calls) in self.tails.iter_mut().zip(&mut self.calls) {
            tail.read(&mut calls.records).with_context(|| format!("the log of {}", calls.target))?;
        }
        Ok(())
    }

    /// Waits until every caller has had a good answer, and forgets what came before: clusters start one after the
    /// other.
    ///
    /// # Errors
    /// When one has had none in time.
    pub(super) async fn await_answers(&mut self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            self.read()?;
            let waits = |calls: &&Calls| !calls.records.last().is_some_and(Record::good);
            let Some(waiting) = self.calls.iter().find(waits) else { break };
            if Instant::now() >= deadline {
                let last = waiting.records.last();
                bail!("{}: no good answer; the last one: {last:?}", waiting.target);
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.calls.iter_mut().for_each(|calls| calls.records.clear());
        Ok(())
    }
}

/// A log, read up to some place.
struct Tail {
    log: File,
    /// The beginning of a line whose end is not written yet.
    cut: Vec<u8>,
}

impl Tail {
    fn read(&mut self, records: &mut Vec<Record>) -> anyhow::Result<()> {
        self.log.read_to_end(&mut self.cut)?;
        let Some(end) = self.cut.iter().rposition(|&byte| byte == b'\n') else { return Ok(()) };
        let rest = self.cut.split_off(end + 1);
        let lines = std::mem::replace(&mut self.cut, rest);
        for line in String::from_utf8_lossy(&lines).lines().filter(|line| Record::is_line(line)) {
            records.push(serde_json::from_str(line).with_context(|| line.to_owned())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn records_are_read_as_they_come_however_the_lines_are_cut() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut written = File::create(path.path()).unwrap();
        let mut tail = Tail { log: File::open(path.path()).unwrap(), cut: Vec::new() };
        let mut records = Vec::new();
        let line = |sent: u64| format!("{{\"sent\":{sent},\"took\":1,\"status\":200,\"said\":\"west\"}}\n");
        let text = format!("# sending\n{}request failed: {{\n{}", line(1), line(2));
        for piece in text.as_bytes().chunks(7) {
            written.write_all(piece).unwrap();
            tail.read(&mut records).unwrap();
        }
        assert_eq!(records.iter().map(|record| record.sent).collect::<Vec<_>>(), [1, 2]);
        written.write_all(b"{}\n").unwrap();
        assert!(tail.read(&mut records).is_err());
    }
}

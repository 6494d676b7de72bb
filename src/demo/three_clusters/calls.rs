//! What became of the requests to one target, and when.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::demo::image::slow_cooker::Record;

/// Names of the targets, which are those of the containers that call them.
pub(super) const FRONTEND: &str = "frontend";
pub(super) const API_WEST: &str = "api-west";
pub(super) const API_EAST: &str = "api-east";
pub(super) const ANALYTICS: &str = "analytics";

/// The requests to one target that have ended, in the order of their ends.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) target: String,
    pub(super) records: Vec<Record>,
}

/// When it happened, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    pub(super) began: u64,
    /// The first link was cut.
    pub(super) died: u64,
    /// The first process was started again.
    pub(super) returned: u64,
    /// The last pod was ready.
    pub(super) ready: u64,
    pub(super) ended: u64,
    /// How long after the death everything that leads to the dead is known to.
    pub(super) notice: u64,
}

/// A request that is under way at the death has been for no longer, in milliseconds, on a busy machine too.
const CAUGHT: u64 = 500;

/// A part of the time, judged by when requests were sent.
pub(super) type Span = std::ops::Range<u64>;

impl Timeline {
    pub(super) fn before(&self) -> Span {
        self.began..self.died
    }

    /// The part before the death without its last moments: what was under way then is caught by it.
    pub(super) fn undisturbed(&self) -> Span {
        self.began..self.died.saturating_sub(CAUGHT)
    }

    pub(super) fn dead(&self) -> Span {
        self.died..self.returned
    }

    pub(super) fn after(&self) -> Span {
        self.returned..self.ended
    }

    /// The dead part without its first seconds.
    pub(super) fn settled(&self) -> Span {
        self.died + self.notice..self.returned
    }

    /// What follows the return without its first ten seconds, or at least half of it.
    pub(super) fn recovered(&self) -> Span {
        let half = (self.ended - self.ready) / 2;
        self.ready + half.min(10_000)..self.ended
    }
}

impl Calls {
    pub(super) fn sent_in(&self, span: &Span) -> impl Iterator<Item = &Record> + Clone {
        let span = span.clone();
        self.records.iter().filter(move |record| span.contains(&record.sent))
    }
}

/// Counts the good answers by the cluster that gave them: every server says where it is.
pub(super) fn by_cluster<'r>(records: impl Iterator<Item = &'r Record>) -> BTreeMap<&'r str, u64> {
    let mut served = BTreeMap::new();
    for record in records.filter(|record| record.good()) {
        *served.entry(record.said.as_str()).or_default() += 1;
    }
    served
}

/// Counts failures by what was said of them.
pub(super) fn by_reason<'r>(records: impl Iterator<Item = &'r Record>) -> BTreeMap<&'r str, u64> {
    let mut failed = BTreeMap::new();
    for record in records.filter(|record| !record.good()) {
        *failed.entry(reason(record)).or_default() += 1;
    }
    failed
}

/// What callers were told of a failure, by header if the proxy spoke.
pub(super) fn reason(record: &Record) -> &str {
    record.reason.as_deref().unwrap_or(&record.said)
}

/// Milliseconds since 1970, as records count them.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// In whole percent.
pub(super) fn percent(part: u64, all: u64) -> u64 {
    (part * 100 + all / 2).checked_div(all).unwrap_or(0)
}

//! Looks at one folder: what is found, as plain data that outlives a folder that no longer answers.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::freshness::{Mark, Seen};
use super::source::Source;
use super::store;
use super::tree::Stamp;
use crate::control::index::{Allocations, Linked, Settings};
use crate::control::manifest::{Documents, Note, Place, Problem};

/// What was found of a folder. Content is the last that was good.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) good: Option<Arc<Documents>>,
    /// Of a linked folder: what is seen of its cluster.
    pub(super) linked: Option<Linked>,
    /// Counts how often content or addresses were others.
    pub(super) changes: u64,
    pub(super) notes: Vec<Note>,
    pub(super) problems: Vec<Problem>,
    /// Why the latest look found nothing.
    pub(super) missing: Option<String>,
    /// How many documents were read, in how many files.
    pub(super) documents: usize,
    pub(super) files: usize,
    pub(super) seen: Seen,
}

/// Whose folder it is: of a linked one its addresses are read too, and what follows from both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Own,
    Linked,
}

/// One who looks at a folder again and again, and remembers what was there.
#[derive(Debug)]
pub(super) struct Looker {
    whose: Whose,
    source: Source,
    allocations: Option<Arc<Allocations>>,
    /// Which file they were read from.
    stamp: Option<Stamp>,
    linked: Option<Linked>,
    changes: u64,
    mark: Mark,
    /// Why its addresses cannot be told.
    unknown: Option<io::Error>,
}

impl Looker {
    pub(super) fn new(whose: Whose, folder: PathBuf) -> Self {
        Self {
            whose,
            source: Source::new(folder),
            allocations: None,
            stamp: None,
            linked: None,
            changes: 0,
            mark: Mark::default(),
            unknown: None,
        }
    }

    /// What cannot be read, or is half-written or broken, leaves what was known. `touched` are files that have
    /// surely been written.
    pub(super) fn look(&mut self, touched: &BTreeSet<PathBuf>, settings: &Settings) -> Found {
        let (mut changed, missing) = match self.source.look(touched, &settings.mirror_namespace) {
            Ok(replaced) => (replaced, None),
            Err(error) => (false, Some(error.to_string())),
        };
        if self.whose == Whose::Linked {
            self.mark.look(self.source.folder());
            changed |= self.reload_allocations(touched, missing.is_some());
            if let Some(documents) = self.source.good().filter(|_| changed) {
                self.linked = Some(Linked::observe(documents.clone(), self.allocations.clone(), settings));
            }
        }
        self.changes += u64::from(changed);
        self.found(missing)
    }

    fn found(&self, missing: Option<String>) -> Found {
        let unknown = self.unknown.as_ref().map(|error| addresses_problem(self.source.folder(), error));
        let problems: Vec<_> = self.source.problems().iter().cloned().chain(unknown).collect();
        Found {
            good: self.source.good().cloned(),
            linked: self.linked.clone(),
            changes: self.changes,
            notes: self.source.notes().to_vec(),
            documents: self.source.documents(),
            files: self.source.files(),
            seen: Seen {
                manifests: self.source.sound(),
                control: self.mark.seen(),
                problems: problems.len() + usize::from(missing.is_some()),
            },
            problems,
            missing,
        }
    }

    /// Whether there are other ones. A file that is as it was is not read again. Where the folder itself is
    /// `missing`, that is one problem, not two.
    fn reload_allocations(&mut self, touched: &BTreeSet<PathBuf>, missing: bool) -> bool {
        let path = self.source.folder().join(store::ALLOCATIONS);
        let stamp = Stamp::at(&path);
        if stamp.is_some() && stamp == self.stamp && !touched.contains(&path) {
            return false;
        }
        let (found, unknown) = match store::load(self.source.folder()) {
            Ok(found) => (found, None),
            Err(error) => (None, (!missing).then_some(error)),
        };
        self.unknown = unknown;
        // One that could not be read is looked at again.
        self.stamp = stamp.filter(|_| found.is_some());
        let Some(allocations) = found else { return false };
        let changed = self.allocations.as_deref() != Some(&allocations);
        if changed {
            self.allocations = Some(Arc::new(allocations));
        }
        changed
    }
}

fn addresses_problem(folder: &Path, error: &io::Error) -> Problem {
    Problem {
        at: Place { file: Arc::from(folder.join(store::ALLOCATIONS)), line: 1, column: 1 },
        message: format!("the cluster's addresses cannot be read: {error}"),
        expected: "the addresses as its control plane wrote them".into(),
    }
}

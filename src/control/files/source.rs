//! One folder: what it says now, and its last content without problems.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use super::tree::Tree;
use crate::control::manifest::{Documents, Note, Problem};

#[derive(Debug)]
pub(super) struct Source {
    folder: PathBuf,
    tree: Tree,
    /// Whether what follows was made of the tree as it is.
    assembled: bool,
    good: Option<Arc<Documents>>,
    notes: Vec<Note>,
    problems: Vec<Problem>,
    /// When a look last found nothing wrong; until then, when this began.
    sound: Instant,
}

impl Source {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            tree: Tree::new(folder.clone()),
            folder,
            assembled: false,
            good: None,
            notes: Vec::new(),
            problems: Vec::new(),
            sound: Instant::now(),
        }
    }

    /// Looks again; tells whether other content is in force. An error or a problem leaves the last good
    /// content as it was.
    pub(super) fn look(&mut self, touched: &BTreeSet<PathBuf>, mirror_namespace: &str) -> io::Result<bool> {
        let refreshed = self.tree.refresh(touched);
        self.assembled &= matches!(refreshed, Ok(false));
        refreshed?;
        let mut replaced = false;
        if !self.assembled {
            self.assembled = true;
            let assembled = self.tree.assemble(mirror_namespace);
            (self.notes, self.problems) = (assembled.notes, assembled.problems);
            self.notes.extend(assembled.unknown.iter().map(|problem| Note {
                at: problem.at.clone(),
                message: format!("{}; expected {}", problem.message, problem.expected),
            }));
            if self.problems.is_empty() {
                self.good = Some(Arc::new(assembled.documents));
                replaced = true;
            }
        }
        if self.problems.is_empty() {
            self.sound = Instant::now();
        }
        Ok(replaced)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last content without problems.
    pub(super) fn good(&self) -> Option<&Arc<Documents>> {
        self.good.as_ref()
    }

    pub(super) fn notes(&self) -> &[Note] {
        &self.notes
    }

    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(super) fn sound(&self) -> Instant {
        self.sound
    }

    pub(super) fn files(&self) -> usize {
        self.tree.files()
    }

    pub(super) fn documents(&self) -> usize {
        self.tree.documents()
    }
}

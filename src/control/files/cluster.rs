//! One cluster from its folder and those it is linked with: the last good state of each, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::Tree;
use super::{Report, store};
use crate::control::index::{Allocations, Linked, LinkedClusters, Settings, Snapshot, remote_urls};
use crate::control::manifest::{Documents, Note, Place, Problem, folder_of};

#[derive(Debug)]
pub(super) struct Cluster {
    settings: Settings,
    folder: PathBuf,
    tree: Tree,
    /// The last content without problems.
    good: Option<Documents>,
    /// By URL as the Secrets spell it.
    linked: BTreeMap<String, Remote>,
    allocations: Allocations,
    saved: Option<Allocations>,
    snapshot: Option<Arc<Snapshot>>,
    report: Report,
    /// About the store rather than the manifests.
    store_note: Option<Note>,
}

#[derive(Debug)]
struct Remote {
    folder: PathBuf,
    tree: Tree,
    read: bool,
    good: Option<Linked>,
    problems: Vec<Problem>,
}

impl Cluster {
    pub(super) fn open(folder: &Path, settings: &Settings) -> io::Result<Self> {
        std::fs::read_dir(folder)?;
        let (saved, store_note) = match store::load(folder) {
            Ok(saved) => (saved, None),
            Err(error) => (None, Some(store_note(folder, format!("addresses are given anew: {error}")))),
        };
        Ok(Self {
            settings: settings.clone(),
            folder: folder.to_owned(),
            tree: Tree::new(folder.to_owned()),
            good: None,
            linked: BTreeMap::new(),
            allocations: saved.clone().unwrap_or_else(|| Allocations::new(settings)),
            saved,
            snapshot: None,
            report: Report::default(),
            store_note,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// The state in force; `None` until there was a good one.
    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Every folder whose changes matter.
    pub(super) fn folders(&self) -> BTreeSet<PathBuf> {
        let linked = self.linked.values().map(|remote| remote.folder.clone());
        linked.chain([self.folder.clone()]).filter(|folder| folder.is_dir()).collect()
    }

    /// Looks at the folders again. `touched` are files that have surely been written.
    pub(super) fn reload(&mut self, touched: &BTreeSet<PathBuf>) {
        let mut report = self.reload_own(touched);
        let Some(documents) = self.good.clone() else {
            self.report = report;
            return;
        };
        self.reload_linked(&documents, touched, &mut report);
        let clusters: LinkedClusters = self
            .linked
            .iter()
            .filter_map(|(url, remote)| Some((url.clone(), remote.good.clone()?)))
            .collect();
        let (snapshot, allocations) =
            Snapshot::build(&documents, &clusters, &self.settings, &self.allocations);
        self.allocations = allocations;
        report.notes.extend(snapshot.notes().iter().cloned());
        report.notes.extend(self.store_note.clone());
        report.notes.sort();
        self.report = report;
        if self.snapshot.as_deref() != Some(&snapshot) {
            self.snapshot = Some(Arc::new(snapshot));
        }
    }

    fn reload_own(&mut self, touched: &BTreeSet<PathBuf>) -> Report {
        let mut report = Report::default();
        match self.tree.refresh(touched) {
            Ok(_) => {
                let assembled = self.tree.assemble(&self.settings.mirror_namespace);
                report.notes = assembled.notes;
                report.problems = assembled.problems;
                if report.problems.is_empty() {
                    self.good = Some(assembled.documents);
                }
            }
            Err(error) => report.problems.push(folder_problem(&self.folder, &error)),
        }
        report.documents = self.tree.documents();
        report.files = self.tree.files();
        report
    }

    fn reload_linked(&mut self, documents: &Documents, touched: &BTreeSet<PathBuf>, report: &mut Report) {
        let urls = remote_urls(documents);
        self.linked.retain(|url, _| urls.contains(url));
        for url in urls {
            let Some(folder) = folder_of(&url, &self.folder) else { continue };
            let remote = self.linked.entry(url.clone()).or_insert_with(|| Remote::new(folder));
            if let Err(error) = remote.reload(touched, &self.settings.mirror_namespace) {
                report.linked.extend(unreachable(documents, &url, &remote.folder, &error));
            }
            report.linked.extend(remote.problems.iter().cloned());
        }
        report.linked.sort();
        report.linked.dedup();
    }

    /// Remembers the addresses. Where that cannot be, they follow from the names alone after a restart.
    pub(super) fn save(&mut self) {
        if self.saved.as_ref() == Some(&self.allocations) {
            return;
        }
        match store::save(&self.folder, &self.allocations) {
            Ok(()) => {
                self.saved = Some(self.allocations.clone());
                self.store_note = None;
            }
            Err(error) => {
                let message =
                    format!("addresses cannot be remembered, linked clusters cannot see them: {error}");
                tracing::warn!(folder = %self.folder.display(), "{message}");
                self.store_note = Some(store_note(&self.folder, message));
            }
        }
    }
}

impl Remote {
    fn new(folder: PathBuf) -> Self {
        Self { tree: Tree::new(folder.clone()), folder, read: false, good: None, problems: Vec::new() }
    }

    /// An error or a problem leaves the last good content as it was.
    fn reload(&mut self, touched: &BTreeSet<PathBuf>, mirror_namespace: &str) -> io::Result<()> {
        let changed = self.tree.refresh(touched)?;
        if changed || !self.read {
            self.read = true;
            let assembled = self.tree.assemble(mirror_namespace);
            self.problems = assembled.problems;
            if self.problems.is_empty() {
                let allocations = self.good.take().and_then(|good| good.allocations);
                self.good = Some(Linked { documents: assembled.documents, allocations });
            }
        }
        // Half-written or broken: what was known stays.
        let allocations = store::load(&self.folder).unwrap_or_default();
        if let (Some(good), Some(allocations)) = (&mut self.good, allocations) {
            good.allocations = Some(allocations);
        }
        Ok(())
    }
}

fn folder_problem(folder: &Path, error: &io::Error) -> Problem {
    Problem {
        at: Place { file: Arc::from(folder), line: 1, column: 1 },
        message: format!("the folder cannot be read: {error}"),
        expected: "a folder with manifests".into(),
    }
}

/// At the Secrets that lead there.
fn unreachable(documents: &Documents, url: &str, folder: &Path, error: &io::Error) -> Vec<Problem> {
    let remotes = documents.secrets.values().filter_map(|(_, secret)| secret.remote.as_ref());
    let leading = remotes.filter(|remote| remote.value == url);
    let problems = leading.map(|remote| Problem {
        at: remote.at.clone(),
        message: format!("the kubeconfig points nowhere: {}: {error}", folder.display()),
        expected: "a file:// URL of the other cluster's folder".into(),
    });
    problems.collect()
}

fn store_note(folder: &Path, message: String) -> Note {
    Note { at: Place { file: Arc::from(folder.join(store::ALLOCATIONS)), line: 1, column: 1 }, message }
}

//! One cluster from its folder and those it is linked with: the last good state of each, put together.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::freshness::{Freshness, Mark, Seen};
use super::source::Source;
use super::tree::Stamp;
use super::{Report, store};
use crate::control::index::{
    Allocations, Linked, LinkedClusters, Settings, Snapshot, cluster_names, remote_urls,
};
use crate::control::manifest::{Documents, Note, Place, Problem, folder_of};
use crate::control::mirror::Gateways;

#[derive(Debug)]
pub(super) struct Cluster {
    settings: Settings,
    own: Source,
    /// By URL as the Secrets spell it.
    linked: BTreeMap<String, Remote>,
    gateways: Gateways,
    /// Whether what is known beside the manifests is other than what the snapshot is made of.
    news: bool,
    allocations: Allocations,
    saved: Option<Allocations>,
    snapshot: Option<Arc<Snapshot>>,
    report: Report,
    /// About the store rather than the manifests.
    store_note: Option<Note>,
}

#[derive(Debug)]
struct Remote {
    source: Source,
    allocations: Option<Arc<Allocations>>,
    /// Which file they were read from.
    stamp: Option<Stamp>,
    linked: Option<Linked>,
    mark: Mark,
    /// Why the latest look found nothing.
    missing: Option<io::Error>,
    /// Why its addresses cannot be told.
    unknown: Option<io::Error>,
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
            own: Source::new(folder.to_owned()),
            linked: BTreeMap::new(),
            gateways: Gateways::default(),
            news: false,
            allocations: saved.clone().unwrap_or_else(|| Allocations::new(settings)),
            saved,
            snapshot: None,
            report: Report::default(),
            store_note,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.own.folder()
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
        let linked = self.linked.values().map(|remote| remote.source.folder());
        let all = linked.chain([self.folder()]).filter(|folder| folder.is_dir());
        all.map(Path::to_owned).collect()
    }

    /// What is known of each cluster, and since when.
    pub(super) fn freshness(&self) -> Freshness {
        let own = Seen { manifests: self.own.sound(), control: None, problems: self.report.problems.len() };
        let names = self.own.good().map(|documents| cluster_names(documents)).unwrap_or_default();
        let linked = names.into_iter().filter_map(|(name, url)| {
            let remote = self.linked.get(url)?;
            Some((name.to_owned(), remote.seen()))
        });
        Freshness { own: Some(own), linked: linked.collect() }
    }

    /// What is known of gateways from now on; in force with the next look.
    pub(super) fn learn(&mut self, gateways: Gateways) {
        self.news |= self.gateways != gateways;
        self.gateways = gateways;
    }

    /// What proxies are told to trust from now on; in force with the next look.
    pub(super) fn trust(&mut self, anchors: String) {
        self.news |= self.settings.trust_anchors_pem != anchors;
        self.settings.trust_anchors_pem = anchors;
    }

    /// Looks at the folders again, and builds anew what follows from them where anything is different.
    /// `touched` are files that have surely been written.
    pub(super) fn reload(&mut self, touched: &BTreeSet<PathBuf>) {
        let mut report = Report::default();
        let mut changed = self.reload_own(touched, &mut report);
        if let Some(documents) = self.own.good().cloned() {
            changed |= self.reload_linked(&documents, touched, &mut report);
            changed |= std::mem::take(&mut self.news);
            if changed || self.snapshot.is_none() {
                self.build(&documents);
            }
        }
        report.notes.extend(self.snapshot.iter().flat_map(|snapshot| snapshot.notes()).cloned());
        report.notes.extend(self.store_note.clone());
        report.notes.sort();
        self.report = report;
    }

    /// Whether other content is in force.
    fn reload_own(&mut self, touched: &BTreeSet<PathBuf>, report: &mut Report) -> bool {
        let looked = self.own.look(touched, &self.settings.mirror_namespace);
        report.notes = self.own.notes().to_vec();
        report.problems = self.own.problems().to_vec();
        report.documents = self.own.documents();
        report.files = self.own.files();
        looked.unwrap_or_else(|error| {
            report.problems.push(folder_problem(self.own.folder(), &error));
            false
        })
    }

    /// Whether other content or addresses are in force.
    fn reload_linked(
        &mut self,
        documents: &Documents,
        touched: &BTreeSet<PathBuf>,
        report: &mut Report,
    ) -> bool {
        let urls = remote_urls(documents);
        let before = self.linked.len();
        self.linked.retain(|url, _| urls.contains(url));
        let mut changed = self.linked.len() != before;
        for url in urls {
            let Some(folder) = folder_of(&url, self.own.folder()) else { continue };
            let remote = self.linked.entry(url.clone()).or_insert_with(|| Remote::new(folder));
            changed |= remote.reload(touched, &self.settings);
            if let Some(error) = &remote.missing {
                report.linked.extend(unreachable(documents, &url, remote.source.folder(), error));
            }
            report.linked.extend(
                remote.unknown.as_ref().map(|error| addresses_problem(remote.source.folder(), error)),
            );
            report.linked.extend(remote.source.problems().iter().cloned());
        }
        report.linked.sort();
        report.linked.dedup();
        changed
    }

    fn build(&mut self, documents: &Documents) {
        let clusters: LinkedClusters = self
            .linked
            .iter()
            .filter_map(|(url, remote)| Some((url.clone(), remote.linked.clone()?)))
            .collect();
        let (snapshot, allocations) =
            Snapshot::build(documents, &clusters, &self.gateways, &self.settings, &self.allocations);
        self.allocations = allocations;
        if self.snapshot.as_deref() != Some(&snapshot) {
            self.snapshot = Some(Arc::new(snapshot));
        }
    }

    /// Remembers the addresses. Where that cannot be, they follow from the names alone after a restart.
    pub(super) fn save(&mut self) {
        if self.saved.as_ref() == Some(&self.allocations) {
            return;
        }
        match store::save(self.own.folder(), &self.allocations) {
            Ok(()) => {
                self.saved = Some(self.allocations.clone());
                self.store_note = None;
            }
            Err(error) => {
                let message =
                    format!("addresses cannot be remembered, linked clusters cannot see them: {error}");
                tracing::warn!(folder = %self.own.folder().display(), "{message}");
                self.store_note = Some(store_note(self.own.folder(), message));
            }
        }
    }
}

impl Remote {
    fn new(folder: PathBuf) -> Self {
        Self {
            source: Source::new(folder),
            allocations: None,
            stamp: None,
            linked: None,
            mark: Mark::default(),
            missing: None,
            unknown: None,
        }
    }

    /// Whether other content or addresses are in force. What cannot be read, or is half-written or broken,
    /// leaves what was known.
    fn reload(&mut self, touched: &BTreeSet<PathBuf>, settings: &Settings) -> bool {
        let (mut changed, missing) = match self.source.look(touched, &settings.mirror_namespace) {
            Ok(replaced) => (replaced, None),
            Err(error) => (false, Some(error)),
        };
        self.missing = missing;
        self.mark.look(self.source.folder());
        changed |= self.reload_allocations(touched);
        if let Some(documents) = self.source.good().filter(|_| changed) {
            self.linked = Some(Linked::observe(documents.clone(), self.allocations.clone(), settings));
        }
        changed
    }

    /// Whether there are other ones. A file that is as it was is not read again.
    fn reload_allocations(&mut self, touched: &BTreeSet<PathBuf>) -> bool {
        let path = self.source.folder().join(store::ALLOCATIONS);
        let stamp = Stamp::at(&path);
        if stamp.is_some() && stamp == self.stamp && !touched.contains(&path) {
            return false;
        }
        let (found, unknown) = match store::load(self.source.folder()) {
            Ok(found) => (found, None),
            // Where the folder itself is away, that is one problem, not two.
            Err(error) => (None, self.missing.is_none().then_some(error)),
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

    fn seen(&self) -> Seen {
        Seen {
            manifests: self.source.sound(),
            control: self.mark.seen(),
            problems: self.source.problems().len()
                + usize::from(self.missing.is_some() || self.unknown.is_some()),
        }
    }
}

fn folder_problem(folder: &Path, error: &io::Error) -> Problem {
    Problem {
        at: Place { file: Arc::from(folder), line: 1, column: 1 },
        message: format!("the folder cannot be read: {error}"),
        expected: "a folder with manifests".into(),
    }
}

fn addresses_problem(folder: &Path, error: &io::Error) -> Problem {
    Problem {
        at: Place { file: Arc::from(folder.join(store::ALLOCATIONS)), line: 1, column: 1 },
        message: format!("the cluster's addresses cannot be read: {error}"),
        expected: "the addresses as its control plane wrote them".into(),
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

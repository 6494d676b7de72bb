//! One cluster from its folder and those it is linked with: the last good state of each, put together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::time::Instant;

use super::freshness::{Freshness, Seen};
use super::lock::Lock;
use super::look::Whose;
use super::reader::{Answer, Reader};
use super::tree::Stamp;
use super::{Event, Report, store};
use crate::control::index::{Allocations, LinkedClusters, Settings, Snapshot, cluster_names, remote_urls};
use crate::control::manifest::{Documents, Note, Place, Problem, folder_of};
use crate::control::mirror::Gateways;

#[derive(Debug)]
pub(super) struct Cluster {
    settings: Settings,
    own: Reader,
    /// By URL as the Secrets spell it.
    linked: BTreeMap<String, Reader>,
    /// How many readers there have been.
    readers: u64,
    /// Where their answers go, and whether events of their folders do.
    events: mpsc::Sender<Event>,
    /// `None` where the folder is only looked at: nothing is followed or written.
    lock: Option<Lock>,
    gateways: Gateways,
    /// Whether what is known is other than what the snapshot is made of.
    changed: bool,
    allocations: Allocations,
    saved: Option<Allocations>,
    /// Which file they are in.
    saved_in: Option<Stamp>,
    snapshot: Option<Arc<Snapshot>>,
    report: Report,
    /// That remembered addresses were lost, until others are.
    store_note: Option<Note>,
    /// Why those in force are not remembered.
    unsaved: Option<Problem>,
}

impl Cluster {
    /// What happens comes to `events`, changes of files too where the folder is locked to be followed.
    pub(super) fn open(
        folder: &Path,
        settings: &Settings,
        events: mpsc::Sender<Event>,
        lock: Option<Lock>,
    ) -> io::Result<Self> {
        std::fs::read_dir(folder)?;
        let saved_in = store::stamp(folder);
        let (saved, store_note) = match store::load(folder) {
            Ok(saved) => (saved, None),
            Err(error) => {
                let message = format!("addresses are given anew: {error}");
                (None, Some(Note { at: store::place(folder), message }))
            }
        };
        Ok(Self {
            settings: settings.clone(),
            own: Reader::start(Whose::Own, 0, folder.to_owned(), &events, lock.is_some())?,
            linked: BTreeMap::new(),
            readers: 1,
            events,
            lock,
            gateways: Gateways::default(),
            changed: false,
            allocations: saved.clone().unwrap_or_else(|| Allocations::new(settings)),
            saved,
            saved_in,
            snapshot: None,
            report: Report::default(),
            store_note,
            unsaved: None,
        })
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// The state in force; `None` until there was a good one.
    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// What is known of each cluster, and since when.
    pub(super) fn freshness(&self) -> Freshness {
        let own = Seen { problems: self.report.problems.len(), ..self.own.seen() };
        let names = self.own.good().map(|documents| cluster_names(documents)).unwrap_or_default();
        let linked = names.into_iter().filter_map(|(name, url)| {
            let reader = self.linked.get(url)?;
            Some((name.to_owned(), reader.seen()))
        });
        Freshness { own: Some(own), linked: linked.collect() }
    }

    /// What is known of gateways from now on; in force with the next look.
    pub(super) fn learn(&mut self, gateways: Gateways) {
        self.changed |= self.gateways != gateways;
        self.gateways = gateways;
    }

    /// What proxies are told to trust from now on; in force with the next look.
    pub(super) fn trust(&mut self, anchors: String) {
        self.changed |= self.settings.trust_anchors_pem != anchors;
        self.settings.trust_anchors_pem = anchors;
    }

    /// Asks for a look at every folder.
    pub(super) fn ask(&mut self) {
        for reader in self.linked.values_mut().chain([&mut self.own]) {
            reader.ask(&BTreeSet::new(), &self.settings);
        }
    }

    /// Asks for a look where files have surely been written.
    pub(super) fn ask_touched(&mut self, touched: &BTreeSet<PathBuf>) {
        let readers = self.linked.values_mut().chain([&mut self.own]);
        for reader in readers.filter(|reader| reader.is_touched(touched)) {
            reader.ask(touched, &self.settings);
        }
    }

    /// Reads all for the first time. Without its own folder a cluster is nothing, so that this is waited for.
    pub(super) fn begin(&mut self, events: &mpsc::Receiver<Event>, later: &mut VecDeque<Event>) {
        self.ask();
        while self.own.found().is_none() {
            match events.recv() {
                Ok(Event::Found(answer)) => self.take(*answer),
                Ok(other) => later.push_back(other),
                Err(mpsc::RecvError) => return,
            }
        }
        self.gather(events, later);
        self.conclude();
    }

    /// Waits for the looks that are under way, but for no folder that takes too long: what that has to say
    /// comes when it comes. Everything else that happens is for `later`.
    pub(super) fn gather(&mut self, events: &mpsc::Receiver<Event>, later: &mut VecDeque<Event>) {
        loop {
            let readers = self.linked.values().chain([&self.own]);
            let Some(until) = readers.filter_map(Reader::awaited).max() else { return };
            match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Found(answer)) => self.take(*answer),
                Ok(Event::Stop) => return later.push_front(Event::Stop),
                Ok(other) => later.push_back(other),
                Err(_) => {}
            }
        }
    }

    pub(super) fn take(&mut self, answer: Answer) {
        if answer.number == self.own.number() {
            if self.own.take(answer, &self.settings) {
                self.changed = true;
                self.follow_links();
            }
        } else {
            let whose = self.linked.values_mut().find(|reader| reader.number() == answer.number);
            self.changed |= whose.is_some_and(|reader| reader.take(answer, &self.settings));
        }
    }

    /// Reads the folders that the own one leads to now, and no others.
    fn follow_links(&mut self) {
        let Some(documents) = self.own.good() else { return };
        let urls = remote_urls(documents);
        self.linked.retain(|url, _| urls.contains(url));
        for url in urls {
            let Some(folder) = folder_of(&url, self.own.folder()) else { continue };
            if self.linked.contains_key(&url) {
                continue;
            }
            match Reader::start(Whose::Linked, self.readers, folder, &self.events, self.lock.is_some()) {
                Ok(mut reader) => {
                    reader.ask(&BTreeSet::new(), &self.settings);
                    self.linked.insert(url, reader);
                    self.readers += 1;
                }
                Err(error) => tracing::warn!(%error, url, "a linked cluster is not followed: no thread"),
            }
        }
    }

    /// Builds anew what follows from what is known, where that is different, and says what is wrong. Addresses are on
    /// disk before anybody is told of them.
    pub(super) fn conclude(&mut self) {
        let mut report = self.own_report();
        if let Some(documents) = self.own.good().cloned() {
            report.linked = self.linked_problems(&documents);
            if std::mem::take(&mut self.changed) || self.snapshot.is_none() {
                self.build(&documents);
            }
            self.save();
        }
        let snapshot = self.snapshot.iter();
        report.notes.extend(snapshot.clone().flat_map(|snapshot| snapshot.notes()).cloned());
        report.notes.extend(snapshot.flat_map(|snapshot| snapshot.route_faults()));
        report.notes.extend(self.store_note.clone());
        report.unsaved = self.unsaved.clone();
        report.notes.sort();
        self.report = report;
    }

    fn own_report(&self) -> Report {
        let Some(found) = self.own.found() else { return Report::default() };
        let mut problems = found.problems.clone();
        let silent = self.own.is_silent().then_some(SILENT);
        problems
            .extend(silent.or(found.missing.as_deref()).map(|why| folder_problem(self.own.folder(), why)));
        let (notes, documents, files) = (found.notes.clone(), found.documents, found.files);
        Report { problems, notes, documents, files, ..Report::default() }
    }

    fn linked_problems(&self, documents: &Documents) -> Vec<Problem> {
        let mut all = Vec::new();
        for (url, reader) in &self.linked {
            let found = reader.found();
            let missing = found.and_then(|found| found.missing.as_deref());
            if let Some(why) = reader.is_silent().then_some(SILENT).or(missing) {
                all.extend(unreachable(documents, url, reader.folder(), why));
            }
            all.extend(found.into_iter().flat_map(|found| &found.problems).cloned());
        }
        all.sort();
        all.dedup();
        all
    }

    fn build(&mut self, documents: &Documents) {
        let clusters: LinkedClusters = self
            .linked
            .iter()
            .filter_map(|(url, reader)| Some((url.clone(), reader.found()?.linked.clone()?)))
            .collect();
        let (snapshot, allocations) =
            Snapshot::build(documents, &clusters, &self.gateways, &self.settings, &self.allocations);
        self.allocations = allocations;
        if self.snapshot.as_deref() != Some(&snapshot) {
            self.snapshot = Some(Arc::new(snapshot));
        }
    }

    /// Remembers the addresses, again where the file is no longer the one that was written: clusters that are linked
    /// have it alone to go by. Where that cannot be, addresses follow from the names alone after a restart. A folder
    /// that is gone gets nothing: what is in its place may be an empty mount point.
    fn save(&mut self) {
        let Some(lock) = &mut self.lock else { return };
        let Some(found) = self.own.found().filter(|found| found.missing.is_none()) else { return };
        let same = self.saved.as_ref() == Some(&self.allocations);
        if same && found.addresses == self.saved_in {
            return;
        }
        let folder = self.own.folder();
        // Some file systems tell another time or number of one file at each look.
        if same && store::load(folder).ok().flatten().as_ref() == Some(&self.allocations) {
            self.saved_in = found.addresses;
            return;
        }
        match lock.renew().and_then(|()| store::save(folder, &self.allocations)) {
            Ok(written) => {
                if same {
                    tracing::info!(folder = %folder.display(), "the file of addresses was gone or another; written again");
                }
                self.saved = Some(self.allocations.clone());
                self.saved_in = Some(written);
                (self.store_note, self.unsaved) = (None, None);
                self.own.wrote(self.saved_in);
            }
            Err(error) => {
                self.unsaved = Some(Problem {
                    at: store::place(folder),
                    message: format!(
                        "addresses cannot be remembered, linked clusters cannot see them: {error}"
                    ),
                    expected: "a folder that can be written to".into(),
                });
            }
        }
    }
}

/// Of a folder whose look does not end, such as one on a network mount that is gone.
const SILENT: &str = "it does not answer";

fn folder_problem(folder: &Path, why: &str) -> Problem {
    Problem {
        at: Place { file: Arc::from(folder), line: 1, column: 1 },
        message: format!("the folder cannot be read: {why}"),
        expected: "a folder with manifests".into(),
    }
}

/// At the Secrets that lead there.
fn unreachable(documents: &Documents, url: &str, folder: &Path, why: &str) -> Vec<Problem> {
    let remotes = documents.secrets.values().filter_map(|(_, secret)| secret.remote.as_ref());
    let leading = remotes.filter(|remote| remote.value == url);
    let problems = leading.map(|remote| Problem {
        at: remote.at.clone(),
        message: format!("the kubeconfig points nowhere: {}: {why}", folder.display()),
        expected: "a file:// URL of the other cluster's folder".into(),
    });
    problems.collect()
}

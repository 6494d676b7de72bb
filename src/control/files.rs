//! A cluster's folder, watched: what it says now, and what is wrong with it.
//!
//! Changes take effect together after a short quiet; a folder with any problem changes nothing, the
//! last good state stays whole. The folders that Links lead to are watched too, each with a last good
//! state of its own, and a thread of its own that reads it. Events can be lost, so the files are looked over
//! every now and then as well.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::index::{Allocations, Settings, Snapshot};
use super::manifest::{Assembled, Note, Problem};
use super::mirror::Gateways;

mod cluster;
pub mod freshness;
mod lock;
mod look;
mod reader;
mod source;
mod store;
mod tree;
mod changes;

pub use freshness::Freshness;
pub use lock::Lock;
pub use store::ALLOCATIONS;

use cluster::Cluster;
use reader::Answer;

/// How long a folder must be quiet before it is read: editors and `git checkout` write in bursts.
const SETTLE: Duration = Duration::from_millis(100);
/// A folder that is never quiet is read all the same.
const SETTLE_AT_MOST: Duration = Duration::from_secs(1);
/// Without events a change is still followed within two seconds.
const POLL: Duration = Duration::from_millis(1500);

/// What a look at the folder found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Not empty: the folder's present content is not in force.
    pub problems: Vec<Problem>,
    /// What is wrong with linked folders; their last good content stays in force.
    pub linked: Vec<Problem>,
    /// Why addresses are not remembered; they are in force all the same.
    pub unsaved: Option<Problem>,
    pub notes: Vec<Note>,
    /// How many documents were read, in how many files.
    pub documents: usize,
    pub files: usize,
}

impl Report {
    /// Everything that is wrong, whatever it hinders.
    pub fn all_problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(&self.linked).chain(&self.unsaved)
    }
}

/// Why a folder cannot be started from.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("cannot read the folder {}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error(
        "another causeway control{holder} runs for the folder {}: expected a folder of its own for each, \
         or that the other one is ended first",
        folder.display()
    )]
    Taken { folder: PathBuf, holder: String },
    #[error("{} problems in the folder, the first: {}", .0.problems.len(), first(.0))]
    Problems(Box<Report>),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

fn first(report: &Report) -> String {
    report.problems.first().map(ToString::to_string).unwrap_or_default()
}

/// Reads a folder once and leaves no trace in it. The snapshot is there if there are no problems.
pub fn look(folder: &Path, settings: &Settings) -> io::Result<(Report, Option<Arc<Snapshot>>)> {
    look_knowing(folder, settings, |_| Gateways::default())
}

/// The same, with what is known of the gateways that the folder names.
pub fn look_knowing(
    folder: &Path,
    settings: &Settings,
    known: impl FnOnce(&Snapshot) -> Gateways,
) -> io::Result<(Report, Option<Arc<Snapshot>>)> {
    let (events, incoming) = mpsc::channel();
    let mut cluster = Cluster::open(folder, settings, events, None)?;
    cluster.begin(&incoming, &mut VecDeque::new());
    if let Some(known) = cluster.snapshot().map(|snapshot| known(snapshot)) {
        cluster.learn(known);
        cluster.conclude();
    }
    Ok((cluster.report().clone(), cluster.snapshot().cloned()))
}

/// What a folder says, without the folders that it leads to.
#[derive(Debug)]
pub struct Reading {
    pub assembled: Assembled,
    /// `None` until the cluster's control plane has given out addresses, or where they cannot be read.
    pub allocations: Option<Allocations>,
    /// Why they cannot be read.
    pub unknown: Option<Problem>,
    /// How many files were read.
    pub files: usize,
}

/// Reads a folder once, by itself. There are documents also where there are problems.
pub fn read(folder: &Path, mirror_namespace: &str) -> io::Result<Reading> {
    let mut tree = tree::Tree::new(folder.to_owned());
    tree.refresh(&BTreeSet::new())?;
    let (allocations, unknown) = match store::load(folder) {
        Ok(allocations) => (allocations, None),
        Err(error) => (None, Some(look::addresses_problem(folder, &error))),
    };
    Ok(Reading { assembled: tree.assemble(mirror_namespace), allocations, unknown, files: tree.files() })
}

/// A folder that is followed until this is dropped.
#[derive(Debug)]
pub struct Folder {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reports: watch::Receiver<Arc<Report>>,
    freshness: watch::Receiver<Freshness>,
    events: mpsc::Sender<Event>,
    follower: Option<thread::JoinHandle<()>>,
}

impl Folder {
    /// Takes the folder and follows it.
    pub fn open(folder: &Path, settings: &Settings) -> Result<Self, Unusable> {
        Self::follow(Lock::take(folder)?, settings)
    }

    /// Reads the folder and starts to follow it. The first state must be a good one.
    pub fn follow(lock: Lock, settings: &Settings) -> Result<Self, Unusable> {
        let folder = lock.folder().to_owned();
        let unreadable = |source| Unusable::Folder { folder: folder.clone(), source };
        let (events, incoming) = mpsc::channel();
        let mut later = VecDeque::new();
        let mut cluster = Cluster::open(&folder, settings, events.clone(), Some(lock)).map_err(unreadable)?;
        cluster.begin(&incoming, &mut later);
        let Some(first) = cluster.snapshot().cloned() else {
            return Err(Unusable::Problems(Box::new(cluster.report().clone())));
        };
        announce(cluster.report());
        let (snapshot_tx, snapshots) = watch::channel(first);
        let (report_tx, reports) = watch::channel(Arc::new(cluster.report().clone()));
        let (freshness_tx, freshness) = watch::channel(cluster.freshness());
        let mut follower = Follower {
            cluster,
            events: incoming,
            later,
            snapshots: snapshot_tx,
            reports: report_tx,
            freshness: freshness_tx,
        };
        follower.publish();
        let run = move || follower.run();
        let thread = thread::Builder::new().name("manifests".into()).spawn(run).map_err(Unusable::Thread)?;
        Ok(Self { snapshots, reports, freshness, events, follower: Some(thread) })
    }

    /// The state in force; changes only when it is another one.
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// What the latest look found.
    pub fn reports(&self) -> watch::Receiver<Arc<Report>> {
        self.reports.clone()
    }

    /// To whom news is told that is not in any manifest.
    pub fn news(&self) -> News {
        News(self.events.clone())
    }

    /// How old what is in force is, by cluster.
    pub fn freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Stop);
        if let Some(follower) = self.follower.take() {
            let _ = follower.join();
        }
    }
}

/// Takes what is known of gateways, and whom proxies are to trust: whole and each time it is another.
#[derive(Clone, Debug)]
pub struct News(mpsc::Sender<Event>);

impl News {
    pub fn tell(&self, gateways: Gateways) {
        // Nobody follows the folder any more: nobody wants to know.
        let _ = self.0.send(Event::Gateways(gateways));
    }

    /// What injected proxies are told to trust from now on, a PEM bundle.
    pub fn trust(&self, anchors: String) {
        let _ = self.0.send(Event::Trust(anchors));
    }
}

#[derive(Debug)]
enum Event {
    Changed(Vec<PathBuf>),
    Found(Box<Answer>),
    Gateways(Gateways),
    Trust(String),
    Stop,
}

/// The thread's own: building takes long, so it is not a task. Folders are read by threads of theirs.
struct Follower {
    cluster: Cluster,
    events: mpsc::Receiver<Event>,
    /// What happened while something else was waited for.
    later: VecDeque<Event>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    reports: watch::Sender<Arc<Report>>,
    freshness: watch::Sender<Freshness>,
}

impl Follower {
    fn run(&mut self) {
        let mut poll = Instant::now() + POLL;
        loop {
            match self.next(poll) {
                Some(Event::Changed(paths)) => {
                    let mut changed = paths.into_iter().collect();
                    if !self.settle(&mut changed) {
                        return;
                    }
                    self.cluster.ask_touched(&changed);
                }
                Some(Event::Stop) => return,
                Some(news) => self.hear(news),
                None => {
                    self.cluster.ask();
                    poll = Instant::now() + POLL;
                }
            }
            self.cluster.gather(&self.events, &mut self.later);
            self.cluster.conclude();
            self.publish();
        }
    }

    /// What happens before it is time to look at the folders again.
    fn next(&mut self, poll: Instant) -> Option<Event> {
        let left = poll.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        self.later.pop_front().or_else(|| self.events.recv_timeout(left).ok())
    }

    /// Gathers what changes until it is quiet; false to stop.
    fn settle(&mut self, changed: &mut BTreeSet<PathBuf>) -> bool {
        let deadline = Instant::now() + SETTLE_AT_MOST;
        while Instant::now() < deadline {
            let Some(event) = self.later.pop_front().or_else(|| self.events.recv_timeout(SETTLE).ok()) else {
                break;
            };
            match event {
                Event::Changed(more) => changed.extend(more),
                Event::Stop => return false,
                news => self.hear(news),
            }
        }
        true
    }

    fn hear(&mut self, news: Event) {
        match news {
            Event::Found(answer) => self.cluster.take(*answer),
            Event::Gateways(gateways) => self.cluster.learn(gateways),
            Event::Trust(anchors) => self.cluster.trust(anchors),
            Event::Changed(_) | Event::Stop => {}
        }
    }

    fn publish(&mut self) {
        self.freshness.send_replace(self.cluster.freshness());
        let report = self.cluster.report();
        self.reports.send_if_modified(|current| {
            let new = **current != *report;
            if new {
                announce(report);
                *current = Arc::new(report.clone());
            }
            new
        });
        let Some(snapshot) = self.cluster.snapshot() else { return };
        let snapshot = snapshot.clone();
        if !Arc::ptr_eq(&self.snapshots.borrow(), &snapshot) {
            self.snapshots.send_replace(snapshot);
        }
    }
}

fn announce(report: &Report) {
    for problem in report.all_problems() {
        tracing::warn!("{problem}");
    }
    match report.problems.len() {
        0 => tracing::info!(documents = report.documents, files = report.files, "manifests are in force"),
        count => tracing::warn!(count, "manifests have problems; the last good state stays in force"),
    }
}

#[cfg(test)]
mod tests;

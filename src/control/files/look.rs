//! Looks at one folder: what is found, as plain data that outlives a folder that no longer answers.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::freshness::{Mark, Seen};
use super::source::Source;
use super::store;
use super::tree::Stamp;
use crate::control::index::{Allocations, Linked, Settings};
use crate::control::manifest::{Documents, Note, Problem};

/// How long a living control plane may take to give new pods addresses. One that has none left gives none.
const AWAITED: Duration = Duration::from_secs(5);

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
    /// Which file the own addresses are in. `None`: there is none, or it is a linked folder.
    pub(super) addresses: Option<Stamp>,
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
    /// What the manifests say by now, and since when their pods wait for addresses.
    ahead: Option<(Linked, Instant)>,
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
            ahead: None,
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
            changed = self.observe(changed, settings);
        }
        self.changes += u64::from(changed);
        self.found(missing)
    }

    /// What is seen of the cluster; tells whether that is new. While pods have no address, what was seen before stays:
    /// their control plane reads the same manifests at this moment, and until it has, all would seem to be gone. If it is
    /// dead, nothing of this ever happens.
    fn observe(&mut self, changed: bool, settings: &Settings) -> bool {
        if let Some(documents) = self.source.good().filter(|_| changed) {
            let now = Linked::observe(documents.clone(), self.allocations.clone(), settings);
            let settled = self.linked.as_ref().is_some_and(|seen| !seen.awaits_addresses());
            let waiting = settled && now.awaits_addresses();
            let since = self.ahead.as_ref().map_or_else(Instant::now, |(_, since)| *since);
            self.ahead = waiting.then(|| (now.clone(), since));
            if !waiting {
                self.linked = Some(now);
                return true;
            }
        }
        // By a sign of life after all that time: one from before says nothing of who died meanwhile.
        let lives = |since: Instant| self.mark.seen().is_some_and(|seen| seen > since + AWAITED);
        let given_up = |(_, since): &mut (Linked, Instant)| lives(*since);
        let Some((now, _)) = self.ahead.take_if(given_up) else { return false };
        self.linked = Some(now);
        true
    }

    fn found(&self, missing: Option<String>) -> Found {
        let unknown = self.unknown.as_ref().map(|error| addresses_problem(self.source.folder(), error));
        let problems: Vec<_> = self.source.problems().iter().cloned().chain(unknown).collect();
        Found {
            good: self.source.good().cloned(),
            linked: self.linked.clone(),
            changes: self.changes,
            addresses: (self.whose == Whose::Own).then(|| store::stamp(self.source.folder())).flatten(),
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

pub(super) fn addresses_problem(folder: &Path, error: &io::Error) -> Problem {
    Problem {
        at: store::place(folder),
        message: format!("the cluster's addresses cannot be read: {error}"),
        expected: "the addresses as its control plane wrote them".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::control::files::freshness;
    use crate::control::index::{LinkedClusters, Snapshot};
    use crate::control::mirror::Gateways;

    const PODS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: d}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: 'web:1'}]}}
";

    /// Writes the manifests, and the addresses of their pods where a control plane is there to give some.
    fn write(folder: &Path, text: &str, served: bool) {
        fs::write(folder.join("a.yaml"), text).unwrap();
        if served {
            let (settings, mut source) = (Settings::default(), Source::new(folder.to_owned()));
            source.look(&BTreeSet::new(), "linkerd-multicluster").unwrap();
            let given = Allocations::new(&settings);
            let linked = LinkedClusters::new();
            let documents = source.good().unwrap();
            let (_, given) = Snapshot::build(documents, &linked, &Gateways::default(), &settings, &given);
            store::save(folder, &given).unwrap();
        }
    }

    /// A folder that was served, and who looks at it for the first time.
    fn served() -> (tempfile::TempDir, Looker) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), PODS, true);
        let looker = Looker::new(Whose::Linked, dir.path().to_owned());
        (dir, looker)
    }

    fn look(looker: &mut Looker, folder: &Path) -> u64 {
        let touched = [folder.join("a.yaml"), folder.join(store::ALLOCATIONS)];
        looker.look(&touched.into(), &Settings::default()).changes
    }

    #[tokio::test(start_paused = true)]
    async fn pods_without_an_address_are_waited_for_while_somebody_may_give_them_one() {
        let (dir, mut looker) = served();
        let folder = dir.path();
        assert_eq!(look(&mut looker, folder), 1);
        write(folder, &PODS.replace("web:1", "web:2"), false);
        assert_eq!(look(&mut looker, folder), 1, "what was there stays");
        write(folder, &PODS.replace("web:1", "web:2"), true);
        assert_eq!(look(&mut looker, folder), 2, "they are there");

        write(folder, &PODS.replace("web:1", "web:3"), false);
        assert_eq!(look(&mut looker, folder), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(look(&mut looker, folder), 2, "a dead one's last good state");
        freshness::mark(folder).unwrap();
        assert_eq!(look(&mut looker, folder), 3, "one that lives has none to give");
        write(folder, PODS, true);
        assert_eq!(look(&mut looker, folder), 4);
        freshness::mark(folder).unwrap();
        write(folder, &PODS.replace("web:1", "web:4"), false);
        assert_eq!(look(&mut looker, folder), 4, "the time counts anew");
        tokio::time::advance(Duration::from_millis(5_500)).await;
        assert_eq!(look(&mut looker, folder), 4, "it was alive when it was last seen, which was long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_without_some_addresses_before_is_not_waited_for() {
        let (dir, mut looker) = served();
        let folder = dir.path();
        write(folder, &PODS.replace("replicas: 2", "replicas: 3"), false);
        assert_eq!(look(&mut looker, folder), 1);
        write(folder, &PODS.replace("replicas: 2", "replicas: 1"), false);
        assert_eq!(look(&mut looker, folder), 2);
        write(folder, &PODS.replace("replicas: 2", "replicas: 4"), false);
        assert_eq!(look(&mut looker, folder), 2, "now all had one");
        freshness::mark(folder).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        let file = fs::File::options().write(true).open(folder.join(freshness::MARK)).unwrap();
        file.set_modified(std::time::SystemTime::now() + Duration::from_secs(1)).unwrap();
        assert_eq!(look(&mut looker, folder), 3);
        write(folder, &PODS.replace("replicas: 2", "replicas: 5"), false);
        assert_eq!(
            look(&mut looker, folder),
            4,
            "its network is full, and no reason to be late with the rest"
        );
    }
}

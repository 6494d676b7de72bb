//! How old is what is known of each cluster?
//!
//! A folder can be there and its control plane be gone, so that nothing in it moves any more. So each
//! control plane marks its folder at every look, and those that are linked with it look for the mark.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Name of the mark: an empty file, written at every look.
pub const MARK: &str = ".causeway-alive";

/// Manifests that have not been found sound for that long are stale; looks are 1.5 s apart.
const STALE_MANIFESTS: Duration = Duration::from_secs(4);
/// A mark is made and found by two clocks that do not know of each other.
const STALE_MARK: Duration = Duration::from_secs(6);

/// What is known of each cluster, and since when.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    /// `None` until there was a look.
    pub own: Option<Seen>,
    /// By the names that Links and credentials give.
    pub linked: BTreeMap<String, Seen>,
}

/// One cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When its manifests were last read and found without problems; until then, when they were first
    /// looked for.
    pub manifests: Instant,
    /// When its control plane last showed that it lives. `None`: it never did, or it is this one.
    pub control: Option<Instant>,
    /// What the latest look found wrong.
    pub problems: usize,
}

impl Seen {
    /// Whether what is in force may no longer be what the cluster says.
    pub fn stale(&self, now: Instant) -> bool {
        let silent = self.control.is_some_and(|seen| now.duration_since(seen) > STALE_MARK);
        self.problems > 0 || silent || now.duration_since(self.manifests) > STALE_MANIFESTS
    }
}

/// Another control plane's mark, and when it was seen to move.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark(Option<(SystemTime, Instant)>);

impl Mark {
    /// Looks at the mark in `folder`. The first one is as old as the file system says; after that only
    /// whether it moves counts.
    pub(super) fn look(&mut self, folder: &Path) {
        let found = fs::metadata(folder.join(MARK)).and_then(|metadata| metadata.modified());
        let Ok(marked) = found else { return };
        let now = Instant::now();
        match self.0 {
            Some((known, _)) if known == marked => {}
            Some(_) => self.0 = Some((marked, now)),
            None => {
                let age = SystemTime::now().duration_since(marked).unwrap_or_default();
                self.0 = Some((marked, now.checked_sub(age).unwrap_or(now)));
            }
        }
    }

    pub(super) fn seen(self) -> Option<Instant> {
        self.0.map(|(_, seen)| seen)
    }
}

/// Marks the own folder.
pub(super) fn mark(folder: &Path) -> io::Result<()> {
    let file = fs::File::options().create(true).truncate(false).write(true).open(folder.join(MARK))?;
    file.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_does_not_move_ages_from_when_it_last_did() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = Mark::default();
        found.look(folder.path());
        assert_eq!(found.seen(), None);
        mark(folder.path()).unwrap();
        let file = fs::File::options().write(true).open(folder.path().join(MARK)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        found.look(folder.path());
        let age = found.seen().unwrap().elapsed();
        assert!(age >= Duration::from_secs(59), "a dead one is found dead: {age:?}");
        // By whatever clock it is written.
        file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
        found.look(folder.path());
        let moved = found.seen().unwrap();
        assert!(moved.elapsed() < Duration::from_secs(30));
        found.look(folder.path());
        assert_eq!(found.seen(), Some(moved));
        fs::remove_file(folder.path().join(MARK)).unwrap();
        found.look(folder.path());
        assert_eq!(found.seen(), Some(moved), "what was known stays");
    }

    #[test]
    fn staleness_is_a_problem_an_old_look_or_a_silent_control_plane() {
        let now = Instant::now() + Duration::from_secs(100);
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
        let fresh = Seen { manifests: ago(2), control: Some(ago(3)), problems: 0 };
        assert!(!fresh.stale(now));
        assert!(!Seen { control: None, ..fresh }.stale(now));
        assert!(Seen { problems: 1, ..fresh }.stale(now));
        assert!(Seen { manifests: ago(5), ..fresh }.stale(now));
        assert!(Seen { control: Some(ago(7)), ..fresh }.stale(now));
    }
}

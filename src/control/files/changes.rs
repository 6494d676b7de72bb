//! Events of one folder. Where the system has none to give, polling remains.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::look::Whose;
use super::{Event, freshness};

/// One folder's own, since telling the system of a folder that does not answer waits for it too.
#[derive(Debug)]
pub(super) struct Watch {
    folder: PathBuf,
    watcher: Option<RecommendedWatcher>,
    watched: bool,
}

impl Watch {
    pub(super) fn new(folder: PathBuf, whose: Whose, events: mpsc::Sender<Event>) -> Self {
        let own = (whose == Whose::Own).then(|| folder.clone());
        let handler = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let silent = |path: &PathBuf| says_nothing(path, own.as_deref());
            if event.kind.is_access() || event.paths.iter().all(silent) {
                return;
            }
            let _ = events.send(Event::Changed(event.paths));
        };
        let watcher = notify::recommended_watcher(handler);
        if let Err(error) = &watcher {
            tracing::warn!(%error, "no file events; manifests are polled");
        }
        Self { folder, watcher: watcher.ok(), watched: false }
    }

    /// Begins to watch the folder, also one that has gone and come again.
    pub(super) fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let there = self.folder.is_dir();
        if self.watched && !there {
            let _ = watcher.unwatch(&self.folder);
            self.watched = false;
        }
        if !self.watched && there {
            self.watched = watcher.watch(&self.folder, RecursiveMode::NonRecursive).is_ok();
        }
    }
}

/// Our own store lies beside the manifests: writing it must not make us read again. Marks are for looks.
fn says_nothing(path: &Path, own: Option<&Path>) -> bool {
    let Some(name) = path.file_name() else { return false };
    let hidden = || name.as_encoded_bytes().starts_with(b".");
    name == freshness::MARK || own.is_some_and(|own| hidden() && path.parent() == Some(own))
}

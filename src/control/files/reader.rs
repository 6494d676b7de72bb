//! A thread for each folder: one on a mount that is dead holds up nobody who reads another.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::Event;
use super::changes::Watch;
use super::freshness::{self, Seen};
use super::look::{Found, Looker, Whose};
use super::tree::Stamp;
use crate::control::index::Settings;
use crate::control::manifest::Documents;

/// How long a folder that has answered before is waited for when it is looked at again.
const PATIENCE: Duration = Duration::from_secs(2);
/// And one that has not. Its files are all new.
const FIRST: Duration = Duration::from_secs(10);

/// Room for manifests as deeply nested as they may be: each level takes up to 40 KiB of a build without optimizations.
const STACK: usize = 8 << 20;

/// The follower's end of one folder. When it is dropped the thread ends, as soon as the folder lets it.
#[derive(Debug)]
pub(super) struct Reader {
    /// Whose answers are whose: a folder may be left and followed again.
    number: u64,
    folder: PathBuf,
    asks: mpsc::Sender<Ask>,
    /// `None` until the first answer.
    found: Option<Found>,
    /// Since when a look is under way.
    asked: Option<Instant>,
    began: Instant,
    /// Files that have surely been written since.
    touched: BTreeSet<PathBuf>,
}

#[derive(Debug)]
struct Ask {
    touched: BTreeSet<PathBuf>,
    settings: Settings,
}

/// What a look found, for whoever asked for it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) number: u64,
    found: Found,
}

impl Reader {
    /// `answers` gets what looks find, and events of the folder where it is to be `followed`.
    pub(super) fn start(
        whose: Whose,
        number: u64,
        folder: PathBuf,
        answers: &mpsc::Sender<Event>,
        followed: bool,
    ) -> io::Result<Self> {
        let (asks, incoming) = mpsc::channel();
        let thread = Thread {
            number,
            looker: Looker::new(whose, folder.clone()),
            watch: followed.then(|| Watch::new(folder.clone(), whose, answers.clone())),
            marked: (followed && whose == Whose::Own).then(|| folder.clone()),
            answers: answers.clone(),
        };
        let builder = thread::Builder::new().name("folder".into()).stack_size(STACK);
        builder.spawn(move || thread.serve(&incoming))?;
        let touched = BTreeSet::new();
        Ok(Self { number, folder, asks, found: None, began: Instant::now(), asked: None, touched })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// The file with the own addresses is this one now.
    pub(super) fn wrote(&mut self, addresses: Option<Stamp>) {
        if let Some(found) = &mut self.found {
            found.addresses = addresses;
        }
    }

    pub(super) fn good(&self) -> Option<&Arc<Documents>> {
        self.found.as_ref()?.good.as_ref()
    }

    /// What is known of the cluster; that its folder does not answer is one more problem.
    pub(super) fn seen(&self) -> Seen {
        let known = self.found.as_ref().map(|found| found.seen);
        let known = known.unwrap_or(Seen { manifests: self.began, control: None, problems: 0 });
        Seen { problems: known.problems + usize::from(self.is_silent()), ..known }
    }

    /// Whether a look takes longer than anybody waits for.
    pub(super) fn is_silent(&self) -> bool {
        self.asked.is_some_and(|asked| asked.elapsed() >= self.patience())
    }

    /// Until when the look that is under way is waited for.
    pub(super) fn awaited(&self) -> Option<Instant> {
        let until = self.asked? + self.patience();
        (until > Instant::now()).then_some(until)
    }

    fn patience(&self) -> Duration {
        if self.found.is_some() { PATIENCE } else { FIRST }
    }

    /// Asks for a look, also at files of these that are its own, as soon as none is under way.
    pub(super) fn ask(&mut self, touched: &BTreeSet<PathBuf>, settings: &Settings) {
        self.touched.extend(touched.iter().filter(|path| path.starts_with(&self.folder)).cloned());
        if self.asked.is_none() {
            let ask = Ask { touched: std::mem::take(&mut self.touched), settings: settings.clone() };
            // A thread that has ended is one that does not answer.
            let _ = self.asks.send(ask);
            self.asked = Some(Instant::now());
        }
    }

    /// Whether any of these files lies in the folder.
    pub(super) fn is_touched(&self, touched: &BTreeSet<PathBuf>) -> bool {
        touched.iter().any(|path| path.starts_with(&self.folder))
    }

    /// Takes what was found; tells whether other content is in force. What was touched meanwhile is asked for
    /// at once.
    pub(super) fn take(&mut self, answer: Answer, settings: &Settings) -> bool {
        let before = self.found.replace(answer.found).map_or(0, |found| found.changes);
        self.asked = None;
        if !self.touched.is_empty() {
            self.ask(&BTreeSet::new(), settings);
        }
        self.found.as_ref().is_some_and(|found| found.changes != before)
    }
}

/// Nothing else of this program waits for the folder.
struct Thread {
    number: u64,
    looker: Looker,
    watch: Option<Watch>,
    /// The own folder, where it is marked.
    marked: Option<PathBuf>,
    answers: mpsc::Sender<Event>,
}

impl Thread {
    /// Looks when it is asked to.
    fn serve(mut self, asks: &mpsc::Receiver<Ask>) {
        for Ask { touched, settings } in asks {
            if let Some(watch) = &mut self.watch {
                // Before the look, so that nothing that is written meanwhile is missed.
                watch.renew();
            }
            let found = self.looker.look(&touched, &settings);
            // Whoever has nothing to serve is not alive to others. A folder that cannot be written to has a note about its
            // addresses already.
            if found.good.is_some() {
                self.marked.iter().for_each(|folder| drop(freshness::mark(folder)));
            }
            let answer = Answer { number: self.number, found };
            if self.answers.send(Event::Found(Box::new(answer))).is_err() {
                return;
            }
        }
    }
}

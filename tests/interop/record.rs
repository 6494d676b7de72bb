//! What was seen, written down so that it can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::deviations;
use crate::stage::{Pairing, Proxy, Way};

/// What the two ends of a case saw, in the order in which each saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    names: Arc<[(String, &'static str)]>,
    notes: Arc<Mutex<[Vec<String>; 2]>>,
}

impl Seen {
    /// `names` stand for addresses, which differ from run to run, and for what is long.
    pub(crate) fn new(names: impl Into<Arc<[(String, &'static str)]>>) -> Self {
        Self { names: names.into(), notes: Arc::default() }
    }

    pub(crate) fn app(&self, lines: impl IntoIterator<Item = impl Into<String>>) {
        self.notes.lock()[0].extend(lines.into_iter().map(Into::into));
    }

    pub(crate) fn client(&self, lines: impl IntoIterator<Item = impl Into<String>>) {
        self.notes.lock()[1].extend(lines.into_iter().map(Into::into));
    }

    /// What the application saw, then what the client did.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (end, lines) in ["app", "client"].iter().zip(&*self.notes.lock()) {
            for line in lines {
                let named = |line: String, (addr, name): &(String, &str)| line.replace(addr, name);
                let line = self.names.iter().fold(line.clone(), named);
                let _ = writeln!(text, "{end}: {line}");
            }
        }
        text
    }
}

/// What a case saw on one way.
pub(crate) type Observed = BTreeMap<String, String>;

/// What two reference proxies do, and what ours do otherwise.
pub(crate) struct Records {
    folder: PathBuf,
    reference: Observed,
    /// By pairing.
    deviations: BTreeMap<String, Observed>,
}

impl Records {
    /// Those in this folder below `records`.
    pub(crate) fn load(folder: &str) -> Self {
        let records = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/records");
        let folder = records.join(folder);
        let deviations = parse(&std::fs::read_to_string(folder.join("deviations.txt")).unwrap_or_default());
        let mut by_pairing = BTreeMap::<_, Observed>::new();
        for (title, text) in deviations {
            let (pairing, case) = title.split_once(": ").unwrap();
            by_pairing.entry(pairing.to_owned()).or_default().insert(case.to_owned(), text);
        }
        let reference = parse(&std::fs::read_to_string(folder.join("reference.txt")).unwrap_or_default());
        Self { folder, reference, deviations: by_pairing }
    }

    /// What is not as recorded, or not for a reason that is listed, by case.
    pub(crate) fn compare(mut self, pairing: Pairing, seen: &Observed) -> Observed {
        let reference = pairing == Pairing { client: Proxy::Reference, server: Proxy::Reference };
        if writes() {
            self.write(pairing, seen, reference);
        }
        let deviations = self.deviations.remove(&name(pairing)).unwrap_or_default();
        let mut problems = Observed::new();
        for (case, text) in seen {
            let (expected, recorded) = (self.reference.get(case), deviations.get(case));
            let as_reference = expected == Some(text);
            if !as_reference && recorded != Some(text) {
                let other = recorded.or(expected).map_or("nothing\n", String::as_str);
                problems.insert(case.clone(), format!("== {case}: saw\n{text}expected\n{other}"));
            } else if !as_reference && deviations::reason(case).is_none() {
                let problem = format!("== {case}: differs from the reference for no listed reason");
                problems.insert(case.clone(), problem);
            } else if as_reference && recorded.is_some() {
                problems.insert(case.clone(), format!("== {case}: no longer differs from the reference"));
            }
        }
        problems
    }

    /// Only what this pairing knows, and of the cases that were played. Tests that run beside this one write the rest, so `--test-threads=1`, and the
    /// reference pairing before the others.
    fn write(&mut self, pairing: Pairing, seen: &Observed, reference: bool) {
        if reference {
            if CASES.is_empty() {
                self.reference.clear();
            }
            self.reference.extend(seen.clone());
            std::fs::write(self.folder.join("reference.txt"), print(&self.reference)).unwrap();
            return;
        }
        let differ = seen.iter().filter(|(case, text)| self.reference.get(*case) != Some(text));
        let differ: Observed = differ.map(|(case, text)| (case.clone(), text.clone())).collect();
        let known = self.deviations.entry(name(pairing)).or_default();
        known.retain(|case, _| !CASES.is_empty() && !seen.contains_key(case));
        known.extend(differ);
        let titled = self.deviations.iter().flat_map(|(pairing, cases)| {
            cases.iter().map(move |(case, text)| (format!("{pairing}: {case}"), text.clone()))
        });
        std::fs::write(self.folder.join("deviations.txt"), print(&titled.collect())).unwrap();
    }
}

/// The cases that are played: those whose titles hold this.
pub(crate) static CASES: LazyLock<String> =
    LazyLock::new(|| std::env::var("CAUSEWAY_INTEROP_CASE").unwrap_or_default());

/// Whether what is seen is written down anew.
pub(crate) fn writes() -> bool {
    std::env::var_os("CAUSEWAY_WRITE_RECORDS").is_some()
}

/// All problems, to be read.
pub(crate) fn told(problems: &Observed) -> String {
    problems.values().map(String::as_str).collect::<Vec<_>>().join("\n")
}

pub(crate) fn title(case: &str, way: Way) -> String {
    format!("{case}, {}", way.name())
}

fn name(pairing: Pairing) -> String {
    let name = |proxy| if proxy == Proxy::Ours { "ours" } else { "reference" };
    format!("{} to {}", name(pairing.client), name(pairing.server))
}

fn print(sections: &Observed) -> String {
    let mut text = String::new();
    for (title, lines) in sections {
        let _ = writeln!(text, "== {title}\n{lines}");
    }
    text
}

fn parse(text: &str) -> Observed {
    let sections = text.split("== ").filter_map(|section| section.split_once('\n'));
    sections.map(|(title, lines)| (title.to_owned(), format!("{}\n", lines.trim_end()))).collect()
}

//! The manifests of one folder, parsed again only where a file has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::manifest::{self, Assembled, Parsed, Place, Problem};

/// Manifests are text by hand or by kubectl; more than this is a mistake.
pub(super) const LARGEST: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Tree {
    folder: PathBuf,
    files: BTreeMap<PathBuf, File>,
}

#[derive(Debug)]
struct File {
    /// `None` where it cannot be looked at: then it is again and again.
    stamp: Option<Stamp>,
    parsed: Parsed,
}

/// What tells that a file is another one than before without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Tree {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new() }
    }

    /// Reads what is new or changed, and what is in `touched` in any case: two writes within one tick
    /// of the clock leave the same stamp. Tells whether anything is different.
    pub(super) fn refresh(&mut self, touched: &BTreeSet<PathBuf>) -> io::Result<bool> {
        let mut present = BTreeSet::new();
        let mut changed = false;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if !is_manifest(&path) {
                continue;
            }
            let before = self.files.get(&path);
            // Follows links: mounted volumes are made of them.
            let file = match fs::metadata(&path) {
                Ok(metadata) if !metadata.is_file() => continue,
                Ok(metadata) => {
                    let stamp = Stamp::of(&metadata);
                    let known = before.is_some_and(|file| file.stamp == Some(stamp));
                    (!known || touched.contains(&path)).then(|| File::read(&path, stamp, before))
                }
                // One that has just gone is no file; a link that leads nowhere still says that there is one.
                Err(error) => match fs::symlink_metadata(&path) {
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                    _ => Some(File { stamp: None, parsed: unseen(&path, &error) }),
                },
            };
            if let Some(file) = file {
                changed |= before.is_none_or(|before| before.parsed != file.parsed);
                self.files.insert(path.clone(), file);
            }
            present.insert(path);
        }
        // A volume that is gone leaves an empty folder, and nobody deletes a whole cluster by deleting files.
        if present.is_empty() && !self.files.is_empty() {
            return Err(io::Error::other("it holds no manifests any more"));
        }
        let before = self.files.len();
        self.files.retain(|path, _| present.contains(path));
        Ok(changed || self.files.len() != before)
    }

    pub(super) fn assemble(&self, mirror_namespace: &str) -> Assembled {
        manifest::assemble(self.files.values().map(|file| &file.parsed), mirror_namespace)
    }

    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    pub(super) fn documents(&self) -> usize {
        self.files.values().map(|file| file.parsed.documents.len()).sum()
    }
}

impl File {
    fn read(path: &Path, stamp: Stamp, before: Option<&Self>) -> Self {
        let parsed = match before {
            Some(before) if before.is_emptied(stamp) => emptied(path),
            _ => read(path, stamp.length),
        };
        Self { stamp: Some(stamp), parsed }
    }

    /// Whoever writes a file anew empties it first: until it says something, what it said counts. An empty file that
    /// takes its place is meant so.
    fn is_emptied(&self, now: Stamp) -> bool {
        let same = self.stamp.is_some_and(|stamp| stamp.inode == now.inode);
        now.length == 0 && same && self.parsed != Parsed::default()
    }
}

impl Stamp {
    /// `None` where there is no such file.
    pub(super) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }

    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Visible files with an extension that kubectl takes.
fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| ["yaml", "yml", "json"].contains(&extension))
}

fn read(path: &Path, length: u64) -> Parsed {
    if length > LARGEST {
        return unreadable(path, &format!("the file has {length} bytes"), "at most 64 MiB");
    }
    match fs::read_to_string(path) {
        // Since it was looked at.
        Ok(text) if text.is_empty() && length > 0 => emptied(path),
        Ok(text) => manifest::parse(&Arc::from(path), text.strip_prefix('\u{feff}').unwrap_or(&text)),
        Err(error) => unreadable(path, &format!("the file cannot be read: {error}"), "a readable UTF-8 file"),
    }
}

/// A file that cannot even be looked at, such as where a link leads nowhere or in a circle.
fn unseen(path: &Path, error: &io::Error) -> Parsed {
    let message = match fs::read_link(path) {
        Ok(target) => format!("the file cannot be read: it is a link to {}: {error}", target.display()),
        Err(_) => format!("the file cannot be read: {error}"),
    };
    unreadable(path, &message, "a readable UTF-8 file, or no such link")
}

fn emptied(path: &Path) -> Parsed {
    unreadable(path, "the file has been emptied", "documents, or no such file")
}

fn unreadable(path: &Path, message: &str, expected: &str) -> Parsed {
    let at = Place { file: Arc::from(path), line: 1, column: 1 };
    let problem = Problem { at, message: message.into(), expected: expected.into() };
    Parsed { problems: vec![problem], ..Parsed::default() }
}

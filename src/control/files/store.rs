//! Where addresses are remembered: a hidden file beside the manifests.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::tree::{LARGEST, Stamp};
use crate::control::index::Allocations;
use crate::control::manifest::Place;

/// Name of the file. Linked clusters read it too: it is how they learn each other's addresses.
pub const ALLOCATIONS: &str = ".causeway-addresses.json";

/// What was remembered; `Ok(None)` where nothing was yet.
///
/// # Errors
/// The file cannot be read, is none, such as a pipe that would never end, or too large; or it holds something else.
pub(super) fn load(folder: &Path) -> io::Result<Option<Allocations>> {
    match read(&folder.join(ALLOCATIONS)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    match metadata.len() {
        _ if !metadata.is_file() => Err(io::Error::other("not a file")),
        length if length > LARGEST => Err(io::Error::other(format!("the file has {length} bytes"))),
        _ => fs::read(path),
    }
}

/// Where what is to be said of the file as a whole is found.
pub(super) fn place(folder: &Path) -> Place {
    Place { file: Arc::from(folder.join(ALLOCATIONS)), line: 1, column: 1 }
}

/// Which file it is now; `None` where there is none.
pub(super) fn stamp(folder: &Path) -> Option<Stamp> {
    Stamp::at(&folder.join(ALLOCATIONS))
}

/// Replaces the file in one step, so that readers never see half of it. Returns which file it is, as it was before
/// anybody else could find it.
pub(super) fn save(folder: &Path, allocations: &Allocations) -> io::Result<Stamp> {
    let new = folder.join(format!("{ALLOCATIONS}.new"));
    let mut text = serde_json::to_vec_pretty(allocations).map_err(io::Error::other)?;
    text.push(b'\n');
    let mut file = fs::File::create(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    let stamp = Stamp::of(&file.metadata()?);
    fs::rename(&new, folder.join(ALLOCATIONS))?;
    Ok(stamp)
}

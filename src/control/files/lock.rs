//! One control plane for one folder: two would give its pods addresses against each other.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Unusable;

/// The sole right to give out addresses in a folder, until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    /// The folder itself is locked, so that nothing need be written.
    locked: File,
}

impl Lock {
    /// Where the file system knows no locks there is nobody to tell, and nobody is kept from starting.
    ///
    /// # Errors
    /// The folder cannot be opened, or another control plane has it.
    pub fn take(folder: &Path) -> Result<Self, Unusable> {
        let unreadable = |source| Unusable::Folder { folder: folder.to_owned(), source };
        let locked = File::open(folder).map_err(unreadable)?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&locked).map(|pid| format!(", process {pid},")).unwrap_or_default();
                return Err(Unusable::Taken { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => {
                tracing::info!(folder = %folder.display(), %error, "cannot be locked against a second control plane");
            }
        }
        Ok(Self { folder: folder.to_owned(), locked })
    }

    /// Before anything is written: another folder may have come to the same place, which is another's by now.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        let (here, locked) = (fs::metadata(&self.folder)?, self.locked.metadata()?);
        if (here.dev(), here.ino()) != (locked.dev(), locked.ino()) {
            *self = Self::take(&self.folder).map_err(io::Error::other)?;
        }
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Which process has locked this file, where the system tells: not of one in another container, nor where files of several
/// file systems have its number.
fn holder(locked: &File) -> Option<u32> {
    let inode = locked.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut holders = locks.lines().filter_map(|line| held(line, &inode));
    holders.next().filter(|_| holders.next().is_none())
}

/// Of a line such as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`.
fn held(line: &str, inode: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else { return None };
    let same = file.rsplit(':').next() == Some(inode);
    pid.parse().ok().filter(|pid| same && *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_had_by_one_alone_who_is_named_and_for_as_long_as_it_lasts() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let refused = Lock::take(folder.path()).unwrap_err().to_string();
        let (path, own) = (folder.path().display().to_string(), std::process::id());
        assert!(refused.contains(&path) && refused.contains(&format!("process {own},")), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_line_of_locks_names_the_holder_of_that_file_alone() {
        let line = "1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF";
        assert_eq!(held(line, "1234"), Some(4711));
        assert_eq!(held(line, "234"), None);
        assert_eq!(
            held("1: FLOCK  ADVISORY  WRITE 0 fe:00:1234 0 EOF", "1234"),
            None,
            "of another container"
        );
        assert_eq!(held("2: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", "1234"), None);
        assert_eq!(held("1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", "1234"), None, "who waits");
    }
}

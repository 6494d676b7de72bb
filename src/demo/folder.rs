//! A folder that is gone when its handle is.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A new folder below the machine's folder for temporary files. Everyone may pass through it and only its owner may
/// look: proxies run as another user and are given paths below.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> io::Result<Self> {
        let name = format!("causeway-demo-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o711))?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            // This may run because standard error is gone.
            let _ = writeln!(io::stderr(), "cannot remove {}: {e}", self.0.display());
        }
    }
}

//! What tests of serving share.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

pub(super) use crate::control::testing::Guide;

/// For everything that is waited for.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// A mount that nobody serves, as of a network that is gone: whoever touches it waits until this is dropped.
pub(super) struct DeadMount {
    path: PathBuf,
    _unserved: File,
}

impl DeadMount {
    /// `None` where mounting is not allowed.
    pub(super) fn over(path: PathBuf) -> Option<Self> {
        let opened = File::options().read(true).write(true).open("/dev/fuse");
        let mounted = opened.and_then(|unserved| {
            let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", unserved.as_raw_fd());
            mount(Some("dead"), &path, Some("fuse"), MsFlags::empty(), Some(options.as_str()))?;
            Ok(unserved)
        });
        match mounted {
            Ok(unserved) => Some(Self { path, _unserved: unserved }),
            Err(refusal) => {
                assert!(std::env::var_os("CAUSEWAY_REQUIRE_NETNS").is_none(), "{refusal}");
                None
            }
        }
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        umount2(&self.path, MntFlags::MNT_DETACH).unwrap();
    }
}

//! The guide's two clusters in folders of their own, with trust material, for tests.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::control::Settings;
use crate::control::ca::{Certifier, Issuing, TokenKey, folder};
use crate::control::files::Folder;

/// For everything that is waited for.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Guide {
    root: tempfile::TempDir,
}

impl Guide {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for cluster in ["east", "west"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guide").join(cluster);
            fs::create_dir(root.path().join(cluster)).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "yaml") {
                    fs::copy(&path, root.path().join(cluster).join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        folder::create(&root.path().join("certs"), &["west", "east"], SystemTime::now()).unwrap();
        Self { root }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn settings(cluster: &str) -> Settings {
        let net = if cluster == "east" { "10.23.0.0/16" } else { "10.22.0.0/16" };
        Settings { pod_network: net.parse().unwrap(), ..Settings::default() }
    }

    pub(super) fn open(&self, cluster: &str) -> Folder {
        Folder::open(&self.path(cluster), &Self::settings(cluster)).unwrap()
    }

    /// The cluster's authority, and the key of its tokens.
    pub(super) fn certifier(&self, cluster: &str) -> (Arc<Certifier>, TokenKey) {
        let files = folder::open(&self.path("certs"), cluster, SystemTime::now()).unwrap();
        let certifier = Certifier {
            authority: Issuing::fixed(files.authority),
            tokens: files.tokens.verifier(),
            control_namespace: "linkerd".into(),
            trust_domain: "cluster.local".into(),
        };
        (Arc::new(certifier), files.tokens)
    }

    /// In one step: a look may come at any time.
    pub(super) fn write(&self, file: &str, text: &str) {
        let (path, new) = (self.path(file), self.path(".new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    pub(super) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} lacks {from:?}");
        self.write(file, &text.replace(from, to));
    }
}

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

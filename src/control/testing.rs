//! The guide's two clusters in folders of their own, with trust material, for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::Settings;
use super::ca::{Certifier, Issuing, TokenKey, folder};
use super::files::Folder;

pub(crate) struct Guide {
    root: tempfile::TempDir,
}

impl Guide {
    pub(crate) fn new() -> Self {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn settings(cluster: &str) -> Settings {
        let net = if cluster == "east" { "10.23.0.0/16" } else { "10.22.0.0/16" };
        Settings { pod_network: net.parse().unwrap(), ..Settings::default() }
    }

    pub(crate) fn open(&self, cluster: &str) -> Folder {
        Folder::open(&self.path(cluster), &Self::settings(cluster)).unwrap()
    }

    /// The cluster's authority, and the key of its tokens.
    pub(crate) fn certifier(&self, cluster: &str) -> (Arc<Certifier>, TokenKey) {
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
    pub(crate) fn write(&self, file: &str, text: &str) {
        let (path, new) = (self.path(file), self.path(".new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} lacks {from:?}");
        self.write(file, &text.replace(from, to));
    }
}

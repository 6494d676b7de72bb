//! The guide's clusters in a folder of their own, and their control planes, for tests of commands.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Parser;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::control::{ControlArgs, serve};
use crate::control::ca::folder;

const LIMIT: Duration = Duration::from_secs(20);

/// Two clusters with certificates, to be spoilt.
pub(super) struct Guide {
    root: tempfile::TempDir,
}

impl Guide {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for cluster in ["east", "west"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guide").join(cluster);
            fs::create_dir(root.path().join(cluster)).unwrap();
            for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
                fs::copy(entry.path(), root.path().join(cluster).join(entry.file_name())).unwrap();
            }
        }
        folder::create(&root.path().join("certs"), &["west", "east"], SystemTime::now()).unwrap();
        Self { root }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn spoil(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        assert!(text.contains(from), "{file} lacks {from:?}");
        fs::write(self.path(file), text.replace(from, to)).unwrap();
    }

    /// Starts a cluster's control plane as its command does, on free ports.
    pub(super) async fn control(&self, cluster: &str, more: &[&str]) -> Control {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            args: ControlArgs,
        }
        let (folder, certs) = (self.path(cluster), self.path("certs"));
        let own = ["control", folder.to_str().unwrap(), "--certs", certs.to_str().unwrap()];
        let free = ["--destination-port", "0", "--policy-port", "0", "--identity-port", "0"];
        let http = ["--api", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--cluster-name", cluster];
        let args = Cli::parse_from([&own[..], &free, &http, more].concat()).args;
        let (end, ended) = oneshot::channel::<()>();
        let (ours, mut theirs) = std::io::pipe().unwrap();
        let served = tokio::spawn(async move {
            serve(&args, async { drop(ended.await) }, &mut theirs).await.unwrap();
        });
        let ours = tokio::fs::File::from_std(fs::File::from(std::os::fd::OwnedFd::from(ours)));
        let line = timeout(LIMIT, BufReader::new(ours).lines().next_line()).await.unwrap().unwrap().unwrap();
        Control { line, end, served }
    }
}

/// A control plane that serves until it is told to end.
pub(super) struct Control {
    line: String,
    end: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Control {
    /// The address that it said for this service.
    pub(super) fn addr(&self, service: &str) -> String {
        let prefix = format!("{service}=");
        let found = self.line.split(' ').find_map(|word| word.strip_prefix(prefix.as_str()));
        let addr: SocketAddr =
            found.unwrap_or_else(|| panic!("no {service} in {:?}", self.line)).parse().unwrap();
        addr.to_string()
    }

    pub(super) async fn end(self) {
        self.end.send(()).unwrap();
        timeout(LIMIT, self.served).await.unwrap().unwrap();
    }
}

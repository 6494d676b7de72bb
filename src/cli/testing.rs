//! The control planes of the guide's clusters, for tests of commands.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::control::{ControlArgs, serve};
pub(super) use crate::control::testing::Guide;

const LIMIT: Duration = Duration::from_secs(20);

impl Guide {
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

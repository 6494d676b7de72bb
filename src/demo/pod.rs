//! What does a program in a pod find around it? A network with the pod's own address, and the files that kubelet lays
//! over the image's so that names resolve as they do in Kubernetes: `resolv.conf` first of all.

use std::io;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use nix::sys::signal::Signal;

use super::namespace::{self, Namespace};
use super::network::{self, Network};
use super::process::{Process, Program};

/// Why a pod could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Who the pod is and where its names are resolved.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For messages and its folder: unique in a demo, such as `east/bb-6d9f7c6d5-x2x9k`.
    pub title: String,
    pub name: String,
    /// Kubernetes namespace.
    pub namespace: String,
    pub addr: IpAddr,
    /// The cluster's name server.
    pub nameserver: IpAddr,
}

/// One pod: its namespaces, its folder and its running containers.
#[derive(Debug)]
pub struct Pod {
    // Before the namespace: programs end first.
    containers: Vec<(String, Process)>,
    namespace: Arc<Namespace>,
    identity: Identity,
    folder: PathBuf,
}

impl Pod {
    /// Joins a new pod to `network`. `folder` must exist and be the pod's own; its logs and files go there.
    ///
    /// # Errors
    /// Says what could not be made.
    pub fn new(network: &Network, identity: Identity, folder: PathBuf) -> Result<Self, Error> {
        let namespace = Arc::new(Namespace::new(&identity.title)?);
        network.attach(&namespace, &[identity.addr])?;
        let pod = Self { containers: Vec::new(), namespace, identity, folder };
        pod.lay_files()?;
        Ok(pod)
    }

    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Mounts `source`, a file or a folder, at `target`, which must be below `/var/run`: a pod has that to itself.
    ///
    /// # Errors
    /// When it is elsewhere, or `source` is missing.
    pub fn mount(&self, source: PathBuf, target: &str) -> Result<(), Error> {
        let path = PathBuf::from(target);
        if !path.starts_with(RUN) || path.components().any(|part| part == Component::ParentDir) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, format!("not below {RUN}"));
            return Err(Error::File { path, source });
        }
        Ok(self.place(source, path)?)
    }

    /// Lays `source` over what is made for it.
    fn place(&self, source: PathBuf, target: PathBuf) -> Result<(), namespace::Error> {
        let (folder, made) = (source.is_dir(), target.clone());
        self.namespace.io(&format!("make {}", target.display()), move || {
            if folder {
                return std::fs::create_dir_all(made);
            }
            made.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::File::create(made).map(drop)
        })?;
        self.namespace.cover(target, source)
    }

    /// The first container that has ended, and how.
    pub fn ended(&mut self) -> Option<(String, ExitStatus)> {
        self.containers.iter_mut().find_map(|(name, process)| Some((name.clone(), process.ended()?)))
    }

    /// The process of a container.
    #[must_use]
    pub fn id(&self, container: &str) -> Option<u32> {
        self.containers.iter().find(|(name, _)| name == container).map(|(_, process)| process.id())
    }

    /// Sends a signal to a container, unless it has ended.
    pub fn signal(&mut self, container: &str, signal: Signal) {
        for (_, process) in self.containers.iter_mut().filter(|(name, _)| name == container) {
            process.signal(signal);
        }
    }

    /// Where a container's output goes.
    #[must_use]
    pub fn log(&self, container: &str) -> PathBuf {
        self.folder.join(format!("{container}.log"))
    }

    /// The end of a container's log, for an error message.
    #[must_use]
    pub fn last_lines(&self, container: &str) -> String {
        let log = std::fs::read(self.log(container)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    /// Starts a container in the pod, in place of one of the same name.
    ///
    /// # Errors
    /// When it cannot be started or its log cannot be made.
    pub fn start(&mut self, container: &str, program: Program) -> Result<(), Error> {
        self.containers.retain(|(name, _)| name != container);
        let path = self.log(container);
        let log = std::fs::File::create(&path).map_err(|source| Error::File { path, source })?;
        self.containers.push((container.to_owned(), program.output(log).start(&self.namespace)?));
        Ok(())
    }

    fn lay_files(&self) -> Result<(), Error> {
        let Identity { name, namespace, addr, nameserver, .. } = &self.identity;
        let resolv = format!(
            "nameserver {nameserver}\nsearch {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
             options ndots:5\n"
        );
        let hosts = format!("127.0.0.1\tlocalhost\n{addr}\t{name}\n");
        // An image has nothing there; on a machine services listen there that know nothing of the pod.
        self.namespace.empty(RUN.into())?;
        self.lay("/etc/resolv.conf", &resolv)?;
        // The C library may be told to ask other services first.
        for (target, content) in
            [("/etc/hosts", hosts.as_str()), ("/etc/nsswitch.conf", "hosts: files dns\n")]
        {
            if Path::new(target).exists() {
                self.lay(target, content)?;
            }
        }
        Ok(())
    }

    fn lay(&self, target: &str, content: &str) -> Result<(), Error> {
        let name = target.rsplit('/').next().unwrap_or(target);
        let path = self.folder.join(name);
        std::fs::write(&path, content).map_err(|source| Error::File { path: path.clone(), source })?;
        // Some machines have a link there, into the folder that is empty here.
        let (real, run) = (std::fs::canonicalize(target), std::fs::canonicalize(RUN));
        match (real, run) {
            (Ok(real), Ok(run)) if real.starts_with(&run) => Ok(self.place(path, real)?),
            _ => Ok(self.namespace.cover(PathBuf::from(target), path)?),
        }
    }
}

/// Where kubelet mounts what a pod is given.
const RUN: &str = "/var/run";
/// Enough to see why a program ended.
const LINES_SHOWN: usize = 15;

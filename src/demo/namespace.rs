//! How does this process have a foot in many networks at once? Each [`Namespace`] is a thread that unshared its network
//! and mounts and lives there until dropped. Sockets opened, netlink spoken and children started *on that thread*
//! belong to the namespace; the sockets work on any thread afterwards. No other thread ever changes its namespace.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpSocket;

/// Why a namespace could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot make a network namespace for {name}: {source}{}", privilege_hint(.source))]
    Create { name: String, source: io::Error },
    #[error("the namespace of {name} has ended")]
    Ended { name: String },
    #[error("{name}: cannot {what}: {source}")]
    Io { name: String, what: String, source: io::Error },
}

/// A network and a mount namespace, held by a thread of its own. Dropping it ends the thread, which kills children
/// started with a parent-death signal; the kernel then removes the namespaces with their links, rules and mounts.
pub struct Namespace {
    name: String,
    tid: Pid,
    /// `None` only while being dropped.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Namespace {
    /// Makes the namespaces; `name` is for messages only and need not be unique.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN`, and whatever else stops the kernel from making one.
    pub fn new(name: &str) -> Result<Self, Error> {
        let create = |source| Error::Create { name: name.to_owned(), source };
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, entered) = mpsc::channel();
        // Thread names are cut to 15 bytes by the kernel and must not hold a zero byte.
        let label = name.chars().filter(char::is_ascii_graphic).take(15).collect();
        let thread = std::thread::Builder::new()
            .name(label)
            .spawn(move || {
                let outcome = enter().map(|()| gettid());
                let entered = outcome.is_ok();
                if ready.send(outcome).is_ok() && entered {
                    inbox.into_iter().for_each(|job| job());
                }
            })
            .map_err(create)?;
        let tid = entered.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(create)?;
        Ok(Self { name: name.to_owned(), tid, jobs: Mutex::new(Some(jobs)), thread: Some(thread) })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The thread in the namespace: `/proc/<tid>/ns/net` names it, for `nsenter -t`.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid
    }

    /// Runs `work` on the namespace's thread and waits for it. Keep it short: jobs run one after the other.
    ///
    /// # Errors
    /// [`Error::Ended`] if this or an earlier job panicked.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let ended = || Error::Ended { name: self.name.clone() };
        let (reply, answer) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Nobody waits any more: nothing to tell.
            let _ = reply.send(work());
        });
        self.jobs.lock().as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(ended)?;
        answer.recv().map_err(|_| ended())
    }

    /// A socket of this namespace that is not connected yet; connect it to `to` from any runtime.
    ///
    /// # Errors
    /// When the kernel gives no socket.
    pub fn socket(&self, to: SocketAddr) -> Result<TcpSocket, Error> {
        let open = move || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = self.io("open a socket", open)?;
        Ok(TcpSocket::from_std_stream(TcpStream::from(socket)))
    }

    /// A blocking listener in this namespace.
    ///
    /// # Errors
    /// When the address is taken or not of this namespace.
    pub fn listen(&self, addr: SocketAddr) -> Result<TcpListener, Error> {
        self.io(&format!("listen on {addr}"), move || TcpListener::bind(addr))
    }

    /// Puts an empty folder in the place of `target`, for processes of this namespace only.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn empty(&self, target: PathBuf) -> Result<(), Error> {
        let what = format!("mount an empty folder over {}", target.display());
        self.io(&what, move || {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            Ok(mount(None::<&str>, &target, Some("tmpfs"), flags, Some("mode=755"))?)
        })
    }

    /// Lays `source`, a file or a folder, over `target`, for processes of this namespace only.
    ///
    /// # Errors
    /// When either is missing.
    pub fn cover(&self, target: PathBuf, source: PathBuf) -> Result<(), Error> {
        let what = format!("mount {} over {}", source.display(), target.display());
        self.io(&what, move || {
            Ok(mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
        })
    }

    /// Starts a child in this namespace. Its parent, in the eyes of a parent-death signal, is the namespace's thread.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child, Error> {
        let what = format!("start {}", command.get_program().to_string_lossy());
        self.io(&what, move || command.spawn())
    }

    /// A handle on the network namespace, to move links into it.
    pub(super) fn net(&self) -> Result<File, Error> {
        self.io("open its own network namespace", || File::open("/proc/thread-self/ns/net"))
    }

    /// [`Namespace::run`] for work that fails as I/O does; `what` completes "cannot …".
    pub(super) fn io<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(work)?.map_err(|source| Error::Io { name: self.name.clone(), what: what.to_owned(), source })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs.lock().take();
        if let Some(thread) = self.thread.take() {
            // A job that panicked has been reported as `Ended` to whoever asked for it.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace").field("name", &self.name).field("tid", &self.tid).finish_non_exhaustive()
    }
}

/// Unshares network and mounts of the calling thread. Mounts become private first: what is mounted here must not
/// appear on the machine.
fn enter() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?)
}

fn privilege_hint(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied {
        " (CAP_SYS_ADMIN is needed: root's, or that of a user namespace)"
    } else {
        ""
    }
}

//! The admin listener, on a thread of its own: rendering a large page never sits in front of a request.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, warn};

use crate::inbound::Inbound;

use super::Admin;

/// The admin pages behind their listener, not yet serving.
pub struct AdminServer {
    listener: TcpListener,
    listen: SocketAddr,
    inbound: Arc<Inbound>,
    admin: Arc<Admin>,
}

/// The running admin thread. It ends when this is dropped.
pub struct Running {
    stop: DropGuard,
    thread: JoinHandle<()>,
}

impl AdminServer {
    pub fn new(listener: TcpListener, inbound: Arc<Inbound>, admin: Admin) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listen = listener.local_addr()?;
        Ok(Self { listener, listen, inbound, admin: Arc::new(admin) })
    }

    /// Serves until drained, and finishes answers until [`Running::stop`].
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start(self) -> io::Result<Running> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("admin".into()).spawn(move || {
            runtime.block_on(async move {
                self.inbound.drain.clone().spawn(self.serve());
                stopped.cancelled().await;
            });
        })?;
        Ok(Running { stop: stop.drop_guard(), thread })
    }

    async fn serve(self) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return error!(%error, "the admin listener ended"),
        };
        let drain = &self.inbound.drain;
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.signaled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((io, _)) => {
                    let (inbound, admin, listen) = (self.inbound.clone(), self.admin.clone(), self.listen);
                    drain.spawn(async move { inbound.serve_admin(io, listen, admin).await });
                }
                Err(error) => {
                    warn!(%error, "cannot accept an admin connection; retrying");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Running {
    /// Ends the thread; answers on their way are cut off.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

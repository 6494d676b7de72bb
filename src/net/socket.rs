//! Options of TCP sockets (contract 3.1): no delay, keepalive, user timeout.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long the kernel lets a silent peer live. `None` leaves the kernel's own times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Idle time before the first keepalive probe.
    pub keepalive: Option<Duration>,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

impl SocketOptions {
    pub fn apply(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        match self.keepalive {
            Some(time) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time))?,
            None => socket.set_keepalive(true)?,
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        Ok(())
    }
}

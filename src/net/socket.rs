//! Options of TCP sockets (contract 3.1): no delay, keepalive, user timeout.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::config;

/// Applies a listener's or connector's options.
pub fn apply(options: &config::Socket, stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    match options.keepalive {
        Some(time) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time))?,
        None => socket.set_keepalive(true)?,
    }
    #[cfg(target_os = "linux")]
    if let Some(timeout) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

//! Options of sockets (contract 3.1): no delay, keepalive, user timeout; and the mark of those that the proxy opens.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{getsockopt, sockopt::GetStruct};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

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

/// Connects, from an address of ours or from whichever the kernel takes. The mark is on the first packet already:
/// redirection looks at that one.
///
/// # Errors
/// What the kernel says. A mark needs `CAP_NET_ADMIN`.
pub async fn connect(
    options: &config::Socket,
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    mark(&socket, options.mark)?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let io = socket.connect(to).await?;
    apply(options, &io)?;
    Ok(io)
}

/// Sets `SO_MARK`, if there is one to set.
///
/// # Errors
/// Without `CAP_NET_ADMIN`.
pub fn mark(socket: &impl AsFd, mark: Option<u32>) -> io::Result<()> {
    mark.map_or(Ok(()), |mark| SockRef::from(socket).set_mark(mark))
}

/// What the kernel knows of a connection.
#[derive(Clone, Copy)]
struct TcpInfo;

nix::getsockopt_impl!(TcpInfo, libc::IPPROTO_TCP, libc::TCP_INFO, libc::tcp_info, GetStruct<libc::tcp_info>);

/// For how long the far end's kernel has acknowledged nothing, while something is on its way to it; `None` where nothing
/// is, or the kernel does not tell. What this host has no way to send is not on its way, but probed for.
pub fn unacknowledged(socket: &impl AsFd) -> Option<Duration> {
    let info = getsockopt(socket, TcpInfo).ok()?;
    (info.tcpi_unacked > 0 || info.tcpi_probes > 0)
        .then(|| Duration::from_millis(info.tcpi_last_ack_recv.into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_opened_and_what_is_accepted_has_its_options() {
        let (keepalive, user_timeout) = (Duration::from_secs(10), Duration::from_secs(30));
        let options = config::Socket {
            keepalive: Some(keepalive),
            user_timeout: Some(user_timeout),
            ..Default::default()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let opened = connect(&options, listener.local_addr().unwrap(), None).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        apply(&options, &accepted).unwrap();
        for io in [opened, accepted] {
            let socket = SockRef::from(&io);
            assert!(io.nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive);
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(user_timeout));
        }
    }

    #[tokio::test]
    async fn what_a_kernel_has_is_acknowledged_though_nobody_reads_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut io = connect(&Default::default(), listener.local_addr().unwrap(), None).await.unwrap();
        io.write_all(b"hello").await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        while unacknowledged(&io).is_some() {
            assert!(tokio::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_is_opened_is_marked_and_what_is_accepted_is_not() {
        let options = config::Socket { mark: Some(7), ..Default::default() };
        let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
        let io = match connect(&options, listener.local_addr().unwrap(), None).await {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("SKIPPED, nothing was tested: marks need CAP_NET_ADMIN: {error}");
                return;
            }
            connected => connected.unwrap(),
        };
        assert_eq!(SockRef::from(&io).mark().unwrap(), 7);
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(SockRef::from(&accepted).mark().unwrap(), 0);
        let unmarked = connect(&Default::default(), listener.local_addr().unwrap(), None).await.unwrap();
        assert_eq!(SockRef::from(&unmarked).mark().unwrap(), 0);
    }
}

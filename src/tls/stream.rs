//! One connection of the path, whatever carries it: plain TCP, or mesh TLS from either end.
//!
//! One concrete type keeps the code behind it compiled once, not once for every transport.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::net::Prefixed;

use super::Right;
use super::client::ClientStream;
use super::server::ServerStream;

/// TLS states are large and boxed, so that a plain connection's future stays small.
pub enum Stream {
    Plain(Prefixed<TcpStream>),
    Accepted(Box<ServerStream<Prefixed<TcpStream>>>, Option<Right>),
    Connected(Box<ClientStream<TcpStream>>, Right),
}

impl Stream {
    pub fn plain(io: TcpStream) -> Self {
        Self::Plain(Prefixed::new(io))
    }

    pub fn accepted(io: ServerStream<Prefixed<TcpStream>>, right: Option<Right>) -> Self {
        Self::Accepted(Box::new(io), right)
    }

    pub fn connected(io: ClientStream<TcpStream>, right: Right) -> Self {
        Self::Connected(Box::new(io), right)
    }

    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(io) => io.get_ref(),
            Self::Accepted(io, _) => io.get_ref().0.get_ref().get_ref(),
            Self::Connected(io, _) => io.get_ref().0.get_ref(),
        }
    }

    /// How long the peer may keep it; `None` where it has proven nothing. Whoever carries the connection sees to it.
    pub fn right(&self) -> Option<&Right> {
        match self {
            Self::Plain(_) => None,
            Self::Accepted(_, right) => right.as_ref(),
            Self::Connected(_, right) => Some(right),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Accepted(io, _) => Pin::new(io).poll_read(cx, buf),
            Self::Connected(io, _) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Accepted(io, _) => Pin::new(io).poll_write(cx, buf),
            Self::Connected(io, _) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Accepted(io, _) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Connected(io, _) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Accepted(io, _) => io.is_write_vectored(),
            Self::Connected(io, _) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Accepted(io, _) => Pin::new(io).poll_flush(cx),
            Self::Connected(io, _) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Accepted(io, _) => Pin::new(io).poll_shutdown(cx),
            Self::Connected(io, _) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

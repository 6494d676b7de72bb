//! A stream with already-read bytes put back in front.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::write_through::write_through;

/// Reads first what was read before, then the stream itself; writes go straight through.
#[derive(Debug)]
pub struct Prefixed<IO> {
    prefix: BytesMut,
    io: IO,
}

impl<IO> Prefixed<IO> {
    pub fn new(io: IO) -> Self {
        Self { prefix: BytesMut::new(), io }
    }

    /// The bytes read so far and not yet consumed.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Drops the first `n` bytes of the prefix, all of it where it is shorter.
    pub fn consume(&mut self, n: usize) {
        self.prefix.advance(n.min(self.prefix.len()));
    }

    pub fn get_ref(&self) -> &IO {
        &self.io
    }
}

impl<IO: AsyncRead + Unpin> Prefixed<IO> {
    /// Reads once from the stream, appending at most up to `limit` prefix bytes in all. Returns how
    /// many came: 0 at the stream's end, or when the limit is reached.
    ///
    /// Cancel-safe: what was read is in the prefix.
    pub async fn read_more(&mut self, limit: usize) -> io::Result<usize> {
        let room = limit.saturating_sub(self.prefix.len());
        if room == 0 {
            return Ok(0);
        }
        self.prefix.reserve(room.min(2048));
        let mut bounded = bytes::BufMut::limit(&mut self.prefix, room);
        self.io.read_buf(&mut bounded).await
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Prefixed<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        if self.prefix.is_empty() {
            // Free it: the connection may live for days.
            self.prefix = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

write_through!(Prefixed);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_read_is_read_again_and_nothing_is_lost() {
        let (mut far, near) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut far, b"hello world").await.unwrap();
        drop(far);
        let mut io = Prefixed::new(near);
        assert_eq!(io.read_more(5).await.unwrap(), 5);
        assert_eq!(io.read_more(5).await.unwrap(), 0, "the limit holds");
        assert_eq!(io.prefix(), b"hello");
        io.consume(1);
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ello world");
    }
}

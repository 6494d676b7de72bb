//! Large socket reads underneath rustls.
//!
//! rustls asks for 4 KiB at first and for no more than a record, 16 KiB, later. This stream sits between it
//! and the socket: as long as reads are short it adds nothing, not even a buffer; once a read comes back full
//! it reads ahead, up to 64 KiB a call, and gives the buffer back when the socket has no more. That is a
//! quarter of the system calls; the time saved is within the noise of `benches/throughput`. Writes pass
//! through.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::net::write_through::write_through;

/// What rustls asks for in one read; up to this, a buffer of our own gains nothing.
const DIRECT: usize = 4 * 1024;
/// Four full TLS records. Larger reads gained nothing more.
const LARGEST: usize = 64 * 1024;
/// From 4 to 64 KiB in two steps: a bulk transfer gets there at once, a single large message does not.
const STEP: usize = 4;

#[derive(Debug)]
pub struct ReadAhead<IO> {
    io: IO,
    /// Bytes read and not yet handed on start at `pos`. No capacity while idle.
    buf: Vec<u8>,
    pos: usize,
    /// How much the next read may take.
    size: usize,
}

impl<IO> ReadAhead<IO> {
    pub fn new(io: IO) -> Self {
        Self { io, buf: Vec::new(), pos: 0, size: DIRECT }
    }

    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    pub fn get_mut(&mut self) -> &mut IO {
        &mut self.io
    }

    fn grow(&mut self) {
        self.size = (self.size * STEP).min(LARGEST);
    }

    fn hand_on(&mut self, out: &mut ReadBuf<'_>) {
        let rest = &self.buf[self.pos..];
        let count = rest.len().min(out.remaining());
        out.put_slice(&rest[..count]);
        self.pos += count;
        if self.pos == self.buf.len() {
            self.buf.clear();
            self.pos = 0;
        }
    }
}

impl<IO: AsyncRead + Unpin> ReadAhead<IO> {
    fn poll_direct(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.buf = Vec::new();
        let room = out.remaining();
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        if room >= DIRECT && out.remaining() == 0 {
            self.grow();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.buf.capacity() < self.size {
            self.buf = Vec::with_capacity(self.size);
        }
        let read = pin!(self.io.read_buf(&mut self.buf)).poll(cx);
        if read.is_pending() {
            self.buf = Vec::new();
        }
        let count = ready!(read)?;
        if count >= self.size {
            self.grow();
        } else if count < self.size / STEP {
            self.size = (self.size / STEP).max(DIRECT);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for ReadAhead<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buf.is_empty() {
            if this.size <= out.remaining().max(DIRECT) {
                return this.poll_direct(cx, out);
            }
            ready!(this.poll_fill(cx))?;
        }
        this.hand_on(out);
        Poll::Ready(Ok(()))
    }
}

write_through!(ReadAhead);

#[cfg(test)]
mod tests;

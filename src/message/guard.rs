//! Stands before the HTTP/1 parser: gives it one request at a time, and none that could be misread.
//!
//! A head is passed on when it is whole, within bounds of size and time, and judged (see
//! [`super::framing`]); the bytes behind the request wait until the next is asked for. In place of a head
//! that is refused the parser gets a harmless one, and the [`Verdict`] says why: so a refusal is answered,
//! counted and logged where all are.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::error::Reason;
use crate::net::write_through::write_through;

use super::framing::{self, Chunked, Length};
use super::vet::MalformedBody;

/// For a head, from its first byte to its last.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What is handed to the parser for a head that is refused.
const HARMLESS: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Read at once while a head is incomplete. Bytes.
const PIECE: usize = 4096;

/// Read and forgotten behind a refused request, so that the end of the connection is not a reset that takes the answer
/// along. No more: who never stops sending would keep the task that is to answer busy with reading. Bytes.
const FORGOTTEN: usize = 64 * 1024;

/// What guard and server tell each other of the request that the parser has now.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    refused: OnceLock<Reason>,
    answer: AtomicU8,
    /// Waits for the answer.
    reader: AtomicWaker,
}

/// No answer yet.
const OPEN: u8 = 0;
/// The next bytes are the next request.
const STAYS: u8 = 1;
/// The next bytes are not HTTP any more.
const LEAVES: u8 = 2;

impl Verdict {
    /// Why the request was refused, if it was.
    pub fn refused(&self) -> Option<Reason> {
        self.0.refused.get().copied()
    }

    /// The request has its answer, and the connection `leaves` HTTP or not.
    pub fn answered(&self, leaves: bool) {
        self.0.answer.store(if leaves { LEAVES } else { STAYS }, Ordering::Release);
        self.0.reader.wake();
    }
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Next {
    Head,
    /// So many bytes of a body, and whether its request is to leave HTTP.
    Bytes(u64, bool),
    Chunked(Chunked, bool),
    /// Behind a request to leave HTTP: its answer decides.
    Undecided,
    /// No HTTP any more.
    Raw,
    /// Nothing: a request was refused, and the answer is the connection's last. But until the client has left, the
    /// parser must not be told so: it would not answer. So many bytes more are read and forgotten.
    Refused(usize),
    /// Nothing: the client has ended.
    End,
}

/// A connection whose reader gets well-framed requests alone.
#[derive(Debug)]
pub struct Guard<IO> {
    io: IO,
    next: Next,
    /// Read and not passed on. The first `clear` bytes are judged.
    held: BytesMut,
    clear: usize,
    /// Held bytes known not to end a head.
    scanned: usize,
    deadline: Option<Pin<Box<Sleep>>>,
    verdict: Verdict,
}

impl<IO> Guard<IO> {
    pub fn new(io: IO, verdict: Verdict) -> Self {
        Self { io, next: Next::Head, held: BytesMut::new(), clear: 0, scanned: 0, deadline: None, verdict }
    }

    /// How many of `bytes`, which come next, may pass: all of the request that they belong to.
    fn judge(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            at += match &mut self.next {
                Next::Head if at > 0 => break,
                Next::Head => match framing::head_length(rest, self.scanned) {
                    Some(length) if length > framing::HEAD => return Err(Reason::HeadTooLarge),
                    Some(length) => self.begin(&rest[..length])?,
                    None if rest.len() > framing::HEAD => return Err(Reason::HeadTooLarge),
                    None => break,
                },
                Next::Bytes(left, _) => {
                    let passed = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= passed as u64;
                    passed
                }
                Next::Chunked(chunked, _) => chunked.follow(rest)?,
                Next::Undecided | Next::Raw | Next::Refused(_) | Next::End => break,
            };
            self.end_of_body();
        }
        Ok(at)
    }

    fn begin(&mut self, head: &[u8]) -> Result<usize, Reason> {
        let judged = framing::judge(head)?;
        self.next = match judged.body {
            Length::Bytes(length) => Next::Bytes(length, judged.leaves),
            Length::Chunked => Next::Chunked(Chunked::START, judged.leaves),
        };
        self.scanned = 0;
        self.deadline = None;
        self.verdict.0.answer.store(OPEN, Ordering::Release);
        Ok(head.len())
    }

    fn end_of_body(&mut self) {
        if let Next::Bytes(0, leaves) | Next::Chunked(Chunked::Ended, leaves) = self.next {
            self.next = if leaves { Next::Undecided } else { Next::Head };
        }
    }

    /// Between requests the reader is told by a harmless one; within a body it gets an error.
    fn refuse(&mut self, reason: Reason) -> io::Result<()> {
        let between = matches!(self.next, Next::Head);
        self.next = Next::Refused(FORGOTTEN);
        self.deadline = None;
        let _ = self.verdict.0.refused.set(reason);
        self.held = BytesMut::new();
        if !between {
            return Err(io::Error::new(io::ErrorKind::InvalidData, MalformedBody(reason)));
        }
        self.held.extend_from_slice(HARMLESS);
        self.clear = HARMLESS.len();
        Ok(())
    }

    /// Judges what is held. Whether some of it may pass now.
    fn judge_held(&mut self) -> io::Result<bool> {
        let held = std::mem::take(&mut self.held);
        let judged = self.judge(&held);
        self.held = held;
        match judged {
            Ok(clear) => self.clear = clear,
            Err(reason) => self.refuse(reason)?,
        }
        if self.clear == 0 {
            self.scanned = self.held.len();
        }
        Ok(self.clear > 0)
    }

    fn pass_held(&mut self, buf: &mut ReadBuf<'_>) {
        let passed = self.clear.min(buf.remaining());
        buf.put_slice(&self.held[..passed]);
        self.held.advance(passed);
        self.clear -= passed;
        if self.held.is_empty() {
            // Free it: the connection may live for days.
            self.held = BytesMut::new();
        }
    }

    /// Blank lines before a request mean nothing (RFC 9112, 2.2).
    fn skip_blank_lines(&mut self) {
        if matches!(self.next, Next::Head) && self.clear == 0 && self.scanned == 0 {
            let blank = self.held.iter().take_while(|byte| b"\r\n".contains(byte)).count();
            self.held.advance(blank);
        }
    }

    /// The answer decides what comes behind a request to leave HTTP.
    fn poll_answer(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.verdict.0.reader.register(cx.waker());
        self.next = match self.verdict.0.answer.load(Ordering::Acquire) {
            OPEN => return Poll::Pending,
            LEAVES => Next::Raw,
            _ => Next::Head,
        };
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + Unpin> Guard<IO> {
    /// Reads into the reader's own buffer, and takes back what must not pass yet. Whether any passed, or
    /// the stream ended.
    fn poll_in_place(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = buf.filled().len() - start;
        if fresh == 0 {
            return Poll::Ready(Ok(true));
        }
        let passed = match self.judge(&buf.filled()[start..]) {
            Ok(passed) => passed,
            Err(reason) => {
                buf.set_filled(start);
                self.refuse(reason)?;
                return Poll::Ready(Ok(false));
            }
        };
        if passed < fresh {
            self.held.extend_from_slice(&buf.filled()[start + passed..]);
            buf.set_filled(start + passed);
        }
        Poll::Ready(Ok(passed > 0))
    }

    /// Reads what follows a refused request, and forgets it. After `left` bytes nobody is woken any more: the answer
    /// ends the connection.
    fn poll_forget(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<io::Result<()>> {
        let mut forgotten = [0; 1024];
        while left > 0 {
            let mut buf = ReadBuf::new(&mut forgotten);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            left = left.saturating_sub(buf.filled().len());
            self.next = Next::Refused(left);
        }
        Poll::Pending
    }

    /// Reads more of an incomplete head, until its deadline.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held.reserve(PIECE);
        let Poll::Ready(read) = poll_read_buf(&mut self.io, cx, &mut self.held) else {
            let deadline = || Box::pin(tokio::time::sleep_until(Instant::now() + HEAD_TIMEOUT));
            ready!(self.deadline.get_or_insert_with(deadline).as_mut().poll(cx));
            return Poll::Ready(self.refuse(Reason::HeadTimeout));
        };
        if read? == 0 {
            // The parser says what is wrong with half a head.
            self.clear = self.held.len();
            self.next = Next::End;
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_read_buf<IO: AsyncRead + Unpin>(
    io: &mut IO,
    cx: &mut Context<'_>,
    buf: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    std::pin::pin!(tokio::io::AsyncReadExt::read_buf(io, buf)).poll(cx)
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guard<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.clear > 0 {
                this.pass_held(buf);
                return Poll::Ready(Ok(()));
            }
            match this.next {
                Next::Refused(left) => return this.poll_forget(cx, left),
                Next::End => return Poll::Ready(Ok(())),
                Next::Raw if this.held.is_empty() => return Pin::new(&mut this.io).poll_read(cx, buf),
                Next::Raw => this.clear = this.held.len(),
                Next::Undecided => ready!(this.poll_answer(cx)),
                _ if this.held.is_empty() => {
                    if ready!(this.poll_in_place(cx, buf))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                _ => {
                    this.skip_blank_lines();
                    if !this.judge_held()? {
                        ready!(this.poll_more(cx))?;
                    }
                }
            }
        }
    }
}

write_through!(Guard);

#[cfg(test)]
mod tests;

//! Relaying two streams: bytes both ways until both directions have ended, half-close kept.
//!
//! A direction reads into a scratch buffer of its worker thread and writes from there at once. Only
//! what the far side does not take immediately is copied into a buffer of the connection, which is
//! freed as soon as it is written. So an idle connection holds no buffer, and a busy one moves large
//! pieces with few system calls.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes moved at most in one step of one direction. Half of it costs 7 % more, twice or four
/// times as much gains nothing (`benches/throughput`), and a connection that is stuck holds as much.
pub const PIECE: usize = 64 * 1024;

/// Steps of one direction before the task lets others run.
const STEPS: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// Which stream of the pair failed, and how.
#[derive(Debug)]
pub enum Broken {
    /// The first stream given to [`relay`].
    First(io::Error),
    /// The second.
    Second(io::Error),
}

/// Copies both ways until both directions have ended. An end of input is passed on as a shutdown of
/// the other side's writing half; the opposite direction goes on.
///
/// # Errors
/// The first read or write that fails ends both directions.
pub async fn relay<A, B>(first: &mut A, second: &mut B) -> Result<(), Broken>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut forth = Direction::default();
    let mut back = Direction::default();
    poll_fn(|cx| {
        let forth = forth.poll(cx, first, second).map_err(|e| e.named(Broken::First, Broken::Second))?;
        let back = back.poll(cx, second, first).map_err(|e| e.named(Broken::Second, Broken::First))?;
        if forth.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

enum Side {
    Read(io::Error),
    Write(io::Error),
}

impl Side {
    fn named(self, reader: fn(io::Error) -> Broken, writer: fn(io::Error) -> Broken) -> Broken {
        match self {
            Self::Read(error) => reader(error),
            Self::Write(error) => writer(error),
        }
    }
}

#[derive(Default)]
struct Direction {
    /// Read, but not yet taken by the writer.
    left: Vec<u8>,
    written: usize,
    unflushed: bool,
    ended: bool,
    shut: bool,
}

impl Direction {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<Result<(), Side>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..STEPS {
            ready!(self.drain(cx, writer)).map_err(Side::Write)?;
            if self.ended {
                ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map_err(Side::Write)?;
                self.shut = true;
                return Poll::Ready(Ok(()));
            }
            if self.step(cx, reader, writer)?.is_pending() {
                // Nothing more to read now: let the writer send what it has gathered.
                if self.unflushed {
                    ready!(Pin::new(&mut *writer).poll_flush(cx)).map_err(Side::Write)?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is left over from earlier steps, then frees its buffer.
    fn drain<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>> {
        while self.written < self.left.len() {
            let n = ready!(Pin::new(&mut *writer).poll_write(cx, &self.left[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.unflushed = true;
        }
        if !self.left.is_empty() {
            self.left = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads one piece and offers it to the writer at once. Pending only when the reader is.
    fn step<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Result<Poll<()>, Side>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut piece = ReadBuf::new(scratch);
            match Pin::new(reader).poll_read(cx, &mut piece) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(read) => read.map_err(Side::Read)?,
            }
            let mut piece = piece.filled();
            self.ended = piece.is_empty();
            while !piece.is_empty() {
                match Pin::new(&mut *writer).poll_write(cx, piece) {
                    Poll::Ready(Ok(0)) => return Err(Side::Write(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => {
                        piece = &piece[n..];
                        self.unflushed = true;
                    }
                    Poll::Ready(Err(error)) => return Err(Side::Write(error)),
                    Poll::Pending => {
                        self.left = piece.to_vec();
                        break;
                    }
                }
            }
            Ok(Poll::Ready(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_arrive_whole_and_half_close_is_passed_on() {
        let (client, mut near) = tokio::io::duplex(1000);
        let (mut far, mut server) = tokio::io::duplex(77);
        let relaying = tokio::spawn(async move { relay(&mut near, &mut far).await });
        let sent: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let expected = sent.clone();
        let (mut client_read, mut client_write) = tokio::io::split(client);
        tokio::spawn(async move {
            client_write.write_all(&sent).await.unwrap();
            client_write.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, expected);
        // The client has stopped sending, yet still hears the answer.
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        client_read.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        relaying.await.unwrap().unwrap();
    }
}

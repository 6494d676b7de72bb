//! Has anything come back for what was sent?

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Held;

/// An opaque connection that doubts its host when it has sent something and hears nothing.
pub struct OneSided<IO> {
    io: IO,
    held: Held,
    /// When the first was sent for which nothing has come back, or the host was doubted for it.
    since: Option<Instant>,
    /// How long nothing is thought of it.
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Before the first doubt. With the time that the host has for an answer, it is two seconds.
const FIRST: Duration = Duration::from_millis(900);
/// One way traffic is never answered.
const LONGEST: Duration = Duration::from_secs(60);

impl<IO> OneSided<IO> {
    pub fn new(io: IO, held: Held) -> Self {
        Self { io, held, since: None, pause: FIRST, timer: None }
    }

    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    /// Its host.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The same as the other: nothing is to be heard now.
    fn poll_doubt(&mut self, cx: &mut Context<'_>) {
        while let Some(since) = self.since {
            let due = since + self.pause;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            let now = Instant::now();
            if now < due {
                timer.as_mut().reset(due);
                continue;
            }
            self.held.doubt();
            self.since = Some(now);
            self.pause = (2 * self.pause).min(LONGEST);
            timer.as_mut().reset(now + self.pause);
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for OneSided<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        match read {
            Poll::Pending => this.poll_doubt(cx),
            Poll::Ready(_) => (this.since, this.pause) = (None, FIRST),
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for OneSided<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        this.since.get_or_insert_with(Instant::now);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

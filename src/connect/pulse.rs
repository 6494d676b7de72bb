//! Is the far end of an HTTP/2 connection still there? It is asked with a PING when requests wait and nothing is heard.
//!
//! Any byte is a sign of life: an answer that takes long says nothing while PINGs are answered, and an upload over a
//! slow link is heard in its windows. The library's own keep-alive (contract 3.5) knows one interval for connections in
//! use and for idle ones, and counts answers alone. So [`Watched`] stands below it, and sends PINGs of its own between
//! its frames.
//!
//! A PING that is not answered tells two things apart by the kernel of the far end, which acknowledges what it is sent
//! whatever its processes do. One that does not is gone, or cut off. Behind one that does, a process has been given no
//! processor, or is stopped: it is given [`PATIENCE`], for the requests that it took cost more than the wait.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Ping;
use crate::message::frames::{Boundaries, PREFACE, Verdict};

/// What a connection tells of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing was heard for a while.
    Silent,
    /// Something was heard after all.
    Answered,
    /// The connection died: the far end said nothing any more, or broke it off without a word.
    Died,
}

/// Who is told.
pub type Tell = Arc<dyn Fn(Sign) + Send + Sync>;

/// What a connection and its users share.
pub(super) struct Pulse {
    /// Streams in use.
    pub(super) in_flight: AtomicUsize,
    /// Somebody wants to know now, requests or not.
    prompted: AtomicBool,
    /// Polls the connection.
    task: AtomicWaker,
    /// It has been told, or was heard, that this connection ended.
    over: AtomicBool,
    tell: Option<Tell>,
}

impl Pulse {
    pub(super) fn new(tell: Option<Tell>) -> Arc<Self> {
        let (in_flight, prompted, over) = Default::default();
        Arc::new(Self { in_flight, prompted, task: AtomicWaker::new(), over, tell })
    }

    /// Asks the far end now.
    pub(super) fn prompt(&self) {
        self.prompted.store(true, Ordering::Relaxed);
        self.task.wake();
    }

    /// We need it no longer: whatever becomes of the connection means nothing.
    pub(super) fn release(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The connection is over. Only its first end counts. Whether its endpoint is told to be dead.
    pub(super) fn end(&self, end: End) -> bool {
        let death = !self.over.swap(true, Ordering::Relaxed) && is_death(end);
        if death {
            self.tell(Sign::Died);
        }
        death
    }

    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    fn tell(&self, sign: Sign) {
        if let Some(tell) = &self.tell {
            tell(sign);
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The peer had said that it would go.
    pub(super) announced: bool,
    /// It closed its half in order; otherwise something broke.
    pub(super) orderly: bool,
    /// Somebody waited for an answer.
    pub(super) busy: bool,
}

/// Whether an end says that the endpoint is dead. A peer may close what nobody uses.
fn is_death(end: End) -> bool {
    !end.announced && (end.busy || !end.orderly)
}

/// For a process that does not answer, behind a kernel that does. The library's keep-alive, as Linkerd sets it, takes 13 s
/// (contract 3.5).
const PATIENCE: Duration = Duration::from_secs(5);

/// What was heard last, and what was asked since.
#[derive(Clone, Copy, Debug)]
struct Silence {
    since: Instant,
    asked: Option<Asked>,
}

/// When PINGs were sent that are not answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    first: Instant,
    last: Instant,
}

/// What a silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Wait(Instant),
    Ask,
    GiveUp,
}

impl Silence {
    /// `acknowledged`: whether the far end's kernel has all that was sent, or has taken something since this time.
    fn step(
        self,
        now: Instant,
        settings: Ping,
        may_ask: bool,
        acknowledged: impl Fn(Instant) -> bool,
    ) -> Step {
        match self.asked {
            Some(Asked { last, .. }) if now < last + settings.timeout => Step::Wait(last + settings.timeout),
            // Where no PING may be sent any more, what else is on its way tells.
            Some(Asked { first, last })
                if now >= first + PATIENCE || !acknowledged(last.max(now - settings.timeout)) =>
            {
                Step::GiveUp
            }
            None if now < self.since + settings.after => Step::Wait(self.since + settings.after),
            _ if may_ask => Step::Ask,
            Some(_) => Step::Wait(now + settings.timeout),
            None => Step::Wait(now + settings.after),
        }
    }
}

/// A connection to an endpoint, listened to.
pub(super) struct Watched<IO> {
    io: IO,
    /// For how long nothing of what is on its way was acknowledged; `None` where nothing is.
    unacknowledged: fn(&IO) -> Option<Duration>,
    pulse: Arc<Pulse>,
    verdict: Verdict,
    /// `None`: nobody asks.
    settings: Option<Ping>,
    /// While somebody waits.
    silence: Option<Silence>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Where the library's frames end.
    sent: Boundaries,
    /// Bytes of the PING that are still to be sent.
    ping: &'static [u8],
    /// PINGs that may be sent before more of an answer has come.
    asks: u32,
    most_asks: u32,
}

/// A PING with a payload of ours (RFC 9113, 6.7).
const QUESTION: [u8; 17] = *b"\x00\x00\x08\x06\x00\x00\x00\x00\x00causeway";

/// Servers of gRPC end a connection at the third PING too many since they last sent something of an answer, unless
/// PINGs are minutes apart: `too_many_pings` of Go's, Java's and the C library. The first never counts. The proxies of
/// meshed endpoints answer any number: hyper and the reference have no limit, ours has 10,000 a second.
const UNMESHED_ASKS: u32 = 2;

impl<IO> Watched<IO> {
    pub(super) fn new(
        io: IO,
        unacknowledged: fn(&IO) -> Option<Duration>,
        verdict: Verdict,
        pulse: Arc<Pulse>,
        settings: Option<Ping>,
        meshed: bool,
    ) -> Self {
        let most_asks = if meshed { u32::MAX } else { UNMESHED_ASKS };
        Self {
            io,
            unacknowledged,
            pulse,
            verdict,
            settings,
            silence: None,
            timer: None,
            sent: Boundaries::after(PREFACE),
            ping: &[],
            asks: most_asks,
            most_asks,
        }
    }

    fn heard(&mut self) {
        let Some(silence) = &mut self.silence else { return };
        silence.since = Instant::now();
        if silence.asked.take().is_some() {
            if let (Some(timer), Some(settings)) = (&mut self.timer, self.settings) {
                timer.as_mut().reset(silence.since + settings.after);
            }
            self.pulse.tell(Sign::Answered);
        }
        if self.asks < self.most_asks && self.verdict.is_of_a_message() {
            self.asks = self.most_asks;
        }
    }

    fn ended(&mut self, orderly: bool) {
        let busy = self.pulse.is_busy() || self.silence.is_some_and(|silence| silence.asked.is_some());
        self.end(End { announced: self.verdict.is_announced(), orderly, busy });
    }

    fn end(&mut self, end: End) {
        if self.pulse.end(end) {
            self.silence = None;
        }
    }
}

/// Who was asked, and went in order is not in doubt for ever.
impl<IO> Drop for Watched<IO> {
    fn drop(&mut self) {
        if self.silence.is_some_and(|silence| silence.asked.is_some()) {
            self.pulse.tell(Sign::Answered);
        }
    }
}

impl<IO: AsyncWrite + Unpin> Watched<IO> {
    /// Nothing can be read now. Fails when nothing has been heard for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(settings) = self.settings else { return Poll::Pending };
        self.pulse.task.register(cx.waker());
        let asked = self.silence.is_some_and(|silence| silence.asked.is_some());
        let prompted = !asked && self.pulse.prompted.swap(false, Ordering::Relaxed);
        if prompted && self.asks > 0 {
            self.ask(cx, settings)?;
        } else if prompted {
            // One that may not be asked is believed.
            self.pulse.tell(Sign::Answered);
        } else if !asked && !self.pulse.is_busy() {
            self.silence = None;
            return Poll::Pending;
        }
        loop {
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
            }
            let now = Instant::now();
            let silence = *self.silence.get_or_insert(Silence { since: now, asked: None });
            let acknowledged =
                |since| (self.unacknowledged)(&self.io).is_none_or(|ago| ago < now.duration_since(since));
            match silence.step(now, settings, self.asks > 0, acknowledged) {
                Step::Wait(until) => self.wake_at(until),
                Step::Ask => self.ask(cx, settings)?,
                Step::GiveUp => {
                    self.end(End { announced: false, orderly: false, busy: true });
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, SILENT)));
                }
            }
        }
    }

    fn wake_at(&mut self, until: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(until),
            None => self.timer = Some(Box::pin(sleep_until(until))),
        }
    }

    fn ask(&mut self, cx: &mut Context<'_>, settings: Ping) -> io::Result<()> {
        let now = Instant::now();
        let silence = self.silence.get_or_insert(Silence { since: now, asked: None });
        let first = silence.asked.map(|asked| asked.first);
        silence.asked = Some(Asked { first: first.unwrap_or(now), last: now });
        self.asks = self.asks.saturating_sub(1);
        self.wake_at(now + settings.timeout);
        if first.is_none() {
            self.pulse.tell(Sign::Silent);
        }
        // One that could not be sent yet is asked with now.
        if self.ping.is_empty() {
            self.ping = &QUESTION;
        }
        if self.poll_ping(cx)?.is_ready() {
            // What is not flushed now is with the library's next frames, or never: then it is not answered.
            let _flushed = Pin::new(&mut self.io).poll_flush(cx)?;
        }
        Ok(())
    }

    /// Sends what is left of a PING, unless a frame of the library's is not whole yet.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ping.is_empty() && self.sent.is_between() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.ping))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.ping = &self.ping[sent..],
            }
        }
        Poll::Ready(Ok(()))
    }
}

const SILENT: &str = "nothing was heard of the far end, nor did it answer a PING";

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        match &read {
            Poll::Pending => return this.poll_silence(cx),
            Poll::Ready(Ok(())) if buf.filled().len() > before => this.heard(),
            Poll::Ready(ended) => this.ended(ended.is_ok()),
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_ping(cx))?;
        let sent = ready!(Pin::new(&mut this.io).poll_write(cx, buf))?;
        pass(&mut this.sent, &buf[..sent]);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_ping(cx))?;
        let sent = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, bufs))?;
        let mut left = sent;
        for buf in bufs {
            let part = left.min(buf.len());
            pass(&mut this.sent, &buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_ping(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

fn pass(sent: &mut Boundaries, mut bytes: &[u8]) {
    while sent.next(&mut bytes).is_some() {}
}

#[cfg(test)]
mod tests;

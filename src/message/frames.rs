//! What may a peer send over HTTP/2 that asks for nothing?
//!
//! The library bounds what it keeps, but it answers every PING and SETTINGS, and forgets every reset stream,
//! as fast as they come. [`Frames`] stands between it and the connection and counts frames by their headers:
//! a kind that comes faster than any honest peer has use for ends the connection, with a reason of its own;
//! and after so many frames the connection's task lets others run, however much is still to be read.
//! [`Verdict`] is its shared part, for whoever polls the connection.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::error::Reason;

/// Work after which a connection's task lets others run: a frame is one, and each KiB of it another. Some 120 KiB of
/// data, or 128 frames without any: tens of microseconds.
const TURN: u32 = 128;
/// A connection that has always more has ever shorter turns, down to this.
const SHORTEST: u32 = 16;
/// Bytes that are read at once for each frame of a shorter turn, where the last read held many small frames.
const SMALL: usize = 16;
/// Resets in one turn from which on streams are worth a second look before work is put into them.
const HASTY: u32 = 8;

/// What a peer may send at once of one kind of frame, and how much more each second.
///
/// An application that cancels 5,000 streams a second is honest, and is so too when a busy machine delivers
/// one second of it at once. Libraries probe the window with a PING for each round trip while data flows.
const MOST_RESETS: (u32, u32) = (5_000, 10_000);
const MOST_PINGS: (u32, u32) = (10_000, 10_000);
const MOST_SETTINGS: (u32, u32) = (1_000, 100);
const MOST_OTHERS: (u32, u32) = (10_000, 10_000);

/// The client's connection preface (RFC 9113, 3.4).
const PREFACE: usize = 24;
/// Bytes of a frame's header (RFC 9113, 4.1).
const HEADER: usize = 9;
/// The least that a peer must be ready to take in one frame, and what the library sends at most unless told
/// otherwise (RFC 9113, 4.2).
const FRAME: u32 = 16_384;

/// Kinds of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A connection whose frames are counted as they are read.
pub struct Frames<IO> {
    io: IO,
    verdict: Verdict,
    /// Bytes to pass before the next frame begins: of the preface, or of a payload.
    skip: usize,
    header: [u8; HEADER],
    /// How much of `header` has come.
    have: usize,
    /// Work since the task last let others run, the resets in it, and how much it may be.
    turn: u32,
    turn_resets: u32,
    turn_limit: u32,
    /// Whether a turn ends when there is nothing more to read, or too much.
    own_turns: bool,
    small: bool,
    /// Of the header list that has begun, how many pieces came and how many may.
    continuations: u32,
    most_continuations: u32,
    resets: Allowance,
    pings: Allowance,
    settings: Allowance,
    others: Allowance,
}

/// What [`Frames`] thinks of a connection that has been handed on.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Why the connection was ended, if it was.
    ended: OnceLock<Reason>,
    /// The connection's task is polled anew, and has not read since.
    fresh: AtomicBool,
    hasty: AtomicBool,
    /// The kind of the last frame that came.
    last: AtomicU8,
}

impl Verdict {
    /// What the failure of the connection means, if the peer was cut off.
    pub fn on(&self, error: &hyper::Error) -> Option<Reason> {
        self.0.ended.get().copied().or_else(|| self.of_library(error))
    }

    /// Gives the connection a new turn. To be called at each poll of its task.
    pub fn begin_turn(&self) {
        self.0.fresh.store(true, Ordering::Relaxed);
    }

    /// Whether streams are reset so fast that one may have been before it is first looked at.
    pub fn is_hasty(&self) -> bool {
        self.0.hasty.load(Ordering::Relaxed)
    }
}

impl Verdict {
    /// What the library says about a peer that it closed the door on. It has one code for all floods: what came last
    /// tells them apart.
    fn of_library(&self, error: &hyper::Error) -> Option<Reason> {
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            if let Some(h2) = error.downcast_ref::<h2::Error>() {
                return match h2.reason() {
                    Some(h2::Reason::ENHANCE_YOUR_CALM) if h2.is_library() => Some(self.flood()),
                    _ => h2.is_library().then_some(Reason::Http2Violation),
                };
            }
            cause = error.source();
        }
        None
    }

    fn flood(&self) -> Reason {
        match self.0.last.load(Ordering::Relaxed) {
            DATA => Reason::EmptyDataFlood,
            HEADERS | RST_STREAM => Reason::RapidReset,
            CONTINUATION => Reason::ContinuationFlood,
            _ => Reason::FrameFlood,
        }
    }
}

impl<IO> Frames<IO> {
    /// What a client sends, whose header lists may have so many bytes.
    pub fn of_client(io: IO, header_list: u32) -> Self {
        Self::new(io, PREFACE, header_list)
    }

    /// What a server sends, to a task that reads once each time it is polled: nobody has to tell its turns.
    pub fn of_server(io: IO, header_list: u32) -> Self {
        Self { own_turns: true, ..Self::new(io, 0, header_list) }
    }

    fn new(io: IO, skip: usize, header_list: u32) -> Self {
        let (whole, now) = (header_list / FRAME, Instant::now());
        Self {
            io,
            verdict: Verdict::default(),
            skip,
            header: [0; HEADER],
            have: 0,
            turn: 0,
            turn_resets: 0,
            turn_limit: TURN,
            own_turns: false,
            small: false,
            continuations: 0,
            // A quarter more than a list needs, since not every piece is full; as the library allows.
            most_continuations: (whole + whole / 4).max(5),
            resets: Allowance::new(MOST_RESETS, now),
            pings: Allowance::new(MOST_PINGS, now),
            settings: Allowance::new(MOST_SETTINGS, now),
            others: Allowance::new(MOST_OTHERS, now),
        }
    }

    /// To be asked when the connection has failed.
    pub fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    fn next_turn(&mut self) {
        if self.turn_resets < HASTY && self.verdict.is_hasty() {
            self.verdict.0.hasty.store(false, Ordering::Relaxed);
        }
        // Whoever stopped by itself has been caught up with.
        self.turn_limit =
            if self.turn < self.turn_limit { TURN } else { (self.turn_limit / 2).max(SHORTEST) };
        (self.turn, self.turn_resets) = (0, 0);
        self.verdict.0.fresh.store(false, Ordering::Relaxed);
    }

    fn inspect(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        loop {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            let taken = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < HEADER {
                return Ok(());
            }
            self.have = 0;
            let [a, b, c, kind, flags, ..] = self.header;
            self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
            self.turn += 1 + (self.skip >> 10) as u32;
            self.frame(kind, flags)?;
        }
    }

    /// One frame (RFC 9113, 6).
    fn frame(&mut self, kind: u8, flags: u8) -> Result<(), Reason> {
        const ACK: u8 = 0x1;
        const END_HEADERS: u8 = 0x4;
        let asks = flags & ACK == 0;
        match kind {
            HEADERS => {
                self.continuations = 0;
                Ok(())
            }
            // DATA, of which the library counts the small ones against what the application reads; and
            // WINDOW_UPDATE: a fast download needs as many as it needs.
            DATA | WINDOW_UPDATE => Ok(()),
            RST_STREAM => {
                self.turn_resets += 1;
                self.resets.take(Reason::RapidReset)
            }
            SETTINGS if asks => self.settings.take(Reason::SettingsFlood),
            PING if asks => self.pings.take(Reason::PingFlood),
            // The library knows which acknowledgements it waits for.
            SETTINGS | PING => Ok(()),
            CONTINUATION if flags & END_HEADERS == 0 => {
                self.continuations += 1;
                let few = self.continuations <= self.most_continuations;
                if few { Ok(()) } else { Err(Reason::ContinuationFlood) }
            }
            CONTINUATION => Ok(()),
            _ => self.others.take(Reason::FrameFlood),
        }
    }
}

/// A bucket of tokens that looks at the clock only when it is empty.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    most: u32,
    each_second: u32,
    /// When it was last filled.
    filled: Instant,
}

impl Allowance {
    fn new((most, each_second): (u32, u32), now: Instant) -> Self {
        Self { left: most, most, each_second, filled: now }
    }

    fn take(&mut self, otherwise: Reason) -> Result<(), Reason> {
        if self.left == 0 {
            self.refill(Instant::now());
        }
        self.left = self.left.checked_sub(1).ok_or(otherwise)?;
        Ok(())
    }

    fn refill(&mut self, now: Instant) {
        let grown = now.duration_since(self.filled).as_secs_f64() * f64::from(self.each_second);
        self.left = (grown as u32).min(self.most);
        self.filled = now;
    }
}

impl<IO: AsyncRead + Unpin> Frames<IO> {
    /// Reads as much as there is room for, or little where that may be many frames.
    fn poll_piece(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.small {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let room = buf.remaining().min(SMALL * self.turn_limit as usize);
        let mut piece = ReadBuf::new(buf.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Frames<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.verdict.0.fresh.load(Ordering::Relaxed) {
            this.next_turn();
        }
        if this.turn >= this.turn_limit {
            if this.own_turns {
                this.next_turn();
            }
            // After the runtime has looked for news: others may have some.
            return pin!(yield_now()).poll(cx).map(|()| Ok(()));
        }
        let before = buf.filled().len();
        let piece = this.poll_piece(cx, buf);
        if piece.is_pending() && this.own_turns {
            this.next_turn();
        }
        ready!(piece)?;
        let (turn, read) = (this.turn, buf.filled().len() - before);
        this.inspect(&buf.filled()[before..]).map_err(|reason| {
            let _ = this.verdict.0.ended.set(reason);
            io::Error::other(reason.row().message)
        })?;
        // Many frames, and small ones.
        let work = (this.turn - turn) as usize;
        this.small = work > this.turn_limit as usize / 2 && read < work * 256;
        this.verdict.0.last.store(this.header[3], Ordering::Relaxed);
        if this.turn_resets >= HASTY {
            this.verdict.0.hasty.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Frames<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIST: u32 = 64 * 1024;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u32;
        [&length.to_be_bytes()[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn verdict_on(frames: &[u8]) -> Result<(), Reason> {
        let mut client = Frames::of_client(tokio::io::empty(), LIST);
        client.inspect(&[b'p'; PREFACE])?;
        client.inspect(frames)
    }

    #[test]
    fn each_flood_has_a_reason_of_its_own() {
        for (frame, reason) in [
            (frame(3, 0, &[0; 4]), Reason::RapidReset),
            (frame(4, 0, &[]), Reason::SettingsFlood),
            (frame(6, 0, &[0; 8]), Reason::PingFlood),
            (frame(9, 0, b"x"), Reason::ContinuationFlood),
            (frame(2, 0, &[0; 5]), Reason::FrameFlood),
            (frame(77, 0, &[]), Reason::FrameFlood),
        ] {
            assert_eq!(verdict_on(&frame.repeat(5)), Ok(()));
            assert_eq!(verdict_on(&frame.repeat(50_000)), Err(reason));
        }
    }

    #[test]
    fn what_traffic_needs_is_not_counted() {
        for frame in [
            frame(0, 0, b"data"),
            frame(1, 4, b"headers"),
            frame(8, 0, &[0; 4]),
            frame(6, 1, &[0; 8]),
            frame(4, 1, &[]),
            [frame(1, 0, b"h"), frame(9, 0, b"e"), frame(9, 4, b"a")].concat(),
        ] {
            assert_eq!(verdict_on(&frame.repeat(50_000)), Ok(()));
        }
    }

    #[test]
    fn who_cancels_5000_streams_a_second_may_go_on() {
        let mut now = Instant::now();
        let mut resets = Allowance::new(MOST_RESETS, now);
        for tenth in 0..600 {
            // A second of it comes at once.
            for _ in 0..if tenth % 10 == 0 { 5_000 } else { 0 } {
                if resets.left == 0 {
                    resets.refill(now);
                }
                resets.left = resets.left.checked_sub(1).unwrap();
            }
            now += Duration::from_millis(100);
        }
    }

    #[tokio::test]
    async fn a_server_that_sends_much_is_read_to_the_end() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut server = Frames::of_server(near, LIST);
        let data = frame(DATA, 0, &[0; 16_384]).repeat(200);
        let sent = data.len();
        tokio::spawn(async move { far.write_all(&data).await });
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), sent);
    }

    #[tokio::test]
    async fn a_connection_that_floods_lets_others_run_and_is_ended() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut client = Frames::of_client(near, LIST);
        let verdict = client.verdict();
        far.write_all(&[b'p'; PREFACE]).await.unwrap();
        let pings = frame(6, 0, &[0; 8]).repeat(20_000);
        let flood = tokio::spawn(async move { while far.write_all(&pings).await.is_ok() {} });
        let mut piece = [0; 8192];
        let mut turns = 0;
        let ended = loop {
            let mut read = std::pin::pin!(client.read(&mut piece));
            match futures_util::poll!(read.as_mut()) {
                Poll::Pending => {
                    turns += 1;
                    verdict.begin_turn();
                    yield_now().await;
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => break error,
            }
        };
        flood.abort();
        assert!(turns > 10, "{turns} turns");
        assert_eq!(ended.to_string(), Reason::PingFlood.row().message);
        assert_eq!(verdict.0.ended.get(), Some(&Reason::PingFlood));
    }

    proptest! {
        #[test]
        fn the_verdict_is_the_same_however_the_bytes_are_split(
            frames in proptest::collection::vec((0_u8..12, any::<u8>(), 0_usize..40), 0..40),
            cut in 1_usize..64,
        ) {
            let frames: Vec<u8> =
                frames.iter().flat_map(|(kind, flags, n)| frame(*kind, *flags, &vec![6; *n])).collect();
            let mut client = Frames::of_client(tokio::io::empty(), LIST);
            let mut split = client.inspect(&[b'p'; PREFACE]);
            for piece in frames.chunks(cut) {
                split = split.and_then(|()| client.inspect(piece));
            }
            prop_assert_eq!(split, verdict_on(&frames));
        }
    }
}

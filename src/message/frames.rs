//! What may a peer send over HTTP/2 that asks for nothing?
//!
//! The library bounds what it keeps, but it answers every PING and SETTINGS, and forgets every reset stream,
//! as fast as they come. [`Frames`] stands between it and the connection and counts frames by their headers:
//! a kind that comes faster than any honest peer has use for ends the connection, with a reason of its own;
//! and after so many frames the connection's task lets others run, however much is still to be read.
//! [`Verdict`] is its shared part, for whoever polls the connection.

mod allowance;
mod boundaries;
mod verdict;

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep};

use crate::error::Reason;
use crate::net::write_through::write_through;

use allowance::{Allowance, MOST_OTHERS, MOST_PINGS, MOST_RESETS, MOST_SETTINGS};
use boundaries::payload;
pub use boundaries::{Boundaries, PREFACE};
pub use verdict::Verdict;

/// Work after which a connection's task lets others run: a frame is one, each KiB of it another, and a request some more,
/// since a task begins with it. Some 120 KiB of data, or 128 frames without any, or 25 requests: tens of microseconds.
const TURN: u32 = 128;
const REQUEST: u32 = 4;
/// A connection's first turn. What a hundred requests cost that come at once is more than others should wait.
const FIRST: u32 = 32;
/// A connection that has always more has ever shorter turns, down to this.
const SHORTEST: u32 = 16;
/// Bytes that are read at once for each frame of a shorter turn, where the last read held many small frames.
const SMALL: usize = 16;
/// Resets in one turn from which on streams are worth a second look before work is put into them.
const HASTY: u32 = 3;
/// A connection that still has more after such a turn pauses, and has turns of this length, or of the bytes that are
/// read at once for it: some eight thousand resets a second, more than an honest application has been seen to need, so
/// small a part of a processor that others do not notice.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSED: u32 = 32;

/// The least that a peer must be ready to take in one frame, and what the library sends at most unless told
/// otherwise (RFC 9113, 4.2).
const FRAME: u32 = 16_384;

/// Kinds of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// A connection whose frames are counted as they are read.
pub struct Frames<IO> {
    io: IO,
    verdict: Verdict,
    read: Boundaries,
    /// The kind of the last frame.
    last: u8,
    /// Work since the task last let others run, the resets in it, and how much it may be.
    turn: u32,
    turn_resets: u32,
    turn_limit: u32,
    pause: Option<Pin<Box<Sleep>>>,
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

impl<IO> Frames<IO> {
    /// What a client sends, whose header lists may have so many bytes.
    pub fn of_client(io: IO, header_list: u32) -> Self {
        Self::new(io, PREFACE, header_list)
    }

    /// What a server sends, to a task that reads once each time it is polled: nobody has to tell its turns.
    pub fn of_server(io: IO, header_list: u32) -> Self {
        Self { own_turns: true, turn_limit: TURN, small: false, ..Self::new(io, 0, header_list) }
    }

    pub fn get_ref(&self) -> &IO {
        &self.io
    }

    fn new(io: IO, preface: usize, header_list: u32) -> Self {
        let (whole, now) = (header_list / FRAME, Instant::now());
        Self {
            io,
            verdict: Verdict::default(),
            read: Boundaries::after(preface),
            last: 0,
            turn: 0,
            turn_resets: 0,
            turn_limit: FIRST,
            pause: None,
            own_turns: false,
            small: true,
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
        self.turn_limit = match self.turn {
            // Whoever stopped by itself has been caught up with.
            turn if turn < self.turn_limit => TURN,
            _ if self.turn_resets >= HASTY => PAUSED,
            _ => (self.turn_limit / 2).max(SHORTEST),
        };
        (self.turn, self.turn_resets) = (0, 0);
        self.verdict.0.fresh.store(false, Ordering::Relaxed);
    }

    fn inspect(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        while let Some(header) = self.read.next(&mut bytes) {
            let [_, _, _, kind, flags, ..] = header;
            self.turn += 1 + (payload(header) >> 10) as u32;
            self.last = kind;
            self.frame(kind, flags)?;
        }
        Ok(())
    }

    /// One frame (RFC 9113, 6).
    fn frame(&mut self, kind: u8, flags: u8) -> Result<(), Reason> {
        const ACK: u8 = 0x1;
        const END_HEADERS: u8 = 0x4;
        let asks = flags & ACK == 0;
        match kind {
            HEADERS => {
                self.continuations = 0;
                self.turn += if self.own_turns { 0 } else { REQUEST };
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
            GOAWAY => {
                self.verdict.0.announced.store(true, Ordering::Relaxed);
                self.others.take(Reason::FrameFlood)
            }
            _ => self.others.take(Reason::FrameFlood),
        }
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
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        if this.verdict.0.fresh.load(Ordering::Relaxed) {
            this.next_turn();
        }
        if this.turn >= this.turn_limit {
            if this.own_turns {
                this.next_turn();
            } else if this.turn_resets >= HASTY {
                let pause = this.pause.insert(Box::pin(tokio::time::sleep(PAUSE)));
                ready!(pause.as_mut().poll(cx));
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
        this.verdict.0.last.store(this.last, Ordering::Relaxed);
        if this.turn_resets >= HASTY {
            this.verdict.0.hasty.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

write_through!(Frames);

#[cfg(test)]
mod tests;

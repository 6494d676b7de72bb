//! How much of one kind of frame is too much?

use tokio::time::Instant;

use crate::error::Reason;

/// What a peer may send at once of one kind of frame, and how much more each second.
///
/// An application that cancels 5,000 streams a second is honest, and is so too when a busy machine delivers
/// one second of it at once. Libraries probe the window with a PING for each round trip while data flows.
pub(super) const MOST_RESETS: (u32, u32) = (5_000, 6_000);
pub(super) const MOST_PINGS: (u32, u32) = (10_000, 10_000);
pub(super) const MOST_SETTINGS: (u32, u32) = (1_000, 100);
pub(super) const MOST_OTHERS: (u32, u32) = (10_000, 10_000);

/// A bucket of tokens that looks at the clock only when it is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) left: u32,
    most: u32,
    each_second: u32,
    /// When it was last filled.
    filled: Instant,
}

impl Allowance {
    pub(super) fn new((most, each_second): (u32, u32), now: Instant) -> Self {
        Self { left: most, most, each_second, filled: now }
    }

    pub(super) fn take(&mut self, otherwise: Reason) -> Result<(), Reason> {
        if self.left == 0 {
            self.refill(Instant::now());
        }
        self.left = self.left.checked_sub(1).ok_or(otherwise)?;
        Ok(())
    }

    pub(super) fn refill(&mut self, now: Instant) {
        let grown = now.duration_since(self.filled).as_secs_f64() * f64::from(self.each_second);
        self.left = (grown as u32).min(self.most);
        self.filled = now;
    }
}

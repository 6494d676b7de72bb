//! What the library has taken of answers and not sent.
//!
//! A piece of an answer that the library has taken is nobody's any more: its task may have ended, and its stream's window
//! or the connection itself may be shut. Such pieces are counted until they are dropped, for each connection. Beyond one
//! number of bytes the connections are cut that have sent no piece whole for some seconds; beyond a second one, those
//! that hold most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use tokio_util::sync::CancellationToken;

use super::{GRACE, NOBODY, Unread};

/// Smaller pieces are not worth counting: those of a connection's streams are less than a megabyte.
const SMALL: usize = 4 * 1024;

/// The accounts of all connections.
pub(super) struct Held {
    /// Bytes beyond which connections are cut, and beyond which those that have got stuck are.
    most: usize,
    stuck: usize,
    bytes: AtomicUsize,
    connections: Mutex<Slab<Arc<Account>>>,
}

/// What is held for one connection.
pub struct Account {
    bytes: AtomicUsize,
    /// When it began to hold, or last sent a piece whole, by [`Unread::now`].
    moved: AtomicU64,
    cut: CancellationToken,
    unread: Arc<Unread>,
}

/// A connection that has an account for as long as this is kept.
pub(in crate::message) struct Connection {
    account: Arc<Account>,
    key: usize,
}

impl Held {
    pub(super) fn new(most: usize) -> Self {
        Self { most, stuck: most / NOBODY, bytes: AtomicUsize::new(0), connections: Mutex::default() }
    }

    /// Whether somebody has to look at it, and whether sharply.
    pub(super) fn is_too_much(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) > self.stuck
    }

    pub(super) fn is_far_too_much(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.most
    }

    /// Cuts connections until few enough bytes are held. Those that were cut before are as good as gone.
    pub(super) fn relieve(&self, now: u64) {
        let patient = now.saturating_sub(GRACE.as_millis() as u64);
        let holds = |(_, account): (usize, &Arc<Account>)| {
            let bytes = account.bytes.load(Ordering::Relaxed);
            let moves = account.moved.load(Ordering::Relaxed) >= patient;
            (bytes > 0 && !account.cut.is_cancelled()).then(|| (moves, bytes, account.clone()))
        };
        let mut holders: Vec<_> = self.connections.lock().iter().filter_map(holds).collect();
        holders.sort_unstable_by_key(|(moves, bytes, _)| (*moves, std::cmp::Reverse(*bytes)));
        let mut total: usize = holders.iter().map(|(_, bytes, _)| bytes).sum();
        for (moves, bytes, account) in holders {
            if total <= if moves { self.most } else { self.stuck } {
                return;
            }
            account.cut.cancel();
            total -= bytes;
        }
    }
}

impl Connection {
    pub(in crate::message) fn new(unread: Arc<Unread>) -> Self {
        let (bytes, moved, cut) = (AtomicUsize::new(0), AtomicU64::new(0), CancellationToken::new());
        let account = Arc::new(Account { bytes, moved, cut, unread });
        let key = account.unread.held.connections.lock().insert(account.clone());
        Self { account, key }
    }

    pub(in crate::message) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Resolves when it is to end, because what it holds is too much.
    pub(in crate::message) async fn cut(&self) {
        self.account.cut.cancelled().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.account.unread.held.connections.lock().remove(self.key);
    }
}

impl Account {
    /// The same bytes, counted until they are dropped.
    pub(super) fn hold(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.len() < SMALL {
            return bytes;
        }
        if self.bytes.fetch_add(bytes.len(), Ordering::Relaxed) == 0 {
            self.moved.store(self.unread.now(), Ordering::Relaxed);
        }
        self.unread.held.bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        self.unread.look_if_needed();
        Bytes::from_owner(Piece { bytes, account: self.clone() })
    }
}

/// One piece that the library has.
struct Piece {
    bytes: Bytes,
    account: Arc<Account>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let account = &self.account;
        account.moved.store(account.unread.now(), Ordering::Relaxed);
        account.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        account.unread.held.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MOST: usize = 400 * 1024;

    /// A connection that holds so many pieces of 10 KiB.
    fn holding(unread: &Arc<Unread>, pieces: usize) -> (Connection, Vec<Bytes>) {
        let connection = Connection::new(unread.clone());
        let piece = || connection.account().hold(Bytes::from(vec![0; 10 * 1024]));
        let held = (0..pieces).map(|_| piece()).collect();
        (connection, held)
    }

    fn is_cut(connection: &Connection) -> bool {
        connection.account.cut.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn little_may_be_held_for_ever() {
        let unread = Unread::new(Some(MOST as u64 * 4));
        let (connection, _held) = holding(&unread, 10);
        tokio::time::sleep(GRACE * 10).await;
        assert!(!is_cut(&connection));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_that_who_sends_nothing_is_cut_and_who_sends_is_not() {
        let unread = Unread::new(Some(MOST as u64 * 4));
        let (stuck, _held) = holding(&unread, 15);
        let (moving, mut pieces) = holding(&unread, 20);
        for _ in 0..10 {
            tokio::time::sleep(GRACE / 5).await;
            pieces.remove(0);
        }
        assert!(is_cut(&stuck));
        assert!(!is_cut(&moving));
    }

    #[tokio::test(start_paused = true)]
    async fn far_beyond_it_those_that_hold_most_are_cut_at_once() {
        let unread = Unread::new(Some(MOST as u64 * 4));
        let (small, _held) = holding(&unread, 15);
        let (large, _held_too) = holding(&unread, 30);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!is_cut(&small));
        assert!(is_cut(&large));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_counted_of_what_was_sent_and_who_has_ended() {
        let unread = Unread::new(Some(MOST as u64 * 4));
        let (connection, held) = holding(&unread, 3);
        drop(connection);
        assert!(unread.held.connections.lock().is_empty());
        drop(held);
        assert_eq!(unread.held.bytes.load(Ordering::Relaxed), 0);
    }
}

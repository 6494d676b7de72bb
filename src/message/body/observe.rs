//! Who watches a body go by, and how it can end.

use http::HeaderMap;

use crate::error::Reason;
use crate::message::vet;
use crate::telemetry::streams::Sent;

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the body's stream broke")]
    Stream(#[source] hyper::Error),
    /// An answer that took longer than its route allows.
    #[error("the answer was cut short: {}", .0.row().message)]
    TimedOut(Reason),
    /// A request that nobody waits for any more.
    #[error("the answer was given up, because nobody reads it")]
    GivenUp,
    /// The library cuts what is larger still; half a list of trailers is worse than none.
    #[error("the trailers are larger than {} KiB", vet::HEADER_LIST / 1024)]
    TrailersTooLarge,
}

/// How a body's stream ended.
#[derive(Debug)]
pub enum End<'a> {
    /// Whole, with trailers if there were any.
    Complete(Option<&'a HeaderMap>),
    /// The sender's side failed.
    Failed(&'a Error),
    /// The reader stopped before the end.
    Dropped,
}

/// Watches a body go by. `end` is called exactly once.
pub trait Observe: Send + 'static {
    /// One piece of data passed.
    fn data(&mut self, _bytes: usize) {}
    fn end(&mut self, _end: End<'_>) {}
}

impl Observe for () {}

impl Observe for Sent {
    fn data(&mut self, bytes: usize) {
        Self::data(self, bytes);
    }

    fn end(&mut self, _: End<'_>) {
        Self::end(self);
    }
}

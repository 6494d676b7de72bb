//! What the frames of a connection say about who sends them, for whoever polls it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::{Reason, causes};

use super::{CONTINUATION, DATA, HEADERS, RST_STREAM};

/// What [`Frames`] thinks of a connection that has been handed on.
#[derive(Clone, Debug, Default)]
pub struct Verdict(pub(super) Arc<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Why the connection was ended, if it was.
    pub(super) ended: OnceLock<Reason>,
    /// The connection's task is polled anew, and has not read since.
    pub(super) fresh: AtomicBool,
    pub(super) hasty: AtomicBool,
    /// The kind of the last frame that came.
    pub(super) last: AtomicU8,
    /// The peer has said that it will go.
    pub(super) announced: AtomicBool,
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

    /// Whether the peer has said that it will end the connection.
    pub fn is_announced(&self) -> bool {
        self.0.announced.load(Ordering::Relaxed)
    }

    /// Whether what came last is of a request or an answer.
    pub fn is_of_a_message(&self) -> bool {
        matches!(self.0.last.load(Ordering::Relaxed), DATA | HEADERS)
    }

    /// What the library says about a peer that it closed the door on. It has one code for all floods: what came last
    /// tells them apart.
    fn of_library(&self, error: &hyper::Error) -> Option<Reason> {
        let h2 = causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>())?;
        match h2.reason() {
            Some(h2::Reason::ENHANCE_YOUR_CALM) if h2.is_library() => Some(self.flood()),
            _ => h2.is_library().then_some(Reason::Http2Violation),
        }
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

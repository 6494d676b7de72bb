//! What one client has been told, and the difference to what is true now (controlplane 2.8).
//!
//! A slow client does not queue anything: it is told the difference to the newest snapshot when it
//! reads again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::Status;

use crate::control::Snapshot;
use crate::control::index::LookupError;
use crate::drain::Drain;

/// A stream of answers, as tonic wants it.
pub(super) type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Where snapshots come from, and when to end.
#[derive(Clone, Debug)]
pub struct Source {
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub drain: Drain,
}

/// One question that stays open.
pub(super) trait Question: Send + 'static {
    type Answer: Send;
    type Message: Send;

    fn ask(&self, snapshot: &Snapshot) -> Result<Self::Answer, LookupError>;

    /// The messages that lead from what was `told` to what is true `now`.
    fn difference(&self, told: Option<&Self::Answer>, now: &Self::Answer) -> Vec<Self::Message>;

    /// The answer once there is none any more. Without one the stream ends, and the client asks
    /// again.
    fn gone(&self, told: &Self::Answer) -> Option<Self::Answer>;

    /// Whether the stream ends rather than tell the new answer, and the client asks again.
    fn over(&self, _told: &Self::Answer, _now: &Self::Answer) -> bool {
        false
    }
}

impl Source {
    pub(super) fn now(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Answers now, and again whenever the answer changes. Ends without error when the control
    /// plane does.
    pub(super) fn follow<Q: Question>(&self, question: Q) -> Result<Answers<Q::Message>, Status> {
        let mut source = self.clone();
        let snapshot = source.snapshots.borrow_and_update().clone();
        let told = question.ask(&snapshot).map_err(status)?;
        let pending = question.difference(None, &told).into();
        let following = Following { source, question, told, pending };
        Ok(Box::pin(stream::unfold(following, Following::next)))
    }
}

struct Following<Q: Question> {
    source: Source,
    question: Q,
    told: Q::Answer,
    pending: VecDeque<Q::Message>,
}

impl<Q: Question> Following<Q> {
    async fn next(mut self) -> Option<(Result<Q::Message, Status>, Self)> {
        loop {
            if let Some(message) = self.pending.pop_front() {
                return Some((Ok(message), self));
            }
            tokio::select! {
                biased;
                () = self.source.drain.signaled() => return None,
                changed = self.source.snapshots.changed() => changed.ok()?,
            }
            let snapshot = self.source.snapshots.borrow_and_update().clone();
            let now = match self.question.ask(&snapshot) {
                Ok(answer) => answer,
                Err(_) => self.question.gone(&self.told)?,
            };
            if self.question.over(&self.told, &now) {
                return None;
            }
            self.pending = self.question.difference(Some(&self.told), &now).into();
            self.told = now;
        }
    }
}

/// Each reason is the gRPC code of its name.
pub(super) fn status(error: LookupError) -> Status {
    match error {
        LookupError::InvalidArgument(why) => Status::invalid_argument(why),
        LookupError::NotFound(why) => Status::not_found(why),
        LookupError::FailedPrecondition(why) => Status::failed_precondition(why),
        LookupError::Unknown(why) => Status::unknown(why),
    }
}

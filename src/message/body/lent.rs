//! Bodies that are lent to whoever sends a request, and the claims to have them back.

use std::sync::Arc;

use super::{Inner, RequestBody};
use crate::error::Reason;
use crate::message::loan::{Allowance, Loan};
use crate::telemetry::streams::Sent;

/// The claim to a body that was lent to a connection.
#[derive(Debug)]
pub struct Claim(Option<Loan>);

/// The claim to a body that may be sent again.
#[derive(Debug)]
pub struct Replay(Option<Loan>);

impl RequestBody {
    /// The same body, lent, and the claim to it.
    pub fn lend(self) -> (Self, Claim) {
        let loan = match &self.inner {
            Inner::Ended => return (self, Claim(None)),
            Inner::Lent(loan) => loan.clone(),
            Inner::Relayed(_) | Inner::Whole(_) | Inner::Replayed(_) => Loan::new(self),
        };
        (Self::lent(loan.clone()), Claim(Some(loan)))
    }

    /// The same body, and the claim to it for as long as it is not longer than `most` bytes, and all that are kept are
    /// not more than is allowed.
    pub fn replayed(self, most: usize, allowance: &Arc<Allowance>) -> (Self, Replay) {
        if let Inner::Ended = self.inner {
            return (self, Replay(None));
        }
        let loan = Loan::keeping(self, most, allowance);
        (Self::new(Inner::Replayed(loan.clone()), None), Replay(Some(loan)))
    }

    /// What watches the body is lent with it.
    fn lent(loan: Loan) -> Self {
        Self::new(Inner::Lent(loan), None)
    }
}

impl Claim {
    /// Why its request failed, if the body is to blame: an HTTP/2 stream that is reset for it does not say.
    pub fn blame(&self) -> Option<Reason> {
        self.0.as_ref()?.blame()
    }

    /// Whether its borrower has taken all of it.
    pub fn is_spent(&self) -> bool {
        self.0.as_ref().is_none_or(Loan::is_end_stream)
    }

    /// The body from its beginning; the connection that had it gets nothing more of it. `None` if it has
    /// passed further than can be had back.
    pub fn back(&self) -> Option<RequestBody> {
        match &self.0 {
            None => Some(RequestBody::empty(Sent::default())),
            Some(loan) => Some(RequestBody::lent(loan.back()?)),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(loan) = &self.0 {
            loan.forgive();
        }
    }
}

impl Replay {
    /// Whether it can be sent again: all of it was read, and is kept.
    pub fn can_again(&self) -> bool {
        self.0.as_ref().is_none_or(Loan::is_kept)
    }

    /// The body from its beginning, and the claim to it. `None` if more of it was read than could be kept.
    pub fn again(&self) -> Option<(RequestBody, Self)> {
        let Some(loan) = &self.0 else { return Some((RequestBody::empty(Sent::default()), Self(None))) };
        let again = loan.back()?;
        Some((RequestBody::new(Inner::Replayed(again.clone()), None), Self(Some(again))))
    }
}

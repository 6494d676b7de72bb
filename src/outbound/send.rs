//! One attempt at a request: sent to an endpoint of its backend, and to another if nothing came of that and nothing
//! forbids it.
//!
//! ```text
//!   never reached one ────────▶ another, until the failfast timeout
//!   refused unread ───────────▶ another, three times at most, whatever attempts there are
//!   lost with its connection ─▶ the same, if doing it twice does no harm and nobody above counts attempts
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Request, Version};
use tokio::time::{Instant, timeout_at};

use crate::connect;
use crate::connect::client::{self, Answer, Carry, Client, SENDINGS, Unanswered};
use crate::connect::resend::is_idempotent;
use crate::discover::Backend;
use crate::discover::backend::Pick;
use crate::error::{Fault, Reason};
use crate::message::{RequestBody, headers, orig_proto, vet};
use crate::model::outbound::RouteBackend;
use crate::model::service_profile::ResponseClass;
use crate::telemetry::balancers::Use;
use crate::telemetry::requests::{InFlight, ResponseError};

use super::form::{self, Form};
use super::http::Track;
use super::route::Others;
use super::tcp::give_up_or_retry;
use super::timeout::Attempt;

/// What its caller allows of sending a request, and how much of that is used up: one for all attempts at it, and all
/// backends that they go to.
pub(super) struct Sending<'a> {
    leaves_http: bool,
    /// The caller counts how often endpoints may have seen the request.
    counted: bool,
    classes: Option<&'a Arc<[ResponseClass]>>,
    /// Until when this attempt waits for an endpoint.
    deadline: Option<Instant>,
    /// How often it was sent again here.
    repeated: u8,
    /// How often this attempt lost a connection before it was sent.
    unsent: u8,
}

/// Why a request has no answer of a backend.
pub(super) enum Stopped {
    Failed(Fault),
    /// The backend has no endpoint ready, and another of the route has. What was sent of it did not count.
    Elsewhere(Box<Request<RequestBody>>),
}

/// A request that an endpoint has got, or was to get.
struct With {
    pick: Pick,
    carry: Carry,
    in_flight: InFlight,
}

impl<'a> Sending<'a> {
    /// For as long as it takes, and as often as is right for a request that nobody counts.
    pub(super) fn new(leaves_http: bool) -> Self {
        Self { leaves_http, counted: false, classes: None, deadline: None, repeated: 0, unsent: 0 }
    }

    /// For who decides by himself whether a request that was lost is sent again.
    pub(super) fn counted(self, counted: bool) -> Self {
        Self { counted, ..self }
    }

    /// What its answers are judged by.
    pub(super) fn judged_by(self, classes: Option<&'a Arc<[ResponseClass]>>) -> Self {
        Self { classes, ..self }
    }

    /// The same request once more, as another attempt.
    pub(super) fn again(&mut self) {
        (self.deadline, self.unsent) = (None, 0);
    }

    /// Until when an endpoint is waited for: from when one was first looked for, whatever the backend.
    fn deadline(&mut self, failfast: Duration) -> Instant {
        *self.deadline.get_or_insert_with(|| Instant::now() + failfast)
    }

    /// Until when a connection is waited for, and what it means if none came.
    fn connected_by(&mut self, failfast: Duration, limits: Option<&Attempt>) -> (Instant, Reason) {
        let deadline = self.deadline(failfast);
        let end = limits.and_then(Attempt::deadline).filter(|(end, _)| *end < deadline);
        end.unwrap_or((deadline, Reason::FailFast))
    }

    /// The request, if it may go to an endpoint once more.
    ///
    /// # Errors
    /// What it means that it may not.
    fn back(&mut self, unanswered: Unanswered, with: With) -> Result<Box<Request<RequestBody>>, Fault> {
        match unanswered {
            Unanswered::Unsent(back, error) => self.never_sent(error, with).map(|()| back),
            Unanswered::Refused(back, _) if self.may_repeat() => {
                with.pick.abandon();
                self.repeat();
                Ok(back)
            }
            Unanswered::Lost(back, error) if self.may_repeat_lost(&back) => {
                with.failed(&error, true);
                self.repeat();
                Ok(back)
            }
            Unanswered::Refused(_, error) => Err(with.broken(error, None, false)),
            // How long the death of a connection took says nothing of how long answers take.
            Unanswered::Lost(_, error) => Err(with.broken(error, None, true)),
            Unanswered::Broken(error, blame) => {
                let died = !client::is_reset(&error);
                Err(with.broken(error, blame, died))
            }
        }
    }

    fn never_sent(&mut self, error: hyper::Error, with: With) -> Result<(), Fault> {
        // There was one when it was picked.
        let deadline = self.deadline.unwrap_or_else(Instant::now);
        if Instant::now() >= deadline {
            return Err(Fault::new(Reason::UpstreamBroken, error));
        }
        self.unsent = self.unsent.saturating_add(1);
        if usize::from(self.unsent) < SENDINGS {
            with.pick.abandon();
            return Ok(());
        }
        // It takes connections and drops them at once.
        let addr = with.pick.client().endpoint.addr;
        give_up_or_retry(with.pick, connect::Error::Http(addr, error), deadline)
    }

    fn may_repeat(&self) -> bool {
        usize::from(self.repeated) + 1 < SENDINGS
    }

    fn may_repeat_lost(&self, req: &Request<RequestBody>) -> bool {
        !self.counted && self.may_repeat() && is_idempotent(req.method())
    }

    fn repeat(&mut self) {
        self.repeated += 1;
        // It may have been with that endpoint for long.
        self.deadline = None;
    }
}

impl With {
    /// The endpoint failed; `died` where that took the time that it took, and no longer.
    fn failed(self, error: &hyper::Error, died: bool) {
        let Self { mut pick, in_flight, .. } = self;
        pick.failed(ResponseError::of(error));
        in_flight.failed(ResponseError::of(error));
        if died {
            pick.abandon();
        }
    }

    fn broken(self, error: hyper::Error, blame: Option<Reason>, died: bool) -> Fault {
        let carry = self.carry;
        self.failed(&error, died);
        client::broken(carry, error, blame)
    }

    fn out_of_time(mut self) {
        self.pick.failed(ResponseError::Timeout);
        self.in_flight.failed(ResponseError::Timeout);
    }

    fn answered(self, mut answer: Answer, version: Version) -> Result<(Answer, Track), Fault> {
        let Self { mut pick, carry, in_flight } = self;
        pick.answered(answer.rsp.status(), answer.rsp.headers());
        if carry == Carry::OrigProto {
            orig_proto::restore(&mut answer.rsp, version);
        }
        let recorder = in_flight.response(answer.rsp.status(), answer.rsp.headers());
        let meshed = pick.client().endpoint.tls.is_some();
        let track = Track::new(Some(pick), recorder, answer.stream.take());
        vet::answer(&answer.rsp, meshed)?;
        Ok((answer, track))
    }
}

impl Stopped {
    /// For who has nowhere else to go.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Failed(fault) => fault,
            Self::Elsewhere(_) => Reason::FailFast.into(),
        }
    }
}

impl<E: Into<Fault>> From<E> for Stopped {
    fn from(fault: E) -> Self {
        Self::Failed(fault.into())
    }
}

/// Sends a request to an endpoint of the backend, as often as it may be, in the time that `limits` leave an attempt.
pub(super) async fn send(
    backend: &Backend,
    others: Option<Others<'_, RouteBackend<Arc<Backend>>>>,
    mut req: Request<RequestBody>,
    limits: Option<&Attempt>,
    sending: &mut Sending<'_>,
) -> Result<(Answer, Track), Stopped> {
    let version = req.version();
    let required = req.headers_mut().remove(headers::REQUIRE_ID);
    let failfast = || backend.failfast(Use::Http);
    loop {
        let picking = pin!(pick(backend, others, Use::Http, sending.deadline(failfast())));
        let picked = match limits {
            None => picking.await?,
            Some(limits) => Box::pin(limits.before(picking)).await??,
        };
        let Some(mut pick) = picked else {
            if let Some(id) = required {
                req.headers_mut().insert(headers::REQUIRE_ID, id);
            }
            return Err(Stopped::Elsewhere(Box::new(req)));
        };
        let client = pick.client().clone();
        if let Err(fault) = require_identity(&client, required.as_ref()) {
            pick.abandon();
            return Err(fault.into());
        }
        let carry = client.carry(version, sending.leaves_http);
        let ready = match timeout_at(sending.connected_by(failfast(), limits).0, client.ready(carry)).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(error)) => {
                give_up_or_retry(pick, error, sending.deadline(failfast()))?;
                continue;
            }
            Err(_) => {
                // How long was left says nothing of how long answers take.
                pick.abandon();
                return Err(sending.connected_by(failfast(), limits).1.into());
            }
        };
        pick.reached();
        let gateway = client.authority.as_ref();
        let came = Form::of(&req, gateway);
        form::carry_as(&mut req, carry, sending.leaves_http, gateway);
        let in_flight = pick.requests().start(req.headers()).judged_by(sending.classes);
        let answering = pin!(ready.send(req));
        let answer = match limits {
            None => Ok(answering.await),
            Some(limits) => Box::pin(limits.head(answering)).await,
        };
        // Together only now: what moves across a wait is held twice.
        let with = With { pick, carry, in_flight };
        match answer {
            Ok(Ok(answer)) => return Ok(with.answered(answer, version)?),
            Ok(Err(unanswered)) => req = came.restore(*sending.back(unanswered, with)?),
            Err(reason) => {
                with.out_of_time();
                return Err(reason.into());
            }
        }
    }
}

/// An endpoint of the backend; `None` once it has none ready, and another of the route has.
pub(super) async fn pick<B: AsRef<Backend>>(
    backend: &Backend,
    others: Option<Others<'_, B>>,
    used: Use,
    deadline: Instant,
) -> Result<Option<Pick>, Fault> {
    if let Some(pick) = backend.pick_at_once(used) {
        return Ok(Some(pick));
    }
    let Some(others) = others.filter(|others| !others.are_none()) else {
        return backend.pick(used, deadline).await.map(Some);
    };
    tokio::select! {
        biased;
        () = others.until_ready(deadline) => Ok(None),
        picked = backend.pick(used, deadline) => picked.map(Some),
    }
}

/// `l5d-require-id` names the identity that the application insists on (contract 3.13).
fn require_identity(client: &Client, required: Option<&HeaderValue>) -> Result<(), Fault> {
    let Some(required) = required else { return Ok(()) };
    if client.is_local() {
        return Err(Reason::IdentityRequired.into());
    }
    let expected = client.endpoint.tls.as_ref().map(|tls| tls.id.to_string());
    match expected {
        Some(id) if id.as_bytes() == required.as_bytes() => Ok(()),
        _ => Err(Reason::IdentityRequired.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_attempt_waits_for_an_endpoint_once_whatever_the_backend() {
        let mut sending = Sending::new(false);
        let first = sending.deadline(3 * S);
        assert_eq!(first, Instant::now() + 3 * S);
        tokio::time::advance(2 * S).await;
        assert_eq!(sending.connected_by(3 * S, None), (first, Reason::FailFast), "of another backend");
        // An endpoint has had it meanwhile.
        sending.repeat();
        assert_eq!(sending.deadline(3 * S), first + 2 * S);
        tokio::time::advance(S).await;
        sending.again();
        assert_eq!(sending.deadline(3 * S), first + 3 * S, "another attempt");
    }

    #[test]
    fn what_was_lost_is_sent_again_where_nobody_counts_it_and_it_does_no_harm() {
        let req = |method: &str| {
            Request::builder().method(method).body(RequestBody::empty(Default::default())).unwrap()
        };
        let mut sending = Sending::new(false);
        assert!(!sending.may_repeat_lost(&req("POST")) && sending.may_repeat());
        assert!(!Sending::new(false).counted(true).may_repeat_lost(&req("GET")));
        for _ in 1..SENDINGS {
            assert!(sending.may_repeat_lost(&req("GET")) && sending.may_repeat_lost(&req("PUT")));
            sending.repeat();
            sending.again();
        }
        assert!(!sending.may_repeat_lost(&req("GET")) && !sending.may_repeat());
    }
}

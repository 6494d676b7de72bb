//! Requests that a service profile speaks for: by the first of its routes that takes them (contract 3.11).
//!
//! What fails is sent again for as long as the profile's budget lasts, as often as that may be, and what is kept of it
//! is bounded as for policy's retries.

use std::collections::VecDeque;

use ::http::{Request, Response, Version};
use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::time::timeout_at;

use crate::connect::client::Answer;
use crate::discover::profiled::{Profiled, Route};
use crate::error::{Fault, Reason};
use crate::limit::retries::Retries;
use crate::message::{Body, End, Extra, Observe as _, RequestBody, body, headers};
use crate::model::matching::TooCostly;
use crate::telemetry::balancers::Use;
use crate::telemetry::requests::{Outcome, is_grpc};
use crate::telemetry::streams::Sent;

use super::http::{Carried, Origin, Session, Track};
use super::retry::{first, trailers};
use super::route::choose;
use super::rule::Try;
use super::send::{Sending, Stopped, send};
use super::timeout::Limits;

/// Bytes of a request's body that are kept for another attempt.
const KEPT: usize = 64 * 1024;

/// A request on its way, and what all attempts at it have together.
struct Call<'a> {
    session: &'a Session,
    profile: &'a Profiled,
    route: &'a Route,
    limits: Limits,
    leaves_http: bool,
    grpc: bool,
}

/// An endpoint's answer.
struct Answered {
    answer: Answer,
    track: Track,
    /// Of its body, what was looked at.
    ahead: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
}

impl Session {
    /// Carries a request as the profile of its target says.
    pub(super) async fn carry_by_profile(
        &self,
        profile: &Profiled,
        carried: Carried,
    ) -> Result<Response<Body<Track>>, Fault> {
        let route = profile.route(&carried.req).map_err(|TooCostly| Reason::RouteTooCostly)?;
        let route = route.ok_or(Reason::NoRoute)?;
        let Carried { mut req, arrived, upgraded, right } = carried;
        req.headers_mut().insert(headers::DST_CANONICAL, profile.canonical.clone());
        let grpc = is_grpc(req.headers());
        let asked = route.counts.asked.start(req.headers()).judged_by(route.classes.as_ref());
        let origin = Origin { method: req.method().clone(), grpc, upgraded, right };
        let (limits, leaves_http) = (Limits::until_head(route.timeout, arrived), origin.upgraded.is_some());
        let call = Call { session: self, profile, route, limits, leaves_http, grpc };
        let req = RequestBody::of(req, Sent::default());
        let done = match route.retries.as_ref().filter(|_| !leaves_http) {
            Some(retries) => call.send(req, retries).await,
            None => call.attempt(req, &mut call.sending()).await,
        };
        match done {
            Ok(Answered { answer, mut track, ahead }) => {
                track.also(asked.response(answer.rsp.status(), answer.rsp.headers()));
                let extra = Extra { ahead, ..Extra::default() };
                let extra = (!extra.ahead.is_empty()).then(|| Box::new(extra));
                Ok(self.pass_on(answer, track, extra, origin))
            }
            Err(fault) => {
                asked.fault(&fault);
                Err(fault)
            }
        }
    }
}

impl Call<'_> {
    /// Sends a request until its answer is no failure, or the budget is spent.
    async fn send(&self, req: Request<RequestBody>, retries: &Retries) -> Result<Answered, Fault> {
        let mut sending = self.sending();
        if req.body().size_hint().lower() > KEPT as u64 {
            return self.attempt(req, &mut sending).await;
        }
        let (head, body) = req.into_parts();
        let (mut kept, mut replay) = body.replayed(KEPT, &self.session.replays);
        loop {
            let mut done = self.attempt(Request::from_parts(head.clone(), kept), &mut sending).await;
            if let Ok(answered) = &mut done
                && let Err(reason) = self.peek(answered).await
            {
                answered.track.end(End::Failed(&body::Error::TimedOut(reason)));
                return Err(reason.into());
            }
            if !self.is_failure(&done) || !replay.can_again() {
                retries.earn();
                return done;
            }
            let (counts, enough) = (self.route.counts.retries.as_ref(), retries.spend());
            counts.inspect(|counts| counts.all.incr());
            if !enough {
                counts.inspect(|counts| counts.no_budget.incr());
                return done;
            }
            let Some(again) = replay.again() else { return done };
            (kept, replay) = again;
            sending.again();
            if let Ok(mut answered) = done {
                let trailers = trailers(&answered.ahead);
                answered.track.end(trailers.map_or(End::Dropped, |trailers| End::Complete(Some(trailers))));
            }
        }
    }

    /// What may be sent again by its route's budget is not sent again beside it.
    fn sending(&self) -> Sending<'_> {
        let sending = Sending::new(self.leaves_http).judged_by(self.route.classes.as_ref());
        sending.counted(self.route.retries.is_some())
    }

    /// One attempt: a backend, an endpoint.
    async fn attempt(
        &self,
        mut req: Request<RequestBody>,
        sending: &mut Sending<'_>,
    ) -> Result<Answered, Fault> {
        let Self { profile, route, .. } = self;
        let backend = choose(&profile.to, |backend| backend.is_ready()).ok_or(Reason::LoadShed)?;
        backend.show(&self.session.metrics, Use::Http, &profile.parent);
        let sent = route.counts.sent.start(req.headers()).judged_by(route.classes.as_ref());
        let attempt = self.limits.attempt(Try::default());
        if let Some(attempt) = &attempt {
            req = req.map(|body| body.telling(attempt.progress().clone()));
        }
        let done = send(backend, None, req, attempt.as_ref(), sending).await.map_err(Stopped::fault);
        match done {
            Ok((answer, mut track)) => {
                track.also(sent.response(answer.rsp.status(), answer.rsp.headers()));
                Ok(Answered { answer, track, ahead: VecDeque::new() })
            }
            Err(fault) => {
                sent.fault(&fault);
                Err(fault)
            }
        }
    }

    /// Looks at what comes first of an answer to a call, where its trailers may say that it failed.
    ///
    /// # Errors
    /// Nothing came in the time that the answer has.
    async fn peek(&self, Answered { answer, track, ahead }: &mut Answered) -> Result<(), Reason> {
        let rsp = &mut answer.rsp;
        let open = matches!(track.outcome(None), Some(Outcome::Grpc(_, None) | Outcome::Http(_)));
        if !self.grpc || !open || rsp.version() != Version::HTTP_2 || rsp.body().is_end_stream() {
            return Ok(());
        }
        let first = first(rsp.body_mut());
        *ahead = match self.limits.head() {
            None => first.await,
            Some((at, reason)) => timeout_at(at, first).await.map_err(|_| reason)?,
        };
        Ok(())
    }

    /// Whether an attempt failed, as the route's classes judge it. What failed at the endpoint is judged by the answer
    /// that it would be.
    fn is_failure(&self, done: &Result<Answered, Fault>) -> bool {
        let outcome = match done {
            Ok(answered) => answered.track.outcome(trailers(&answered.ahead)),
            Err(fault) => Outcome::of_fault(fault, self.grpc, self.route.classes.as_deref()),
        };
        outcome.is_some_and(|outcome| !outcome.is_success())
    }
}

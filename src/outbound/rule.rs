//! Requests whose rule says more than where they go: what is done to them, how long they may take, how often they are
//! sent (contract 3.11). The others take the straight path.

use std::collections::VecDeque;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use http_body::Frame;
use hyper::body::Body as _;
use tracing::info;

use crate::connect::client::Answer;
use crate::error::{Fault, Reason};
use crate::message::filters::{self, Instead};
use crate::message::respond::{self, Asked};
use crate::message::{Body, Extra, RequestBody};
use crate::model::filter::{Failure, FailureKind};
use crate::telemetry::requests::is_grpc;
use crate::telemetry::streams::Stream;

use super::http::{Carried, Origin, Session, Track};
use super::route::Taken;
use super::send::{Sending, Stopped, send};
use super::timeout::{Attempt, Limits};
use super::{retry, terms};

/// A request on its way, and what all attempts at it have together.
pub(super) struct Call<'a, 's> {
    pub(super) session: &'s Session,
    pub(super) taken: &'s Taken<'a>,
    pub(super) limits: Limits,
}

/// What came of an attempt that did not fail.
pub(super) enum Attempted<'a> {
    Answered(Box<Answered>),
    /// A filter has another answer.
    Instead(Instead<'a>),
}

/// An endpoint's answer, and what passes on with it.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) track: Track,
    /// Keeps the time, where there is a limit.
    pub(super) attempt: Option<Attempt>,
    /// Of its body, what was looked at.
    pub(super) ahead: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
}

/// From one backend to another, for a lack of endpoints: who goes to and fro has to wait.
const MOVES: u32 = 3;

/// How an attempt is made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Try {
    /// From the end of the request to the head of its answer.
    pub(super) headers: Option<Duration>,
}

impl Session {
    /// Carries a request as its rule says.
    pub(super) async fn carry_by_rule(
        &self,
        taken: &Taken<'_>,
        carried: Carried,
    ) -> Result<Response<Body<Track>>, Fault> {
        let Carried { mut req, arrived, upgraded, right } = carried;
        let terms = terms::of(taken.rule, req.headers_mut());
        let asked = self.asked(&req);
        let mut stream = self.count(taken, None, req.uri(), arrived);
        let origin = Origin { method: req.method().clone(), grpc: is_grpc(req.headers()), upgraded, right };
        let sent = stream.body(req.body().is_end_stream());
        let req = RequestBody::of(req, sent);
        let limits = Limits::new(&terms.timeouts, arrived);
        let call = Call { session: self, taken, limits };
        let leaves_http = origin.upgraded.is_some();
        let done = match terms.retry.as_ref().filter(|_| !leaves_http) {
            Some(retry) => retry::send(&call, req, retry, &mut stream).await,
            None => {
                let mut sending = Sending::new(leaves_http).counted(terms.retry.is_some());
                call.attempt(req, &mut sending, Try::default(), &mut stream).await
            }
        };
        self.finish(done, asked, stream, origin)
    }

    /// Carries a request on whose backend has no endpoint any more, where its rule says nothing but where it goes.
    pub(super) async fn carry_elsewhere(
        &self,
        taken: &Taken<'_>,
        req: Request<RequestBody>,
        mut sending: Sending<'_>,
        mut stream: Stream,
        origin: Origin,
    ) -> Result<Response<Body<Track>>, Fault> {
        let asked = self.asked(&req);
        let call = Call { session: self, taken, limits: Limits::default() };
        stream.attempt_failed(&Reason::FailFast.into());
        let done = call.attempt(req, &mut sending, Try::default(), &mut stream).await;
        self.finish(done, asked, stream, origin)
    }

    fn finish(
        &self,
        done: Result<Attempted<'_>, Fault>,
        asked: Asked,
        stream: Stream,
        origin: Origin,
    ) -> Result<Response<Body<Track>>, Fault> {
        match done {
            Ok(Attempted::Answered(answered)) => {
                let Answered { answer, mut track, attempt, ahead } = *answered;
                track.record(stream);
                let clock = attempt.and_then(|attempt| attempt.clock());
                let extra = (clock.is_some() || !ahead.is_empty())
                    .then(|| Box::new(Extra { ahead, clock, progress: None }));
                Ok(self.pass_on(answer, track, extra, origin))
            }
            Ok(Attempted::Instead(instead)) => {
                Ok(self.answer_instead(asked, instead, stream).map(|()| Body::empty(Track::none())))
            }
            Err(fault) => {
                stream.fault(&fault);
                Err(fault)
            }
        }
    }

    /// The answer that a filter gives.
    fn answer_instead(&self, asked: Asked, instead: Instead<'_>, stream: Stream) -> Response<()> {
        match instead {
            Instead::Redirected(to) => {
                stream.answered(to.status.as_u16());
                self.metrics.errors.outbound_redirect();
                respond::redirect(asked, &to)
            }
            Instead::Failed(failure) => {
                stream.answered(status(failure));
                let reason = Reason::InjectedFailure;
                self.metrics.errors.outbound_http(reason);
                info!(
                    reason = reason.row().name,
                    status = status(failure),
                    "outbound request fails as its route says"
                );
                respond::injected(asked, failure)
            }
        }
    }
}

/// What a failure counts as.
fn status(failure: &Failure) -> u16 {
    match failure.kind {
        FailureKind::Http(status) => status.as_u16(),
        FailureKind::Grpc(code) => code,
    }
}

impl<'a> Call<'a, '_> {
    /// One attempt: the rule's filters, a backend, its filters, an endpoint.
    pub(super) async fn attempt(
        &self,
        mut req: Request<RequestBody>,
        sending: &mut Sending<'_>,
        how: Try,
        stream: &mut Stream,
    ) -> Result<Attempted<'a>, Fault> {
        let Taken { rule, matched, .. } = *self.taken;
        if let Some(instead) = filters::apply(&rule.filters, matched, &mut req)? {
            return Ok(Attempted::Instead(instead));
        }
        let attempt = self.limits.attempt(how);
        if let Some(attempt) = &attempt {
            req = req.map(|body| body.telling(attempt.progress().clone()));
        }
        let mut moves = 0;
        let (to, (mut answer, track)) = loop {
            let to = self.taken.backend()?;
            if let Some(counts) = self.session.count_at(self.taken, &to.backend, req.uri()) {
                stream.attempt(counts);
            }
            let plain = (!to.filters.is_empty()).then(|| req.headers().clone());
            if let Some(instead) = filters::apply(&to.filters, matched, &mut req)? {
                return Ok(Attempted::Instead(instead));
            }
            let others = (moves < MOVES).then(|| self.taken.others(&to.backend));
            // balance, connect, relay
            match send(&to.backend, others, req, attempt.as_ref(), sending).await {
                Ok(sent) => break (to, sent),
                Err(Stopped::Failed(fault)) => return Err(fault),
                Err(Stopped::Elsewhere(back)) => req = *back,
            }
            // What is done to requests of one backend is not done to those of another.
            if let Some(plain) = plain {
                *req.headers_mut() = plain;
            }
            stream.attempt_failed(&Reason::FailFast.into());
            moves += 1;
        };
        stream.head(answer.rsp.status(), answer.rsp.headers());
        filters::apply_to_answer(&to.filters, answer.rsp.headers_mut());
        filters::apply_to_answer(&rule.filters, answer.rsp.headers_mut());
        let ahead = VecDeque::new();
        Ok(Attempted::Answered(Box::new(Answered { answer, track, attempt, ahead })))
    }
}

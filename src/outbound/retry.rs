//! Sending a request again, as its rule says (contract 3.11).
//!
//! What is kept of it is bounded: by its rule, and for all requests together. One whose body is longer, or had not been
//! read to its end when the answer came, is sent once.

use std::collections::VecDeque;

use ::http::{HeaderMap, Request, Version};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tracing::debug;

use crate::backoff::Backoff;
use crate::error::{Fault, Reason};
use crate::message::{End, Observe as _, RequestBody, body};
use crate::model::outbound::Retry;
use crate::telemetry::requests::{grpc_status, is_grpc};
use crate::telemetry::streams::{Stream, StreamError};

use super::rule::{Answered, Attempted, Call, Try};
use super::send::Sending;

type Done<'a> = Result<Attempted<'a>, Fault>;

/// Sends a request until its answer is not one to try again for, or it has been sent as often as it may be.
pub(super) async fn send<'a>(
    call: &Call<'a, '_>,
    req: Request<RequestBody>,
    retry: &Retry,
    stream: &mut Stream,
) -> Done<'a> {
    // Its rule says how often it is sent, and nobody below does.
    let mut sending = Sending::new(false).counted(true);
    let most = retry.max_body as usize;
    if req.body().size_hint().lower() > most as u64 {
        return call.attempt(req, &mut sending, Try { headers: retry.timeout }, stream).await;
    }
    let (head, body) = req.into_parts();
    let grpc = is_grpc(&head.headers) && head.version == Version::HTTP_2;
    let mut delays = retry.backoff.map(Backoff::delays);
    let (mut body, mut replay) = body.replayed(most, &call.session.replays);
    let mut sent = 0;
    loop {
        let last = sent == retry.limit;
        // Nobody waits for a further attempt.
        let headers = retry.timeout.filter(|_| sent == 0 || !last);
        let req = Request::from_parts(head.clone(), body);
        let mut done = call.attempt(req, &mut sending, Try { headers }, stream).await;
        if let Ok(Attempted::Answered(answered)) = &mut done
            && let Err(reason) = peek(answered, retry).await
        {
            answered.track.end(End::Failed(&body::Error::TimedOut(reason)));
            let fault = reason.into();
            stream.attempt_failed(&fault);
            return Err(fault);
        }
        if !is_retryable(&done, retry, grpc) {
            if let (1.., Ok(_), Some(retries)) = (sent, &done, stream.retries()) {
                retries.successes.incr();
            }
            return done;
        }
        if !replay.can_again() {
            debug!("a request is not sent again: it had not been read to its end, or is not kept");
            return done;
        }
        if last {
            stream.retries().inspect(|retries| retries.limit_exceeded.incr());
            return done;
        }
        if let Some(pause) = delays.as_mut().map(|delays| delays.next_delay())
            && let Err(reason) = call.limits.pause(pause).await
        {
            give_up(done, stream);
            return Err(reason.into());
        }
        if !call.taken.is_ready() && !is_lost(&done) {
            stream.retries().inspect(|retries| retries.overflow.incr());
            return turned_away(done, stream);
        }
        let Some(again) = replay.again() else { return done };
        (body, replay) = again;
        sending.again();
        give_up(done, stream);
        stream.retries().inspect(|retries| retries.requests.incr());
        sent += 1;
    }
}

/// No backend is ready for another attempt.
fn turned_away<'a>(done: Done<'a>, stream: &mut Stream) -> Done<'a> {
    match done {
        // It would be turned away at once, and that is what its sender is told.
        Err(fault) if fault.reason == Reason::FailFast => {
            give_up(Err(fault), stream);
            Err(Reason::LoadShed.into())
        }
        done => done,
    }
}

/// Whether its connection died, and perhaps with it the last that there was: the next one is waited for.
fn is_lost(done: &Done<'_>) -> bool {
    matches!(done, Err(fault) if matches!(fault.reason, Reason::UpstreamBroken | Reason::EndpointSilent))
}

/// The attempt is over: what came of it counts at its backend and endpoint.
fn give_up(done: Done<'_>, stream: &mut Stream) {
    match done {
        Ok(Attempted::Answered(mut answered)) => {
            let trailers = trailers(&answered.ahead);
            stream.attempt_ended(trailers);
            answered.track.end(trailers.map_or(End::Dropped, |trailers| End::Complete(Some(trailers))));
        }
        Ok(Attempted::Instead(_)) => {}
        Err(fault) => stream.attempt_failed(&fault),
    }
}

/// Whether it is worth another attempt.
fn is_retryable(done: &Done<'_>, retry: &Retry, grpc: bool) -> bool {
    match done {
        Ok(Attempted::Answered(answered)) => {
            let rsp = &answered.answer.rsp;
            let code = grpc_status(rsp.headers()).or_else(|| grpc_status(trailers(&answered.ahead)?));
            retry.takes_status(rsp.status().as_u16()) || code.is_some_and(|code| retry.codes.contains(&code))
        }
        Ok(Attempted::Instead(_)) => false,
        Err(fault) => fails_retryably(fault, retry, grpc),
    }
}

fn fails_retryably(fault: &Fault, retry: &Retry, grpc: bool) -> bool {
    let row = fault.reason.row();
    match fault.reason {
        Reason::FailFast | Reason::HeadersTimeout => true,
        Reason::StreamReset => StreamError::of_fault(fault) == StreamError::Refused,
        // What fails at the endpoint is an answer to the reference: judged by what it would be.
        _ if row.label == "i/o" && grpc => retry.takes_status(200) || retry.codes.contains(&row.grpc.into()),
        _ if row.label == "i/o" => retry.takes_status(row.status.as_u16()),
        _ => false,
    }
}

/// Looks at what comes first of an answer: trailers that follow at once may say that the call failed.
///
/// # Errors
/// Nothing came in the time that the answer has.
async fn peek(answered: &mut Answered, retry: &Retry) -> Result<(), Reason> {
    let rsp = &mut answered.answer.rsp;
    let said = retry.codes.is_empty() || grpc_status(rsp.headers()).is_some();
    if said || rsp.version() != Version::HTTP_2 || rsp.body().is_end_stream() {
        return Ok(());
    }
    let first = first(rsp.body_mut());
    answered.ahead = match &answered.attempt {
        None => first.await,
        Some(attempt) => attempt.piece(first).await?,
    };
    Ok(())
}

/// The first piece, and what follows at once if that is not the end.
pub(super) async fn first(body: &mut Incoming) -> VecDeque<Result<Frame<Bytes>, hyper::Error>> {
    let mut ahead = VecDeque::new();
    ahead.extend(body.frame().await);
    if ahead.front().is_some_and(|first| first.as_ref().is_ok_and(Frame::is_data)) {
        ahead.extend(body.frame().now_or_never().flatten());
    }
    ahead
}

pub(super) fn trailers(ahead: &VecDeque<Result<Frame<Bytes>, hyper::Error>>) -> Option<&HeaderMap> {
    ahead.back()?.as_ref().ok()?.trailers_ref()
}

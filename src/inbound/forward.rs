//! Requests that were let in, on their way to the application: counted, sent, and answered.

use std::sync::Arc;

use ::http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;

use crate::connect::Client;
use crate::connect::client::{self, Answer, Carry, SENDINGS, Unanswered};
use crate::error::{Fault, Reason};
use crate::message::{Body, RequestBody, headers, upgrade, uri, vet};
use crate::outbound::http::Track;
use crate::telemetry::requests::{InFlight, ResponseError, is_grpc};
use crate::telemetry::streams::{InboundRoute, Spoken, Stream};
use crate::tls::rights;

use super::http::Session;
use super::{Waiting, service};

/// A request that was let in, and what counts it.
pub(super) struct LetIn {
    pub(super) req: Request<Incoming>,
    pub(super) upgraded: Option<OnUpgrade>,
    pub(super) leaves_http: bool,
    pub(super) in_flight: InFlight,
    pub(super) route: Option<(Spoken, Arc<InboundRoute>)>,
}

impl Session {
    /// Carries a request to the application and its answer back.
    pub(super) async fn forward(
        &self,
        app: &Arc<Client>,
        let_in: LetIn,
    ) -> Result<Response<Body<Track>>, Fault> {
        let LetIn { req, upgraded, leaves_http, in_flight, route: route_counts } = let_in;
        let (method, grpc) = (req.method().clone(), is_grpc(req.headers()));
        let profile = service::counted(self.latest.named(&self.profiles, &req)).await;
        let route = profile.as_ref().and_then(|profile| profile.route(&req));
        let classes = route.and_then(|route| route.classes.as_ref());
        let in_flight = in_flight.judged_by(classes);
        let asked = route.map(|route| route.requests.start(req.headers()).judged_by(classes));
        let mut stream =
            route_counts.map(|(spoken, route)| Stream::inbound(spoken, route, in_flight.since()));
        let ended = req.body().is_end_stream();
        let sent = stream.as_mut().map(|stream| stream.body(ended)).unwrap_or_default();
        let req = RequestBody::of(req, sent);
        let mut answer = match send(app, req, leaves_http, &self.waiting).await {
            Ok(answer) => answer,
            Err(fault) => {
                in_flight.failed(ResponseError::of(&fault));
                if let Some(asked) = asked {
                    asked.fault(&fault);
                }
                if let Some(stream) = stream {
                    stream.fault(&fault);
                }
                return Err(fault);
            }
        };
        let (status, headers) = (answer.rsp.status(), answer.rsp.headers());
        let mut track = Track::new(None, in_flight.response(status, headers), answer.stream);
        if let Some(asked) = asked {
            track.also(asked.response(status, headers));
        }
        if let Some(mut stream) = stream {
            stream.head(status, headers);
            track.record(stream);
        }
        if let (Some(client), true) = (upgraded, upgrade::granted(&method, &answer.rsp)) {
            upgrade::strip_framing(&method, answer.rsp.headers_mut());
            let server = hyper::upgrade::on(&mut answer.rsp);
            self.drain.spawn(upgrade::splice(
                client,
                server,
                rights::either_closed([self.right.clone(), None]),
            ));
            return Ok(answer.rsp.map(|_| Body::empty(track)));
        }
        vet::answer(&answer.rsp, false)?;
        headers::strip_connection(answer.rsp.headers_mut());
        Ok(answer.rsp.map(|body| Body::relay(body, track).for_grpc(grpc)))
    }
}

/// Hands a permitted request to the application.
async fn send(
    app: &Arc<Client>,
    mut req: Request<RequestBody>,
    leaves_http: bool,
    waiting: &Waiting,
) -> Result<Answer, Fault> {
    let carry = app.carry(req.version(), leaves_http);
    if carry == Carry::Http1 && !leaves_http {
        uri::to_http1_form(&mut req);
    }
    let mut sendings = 0;
    loop {
        sendings += 1;
        let again = sendings < SENDINGS;
        match waiting.ready(app, carry).await?.send(req).await {
            Ok(answer) => return Ok(answer),
            // An idle connection had just been closed: a new one will say what is wrong, if anything.
            Err(Unanswered::Unsent(back, _)) if again => req = *back,
            // One that the application leaves: it may take another. What it refuses by the stream goes back to the
            // sender, who knows of other endpoints, and would multiply what is sent again here.
            Err(Unanswered::Refused(back, error)) if again && !client::is_reset(&error) => req = *back,
            Err(Unanswered::Unsent(_, error)) => return Err(Fault::new(Reason::UpstreamBroken, error)),
            Err(Unanswered::Refused(_, error) | Unanswered::Lost(_, error)) => {
                return Err(client::broken(carry, error, None));
            }
            Err(Unanswered::Broken(error, blame)) => return Err(client::broken(carry, error, blame)),
        }
    }
}

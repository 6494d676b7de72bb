//! Requests of one application connection: each is routed, balanced and sent by itself.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use ::http::uri::Authority;
use ::http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::connect::client::{Answer, Carry, Client, SENDINGS, Unanswered};
use crate::connect::resend::is_idempotent;
use crate::connect::track;
use crate::connect::{self, client};
use crate::discover::backend::Pick;
use crate::discover::{Backend, Destination, Routing, Target};
use crate::drain::Drain;
use crate::error::{Fault, Reason};
use crate::message::respond::{self, Asked};
use crate::message::{Allowance, Body, Extra, RequestBody, headers, orig_proto, upgrade, uri, vet};
use crate::model::DnsName;
use crate::model::service_profile::ResponseClass;
use crate::telemetry::Metrics;
use crate::telemetry::balancers::Use;
use crate::telemetry::requests::{InFlight, ResponseError, is_grpc};
use crate::telemetry::streams::{RouteBackend, Stream};
use crate::tls::{Right, rights};

use super::form::Form;
use super::handles::Handles;
use super::route::{Others, Taken};
use super::tcp::give_up_or_retry;
use super::timeout::Attempt;
use super::{Outbound, form, route};

/// One connection's requests, and what they share.
pub(crate) struct Session {
    client: SocketAddr,
    informational: bool,
    hostname_labels: bool,
    pub(super) replays: Arc<Allowance>,
    /// Places for requests that wait for their answers, of all connections.
    in_flight: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    handles: Mutex<Handles>,
    drain: Drain,
    /// Ends the application's connection gracefully.
    pub(super) close: CancellationToken,
}

/// Of an answer of an endpoint; of none that was picked, for an application's or our own.
pub(crate) type Track = track::Track<Option<Pick>>;

/// What must be known of a request once its answer is there.
pub(super) struct Origin {
    pub(super) method: Method,
    pub(super) grpc: bool,
    pub(super) upgraded: Option<OnUpgrade>,
    pub(super) right: Option<Right>,
}

/// A request on its way to an endpoint.
pub(crate) struct Carried {
    pub(crate) req: Request<Incoming>,
    pub(crate) arrived: Instant,
    /// Of a request that wants to leave HTTP: its connection, once it has.
    pub(crate) upgraded: Option<OnUpgrade>,
    /// How long its sender may keep that connection.
    pub(crate) right: Option<Right>,
}

impl Session {
    pub(crate) fn new(outbound: &Outbound, client: SocketAddr) -> Self {
        Self {
            client,
            informational: outbound.informational_headers,
            hostname_labels: outbound.hostname_labels,
            replays: outbound.replays.clone(),
            in_flight: outbound.in_flight.clone(),
            metrics: outbound.metrics.clone(),
            handles: Mutex::default(),
            drain: outbound.drain.clone(),
            close: CancellationToken::new(),
        }
    }

    /// Answers one request: with the endpoint's answer, or with what its failure means.
    ///
    /// # Errors
    /// The endpoint reset an HTTP/2 stream: so is the application's.
    pub(super) async fn respond(
        &self,
        dest: &Destination,
        req: Request<Incoming>,
    ) -> Result<Response<Body<Track>>, Fault> {
        let (asked, arrived) = (self.asked(&req), Instant::now());
        let answered = match self.place() {
            Ok(_place) => self.request(dest, req, arrived).await,
            Err(fault) => Err(fault),
        };
        answered.or_else(|fault| self.refuse(&dest.target, asked, fault))
    }

    /// A place among those that wait for the head of an answer.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, Fault> {
        self.in_flight.try_acquire().map_err(|_| Reason::Overloaded.into())
    }

    /// Answers with what a failure means.
    ///
    /// # Errors
    /// The endpoint reset an HTTP/2 stream: so is the application's.
    pub(super) fn refuse(
        &self,
        target: &Target,
        asked: Asked,
        fault: Fault,
    ) -> Result<Response<Body<Track>>, Fault> {
        let row = fault.reason.row();
        self.metrics.errors.outbound_http(fault.reason);
        info!(client = %self.client, orig_dst = %target, reason = row.name, "outbound request failed: {fault}");
        if fault.reason == Reason::StreamReset && asked.version == Version::HTTP_2 {
            return Err(fault);
        }
        if row.closes {
            self.close.cancel();
        }
        Ok(respond::fault(asked, &fault).map(|()| Body::empty(Track::none())))
    }

    pub(super) fn asked<B>(&self, req: &Request<B>) -> Asked {
        Asked {
            version: req.version(),
            grpc: is_grpc(req.headers()),
            orig_proto: false,
            informational: self.informational,
        }
    }

    /// Carries a request that has a place.
    pub(super) async fn request(
        &self,
        dest: &Destination,
        mut req: Request<Incoming>,
        arrived: Instant,
    ) -> Result<Response<Body<Track>>, Fault> {
        let routing = dest.routing().await?;
        vet::request(&req, false, false)?;
        let leaves_http = upgrade::wanted(&req);
        let upgraded = leaves_http.then(|| hyper::upgrade::on(&mut req));
        prepare(&dest.target, &mut req, leaves_http)?;
        self.carry(&routing, Carried { req, arrived, upgraded, right: None }).await
    }

    /// Carries a request to an endpoint and its answer back.
    pub(crate) async fn carry(
        &self,
        routing: &Routing,
        carried: Carried,
    ) -> Result<Response<Body<Track>>, Fault> {
        if let Some(profile) = route::profile(routing) {
            return Box::pin(self.carry_by_profile(profile, carried)).await;
        }
        let taken = route::http(routing, &carried.req)?; // route
        let to = taken.backend();
        if !taken.rule.is_plain() || to.as_ref().is_ok_and(|to| !to.filters.is_empty()) {
            return Box::pin(self.carry_by_rule(&taken, carried)).await;
        }
        let Carried { req, arrived, upgraded, right } = carried;
        let backend = to.map(|to| &to.backend);
        let mut stream = self.count(&taken, backend.as_ref().ok().copied(), req.uri(), arrived);
        let origin = Origin { method: req.method().clone(), grpc: is_grpc(req.headers()), upgraded, right };
        let sent = stream.body(req.body().is_end_stream());
        let req = RequestBody::of(req, sent);
        let leaves_http = origin.upgraded.is_some();
        let sent = match backend {
            // balance, connect, relay
            Ok(backend) => send(backend, Some(taken.others(backend)), req, leaves_http, None, None).await,
            Err(fault) => Err(fault.into()),
        };
        match sent {
            Ok((answer, mut track)) => {
                stream.head(answer.rsp.status(), answer.rsp.headers());
                track.record(stream);
                Ok(self.pass_on(answer, track, None, origin))
            }
            Err(Stopped::Elsewhere(req)) => {
                Box::pin(self.carry_elsewhere(&taken, *req, arrived, stream, origin)).await
            }
            Err(Stopped::Failed(fault)) => {
                stream.fault(&fault);
                Err(fault)
            }
        }
    }

    /// Passes an answer on, or what comes after it if both sides want to leave HTTP.
    pub(super) fn pass_on(
        &self,
        mut answer: Answer,
        track: Track,
        extra: Option<Box<Extra>>,
        origin: Origin,
    ) -> Response<Body<Track>> {
        let Origin { method, grpc, upgraded, right } = origin;
        if let (Some(client), true) = (upgraded, upgrade::granted(&method, &answer.rsp)) {
            upgrade::strip_framing(&method, answer.rsp.headers_mut());
            let server = hyper::upgrade::on(&mut answer.rsp);
            let rights = [right, answer.right.take()];
            self.drain.spawn(upgrade::splice(client, server, rights::either_closed(rights)));
            return answer.rsp.map(|_| Body::empty(track));
        }
        headers::strip_connection(answer.rsp.headers_mut());
        answer.rsp.headers_mut().remove(headers::PROXY_ERROR);
        if let Some(wish) = answer.rsp.headers_mut().remove(headers::PROXY_CONNECTION)
            && wish == "close"
            && track.kept().and_then(Option::as_ref).is_some_and(Pick::is_given_and_meshed)
        {
            self.end_with(&mut answer.rsp);
        }
        answer.rsp.map(|body| Body::relay_with(body, track, extra).for_grpc(grpc))
    }

    /// The application's connection ends once this has passed.
    fn end_with<B>(&self, rsp: &mut Response<B>) {
        self.close.cancel();
        if rsp.version() == Version::HTTP_11 {
            rsp.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// What records a request of this route.
    pub(super) fn count(
        &self,
        taken: &Taken<'_>,
        backend: Option<&Arc<Backend>>,
        uri: &Uri,
        since: Instant,
    ) -> Stream {
        if let Some(backend) = backend {
            backend.show(&self.metrics, Use::Http, taken.parent);
        }
        let backend = backend.map(|backend| backend.meta());
        self.handles.lock().stream(&self.metrics, taken, backend, self.hostname(uri), since)
    }

    /// What records those of this route that go to this backend.
    pub(super) fn count_at(
        &self,
        taken: &Taken<'_>,
        backend: &Backend,
        uri: &Uri,
    ) -> Option<Arc<RouteBackend>> {
        backend.show(&self.metrics, Use::Http, taken.parent);
        let hostname = self.hostname(uri);
        self.handles.lock().counts(&self.metrics, taken, Some(backend.meta()), hostname).1
    }

    fn hostname(&self, uri: &Uri) -> Option<DnsName> {
        if self.hostname_labels { uri.host().and_then(|host| host.parse().ok()) } else { None }
    }
}

/// Brings a request into the form that routes look at (contract 3.7).
fn prepare(target: &Target, req: &mut Request<Incoming>, leaves_http: bool) -> Result<(), Fault> {
    if req.version() == Version::HTTP_2 {
        return Ok(());
    }
    uri::mark_absolute(req);
    if leaves_http {
        return Ok(());
    }
    headers::strip_connection(req.headers_mut());
    let authority = || Authority::try_from(target.to_string()).ok();
    uri::normalize(req, authority).map_err(|error| Fault::new(Reason::BadRequest, error))
}

/// Why a request has no answer of a backend.
pub(super) enum Stopped {
    Failed(Fault),
    /// The backend has no endpoint ready, and another of the route has. What was sent of it did not count.
    Elsewhere(Box<Request<RequestBody>>),
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

/// Sends a request to an endpoint of the backend. What provably never reached one goes to another,
/// until the failfast timeout has passed; so does what an endpoint refused unread, and what its connection took with it
/// when it died, if doing it twice does no harm. `limits` are what its rule allows it to take, `classes` what its answers
/// are judged by, if there are such.
pub(super) async fn send(
    backend: &Backend,
    others: Option<Others<'_>>,
    mut req: Request<RequestBody>,
    leaves_http: bool,
    limits: Option<&Attempt>,
    classes: Option<&Arc<[ResponseClass]>>,
) -> Result<(Answer, Track), Stopped> {
    let mut deadline = Instant::now() + backend.failfast(Use::Http);
    let (mut sendings, mut unsent) = (1, 0);
    let version = req.version();
    let required = req.headers_mut().remove(headers::REQUIRE_ID);
    loop {
        let picking = pin!(pick(backend, others, deadline));
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
        let carry = client.carry(version, leaves_http);
        let end = limits.and_then(Attempt::deadline).filter(|(end, _)| *end < deadline);
        let until = end.map_or(deadline, |(end, _)| end);
        let ready = match timeout_at(until, client.ready(carry)).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(error)) => {
                give_up_or_retry(pick, error, deadline)?;
                continue;
            }
            Err(_) => return Err(end.map_or(Reason::FailFast, |(_, reason)| reason).into()),
        };
        pick.reached();
        let gateway = client.authority.as_ref();
        let came = Form::of(&req, gateway);
        form::carry_as(&mut req, carry, leaves_http, gateway);
        let in_flight = pick.requests().start(req.headers()).judged_by(classes);
        let sending = pin!(ready.send(req));
        let sent = match limits {
            None => sending.await,
            Some(limits) => match Box::pin(limits.head(sending)).await {
                Ok(sent) => sent,
                Err(reason) => {
                    pick.failed(ResponseError::Timeout);
                    in_flight.failed(ResponseError::Timeout);
                    return Err(reason.into());
                }
            },
        };
        match sent {
            Ok(answer) => {
                let (answer, track) = answered(answer, carry, version, pick, in_flight);
                vet::answer(&answer.rsp, client.endpoint.tls.is_some())?;
                return Ok((answer, track));
            }
            Err(Unanswered::Unsent(back, error)) => {
                if Instant::now() >= deadline {
                    return Err(Fault::new(Reason::UpstreamBroken, error).into());
                }
                req = came.restore(*back);
                unsent += 1;
                if unsent < SENDINGS {
                    pick.abandon();
                } else {
                    // It takes connections and drops them at once.
                    give_up_or_retry(pick, connect::Error::Http(client.endpoint.addr, error), deadline)?;
                }
            }
            Err(Unanswered::Refused(back, _)) if sendings < SENDINGS => {
                pick.abandon();
                req = came.restore(*back);
                sendings += 1;
                // It may have been with that endpoint for long.
                deadline = Instant::now() + backend.failfast(Use::Http);
            }
            Err(Unanswered::Lost(back, error)) if sendings < SENDINGS && is_idempotent(back.method()) => {
                pick.failed(ResponseError::of(&error));
                in_flight.failed(ResponseError::of(&error));
                pick.abandon();
                req = came.restore(*back);
                sendings += 1;
                deadline = Instant::now() + backend.failfast(Use::Http);
            }
            Err(Unanswered::Refused(_, error)) => {
                pick.failed(ResponseError::of(&error));
                in_flight.failed(ResponseError::of(&error));
                return Err(client::broken(carry, error, None).into());
            }
            Err(Unanswered::Lost(_, error)) => {
                pick.failed(ResponseError::of(&error));
                in_flight.failed(ResponseError::of(&error));
                // How long the death of a connection took says nothing of how long answers take.
                pick.abandon();
                return Err(client::broken(carry, error, None).into());
            }
            Err(Unanswered::Broken(error, blame)) => {
                pick.failed(ResponseError::of(&error));
                in_flight.failed(ResponseError::of(&error));
                if !client::is_reset(&error) {
                    pick.abandon();
                }
                return Err(client::broken(carry, error, blame).into());
            }
        }
    }
}

/// An endpoint of the backend; `None` once it has none ready, and another of the route has.
async fn pick(
    backend: &Backend,
    others: Option<Others<'_>>,
    deadline: Instant,
) -> Result<Option<Pick>, Fault> {
    if let Some(pick) = backend.pick_at_once(Use::Http) {
        return Ok(Some(pick));
    }
    let Some(others) = others.filter(|others| !others.are_none()) else {
        return backend.pick(Use::Http, deadline).await.map(Some);
    };
    tokio::select! {
        biased;
        () = others.until_ready(deadline) => Ok(None),
        picked = backend.pick(Use::Http, deadline) => picked.map(Some),
    }
}

fn answered(
    mut answer: Answer,
    carry: Carry,
    version: Version,
    mut pick: Pick,
    in_flight: InFlight,
) -> (Answer, Track) {
    pick.answered(answer.rsp.status(), answer.rsp.headers());
    if carry == Carry::OrigProto {
        orig_proto::restore(&mut answer.rsp, version);
    }
    let recorder = in_flight.response(answer.rsp.status(), answer.rsp.headers());
    let stream = answer.stream.take();
    (answer, Track::new(Some(pick), recorder, stream))
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

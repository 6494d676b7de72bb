//! Requests of one application connection: each is routed, balanced and sent by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::uri::Authority;
use ::http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::connect::client::Answer;
use crate::connect::track;
use crate::discover::backend::Pick;
use crate::discover::{Backend, Destination, Routing, Target};
use crate::drain::Drain;
use crate::error::{Fault, Reason};
use crate::message::respond::{self, Asked};
use crate::message::{Allowance, Body, Extra, RequestBody, headers, upgrade, uri, vet};
use crate::model::DnsName;
use crate::telemetry::Metrics;
use crate::telemetry::balancers::Use;
use crate::telemetry::requests::is_grpc;
use crate::telemetry::streams::{RouteBackend, Stream};
use crate::tls::{Right, rights};

use super::handles::Handles;
use super::route::Taken;
use super::send::{Sending, Stopped, send};
use super::{Outbound, route};

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
        let mut sending = Sending::new(origin.upgraded.is_some());
        let sent = match backend {
            // balance, connect, relay
            Ok(backend) => send(backend, Some(taken.others(backend)), req, None, &mut sending).await,
            Err(fault) => Err(fault.into()),
        };
        match sent {
            Ok((answer, mut track)) => {
                stream.head(answer.rsp.status(), answer.rsp.headers());
                track.record(stream);
                Ok(self.pass_on(answer, track, None, origin))
            }
            Err(Stopped::Elsewhere(req)) => {
                Box::pin(self.carry_elsewhere(&taken, *req, sending, stream, origin)).await
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_requests_future_is_small() {
        let bytes =
            size(|(session, dest): (&'static Session, &'static Destination), req| session.respond(dest, req));
        assert!(bytes < 6 * 1024, "{bytes} bytes");
    }
}

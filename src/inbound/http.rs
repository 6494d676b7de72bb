//! Requests of one inbound connection: each is authorized by the policy of its moment, then forwarded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ::http::uri::Authority;
use ::http::{HeaderValue, Request, Response, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admin::Admin;
use crate::connect::Client;
use crate::discover::Profiles;
use crate::discover::ports::Port;
use crate::drain::Drain;
use crate::error::{Fault, Reason};
use crate::message::respond::{self, Asked};
use crate::message::{Body, headers, orig_proto, upgrade, uri, vet};
use crate::model::Peer;
use crate::model::protocol::HttpVersion;
use crate::outbound::http::Track;
use crate::telemetry::Metrics;
use crate::telemetry::labels::InboundTarget;
use crate::telemetry::requests::is_grpc;
use crate::telemetry::transport::Metered;
use crate::tls::{Right, rights};

use super::forward::LetIn;
use super::gateway::Passage;
use super::handles::Handles;
use super::permit::Permitted;
use super::{Call, Inbound, Waiting, service};

/// What answers permitted requests.
pub(crate) enum Upstream {
    /// The pod's application.
    App(Arc<Client>),
    /// The proxy's own admin pages.
    Admin(Arc<Admin>),
    /// A Service of the cluster that this pod is a gateway of.
    Gateway(Box<Passage>),
}

/// One connection's requests, and what they share.
pub(crate) struct Session {
    pub(super) client: SocketAddr,
    pub(super) target: SocketAddr,
    direct: bool,
    pub(super) peer: Arc<Peer>,
    /// The peer's name as the application is told it.
    client_id: Option<HeaderValue>,
    pub(super) port: Arc<Port>,
    pub(super) upstream: Upstream,
    pub(super) waiting: Arc<Waiting>,
    pub(super) profiles: Arc<Profiles>,
    pub(super) latest: service::Latest,
    /// Places for requests that wait for their answers, of all connections.
    in_flight: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) handles: Mutex<Handles>,
    pub(super) drain: Drain,
    close: CancellationToken,
    /// How long the peer may keep its connection, also once that is no longer HTTP.
    pub(super) right: Option<Right>,
}

impl Inbound {
    /// Serves the requests of one connection until it ends.
    pub(super) async fn serve_http(
        &self,
        call: Call,
        version: HttpVersion,
        upstream: Upstream,
    ) -> Result<(), Fault> {
        let policy = call.port.policy();
        let at = InboundTarget { target: call.target, peer: &call.peer, server: &policy.meta };
        let transport = self.metrics.transport.accept_inbound(&at);
        let right = call.io.get_ref().right().cloned();
        let io = Metered::new(call.io, transport.open());
        let session = Arc::new(Session {
            client: call.client,
            target: call.target,
            direct: call.direct,
            client_id: call.peer.id().and_then(|id| HeaderValue::try_from(id.to_string()).ok()),
            peer: call.peer,
            port: call.port,
            upstream,
            waiting: self.waiting.clone(),
            profiles: self.profiles.clone(),
            latest: service::Latest::default(),
            in_flight: self.in_flight.clone(),
            metrics: self.metrics.clone(),
            handles: Mutex::default(),
            drain: self.drain.clone(),
            close: right.as_ref().map_or_else(CancellationToken::new, Right::over),
            right: right.clone(),
        });
        let close = session.close.clone();
        let serving = self.http.serve(io, version, &self.drain, close, move |req| {
            let session = session.clone();
            async move { session.respond(req).await }
        });
        tokio::select! {
            biased;
            served = serving => served,
            () = rights::cut(right.as_ref()) => Err(Reason::RightEnded.into()),
        }
    }
}

impl Session {
    /// Answers one request: with the application's answer, or with what its failure means.
    ///
    /// # Errors
    /// The application reset an HTTP/2 stream: so is the caller's.
    async fn respond(&self, mut req: Request<Incoming>) -> Result<Response<Body<Track>>, Fault> {
        let version = req.version();
        let grpc = is_grpc(req.headers());
        let orig_proto = orig_proto::downgrade(&mut req);
        let asked = Asked {
            version,
            grpc,
            orig_proto: orig_proto.is_some(),
            informational: self.peer.id().is_some(),
        };
        let fault = match self.request(req, asked).await {
            Ok(mut rsp) => {
                if orig_proto.is_some() {
                    orig_proto::upgrade_response(&mut rsp);
                }
                return Ok(rsp);
            }
            Err(fault) => fault,
        };
        self.record(&fault);
        if fault.reason == Reason::StreamReset && version == Version::HTTP_2 {
            return Err(fault);
        }
        if fault.reason.row().closes {
            self.close.cancel();
        }
        Ok(respond::fault(asked, &fault).map(|()| Body::empty(Track::none())))
    }

    async fn request(
        &self,
        mut req: Request<Incoming>,
        asked: Asked,
    ) -> Result<Response<Body<Track>>, Fault> {
        let carried = asked.orig_proto;
        vet::request(&req, self.peer.id().is_some(), carried)?;
        // Until the head of the answer has come. The admin pages tell of an overload, and are not part of it.
        let _place = match self.upstream {
            Upstream::Admin(_) => None,
            _ => Some(self.in_flight.try_acquire().map_err(|_| Reason::Overloaded)?),
        };
        let leaves_http = !carried && upgrade::wanted(&req);
        let upgraded = leaves_http.then(|| hyper::upgrade::on(&mut req));
        self.prepare(&mut req, carried, leaves_http)?;
        self.tell_client_id(&mut req);
        let counts = match self.permit(&self.port.policy(), &mut req)? {
            // authorize
            Permitted::Passes(counts) => counts,
            Permitted::Redirected(to) => {
                self.metrics.errors.inbound_redirect(self.target, &self.port.policy().meta);
                return Ok(respond::redirect(asked, &to).map(|()| Body::empty(Track::none())));
            }
        };
        let in_flight = counts.requests.start(req.headers());
        let app = match &self.upstream {
            Upstream::App(app) => app,
            Upstream::Gateway(passage) => {
                return Box::pin(passage.forward(req, upgraded, self.right.clone())).await;
            }
            Upstream::Admin(admin) => {
                let rsp = answer_admin(admin, self.client.ip(), req).await?;
                let recorder = in_flight.response(rsp.status(), rsp.headers());
                return Ok(rsp.map(|bytes| Body::whole(bytes, Track::new(None, recorder, None))));
            }
        };
        let let_in = LetIn { req, upgraded, leaves_http, in_flight, route: counts.route };
        self.forward(app, let_in).await // forward, relay
    }

    /// Whatever a client says of its own identity is overwritten, or removed (contract 4.8).
    fn tell_client_id(&self, req: &mut Request<Incoming>) {
        headers::strip_client_id(req.headers_mut());
        if let Some(id) = &self.client_id {
            req.headers_mut().insert(headers::CLIENT_ID, id.clone());
        }
    }

    fn prepare(&self, req: &mut Request<Incoming>, carried: bool, leaves_http: bool) -> Result<(), Fault> {
        if leaves_http {
            headers::keep_mesh(req.headers_mut());
            return Ok(());
        }
        if req.version() == Version::HTTP_2 {
            return Ok(());
        }
        if !carried {
            uri::mark_absolute(req);
        }
        headers::strip_connection(req.headers_mut());
        // A proxy that calls the direct port passes on whom the request is for (contract 4.2).
        let own = || Authority::try_from(self.target.to_string()).ok().filter(|_| !self.direct);
        uri::normalize(req, own).map_err(|error| Fault::new(Reason::BadRequest, error))
    }

    /// Denials are counted in their own families, and said above.
    fn record(&self, fault: &Fault) {
        if matches!(fault.reason, Reason::Denied | Reason::NoRoute) {
            return;
        }
        let policy = self.port.policy();
        self.metrics.errors.inbound_http(fault.reason, self.target, &policy.meta);
        info!(client = %self.client, target = %self.target, reason = fault.reason.row().name,
            "inbound request failed: {fault}");
    }
}

/// Bytes of an admin request's body at most: a log filter is the longest there is.
const ADMIN_BODY: usize = 64 * 1024;

async fn answer_admin(
    admin: &Admin,
    client: IpAddr,
    req: Request<Incoming>,
) -> Result<Response<Bytes>, Fault> {
    let (parts, body) = req.into_parts();
    let body = Limited::new(body, ADMIN_BODY).collect().await;
    let body = body.map_err(|error| Fault::new(Reason::BadRequest, error))?.to_bytes();
    Ok(admin.respond(client, &parts, &body))
}

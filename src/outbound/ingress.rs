//! Ingress mode: each request goes where its `l5d-dst-override` says, and without one where its connection was going
//! (contract 3.12).

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::detect;
use crate::discover::Target;
use crate::error::{Fault, Reason};
use crate::message::{Body, headers};
use crate::model::protocol::HttpVersion;
use crate::model::{Authority, ResourceRef};
use crate::net::{Accepted, Prefixed};
use crate::telemetry::transport::Metered;

use super::early::{self, Turn};
use super::http::{Session, Track};
use super::{Outbound, gone};

/// One connection's requests. Between them it holds no destination: names are many, and are forgotten like any other.
struct Ingress {
    outbound: Arc<Outbound>,
    orig_dst: SocketAddr,
    session: Session,
}

impl Outbound {
    /// Carries one connection of an ingress. Nothing but its bytes says what it speaks.
    pub(super) async fn carry_ingress(self: &Arc<Self>, conn: Accepted) -> Result<(), Fault> {
        let mut io = Prefixed::new(conn.io);
        let (started, until) = (Instant::now(), early::by(Instant::now(), self.detect_timeout));
        let first = early::first(&mut io, Turn::Client(None), until).await; // detect
        let parent = ResourceRef::default_named("ingress");
        self.metrics.connections.detect_outbound(&parent).record(&first.read, started.elapsed());
        let http = match first.read.map_err(|error| Fault::new(Reason::ClientBroken, error))? {
            detect::Http::Is(version) => Some(version),
            detect::Http::Not | detect::Http::TimedOut => None,
        };
        self.metrics.outbound.count(http, first.cause);
        let transport = self.metrics.transport.accept_outbound(conn.orig_dst);
        if let Some(version) = http {
            let io = Metered::new(io, transport.open());
            return self.serve_ingress(io, conn.client, conn.orig_dst, version).await; // discover, route…
        }
        let dest = self.discover.get(Target::Addr(conn.orig_dst)); // discover
        let routing = tokio::select! {
            biased;
            routing = dest.routing() => routing?,
            () = gone(&mut io, self.detect_timeout) => return Err(Reason::ClientBroken.into()),
        };
        let mut io = Metered::new(io, transport.open());
        self.relay_tcp(&mut io, &dest, &routing, None, None).await
    }

    async fn serve_ingress(
        self: &Arc<Self>,
        io: Metered<Prefixed<tokio::net::TcpStream>>,
        client: SocketAddr,
        orig_dst: SocketAddr,
        version: HttpVersion,
    ) -> Result<(), Fault> {
        let session = Session::new(self, client);
        let close = session.close.clone();
        let ingress = Arc::new(Ingress { outbound: self.clone(), orig_dst, session });
        self.http
            .serve(io, version, &self.drain, close, move |req| {
                let ingress = ingress.clone();
                async move { ingress.respond(req).await }
            })
            .await
    }
}

impl Ingress {
    /// Answers one request, from where it asks to go.
    async fn respond(&self, mut req: Request<Incoming>) -> Result<Response<Body<Track>>, Fault> {
        let (asked, arrived) = (self.session.asked(&req), Instant::now());
        let mut to = Target::Addr(self.orig_dst);
        let answered = async {
            let _place = self.session.place()?; // before anybody is asked
            to = target(req.headers_mut(), self.orig_dst)?;
            let dest = self.outbound.discover.get(to.clone()); // discover
            self.session.request(&dest, req, arrived).await // route…
        };
        let answered = answered.await;
        answered.map_err(for_http).or_else(|fault| self.session.refuse(&to, asked, fault))
    }
}

/// Policy was asked after it was known that HTTP is spoken.
fn for_http(fault: Fault) -> Fault {
    if fault.reason == Reason::NotHttp { Reason::OtherProtocol.into() } else { fault }
}

/// What a request asks for. The header ends here.
fn target(headers: &mut HeaderMap, orig_dst: SocketAddr) -> Result<Target, Fault> {
    let Some(value) = headers.remove(headers::DST_OVERRIDE) else { return Ok(Target::Addr(orig_dst)) };
    let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
    let named = authority.and_then(|to| Some((to.name()?.clone(), to.port.unwrap_or(80))));
    let (name, port) = named.ok_or_else(|| {
        Fault::new(Reason::BadRequest, "`l5d-dst-override` is no name, with a port or without")
    })?;
    Ok(Target::Override(name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_asks_for_a_name_and_its_header_ends_here() {
        let orig_dst: SocketAddr = "10.0.0.9:8080".parse().unwrap();
        let ask = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(headers::DST_OVERRIDE, value.parse().unwrap());
            headers.append(headers::DST_OVERRIDE, "second:1".parse().unwrap());
            let target = target(&mut headers, orig_dst);
            assert!(headers.is_empty());
            target.map(|target| target.to_string()).map_err(|fault| fault.reason)
        };
        assert_eq!(ask("BB.demo.svc.cluster.local").unwrap(), "bb.demo.svc.cluster.local:80");
        assert_eq!(ask("bb.demo:8080").unwrap(), "bb.demo:8080");
        for wrong in ["", ":80", "bb:0", "a b", "10.0.0.1:80", "bb:http", "http://bb"] {
            assert_eq!(ask(wrong), Err(Reason::BadRequest), "{wrong:?}");
        }
        assert_eq!(target(&mut HeaderMap::new(), orig_dst).unwrap(), Target::Addr(orig_dst));
    }
}

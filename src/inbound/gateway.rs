//! A gateway: connections whose transport header names a Service are led into this cluster (contract 4.9).
//!
//! They are let in by the policy of the proxy's own port, and go out again as the outbound side carries its own: balanced,
//! with mutual TLS, as this workload. What was passed on says so, so that gateways which lead to each other notice.

use std::sync::Arc;
use std::time::Duration;

use ::http::uri::Authority;
use ::http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tracing::debug;

use crate::authorize;
use crate::config::Suffixes;
use crate::discover::{Destination, Target};
use crate::error::{Fault, Reason};
use crate::message::{Body, headers, uri};
use crate::model::protocol::HttpVersion;
use crate::model::{DnsName, WorkloadId};
use crate::net::Prefixed;
use crate::outbound::http::{Carried, Session, Track};
use crate::outbound::{Meanwhile, Outbound, meanwhile};
use crate::telemetry::classes::Cause;
use crate::tls::Right;

use super::http::Upstream;
use super::tcp::Onward;
use super::{Call, Inbound};

/// Where a gateway leads, and on whose account.
pub struct Gateway {
    /// The names that it leads to.
    pub suffixes: Suffixes,
    /// This workload, as those it leads to see it.
    pub id: WorkloadId,
    pub outbound: Arc<Outbound>,
}

impl Inbound {
    /// Leads one connection to `name`. `session` is the version of HTTP that it speaks, `None` for opaque traffic.
    pub(super) async fn serve_gateway(
        &self,
        mut call: Call,
        (name, port): (DnsName, u16),
        session: Option<HttpVersion>,
        tentative: bool,
    ) -> Result<(), Fault> {
        let target = Target::Name(name.clone(), port);
        let gateway = self.gateway.as_ref().filter(|gateway| gateway.suffixes.contains(&name));
        let gateway = gateway.ok_or_else(|| Fault::new(Reason::GatewayDomain, target.to_string()))?;
        if !may_pass(&call, session) {
            // Whoever is not let in has nobody asked about a name.
            return self.turn_away(call, gateway, target, session, tentative).await;
        }
        let dest = gateway.outbound.discover.get(target); // discover
        let routing = tokio::select! {
            biased;
            routing = dest.routing() => routing?,
            fault = given_up(&mut call.io, self.detect_timeout) => return Err(fault),
        };
        debug!(client = %call.client, target = %dest.target, "connection for a gateway");
        self.metrics.inbound.count(session, Cause::Header);
        if let Some(version) = session {
            let passage = Passage::new(gateway, &call, dest.target.clone(), Some(dest))?;
            return self.serve_http(call, version, Upstream::Gateway(Box::new(passage))).await;
        }
        if call.peer.id() == Some(&gateway.id) {
            return Err(Reason::GatewayLoop.into());
        }
        let onward = Onward::Gateway { outbound: &gateway.outbound, dest: &dest, routing: &routing };
        if tentative {
            self.relay_tentative(call, onward).await
        } else {
            self.relay_tcp(call, onward, None).await
        }
    }

    /// Tells a client that policy does not let it in; its requests, for as long as policy says so.
    async fn turn_away(
        &self,
        call: Call,
        gateway: &Gateway,
        target: Target,
        session: Option<HttpVersion>,
        tentative: bool,
    ) -> Result<(), Fault> {
        self.metrics.inbound.count(session, Cause::Header);
        match session {
            Some(version) => {
                let passage = Passage::new(gateway, &call, target, None)?;
                self.serve_http(call, version, Upstream::Gateway(Box::new(passage))).await
            }
            None if tentative => self.relay_tentative(call, Onward::Nowhere).await,
            None => self.relay_tcp(call, Onward::Nowhere, None).await,
        }
    }
}

/// Whether the policy of the gateway's own port has a way for this client.
fn may_pass(call: &Call, session: Option<HttpVersion>) -> bool {
    let (policy, client) = (call.port.policy(), call.client.ip());
    match session {
        Some(_) => authorize::any_request(&policy, client, &call.peer),
        None => authorize::tcp(&policy, client, &call.peer).is_ok(),
    }
}

/// Why a client is kept no longer while the control plane has not answered: it has gone, or it cannot be seen whether it
/// has, and `patience` is over.
async fn given_up<IO: AsyncRead + Unpin>(io: &mut Prefixed<IO>, patience: Duration) -> Fault {
    match meanwhile(io, patience).await {
        Meanwhile::Gone => Reason::ClientBroken.into(),
        Meanwhile::Full => {
            tokio::time::sleep(patience).await;
            Fault::new(Reason::Discovery, "the control plane has not answered in time")
        }
    }
}

/// The way of one connection's requests into the cluster.
pub(crate) struct Passage {
    outbound: Arc<Outbound>,
    target: Target,
    /// `None` where policy let in no request at first: it is found for each that it does let in.
    dest: Option<Arc<Destination>>,
    session: Session,
    /// This workload's name, by which it knows what it has passed on.
    own: String,
    /// Whether the client is this workload.
    looped: bool,
    /// What is added to requests: that they passed, and for whom they are.
    forwarded: HeaderValue,
    authority: Authority,
    host: HeaderValue,
    canonical: HeaderValue,
}

impl Passage {
    fn new(
        gateway: &Gateway,
        call: &Call,
        target: Target,
        dest: Option<Arc<Destination>>,
    ) -> Result<Self, Fault> {
        let invalid = |error: ::http::Error| Fault::new(Reason::GatewayDomain, error);
        let own = gateway.id.to_string();
        let host = match &target {
            Target::Name(name, 80) => name.to_string(),
            target => target.to_string(),
        };
        let client = call.peer.id().map(ToString::to_string).unwrap_or_default();
        let forwarded = format!("by={own};for={client};host={host};proto=https");
        let value = |text: &str| HeaderValue::try_from(text).map_err(|error| invalid(error.into()));
        Ok(Self {
            session: Session::new(&gateway.outbound, call.client),
            looped: call.peer.id() == Some(&gateway.id),
            forwarded: value(&forwarded)?,
            authority: Authority::try_from(host.as_str()).map_err(|error| invalid(error.into()))?,
            host: value(&host)?,
            canonical: value(&target.to_string())?,
            own,
            outbound: gateway.outbound.clone(),
            target,
            dest,
        })
    }

    /// Sends a permitted request to an endpoint of the target.
    pub(super) async fn forward(
        &self,
        mut req: Request<Incoming>,
        upgraded: Option<OnUpgrade>,
        right: Option<Right>,
    ) -> Result<Response<Body<Track>>, Fault> {
        if self.looped || was_forwarded_by(req.headers(), &self.own) {
            return Err(Reason::GatewayLoop.into());
        }
        let arrived = Instant::now();
        self.address(&mut req);
        let routing = match &self.dest {
            Some(dest) => dest.routing().await?,
            None => self.outbound.discover.get(self.target.clone()).routing().await?,
        };
        self.session.carry(&routing, Carried { req, arrived, upgraded, right }).await
    }

    /// Says that the request passed here, and whom it is for: the client's proxy has removed the name that the client
    /// used.
    fn address<B>(&self, req: &mut Request<B>) {
        req.headers_mut().append(header::FORWARDED, self.forwarded.clone());
        req.headers_mut().insert(headers::DST_CANONICAL, self.canonical.clone());
        if req.version() != Version::HTTP_2 {
            req.headers_mut().insert(header::HOST, self.host.clone());
            uri::set_authority(req, &self.authority);
        }
    }
}

/// Whether a `forwarded` header names this workload as one that passed the request on. Lists are read as several
/// headers are, and names in any case and in quotes: whatever writes them so on the way must not hide a loop.
fn was_forwarded_by(headers: &HeaderMap, own: &str) -> bool {
    let by = |pair: &[u8]| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
        (key.eq_ignore_ascii_case(b"by") && value.eq_ignore_ascii_case(own.as_bytes())).then_some(())
    };
    let named = |value: &HeaderValue| {
        value.as_bytes().split(|byte| matches!(byte, b';' | b',')).any(|pair| by(pair).is_some())
    };
    headers.get_all(header::FORWARDED).iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_cannot_be_seen_to_leave_waits_for_an_answer_no_longer_than_patience_lasts() {
        use tokio::io::AsyncWriteExt as _;

        let patience = Duration::from_secs(10);
        let (mut client, io) = tokio::io::duplex(4096);
        let mut io = Prefixed::new(io);
        client.write_all(&[b'x'; 100]).await.unwrap();
        let kept = tokio::time::timeout(patience * 10, given_up(&mut io, patience)).await;
        assert!(kept.is_err(), "one that is seen to stay is kept");
        client.write_all(&[b'x'; 2000]).await.unwrap();
        let began = Instant::now();
        let fault = given_up(&mut io, patience).await;
        assert_eq!((fault.reason, began.elapsed()), (Reason::Discovery, patience));
        drop(client);
        let mut io = Prefixed::new(tokio::io::duplex(1).1);
        assert_eq!(given_up(&mut io, patience).await.reason, Reason::ClientBroken);
    }

    #[test]
    fn what_passed_here_before_is_known_however_it_is_written() {
        let forwarded = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::FORWARDED, HeaderValue::try_from(*value).unwrap());
            }
            was_forwarded_by(&headers, "gw.mc.td")
        };
        for values in [
            &["by=gw.mc.td;for=web.ns.td;host=bb;proto=https"][..],
            &["by=other.td;for=a", "by=gw.mc.td;for=b"],
            &["by=other.td;for=a, for=b ; By=\"GW.mc.td\""],
        ] {
            assert!(forwarded(values), "{values:?}");
        }
        for values in [&[][..], &["for=gw.mc.td;by=other.td"], &["by=gw.mc.td.evil"], &["by;by=", ""]] {
            assert!(!forwarded(values), "{values:?}");
        }
    }
}

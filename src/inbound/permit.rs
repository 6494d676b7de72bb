//! What policy says of one request: whether it is let in, what is done to it, and whether it comes too fast
//! (contract 4.4).

use hyper::Request;
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::{Level, enabled, info};

use crate::authorize::{self, HttpPermit, Refusal, explain};
use crate::error::{Fault, Reason};
use crate::message::filters::{self, Instead, Redirected};
use crate::model::ServerPolicy;
use crate::model::inbound::ServerProtocol;
use crate::model::matching::Head;
use crate::telemetry::labels::InboundTarget;
use crate::telemetry::streams::Spoken;

use super::handles::{Counted, Counts};
use super::http::{Session, Upstream};

/// What becomes of a request that is let in.
pub(super) enum Permitted {
    Passes(Counts),
    Redirected(Redirected),
}

impl Session {
    /// Judges a request by the policy of this moment, then takes the filters of its rule, then the rate limit.
    pub(super) fn permit(
        &self,
        policy: &ServerPolicy,
        req: &mut Request<Incoming>,
    ) -> Result<Permitted, Fault> {
        let at = self.at(policy);
        let permit = authorize::http(policy, self.client.ip(), &self.peer, &Head::of(req));
        let permit = permit.map_err(|refusal| self.refuse(policy, refusal, req))?;
        let counts = self.handles.lock().permitted(&self.metrics, &at, &permit, self.counted(policy));
        counts.allow.incr();
        if permit.authz.is_audit() {
            self.audit(policy, &permit);
        }
        match filters::apply(&permit.rule.filters, permit.matched, req)? {
            None => {}
            Some(Instead::Redirected(to)) => return Ok(Permitted::Redirected(to)),
            // Whatever it is to fail as (contract 9.52).
            Some(Instead::Failed(_)) => return Err(Reason::InjectedFailure.into()),
        }
        self.limit(policy)?;
        Ok(Permitted::Passes(counts))
    }

    /// Counts a refusal, and says why.
    fn refuse(&self, policy: &ServerPolicy, refusal: Refusal<'_>, req: &Request<Incoming>) -> Fault {
        let at = self.at(policy);
        let reason = match refusal {
            Refusal::RouteNotFound => {
                self.metrics.authz.http_route_not_found(&at).incr();
                Reason::NoRoute
            }
            Refusal::Denied { route } | Refusal::Unjudged { route } => {
                self.handles.lock().deny(&self.metrics, &at, route).incr();
                Reason::Denied
            }
        };
        if enabled!(Level::INFO) {
            let why = explain::http(policy, self.client.ip(), &self.peer, &Head::of(req));
            info!(client = %self.client, target = %self.target, peer = ?self.peer, server = policy.meta.name(),
                method = %req.method(), path = ?shortened(req.uri().path()), reason = reason.row().name, %why,
                "request denied");
        }
        reason.into()
    }

    fn audit(&self, policy: &ServerPolicy, permit: &HttpPermit<'_>) {
        info!(client = %self.client, target = %self.target, peer = ?self.peer, server = policy.meta.name(),
            route = permit.route.name(), authz = permit.authz.name(), "request allowed");
    }

    fn limit(&self, policy: &ServerPolicy) -> Result<(), Fault> {
        let Some(limit) = &policy.rate_limit else { return Ok(()) };
        let checked = self.port.limiter.check(limit, self.peer.id(), Instant::now());
        checked.map_err(|scope| {
            let at = self.at(policy);
            self.metrics.authz.http_rate_limited(&at, limit.meta.as_ref(), scope).incr();
            Reason::RateLimited.into()
        })
    }

    fn at<'a>(&'a self, policy: &'a ServerPolicy) -> InboundTarget<'a> {
        InboundTarget { target: self.target, peer: &self.peer, server: &policy.meta }
    }

    fn counted(&self, policy: &ServerPolicy) -> Counted {
        match (&self.upstream, &policy.protocol) {
            (Upstream::Gateway(_), _) => Counted::Elsewhere,
            (Upstream::Admin(_), _) => Counted::Requests,
            (Upstream::App(_), ServerProtocol::Grpc(_)) => Counted::Route(Spoken::Grpc),
            (Upstream::App(_), _) => Counted::Route(Spoken::Http),
        }
    }
}

/// As much of a path as a line of log needs.
fn shortened(path: &str) -> &str {
    const LONGEST: usize = 256;
    let end = path.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST).last();
    if path.len() <= LONGEST { path } else { &path[..end.unwrap_or_default()] }
}
